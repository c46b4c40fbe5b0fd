"""Find the peak of a sound between its samples, whole or in blocks.

Source: ITU-R BS.1770-5, annex 2: the largest value after oversampling by four.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

OVERSAMPLING = 4
# Samples that the interpolation reads to either side; its largest value for samples within 1.
_REACH, _MOST = 12, 2.4


class PeakMeter:
    """Follow the true peak of a sound that comes in blocks `[C, n]`, n above 0."""

    def __init__(self) -> None:
        self._peak = 0.0
        self._held: Tensor | None = None

    def add(self, block: Tensor) -> None:
        """Hear the block that follows on the one before."""
        held = block.new_zeros(block.shape[0], 2 * _REACH - 1) if self._held is None else self._held
        heard = torch.cat((held, block), dim=1)
        self._peak = max(self._peak, float(block.abs().amax()))
        # Most blocks are too quiet for a new peak between their samples.
        if may_exceed(heard, self._peak):
            self._peak = max(self._peak, _between(heard))
        self._held = heard[:, -(2 * _REACH - 1) :]

    @property
    def peak(self) -> float:
        """Largest absolute value so far, silence behind the last block; 1 is full scale."""
        if self._held is None:
            return 0.0
        return max(self._peak, _between(F.pad(self._held, (0, 2 * _REACH - 1))))


def true_peak(waveform: Tensor) -> float:
    """Measure the true peak of `[C, N]`; 0 for no samples."""
    return peak_of(waveform[:, at : at + 65536] for at in range(0, waveform.shape[1], 65536))


def peak_of(blocks: Iterable[Tensor], heard: Callable[[int], None] | None = None) -> float:
    """Measure the true peak of blocks `[C, n]`.

    Args:
        heard: told the number of samples after each block; may raise to cancel.
    """
    meter, count = PeakMeter(), 0
    for block in blocks:
        meter.add(block)
        count += block.shape[1]
        if heard is not None:
            heard(count)
    return meter.peak


def may_exceed(waveform: Tensor, level: float) -> bool:
    """Tell cheaply whether a peak of `[C, N]`, or one between its samples, can be above a level."""
    return float(waveform.abs().amax()) * _MOST > level


def levels_between(waveform: Tensor) -> Tensor:
    """Largest absolute value of `[C, N]` at and behind each sample, over the channels: `[N]`."""
    padded = F.pad(waveform.float(), (_REACH - 1, _REACH))
    return torch.maximum(waveform.abs().amax(0), F.conv1d(padded[:, None], _kernels()).abs().amax((0, 1)))


def _between(waveform: Tensor) -> float:
    """Largest absolute value of `[C, n]` between its samples, `_REACH` of them left out at each end."""
    return float(F.conv1d(waveform[:, None].float(), _kernels()).abs().amax())


@cache
def _kernels() -> Tensor:
    """Windowed sincs at the places between two samples: `[OVERSAMPLING - 1, 1, 2 * _REACH]`."""
    places = torch.arange(1, OVERSAMPLING, dtype=torch.float64)[:, None] / OVERSAMPLING
    away = torch.arange(1 - _REACH, _REACH + 1, dtype=torch.float64) - places
    kernels = torch.sinc(away) * (0.5 * math.pi * away / _REACH).cos().square()
    return (kernels / kernels.sum(dim=1, keepdim=True)).float()[:, None]
