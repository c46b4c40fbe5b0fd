"""Compute filter banks as Kaldi does, with gradients.

Shape legend: B sounds, N samples, T frames, M bands.

Source: Kaldi's feature extraction; the names of its options stand in the comments.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

FRAME_S, HOP_S = 0.025, 0.010
LOWEST_HZ = 20.0
PREEMPHASIS = 0.97


def kaldi_fbank(waveform: Tensor, rate_hz: int, bands: int) -> Tensor:
    """Compute log energies in mel bands, 25 ms every 10 ms, without dither.

    Convention: frames lie within the sound (snip_edges), their mean is removed, a symmetric Hann window; natural
    logarithm of power, floored at float32's epsilon.

    Args:
        waveform: `[B, N]`, at least one frame long.

    Returns:
        `[B, T, bands]`.
    """
    length, hop = round(FRAME_S * rate_hz), round(HOP_S * rate_hz)
    frames = waveform.unfold(1, length, hop)
    frames = frames - frames.mean(-1, keepdim=True)
    before = torch.cat((frames[..., :1], frames[..., :-1]), dim=-1)
    frames = (frames - PREEMPHASIS * before) * torch.hann_window(length, periodic=False).to(frames)
    size = 1 << (length - 1).bit_length()
    power = torch.fft.rfft(frames, n=size).abs().square()
    return (power[..., :-1] @ _filters(rate_hz, size, bands).to(power)).clamp_min(torch.finfo(torch.float32).eps).log()


@cache
def _filters(rate_hz: int, size: int, bands: int) -> Tensor:
    """Triangles `[size / 2, bands]` that are even on the mel scale."""
    low, high = _mel(torch.tensor([LOWEST_HZ, rate_hz / 2], dtype=torch.float64))
    corners = low + (high - low) / (bands + 1) * torch.arange(bands + 2, dtype=torch.float64)
    mels = _mel(torch.arange(size // 2, dtype=torch.float64) * rate_hz / size)[:, None]
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    rising, falling = (mels - left) / (centre - left), (right - mels) / (right - centre)
    return torch.minimum(rising, falling).clamp_min(0).float()


def _mel(hz: Tensor) -> Tensor:
    return 1127.0 * (1.0 + hz / 700.0).log()
