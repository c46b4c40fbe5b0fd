"""Join features of pictures to latent rows.

Shape legend: B clips, K pictures, R latent rows, F features, W width.

Source: OmniAudio (arXiv 2504.14906), whose tensor names are kept.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError


class _Embedder(nn.Module):
    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.embedder = nn.Sequential(nn.Linear(features, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.embedder(x)


class PictureEmbedders(nn.Module):
    """Linear layers of the view's and of the panorama's pictures, `[B, K, F]` to `[B, K, W]`."""

    def __init__(self, features: int = 1024, width: int = 1536) -> None:
        super().__init__()
        self.conditioners = nn.ModuleDict(
            {"video_fov": _Embedder(features, width), "video_360": _Embedder(features, width)}
        )

    def view(self, features: Tensor) -> Tensor:
        return self.conditioners["video_fov"](features)

    def panorama(self, features: Tensor) -> Tensor:
        return self.conditioners["video_360"](features)


def spread_over_rows(pictures: Tensor, rows: int) -> Tensor:
    """Interpolate `[B, K, W]` by a natural cubic spline to `[B, rows, W]`; first on first, last on last.

    Raises:
        InputError: one picture alone.
    """
    count = pictures.shape[1]
    if count == rows:
        return pictures
    if count < 2:
        raise InputError(f"{count} picture of the view came; a spline over time needs at least 2. Give a longer clip.")
    return _spline(count, rows).to(pictures.device, pictures.dtype) @ pictures


@lru_cache(maxsize=8)
def _spline(count: int, rows: int) -> Tensor:
    """The spline as a matrix `[rows, count]`: interpolation is linear in the values."""
    from scipy.interpolate import CubicSpline

    spline = CubicSpline(np.arange(count), np.eye(count), bc_type="natural")
    return torch.from_numpy(spline(np.linspace(0, count - 1, rows))).float()
