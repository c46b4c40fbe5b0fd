"""Measure what a region of a panorama does over time: how much of it stands out, and in which colour.

Shape legend: T frames, H W picture.

Convention: what stands out is the area of the sphere times the distance of its colours from the usual ones of their
latitude. It rises where a thing grows, brightens or comes nearer, and falls where it shrinks or darkens: its sign tells
a beginning from an end, which the mere difference of frames does not.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..geometry.erp import erp_area_weights, erp_directions, shrink_for
from ..geometry.sphere import directions
from ..records import View, ViewTrack
from .colours import unusual_colours

# Rows of the panorama that is looked at.
HEIGHT = 64
# A region counts what lies within this angle of its middle.
REACH_DEG = 25.0
# Numbers that `region_motion` tells of a frame.
FEATURES = 4
_TINY = 1e-6


def standing_out(frames: Tensor) -> Tensor:
    """Measure what stands out in frames `[T, 3, H, W]`: `[T, H, W]`, sums are shares of the sphere times distance."""
    area = erp_area_weights(frames.shape[-2]) / frames.shape[-1]
    return unusual_colours(frames) * area


def near(rays: Tensor, path: Tensor, reach_deg: float = REACH_DEG) -> Tensor:
    """Mask `[T, H, W]` of rays `[H, W, 3]` within an angle of a path `[T, 3]`."""
    return (rays @ path.T > math.cos(math.radians(reach_deg))).movedim(-1, 0)


def path_of(view: View | ViewTrack, frames: int) -> Tensor:
    """Give the directions `[T, 3]` that a view looks in, one per frame; one view stands for all."""
    views = view.views if isinstance(view, ViewTrack) else (view,) * frames
    return directions(*(torch.tensor([getattr(one, name) for one in views]) for name in ("yaw_deg", "pitch_deg")))


def region_motion(frames: Tensor, view: View | ViewTrack, reach_deg: float = REACH_DEG) -> Tensor:
    """Tell what a region does.

    Args:
        frames: `[T, 3, H, 2 H]` in [0, 1]; finer ones are averaged down to `HEIGHT` rows.
        view: middle of the region, or one per frame.

    Returns:
        `[T, 4]`: how much stands out, as a share of the region, and its mean red, green and blue.
    """
    small = shrink_for(frames, 180.0 / HEIGHT)
    rays = erp_directions(small.shape[-2])
    weight = standing_out(small) * near(rays, path_of(view, len(small)).to(rays), reach_deg)
    much = weight.sum((1, 2))
    colour = torch.einsum("thw,tchw->tc", weight, small) / (much[:, None] + _TINY)
    region = (1 - math.cos(math.radians(reach_deg))) / 2
    return torch.cat((much[:, None] / region, colour), dim=1)
