"""Read long clips piece by piece, as one vector."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def piece_means(clips: Tensor, longest: int, read: Callable[[Tensor], Tensor]) -> Tensor:
    """Read clips `[B, N, ...]` in equal pieces of at most `longest` entries; average their vectors to unit ones.

    Args:
        read: pieces `[B, n, ...]` to vectors `[B, D]`.

    Returns:
        `[B, D]`.
    """
    pieces = clips.tensor_split(-(-clips.shape[1] // longest), dim=1)
    if len(pieces) == 1:
        return read(clips)
    return F.normalize(torch.stack([read(piece) for piece in pieces]).mean(0), dim=-1)
