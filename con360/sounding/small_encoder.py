"""A small picture encoder in place of MetaCLIP, trained on procedural scenes: it tells colours and where they are.

Shape legend: K pictures, M maps, P numbers of a place, F features.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Pixels of the shrunken picture; numbers that tell a place.
SIDE_PX, PLACE = 56, 6
# Sharpens maps, so that a place is learned in hundreds of steps, not thousands.
SHARPNESS = 8.0


class SmallEncoder(nn.Module):
    """Maps of colours, and the place and the size of each (`PictureEncoder`).

    A map's place is the mean over the picture, weighed by the map's softmax: a part that moves by less than a pixel
    moves it. Across, places are on a circle, as in a panorama.

    Args:
        width: number of features.
        maps: number of maps.
    """

    def __init__(self, width: int = 96, maps: int = 24) -> None:
        super().__init__()
        self.width, self.identity = width, "con360-small"
        self.layers = nn.Sequential(
            nn.Conv2d(3, 24, 3, padding=1), nn.SiLU(), nn.Conv2d(24, 32, 1), nn.SiLU(),
            nn.Conv2d(32, maps, 3, padding=1),
        )  # fmt: skip
        self.project = nn.Linear(maps * (PLACE + 1), width)
        self.register_buffer("places", _places(), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """`[K, 3, H, H]`, normalised as CLIP's, to `[K, F]`."""
        maps = SHARPNESS * self.layers(shrunk(pixels)).flatten(2)
        place = maps.softmax(dim=-1) @ self.places
        size = maps.sigmoid().mean(dim=-1, keepdim=True) * 20
        return self.project(torch.cat((place, size), dim=-1).flatten(1))

    @torch.no_grad()
    def features(self, pixels: Tensor) -> Tensor:
        return self(pixels.to(self.project.weight)).float().cpu()


def shrunk(pixels: Tensor) -> Tensor:
    """Pixels `[K, 3, H, H]` to the encoder's size; those of that size stay as they are."""
    return F.adaptive_avg_pool2d(pixels, SIDE_PX)


def _places() -> Tensor:
    """Numbers that tell where a pixel lies, `[SIDE_PX², PLACE]`."""
    at = (torch.arange(SIDE_PX) + 0.5) / SIDE_PX * 2 - 1
    y, x = (a.flatten() for a in torch.meshgrid(at, at, indexing="ij"))
    turn = math.pi * x
    return torch.stack((turn.sin(), turn.cos(), (2 * turn).sin(), (2 * turn).cos(), 2 * y, 4 * y * y), dim=-1)
