"""From 360° clips to training shards: the stages, and what runs them. The command is `train/prepare.py`."""
