"""Paired figures and probes over scenes whose truth is known; the command is `train/evaluate.py`."""
