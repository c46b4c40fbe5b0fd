"""Measure how loud each band of a sound is over time, as it streams.

Convention: bands as in `bands`; row j stands for the time j / `RATE_HZ`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from ..errors import InputError
from .bands import BANDS, band_weights, frame_size, pieces, spectra

RATE_HZ = 100
_SECONDS_AT_ONCE = 4


def band_powers(blocks: Iterable[Tensor], rate_hz: int) -> Iterator[Tensor]:
    """Measure the power of each band of a mono sound that comes in blocks `[1, n]`.

    Yields:
        `[n, BANDS]`, one row each 10 ms; together they cover the sound.

    Raises:
        InputError: blocks of another shape, or NaN or infinity in them.
    """
    size, hop = frame_size(rate_hz), rate_hz / RATE_HZ
    weights = band_weights(BANDS, size, rate_hz)
    for piece, valid in pieces(map(_checked, blocks), _SECONDS_AT_ONCE * rate_hz, size):
        # Rows stand at whole samples, also where the rate is no multiple of theirs.
        centres = (torch.arange(_SECONDS_AT_ONCE * RATE_HZ) * hop).round().long()
        centres = centres[centres < valid]
        frames = piece.unfold(1, size, 1)[:, centres + size // 2]
        yield spectra(frames[0], size, size)[:, 0].abs().square() @ weights


def _checked(block: Tensor) -> Tensor:
    if block.dim() != 2 or block.shape[0] != 1:
        raise InputError(f"bands are measured of one channel [1, n]; got {list(block.shape)}. Mix the sound to mono.")
    if not torch.isfinite(block).all():
        raise InputError("the sound holds NaN or infinite values; give finite samples.")
    return block
