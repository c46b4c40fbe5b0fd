"""Train the networks that tell when a picture sounds."""
