"""Training and evaluation: a client of the `con360` library."""
