"""Train the head that gives a sound its directions, and add it to a control file."""
