"""Compute the log-mel spectrogram that AudioLDM reads.

Source: AudioLDM's published code (recorded outputs in the tests).
"""

from __future__ import annotations

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


@cache
def mel_filters() -> Tensor:
    """Return the Slaney mel filterbank `[513, 64]`, read-only."""
    from torchaudio.functional import melscale_fbanks

    return melscale_fbanks(
        MEL_N_FFT // 2 + 1, 0.0, MEL_MAX_HZ, MEL_BANDS, SAMPLE_RATE_HZ, norm="slaney", mel_scale="slaney"
    )
