"""Resample by a windowed sinc, with torchaudio or without it.

torchaudio is used where it can be imported, so that results keep their bits. Newest ComfyUI brings none; there the same
filter is computed here, within 1e-5 of torchaudio's.

Source: bandlimited interpolation (Smith and Gossett, 1984), with the reach, cutoff and window of torchaudio's defaults.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import torch
from einops import rearrange
from torch import Tensor

# Zero crossings of the sinc to either side; cutoff as a share of the slower rate's half.
_CROSSINGS, _CUTOFF = 6, 0.99


def resample_by_sinc(waveform_CN: Tensor, rate_hz: int, new_rate_hz: int) -> Tensor:
    """Resample channels, each on its own.

    Returns:
        `[C, ceil(N * new / old)]`.
    """
    return (_torchaudio() or windowed_sinc)(waveform_CN, rate_hz, new_rate_hz)


@cache
def _torchaudio() -> Callable[[Tensor, int, int], Tensor] | None:
    try:
        from torchaudio.functional import resample
    except (ImportError, OSError, RuntimeError):  # the last two: built for another torch or CUDA than is installed
        return None
    return resample


def windowed_sinc(waveform_CN: Tensor, rate_hz: int, new_rate_hz: int) -> Tensor:
    """Resample as torchaudio does, without it; see `resample_by_sinc`."""
    divisor = math.gcd(rate_hz, new_rate_hz)
    down, up = rate_hz // divisor, new_rate_hz // divisor
    kernels = _kernels(down, up).to(waveform_CN)
    reach = (kernels.shape[-1] - down) // 2
    padded = torch.nn.functional.pad(waveform_CN, (reach, reach + down))
    phases = torch.nn.functional.conv1d(padded[:, None], kernels[:, None], stride=down)
    return rearrange(phases, "c up n -> c (n up)")[:, : math.ceil(waveform_CN.shape[-1] * up / down)]


def _kernels(down: int, up: int) -> Tensor:
    """Make one kernel for each of the `up` new samples that fall on `down` old ones, `[up, down + 2 reach]`.

    In float32 as torchaudio's: at 22254 to 24000 Hz, kernels made in float64 give other sound by 4e-4 of full scale.
    """
    # Time 1 is `down` old samples, which are `up` new ones.
    crossings_per_time = min(down, up) * _CUTOFF
    reach = math.ceil(_CROSSINGS * down / crossings_per_time)
    old, new = torch.arange(-reach, down + reach) / down, torch.arange(up)[:, None] / up
    x = ((old - new) * crossings_per_time).clamp(-_CROSSINGS, _CROSSINGS)
    window = torch.cos(x * math.pi / _CROSSINGS / 2).square()
    return torch.sinc(x) * (window * (crossings_per_time / down))
