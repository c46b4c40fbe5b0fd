"""Training clips for a tiny random model: random latents and maps of the right shapes, without rendering."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tiny_model import MAX_TOKENS, TEXT_DIM, make_tiny_joint_model

from train.config import TrainConfig
from train.dataset import Sample
from train.joint_job import JointJob
from train.loop import Loop
from train.trainee import make_trainee


class RandomClips:
    """Half-second clips whose content follows from their number."""

    reads_ahead = False

    def __init__(self, count: int) -> None:
        self.count = count
        self.groups = [range(i, i + 1) for i in range(count)]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        g = torch.Generator().manual_seed(1000 + index)
        return Sample(
            torch.randn(4, 4, 8, 8, generator=g).half(),
            torch.randn(8, 16, 16, generator=g).half(),
            torch.randint(0, 256, (4, 2, 64, 128), generator=g, dtype=torch.uint8),
            torch.tensor([[30.0 * index, 0.0, 90.0]] * 4),
            torch.randn(MAX_TOKENS, TEXT_DIM, generator=g).half(),
            torch.nn.functional.normalize(torch.randn(TEXT_DIM, generator=g), dim=0).half(),
            f"clip {index}",
        )

    def describe(self) -> dict[str, Any]:
        return {"data": "random clips", "clips": self.count, "saliency": "training-free"}


def quick_config(folder: Path, **changes: Any) -> TrainConfig:
    """Return settings for a few steps of one clip each."""
    values = dict(
        out=folder / "control.safetensors", steps=4, seconds=0.5, batch_size=1, warmup=2, log_every=1,
        checkpoint_every=0, held_out=2, pool=2,
    )  # fmt: skip
    return TrainConfig(**{**values, **changes})


def make_loop(config: TrainConfig, accelerator: Any, on_step=None) -> Loop:
    """Make a loop over a fresh tiny model; the same configuration gives the same weights."""
    model = make_tiny_joint_model(0)
    torch.manual_seed(config.seed)
    net = make_trainee(model, config)
    return Loop(
        config, JointJob(config, model, net), RandomClips(5), RandomClips(2), accelerator, lambda text: None, on_step
    )
