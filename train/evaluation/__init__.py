"""What `train/evaluate.py` runs: paired figures and probes over scenes whose truth is known, one scene at a time."""
