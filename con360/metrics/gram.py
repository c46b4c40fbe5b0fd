"""Compute GRAM, the alignment of k modalities of one clip: the volume that their unit vectors span.

Source: Gramian representation alignment (arXiv 2412.11959), equations 2 and 3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError


def gram_volume(*vectors: Tensor) -> Tensor:
    """Compute the volume of the parallelotope of k vectors: sqrt(|det(A^T A)|), A of unit columns.

    Convention: vectors are normalised here. 0 when they lie in a common (k - 1)-plane (all alike, say), 1 when they are
    orthogonal; lower is better aligned.

    Args:
        vectors: k tensors `[..., D]` of one shape, k at least 2.

    Returns:
        `[...]` in [0, 1].

    Raises:
        InputError: fewer than two vectors, or different shapes.
    """
    if len(vectors) < 2 or len({v.shape for v in vectors}) != 1:
        shapes = ", ".join(str(list(v.shape)) for v in vectors)
        raise InputError(f"a GRAM volume needs two or more vectors of one shape; got {shapes or 'none'}.")
    unit = F.normalize(torch.stack([v.double() for v in vectors], dim=-2), dim=-1)
    return torch.linalg.det(unit @ unit.mT).abs().sqrt()


def gram_volume_squared(text: Tensor, sound: Tensor, video: Tensor) -> Tensor:
    """Compute V^2 = 1 + 2abc - a^2 - b^2 - c^2 from the three pairwise cosines; smooth at 0, so fit for optimising.

    Args:
        text, sound, video: `[..., D]`.

    Returns:
        `[...]` in [0, 1] up to rounding.
    """
    t, s, v = (F.normalize(x.double(), dim=-1) for x in (text, sound, video))
    a, b, c = (t * s).sum(-1), (s * v).sum(-1), (v * t).sum(-1)
    return 1 + 2 * a * b * c - a**2 - b**2 - c**2
