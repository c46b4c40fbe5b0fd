"""Measure paired figures and probes over scenes of known truth; the command is `train/evaluate.py`."""
