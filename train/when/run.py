"""Train a network that tells when a picture sounds.

    python -m train.when.run envelope out=runs/when/envelope.safetensors

Settings are given as name=value or --name value, over those of --config FILE. `train/when.yaml` runs it, and then
prints its figures (`train.when.judge`). Ctrl-C and SIGTERM write a checkpoint; the same command resumes from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from con360.weights.time_networks import save_picture_envelope
from train.config import RunConfig
from train.stage import OnStep, Setup, stage_command, train_stage
from train.when.envelope import EnvelopeJob
from train.when.regions import SceneRegions, build
from train.when.settings import EnvelopeConfig

CONFIGS: dict[str, RunConfig] = {"envelope": EnvelopeConfig()}


def setup_of(config: RunConfig, device: torch.device) -> Setup:
    """Make the job of a configuration."""
    assert isinstance(config, EnvelopeConfig), "there is one kind of run"
    counts, voices = {"train": config.pool, "validation": config.held_out}, config.voice_follows
    files = (build(config.folder / f"{s}-{voices}.safetensors", s, count, voices) for s, count in counts.items())
    source, held_out = map(SceneRegions, files)
    job = EnvelopeJob(config)
    return Setup(job, source, held_out, lambda path, *_: save_picture_envelope(job.net.network, path))


def train(config: RunConfig, say: Callable[[str], None] = print, on_step: OnStep = None) -> dict[str, float]:
    """Train, and write the result (`train.stage.train_stage`)."""
    return train_stage(config, setup_of, say, on_step)


def main(argv: Sequence[str] | None = None) -> int:
    return stage_command(argv, CONFIGS, str(__doc__), train)


if __name__ == "__main__":
    raise SystemExit(main())
