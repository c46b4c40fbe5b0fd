"""Errors of encoders that read several modalities into one space.

Shape legend: B clips, D vector.

Source: CLIP (arXiv 2103.00020) for pairs; GRAM (arXiv 2412.11959) for volumes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from con360.metrics.gram import pair_volumes_squared

SMOOTHING = 0.1
# Keeps the root's gradient finite where three vectors lie in a plane; volumes of 0.01 and less count as that.
_ROOT = 1e-6


def pair_loss(a: Tensor, b: Tensor, temperature: Tensor) -> Tensor:
    """Contrast the cosines of unit vectors `[B, D]`, both ways: `[B]`."""
    return _both_ways(a @ b.T / temperature, a @ b.T / temperature, 0.0)


def volume_loss(text: Tensor, *others: Tensor, temperature: Tensor | float = 0.07, one_sided: bool = False) -> Tensor:
    """Contrast the volumes of each caption with each clip, both ways: `[B]`.

    Args:
        text, others: unit vectors `[B, D]` of two to five modalities.
        one_sided: as the published training does: clips are constants where captions look for them, and the other way
            round. Its published description does not; the values are the same.
    """
    there, back = (text, others), (text, others)
    if one_sided:
        there, back = (text, tuple(x.detach() for x in others)), (text.detach(), others)
    to_clips, to_texts = (-volumes(first, *rest) / temperature for first, rest in (there, back))
    return _both_ways(to_clips, to_texts, SMOOTHING)


def volumes(text: Tensor, *others: Tensor) -> Tensor:
    """Volumes `[B, B]` of each caption with each clip, with a gradient everywhere."""
    return (pair_volumes_squared(text, *others).clamp_min(0) + _ROOT).sqrt()


def _both_ways(to_clips: Tensor, to_texts: Tensor, smoothing: float) -> Tensor:
    own = torch.arange(len(to_clips), device=to_clips.device)
    ways = (F.cross_entropy(x, own, label_smoothing=smoothing, reduction="none") for x in (to_clips, to_texts.T))
    return torch.stack(tuple(ways)).mean(0)
