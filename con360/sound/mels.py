"""Compute the log-mel spectrogram that AudioLDM reads.

Source: AudioLDM's published code (recorded outputs in the tests); scale of Slaney's Auditory Toolbox (1998).
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from ..errors import InputError

SAMPLE_RATE_HZ = 16000
MEL_N_FFT = 1024
MEL_HOP = 160
MEL_BANDS = 64
MEL_MAX_HZ = 8000.0
MEL_FLOOR = 1e-5
MEL_FRAME_S = MEL_HOP / SAMPLE_RATE_HZ
# Of procedural scenes' mels, natural logarithm; its spread over sounds is 0.24, or 2 dB.
_LEVEL_OVER_RMS = 2.22
# Slaney's scale: 15 equal steps to 1 kHz; from there, 27 steps multiply by 6.4.
_LINEAR_HZ, _LINEAR_MELS = 1000.0, 15.0
_LOG_STEP = math.log(6.4) / 27


def log_mel(waveform_BN: Tensor, sample_rate_hz: int = SAMPLE_RATE_HZ) -> Tensor:
    """Compute the log-mel spectrogram that AudioLDM reads.

    Convention: amplitude (not power) mels, periodic Hann window, centred with reflection, Slaney scale and norm,
    natural logarithm floored at 1e-5; frame k is centred on sample 160 k and the frame past the end is left out.

    Args:
        waveform_BN: `[B, N]` in [-1, 1].
        sample_rate_hz: must be 16000.

    Returns:
        `[B, N // 160, 64]` float32.

    Raises:
        InputError: another sampling rate, or fewer samples than the window can reflect.
    """
    if sample_rate_hz != SAMPLE_RATE_HZ:
        raise InputError(f"mels are made from {SAMPLE_RATE_HZ} Hz sound, got {sample_rate_hz} Hz; resample it first.")
    if waveform_BN.shape[-1] <= MEL_N_FFT // 2:
        raise InputError(f"{waveform_BN.shape[-1]} samples are too few for a mel; give more than {MEL_N_FFT // 2}.")
    x = waveform_BN.float()
    window = torch.hann_window(MEL_N_FFT, device=x.device)
    spectrum = torch.stft(x, MEL_N_FFT, MEL_HOP, window=window, center=True, pad_mode="reflect", return_complex=True)
    frames = spectrum.abs().transpose(1, 2)[:, : x.shape[-1] // MEL_HOP]
    return (frames @ mel_filters().to(x.device)).clamp_min(MEL_FLOOR).log()


def log_rms_of_mel(mel: Tensor) -> Tensor:
    """Estimate the natural logarithm of the RMS of each frame, `[..., S]`, from its log-mel `[..., S, 64]`."""
    return 0.5 * torch.logsumexp(2 * mel, dim=-1) - _LEVEL_OVER_RMS


@cache
def mel_filters() -> Tensor:
    """Return the Slaney mel filterbank `[513, 64]`, read-only: triangles of one area each."""
    corners_hz = _hz_of_mel(torch.linspace(0.0, _mel_of_hz(MEL_MAX_HZ), MEL_BANDS + 2))
    lower, centre, upper = corners_hz[:-2], corners_hz[1:-1], corners_hz[2:]
    bins_hz = torch.linspace(0.0, SAMPLE_RATE_HZ / 2, MEL_N_FFT // 2 + 1)[:, None]
    rising, falling = (bins_hz - lower) / (centre - lower), (upper - bins_hz) / (upper - centre)
    return torch.minimum(rising, falling).clamp_min(0.0) * (2.0 / (upper - lower))


def _mel_of_hz(above_hz: float) -> float:
    """Slaney's mel of a frequency of 1 kHz or more."""
    return _LINEAR_MELS + math.log(above_hz / _LINEAR_HZ) / _LOG_STEP


def _hz_of_mel(mels: Tensor) -> Tensor:
    above = _LINEAR_HZ * torch.exp(_LOG_STEP * (mels - _LINEAR_MELS))
    return torch.where(mels < _LINEAR_MELS, mels * (_LINEAR_HZ / _LINEAR_MELS), above)
