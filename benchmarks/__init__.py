"""Ours beside the peers, in one run: `python -m benchmarks`. Never part of the tests."""
