"""Train the encoder of captions, pictures and sounds."""
