"""Prepare frames as published picture encoders read them, in torch, so that gradients pass.

Shape legend: N frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def resized(frames: Tensor, height: int, width: int, mode: str) -> Tensor:
    """Resize `[N, 3, H, W]` with a filter as wide as the reduction, as Pillow does; `mode` is bilinear or bicubic."""
    return F.interpolate(frames, (height, width), mode=mode, antialias=True, align_corners=False)


def short_side(frames: Tensor, side_px: int, mode: str) -> Tensor:
    """Resize `[N, 3, H, W]` so that the shorter side has `side_px` pixels; the longer one is cut off to whole ones."""
    height, width = frames.shape[-2:]
    shorter = min(height, width)
    return resized(frames, side_px * height // shorter, side_px * width // shorter, mode)


def middle(frames: Tensor, side_px: int) -> Tensor:
    """Cut the square in the middle out of `[N, 3, H, W]`, whose sides are at least as long."""
    top, left = ((length - side_px) // 2 for length in frames.shape[-2:])
    return frames[..., top : top + side_px, left : left + side_px]


def normalised(frames: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Subtract a mean of each colour from `[N, 3, H, W]`, and divide by its deviation."""
    shift, scale = (torch.tensor(tuple(v)).to(frames)[:, None, None] for v in (mean, std))
    return (frames - shift) / scale
