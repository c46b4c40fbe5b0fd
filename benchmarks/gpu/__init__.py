"""Memory and time of each stage at full size: counted without a GPU, or measured on the one that is there."""
