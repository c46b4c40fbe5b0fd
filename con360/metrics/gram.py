"""Compute GRAM, the alignment of k modalities of one clip: the volume that their unit vectors span.

Source: Gramian representation alignment (arXiv 2412.11959), equations 2 and 3.
"""

from __future__ import annotations

from collections.abc import Sequence

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


def pair_volumes_squared(texts: Tensor, *others: Tensor) -> Tensor:
    """Compute V^2 of each text with each clip, whose further modalities stay together; its gradient is always finite.

    Convention: vectors are unit ones already; others are taken as they are, as the published functions do.

    Args:
        texts: `[N, D]`. others: one to four of `[M, D]`, row j is clip j.

    Returns:
        `[N, M]` float64, from 0 to 1 up to rounding.

    Source: GRAM (arXiv 2412.11959); the determinant by cofactors, so that nothing is divided.
    """
    t, clips = texts.double(), [x.double() for x in others]
    shape = (len(t), len(clips[0]))
    to_text = [t @ x.T for x in clips]
    among = [[(a * b).sum(-1).expand(shape) for b in clips] for a in clips]
    own = (t * t).sum(-1, keepdim=True).expand(shape)
    return _determinant([[own, *to_text], *([c, *row] for c, row in zip(to_text, among, strict=True))])


def _determinant(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    """Expand a determinant along its first row."""
    if len(rows) == 1:
        return rows[0][0]
    minors = (_determinant([[*row[:i], *row[i + 1 :]] for row in rows[1:]]) for i in range(len(rows)))
    signed = [(-1) ** i * entry * minor for i, (entry, minor) in enumerate(zip(rows[0], minors, strict=True))]
    return torch.stack(signed).sum(0)
