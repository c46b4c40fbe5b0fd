"""A small picture encoder in place of MetaCLIP, trained on procedural scenes: it tells colours and where they are.

Shape legend: K pictures, F features.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Pixels of the shrunken picture, and of a cell of the last layer.
SIDE_PX, CELL_PX = 56, 4


class SmallEncoder(nn.Module):
    """A few convolutions, then one linear layer over all cells, so that places survive (`PictureEncoder`).

    Args:
        width: number of features.
        channels: of the last convolution.
    """

    def __init__(self, width: int = 96, channels: int = 24) -> None:
        super().__init__()
        self.width, self.identity = width, "con360-small"
        self.layers = nn.Sequential(
            nn.Conv2d(3, 24, 3, padding=1), nn.SiLU(), nn.Conv2d(24, 32, 3, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(32, 32, 3, padding=1), nn.SiLU(), nn.Conv2d(32, channels, 3, stride=2, padding=1), nn.SiLU(),
        )  # fmt: skip
        self.project = nn.Linear(channels * (SIDE_PX // CELL_PX) ** 2, width)

    def forward(self, pixels: Tensor) -> Tensor:
        """`[K, 3, 224, 224]` to `[K, F]`."""
        small = F.adaptive_avg_pool2d(pixels, SIDE_PX)
        return self.project(self.layers(small).flatten(1))

    @torch.no_grad()
    def features(self, pixels: Tensor) -> Tensor:
        return self(pixels.to(self.project.weight)).float().cpu()
