"""Features of the maps as the view shows them, with what lies beyond its edge.

Shape legend: B clips, T frames, C maps, H W map rows and columns, g the view's grid, m points beyond each edge.

The map encoder's cells are 22.5 degrees wide in the built-in model; a latent pixel of the picture is 5.6 degrees.
Source: ours; measured in the project's notes (training log, version 3: entry and exit).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..geometry.erp import sample_erp

# Samples of the maps per point of the grid, along each side.
FINE = 2
WIDTHS = (24, 48, 48)


class ViewFeatures(nn.Module):
    """Convolutions over the maps and directions that the view and its margin show.

    Args:
        map_channels: C.
        margin: m; features of the view's own points see about so far beyond the edge.
    """

    def __init__(self, map_channels: int, margin: int) -> None:
        super().__init__()
        self.margin, reach = margin, max(1, margin // 2)
        self.convs = nn.Sequential(
            nn.Conv2d(map_channels + 3, WIDTHS[0], 3, stride=FINE, padding=1), nn.SiLU(),
            nn.Conv2d(WIDTHS[0], WIDTHS[1], 3, padding=reach, dilation=reach), nn.SiLU(),
            nn.Conv2d(WIDTHS[1], WIDTHS[2], 3, padding=reach, dilation=reach), nn.SiLU(),
        )  # fmt: skip

    def forward(self, maps: Tensor, rays: Tensor) -> Tensor:
        """Maps `[B, T, C, H, W]` and directions `[B, T, g, g, 3]` to features `[B, T, F, g, g]`."""
        m, g = self.margin, rays.shape[-2]
        wide = rearrange(widened(rays, m), "b t ... -> (b t) ...")
        shown = sample_erp(rearrange(maps, "b t ... -> (b t) ..."), wide)
        features = self.convs(torch.cat([shown, wide.movedim(-1, 1).to(shown)], dim=1))
        return rearrange(features[..., m : m + g, m : m + g], "(b t) c h w -> b t c h w", t=maps.shape[1])


def widened(rays: Tensor, margin: int) -> Tensor:
    """Extend a perspective view's directions beyond its edges, `FINE` of them per point of the grid.

    Directions of a flat picture, divided by their share along its axis, lie on a plane and are evenly spaced there.

    Args:
        rays: `[..., g, g, 3]`, g at least 2. margin: points beyond each edge.

    Returns:
        `[..., FINE (g + 2 margin), FINE (g + 2 margin), 3]`.
    """
    g = rays.shape[-2]
    axis = F.normalize(rays.sum(dim=(-3, -2), keepdim=True), dim=-1)
    plane = rays / (rays * axis).sum(-1, keepdim=True)
    first = plane[..., :1, :1, :]
    across = (plane[..., :1, -1:, :] - first) / (g - 1)
    down = (plane[..., -1:, :1, :] - first) / (g - 1)
    steps = (torch.arange(FINE * (g + 2 * margin), device=rays.device) + 0.5).to(rays) / FINE - 0.5 - margin
    return F.normalize(first + steps[:, None] * across + steps[:, None, None] * down, dim=-1)
