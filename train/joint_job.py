"""Train parts of a joint model in the loop: its batches, its draws, and the clips that it shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from con360.models.joint import JointModel
from con360.pipeline import default_settings
from con360.protocols import Inputs
from con360.records import AV, ViewpointClip
from train.config import TrainConfig
from train.dataset import Batch, Sample, collate
from train.job import VALIDATION
from train.losses import Dropout
from train.monitor import Monitor
from train.trainee import Draws, JointErrors, Trainee, draw

NOTHING_DROPPED = Dropout(text=0, control=0, alone=0)
# View grid for a model without control, which reads no rays.
NO_GRID = 1


class JointJob:
    """Train a joint model with its control (`train.job.Job`).

    Args:
        model: of which `net` trains parts.
        net: from `make_trainee`.
    """

    def __init__(self, config: TrainConfig, model: JointModel, net: Trainee) -> None:
        self.config, self.model, self.net = config, model, net

    @property
    def grid(self) -> int:
        return self.net.control.config.view_grid if self.net.control is not None else NO_GRID

    def trained(self) -> dict[str, nn.Parameter]:
        return self.net.trained()

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.trained().values())}]

    def learning(self, step: int) -> Iterable[nn.Parameter]:
        return self.trained().values()

    def collate(self, samples: Sequence[Sample]) -> Batch:
        return collate(samples, self.grid)

    def draw(self, batch: Batch, numbers: Sequence[int], stream: int, step: int) -> Draws:
        dropout = NOTHING_DROPPED if stream == VALIDATION else self.config.dropout
        return draw(self.model, batch, numbers, dropout, self.config.seed, stream)

    def places(self, draws: Draws) -> Tensor:
        return draws.joint.t / self.model.scheduler_v.config.num_train_timesteps

    def bare(self, batch: Batch, draws: Draws) -> JointErrors:
        """Errors without control."""
        return self.net(batch, draws, with_control=False)

    def look(self, samples: Sequence[Sample], monitor: Monitor, step: int) -> dict[str, float]:
        """Show sample clips."""
        monitor.show(step, [self.sample(sample) for sample in samples], [sample.caption for sample in samples])
        return {}

    @torch.no_grad()
    def sample(self, sample: Sample) -> ViewpointClip:
        """Generate a clip from a held-out clip's conditions."""
        model, spec, settings = self.model, self.config.spec(), default_settings(self.model)
        batch = self.collate([sample]).to(self.net.empty_v.device)
        inputs = Inputs(AV(batch.text_v, batch.text_a), AV(self.net.empty_v, self.net.empty_a), self.net.film(batch))
        latents = model.sample(inputs, spec, settings)
        frames, sound = model.decode(latents.map(lambda half: half[0]), spec)
        assert frames is not None and sound is not None  # both latents are present
        return ViewpointClip(frames, spec.fps, sound, settings.seed)
