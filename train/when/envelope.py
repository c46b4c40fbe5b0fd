"""Train the network that tells an envelope from a region's motion, as FOL-AI does from flow: classes, blurred labels.

Shape legend: B regions, T frames, N values of the envelope, K = 64 classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from con360.models.envelope_networks import PictureEnvelope
from con360.sound.envelopes import CLASSES, to_classes
from train.job import OneNetwork, generator_of
from train.monitor import Monitor
from train.when.losses import class_loss, near_classes
from train.when.regions import Region
from train.when.settings import EnvelopeConfig

# Neighbouring values say nearly the same: a step learns from one in so many.
EVERY = 4


class EnvelopeErrors(NamedTuple):
    """Error of each region, `[B]`."""

    classes: Tensor


@dataclass(frozen=True)
class Chance:
    """Hold what each region's measures are multiplied by, `[B, 1, 4]`, and the first value that is learned from."""

    scales: Tensor
    first: int

    def to(self, device: torch.device) -> Chance:
        return Chance(self.scales.to(device), self.first)


class EnvelopeNet(nn.Module):
    """The network with its errors."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.network = PictureEnvelope(width)

    def forward(self, batch: Region, draws: Chance) -> EnvelopeErrors:
        told = slice(draws.first, None, EVERY)
        return EnvelopeErrors(
            class_loss(self.network(batch.motion * draws.scales, told), classes_of(batch.envelope[:, told]))
        )


def classes_of(envelope: Tensor) -> Tensor:
    """Number the classes of envelopes `[B, N]`; full scale shares the loudest one."""
    return to_classes(envelope).clamp_max(CLASSES - 1)


class EnvelopeJob(OneNetwork):
    """Train the picture's envelope network (`train.job.Job`)."""

    def __init__(self, config: EnvelopeConfig) -> None:
        self.config, self.net = config, EnvelopeNet(config.width)

    def collate(self, samples: Sequence[Region]) -> Region:
        return Region(*(torch.stack(column) for column in zip(*((s.motion, s.envelope) for s in samples), strict=True)))

    def draw(self, batch: Region, numbers: Sequence[int], stream: int, step: int) -> Chance:
        generators = [generator_of(self.config.seed, stream, number) for number in numbers]
        drawn = torch.stack([torch.randn(1, batch.motion.shape[-1], generator=g) for g in generators])
        return Chance(1 + self.config.jitter * drawn, int(torch.randint(EVERY, (), generator=generators[0])))

    def places(self, draws: Chance) -> None:
        """There is no noise schedule."""

    def bare(self, batch: Region, draws: Chance) -> EnvelopeErrors:
        """The same: there is no condition."""
        return self.net(batch, draws)

    @torch.no_grad()
    def look(self, samples: Sequence[Region], monitor: Monitor, step: int) -> dict[str, float]:
        """Compute E-L1 of unseen regions beside silence's, and the share of classes within two of the true ones."""
        batch, network = self.collate(samples), self.net.network
        logits = network(batch.motion.to(network.head[0].weight)).cpu()
        found = torch.stack([network.decoded(one).values for one in logits])
        return {
            "E-L1": (found - batch.envelope).abs().mean().item(),
            "E-L1 of silence": batch.envelope.abs().mean().item(),
            "near classes": near_classes(logits.argmax(1), classes_of(batch.envelope), 2).item(),
        }
