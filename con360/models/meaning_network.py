"""Read captions, pictures and sounds of the built-in model as vectors of one space; pictures and sounds are latents.

Shape legend: B clips, L words, T frames, R rows, C channels, h w latent rows and columns, F frequencies, K moments,
W width, D vector.

Source: the loss is GRAM's (arXiv 2412.11959); the networks are ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError

NO_WORD, UNKNOWN_WORD = 0, 1


@dataclass(frozen=True)
class MeaningConfig:
    """Sizes of the networks.

    Args:
        words: vocabulary of captions.
        width, size: channels inside, and length D of the vectors.
        channels_v, channels_a, bands: channels of the latents, and frequencies of the sound's.
        fps, row_s: frames per second of a picture's latents, and seconds of a row of a sound's.
        moments_hz: rates at which features are summed over time, beside their mean; pulses are told by their phase.
    """

    words: tuple[str, ...]
    width: int = 128
    size: int = 128
    channels_v: int = 4
    channels_a: int = 8
    bands: int = 16
    fps: float = 8.0
    row_s: float = 0.04
    moments_hz: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)

    def __post_init__(self) -> None:
        sizes = (self.width, self.size, self.channels_v, self.channels_a, self.bands)
        if not self.words or not all(isinstance(size, int) and 0 < size <= 4096 for size in sizes):
            raise InputError(f"sizes {sizes} with {len(self.words)} words make no meaning network; wanted 1 to 4096.")
        if not (0 < self.fps < math.inf and 0 < self.row_s < math.inf):
            raise InputError(f"{self.fps} frames per second and rows of {self.row_s} s cannot be; wanted more than 0.")

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MeaningConfig:
        """Build from plain values; unknown names raise TypeError."""
        read: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
        return cls(**read)


class MeaningNetwork(nn.Module):
    """Three networks that end in unit vectors of one length; files name the architecture.

    Attributes:
        text: numbers of words `[B, L]`, 0 is none, to `[B, D]`. picture: latents `[B, C, T, h, w]` to `[B, D]`.
        sound: latents `[B, C, R, F]` to `[B, D]`.
    """

    architecture = "convolutions and moments"

    def __init__(self, config: MeaningConfig) -> None:
        super().__init__()
        self.config = config
        self.text, self.picture, self.sound = self.parts(config)

    def parts(self, config: MeaningConfig) -> tuple[nn.Module, nn.Module, nn.Module]:
        """Make the networks of captions, pictures and sounds; another architecture overrides this."""
        return Words(config), Picture(config), Sounds(config)


class Words(nn.Module):
    """Convolutions over words, their mean and their peaks."""

    def __init__(self, config: MeaningConfig) -> None:
        super().__init__()
        width = config.width
        self.embedding = nn.Embedding(len(config.words) + 2, width // 2, padding_idx=NO_WORD)
        self.first = nn.Conv1d(width // 2, width, 3, padding=1)
        self.second = nn.Conv1d(width, width, 3, padding=1)
        self.head = Head(2 * width, config)

    def forward(self, words: Tensor) -> Tensor:
        """Numbers of words `[B, L]`, 0 is none, to `[B, D]`."""
        there = (words != NO_WORD)[:, None].float()
        x = F.gelu(self.first(self.embedding(words).transpose(1, 2))) * there
        x = (x + F.gelu(self.second(x))) * there
        mean = x.sum(2) / there.sum(2).clamp_min(1)
        return self.head(torch.cat((mean, (x - 1e4 * (1 - there)).amax(2)), dim=1))


class Picture(nn.Module):
    """Convolutions over each frame, then moments over time."""

    def __init__(self, config: MeaningConfig) -> None:
        super().__init__()
        width = config.width
        self.frames = nn.Sequential(
            nn.Conv2d(config.channels_v, width // 2, 4, stride=2, padding=1), nn.GELU(),
            nn.Conv2d(width // 2, width, 3, stride=2, padding=1), nn.GELU(),
            nn.Conv2d(width, width, 1), nn.GELU(),
        )  # fmt: skip
        self.frame = nn.Linear(2 * width, width)
        self.moments = Moments(config, 1 / config.fps)
        self.head = Head(self.moments.times * width, config)

    def forward(self, latents: Tensor) -> Tensor:
        """`[B, C, T, h, w]` to `[B, D]`."""
        x = self.frames(latents.transpose(1, 2).flatten(0, 1)).flatten(2)
        x = F.gelu(self.frame(torch.cat((x.mean(2), x.amax(2)), dim=1)))
        return self.head(self.moments(x.unflatten(0, (len(latents), -1))))


class Sounds(nn.Module):
    """Convolutions over rows, then moments over time."""

    def __init__(self, config: MeaningConfig) -> None:
        super().__init__()
        width = config.width
        self.first = nn.Conv1d(config.channels_a * config.bands, width, 3, padding=1)
        self.second = nn.Conv1d(width, width, 3, padding=1)
        self.moments = Moments(config, config.row_s)
        self.head = Head(self.moments.times * width, config)

    def forward(self, latents: Tensor) -> Tensor:
        """`[B, C, R, F]` to `[B, D]`."""
        x = F.gelu(self.first(latents.transpose(2, 3).flatten(1, 2)))
        x = x + F.gelu(self.second(x))
        return self.head(self.moments(x.transpose(1, 2)))


class Moments(nn.Module):
    """Mean over time of features, and of their products with cosines and sines of a few rates."""

    def __init__(self, config: MeaningConfig, step_s: float) -> None:
        super().__init__()
        self.rates_hz, self.step_s = config.moments_hz, step_s

    @property
    def times(self) -> int:
        """Width of the result over that of the features."""
        return 1 + 2 * len(self.rates_hz)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, T, W]` to `[B, K W]`."""
        time_s = torch.arange(x.shape[1], device=x.device) * self.step_s
        turns = 2 * math.pi * time_s[:, None] * torch.tensor(self.rates_hz, device=x.device)
        waves = torch.cat((torch.ones_like(time_s)[:, None], turns.cos(), turns.sin()), dim=1).to(x)
        return torch.einsum("btw,tk->bkw", x, waves).flatten(1) / x.shape[1]


class Head(nn.Module):
    """A layer, and a linear one to a unit vector."""

    def __init__(self, features: int, config: MeaningConfig) -> None:
        super().__init__()
        self.inner = nn.Linear(features, config.width)
        self.outer = nn.Linear(config.width, config.size)

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.outer(F.gelu(self.inner(x))), dim=-1)
