"""Keep a sound's peaks below a ceiling: one gain for all channels, so that directions stay.

Shape legend: C channels, n samples of a block.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from .bands import pieces
from .peaks import levels_between, may_exceed

CEILING = 10 ** (-1 / 20)
# The gain falls and rises over this time before and after a peak.
RAMP_S = 0.02
_AT_ONCE_S = 1.0


def limit_blocks(blocks: Iterable[Tensor], rate_hz: int, ceiling: float = CEILING) -> Iterator[Tensor]:
    """Turn down blocks `[C, n]` around peaks above a ceiling; the rest stays as it is, and so does the length.

    Peaks between samples count.
    """
    ramp = max(1, round(RAMP_S * rate_hz))
    shape = torch.hann_window(2 * ramp + 3, periodic=False, dtype=torch.float64)[1:-1]
    kernel = (shape / shape.sum()).float()[None, None]
    for piece, valid in pieces(blocks, round(_AT_ONCE_S * rate_hz), 2 * ramp):
        middle = piece[:, 2 * ramp : 2 * ramp + valid]
        if not may_exceed(piece, ceiling):
            yield middle
            continue
        wanted = (ceiling / levels_between(piece).clamp_min(ceiling))[None, None]
        # No smoothed gain is above a wanted one: all that it averages are at most that.
        lowest = -F.max_pool1d(-wanted, 2 * ramp + 1, 1)
        yield middle * F.conv1d(lowest, kernel)[0, 0, :valid]


def decibels(level: float) -> float:
    """Convert a level above 0 to dB."""
    return 20 * math.log10(level)
