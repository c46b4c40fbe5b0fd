"""Turn 360° clips into training shards: the stages and their executors. The command is `train/prepare.py`."""
