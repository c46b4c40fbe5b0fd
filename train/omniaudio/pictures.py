"""Train the small picture encoder: from a panorama or a front view it must tell each colour's place and size.

Shape legend: B clips, K pictures, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from con360.geometry.erp import erp_directions
from con360.scenes import COLOURS, SHAPES, Scene
from con360.sounding.small_encoder import SmallEncoder, shrunk
from train.examples import SPLIT_FIRST_SEED
from train.job import OneNetwork
from train.monitor import Monitor
from train.omniaudio.panoramas import HEIGHT, frame_of, pictures_of
from train.omniaudio.scenes import moving_scene
from train.omniaudio.settings import PicturesConfig

# Truth about each colour: seen, sine and cosine of yaw, pitch, radius.
FACTS = 5
# Pixels are stored as whole numbers of this part of a unit.
STEP = 20
# Cosine of the angle from the front within which the view sees a colour.
SEEN = np.cos(np.radians(65))
PLACE_WEIGHT, SHAPE_WEIGHT, SIZE_WEIGHT = 1.0, 0.05, 0.01


def truth(scene: Scene, time_s: float) -> tuple[Tensor, Tensor]:
    """Facts `[6, FACTS]` and shapes `[6]` (-1: not there) of each colour."""
    facts, shapes = torch.zeros(len(COLOURS), FACTS), torch.full((len(COLOURS),), -1)
    for p in scene.performers:
        i, yaw = list(COLOURS).index(p.colour), np.radians(p.yaw_at(time_s))
        facts[i] = torch.tensor([1.0, np.sin(yaw), np.cos(yaw), p.pitch_deg / 45, p.radius_at(time_s) / 20])
        shapes[i] = SHAPES.index(p.shape)
    return facts, shapes


@dataclass(frozen=True)
class Moment:
    """Hold one picture of a scene with its truth; a batch has one more axis in front.

    Args:
        panorama, view: small pictures `[3, 56, 56]`, int8 in steps of 1 / STEP.
        facts, ahead: about each colour, `[6, FACTS]`, in the panorama and in the view.
        shapes: of each colour, `[6]`.
    """

    panorama: Tensor
    view: Tensor
    facts: Tensor
    ahead: Tensor
    shapes: Tensor

    def to(self, device: torch.device) -> Moment:
        return Moment(*(value.to(device) for value in vars(self).values()))


def moment_of(seed: int, rays: Tensor) -> Moment:
    """Render one moment of a scene."""
    rng = np.random.default_rng([seed, 7])
    scene, time_s = moving_scene(seed, "none"), float(rng.uniform(0, 4))
    panorama, view = ((shrunk(one) * STEP).round().char() for one in pictures_of(frame_of(scene, time_s, rays)))
    facts, shapes = truth(scene, time_s)
    ahead = facts * ((facts[:, 2:3] > SEEN) & (facts[:, :1] > 0))
    return Moment(panorama, view, facts, ahead, shapes)


class SceneMoments:
    """Hold one moment of each of the first scenes of a split."""

    reads_ahead = False

    def __init__(self, split: str, count: int) -> None:
        rays, first = erp_directions(HEIGHT), SPLIT_FIRST_SEED[split]
        self.moments = [moment_of(first + index, rays) for index in range(count)]
        self.groups: Sequence[range] = [range(i, i + 1) for i in range(count)]

    def __len__(self) -> int:
        return len(self.moments)

    def __getitem__(self, index: int) -> Moment:
        return self.moments[index]


class PictureErrors(NamedTuple):
    """Errors of each clip's panorama and view, `[B]` each; their means are the batch's."""

    panorama: Tensor
    view: Tensor


@dataclass(frozen=True)
class NoDraws:
    """Hold nothing: this training has no chance of its own."""

    def to(self, device: torch.device) -> NoDraws:
        return self


class PicturesNet(nn.Module):
    """The encoder with a head for each kind of picture, and their errors."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = SmallEncoder()
        told = len(COLOURS) * (FACTS + len(SHAPES))
        self.heads = nn.ModuleDict({kind: nn.Linear(self.encoder.width, told) for kind in PictureErrors._fields})

    def forward(self, batch: Moment, draws: NoDraws) -> PictureErrors:
        return PictureErrors(
            self._error("panorama", batch.panorama, batch.facts, batch.shapes),
            self._error("view", batch.view, batch.ahead, batch.shapes),
        )

    def told(self, kind: str, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Features `[B, F]` and what the head tells of each colour, `[B, 6, FACTS + shapes]`."""
        features = self.encoder(pixels.float() / STEP)
        return features, self.heads[kind](features).unflatten(1, (len(COLOURS), -1))

    def _error(self, kind: str, pixels: Tensor, wanted: Tensor, shapes: Tensor) -> Tensor:
        features, made = self.told(kind, pixels)
        seen = wanted[..., :1]
        error = F.binary_cross_entropy_with_logits(made[..., :1], seen)
        off = (made[..., 1:FACTS] - wanted[..., 1:]).square() * seen
        error = error + PLACE_WEIGHT * off.sum() / seen.sum().clamp_min(1)
        there = (seen[..., 0] > 0) & (shapes >= 0)
        if there.any():
            error = error + SHAPE_WEIGHT * F.cross_entropy(made[..., FACTS:][there], shapes[there])
        # Features of unit size: the transformer reads them as they are.
        error = error + SIZE_WEIGHT * (features.square().mean() - 1).square()
        return error.expand(len(pixels))


class PicturesJob(OneNetwork):
    """Train the small picture encoder (`train.job.Job`)."""

    def __init__(self, config: PicturesConfig) -> None:
        self.config, self.net = config, PicturesNet()

    @property
    def encoder(self) -> SmallEncoder:
        return self.net.encoder

    def collate(self, samples: Sequence[Moment]) -> Moment:
        columns = zip(*(vars(sample).values() for sample in samples), strict=True)
        return Moment(*(torch.stack(column) for column in columns))

    def draw(self, batch: Moment, numbers: Sequence[int], stream: int, step: int) -> NoDraws:
        return NoDraws()

    def places(self, draws: NoDraws) -> None:
        """There is no noise schedule."""

    def bare(self, batch: Moment, draws: NoDraws) -> PictureErrors:
        """The same: there is no condition."""
        return self.net(batch, draws)

    @torch.no_grad()
    def look(self, samples: Sequence[Moment], monitor: Monitor, step: int) -> dict[str, float]:
        """Median errors of yaw in degrees, and shares of shapes told right."""
        batch = self.collate(samples).to(self.encoder.project.weight.device)
        figures: dict[str, float] = {}
        for kind, pixels, wanted in (("panorama", batch.panorama, batch.facts), ("view", batch.view, batch.ahead)):
            _, made = self.net.told(kind, pixels)
            there = (wanted[..., 0] > 0) & (batch.shapes >= 0)
            yaws = (torch.atan2(x[..., 1], x[..., 2])[there] for x in (made, wanted))
            off = torch.rad2deg((next(yaws) - next(yaws) + torch.pi).remainder(2 * torch.pi) - torch.pi).abs()
            right = made[..., FACTS:][there].argmax(-1) == batch.shapes[there]
            figures |= {f"{kind} yaw": off.median().item(), f"{kind} shape": right.float().mean().item()}
        return figures
