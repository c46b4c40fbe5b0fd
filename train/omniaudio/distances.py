"""Measure how far a decoded sound is from the true one.

Shape legend: B clips, N samples.

OmniAudio compares spectra of the four channels, a quarter of the weight each. A magnitude of one channel cannot tell
left from right, so beams, waveforms and intensities are here as well.

Source: OmniAudio (arXiv 2504.14906); the rest is ours.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SIZES = (256, 1024, 4096)
# A signal weaker than this share of the clip's strongest is judged as if it were as strong.
WEAKEST = 0.1


def beams(field: Tensor) -> Tensor:
    """The channels, and W with each dipole added and taken away: `[B, 10, N]`."""
    w, dipoles = field[:, :1], field[:, 1:]
    return torch.cat((field, (w + dipoles) / 2, (w - dipoles) / 2), dim=1)


def spectral_distance(made: Tensor, true: Tensor) -> Tensor:
    """Compare magnitudes of signals `[B, S, N]` at several window sizes: relative, and as logarithms. `[B]`.

    Each of the S signals has the same weight.
    """
    return torch.stack([_at_size(made, true, size) for size in SIZES]).mean(0)


def _at_size(made: Tensor, true: Tensor, size: int) -> Tensor:
    a, b = (_magnitudes(x, size) for x in (made, true))
    floor = 1e-3 * size**0.5
    strength = b.flatten(2).norm(dim=2)
    strength = torch.maximum(strength, WEAKEST * strength.amax(1, keepdim=True)).clamp_min(
        floor * b[0, 0].numel() ** 0.5
    )
    relative = (a - b).flatten(2).norm(dim=2) / strength
    logarithms = ((a + floor).log() - (b + floor).log()).abs().flatten(2).mean(2)
    return (relative + logarithms).mean(1)


def _magnitudes(signals: Tensor, size: int) -> Tensor:
    window = torch.hann_window(size, device=signals.device)
    spectra = torch.stft(signals.flatten(0, 1), size, size // 4, window=window, return_complex=True)
    # The root of 0 has no gradient.
    return spectra.abs().clamp_min(1e-7).unflatten(0, signals.shape[:2])


def wave_distance(made: Tensor, true: Tensor) -> Tensor:
    """Relative distance of waveforms `[B, 4, N]`, `[B]`."""
    return (made - true).flatten(1).norm(dim=1) / true.flatten(1).norm(dim=1).clamp_min(1e-3)


def intensity_distance(made: Tensor, true: Tensor, rate_hz: int) -> Tensor:
    """Compare the products of W and the dipoles over quarters of a second, beside the energy of W. `[B]`."""
    quarter = rate_hz // 4
    a, b = (F.avg_pool1d(x[:, :1] * x[:, 1:], quarter) for x in (made, true))
    energy = F.avg_pool1d(true[:, :1].square(), quarter)
    return ((a - b).abs() / (energy + 0.1 * energy.mean(-1, keepdim=True)).clamp_min(1e-7)).flatten(1).mean(1)
