"""Measure how far colours lie from the usual ones of their latitude: things stand out, sky and ground do not."""

from __future__ import annotations

from torch import Tensor


def unusual_colours(frames: Tensor) -> Tensor:
    """Distance of each pixel's colour from the median colour of its row.

    Args:
        frames: `[T, 3, H, W]` in [0, 1], equirectangular.

    Returns:
        `[T, H, W]` in [0, 1.7].
    """
    return (frames - frames.median(-1, keepdim=True).values).square().sum(1).sqrt()
