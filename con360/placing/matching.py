"""Compare the loudness of bands with the movement of regions.

Shape legend: T frames of a window, K regions, B bands, n rows of loudness.

Source: ours; measured by `benchmarks/sound/finding.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..sound.envelopes import RATE_HZ
from .movement import Movement

# Loudness grows with this power of the power (Stevens: 0.3 of a tone's intensity).
LOUDNESS = 0.25
# Below this share of the window's loudest band nothing is heard.
INAUDIBLE = 1e-6
# Sound may come before or after its picture by this much; steps between.
LAGS_S = tuple(step * 0.02 for step in range(-3, 4))
# Sigma of the pooling over neighbouring bands, in bands.
POOLING = 3.0
# Modulations that are compared, and the spacing of their spectrum.
SLOWEST_HZ, FASTEST_HZ, SPACING_HZ = 0.5, 7.0, 0.125
_TINY = 1e-12


def synchrony(window: Movement, powers: Tensor) -> Tensor:
    """Score each band with each region by moving together.

    Half the correlation of loudness and curve, half that of their rises, at the best lag; averaged over the band itself
    and the band pooled with its neighbours. Slow trends are taken out.

    Args:
        window: what moves. powers: `[n, B]` of the same window, from its first frame on.

    Returns:
        `[B, K]` in [-1, 1]; 0 where a band or a curve is constant.
    """
    count, curves = _frames_heard(window, powers)
    times_s = torch.arange(count, dtype=torch.float64) / window.fps
    steady, rising = _unit(_detrended(curves)), _unit(_rises(curves))
    scores = [
        torch.stack([_together(_sampled(loudness, times_s + lag), steady, rising) for lag in LAGS_S]).amax(0)
        for loudness in _loudness(powers)
    ]
    return torch.stack(scores).mean(0)


def _together(loudness: Tensor, steady: Tensor, rising: Tensor) -> Tensor:
    level = _unit(_detrended(loudness)) @ steady.T
    return (level + _unit(_rises(loudness)) @ rising.T) / 2


def rhythm(window: Movement, powers: Tensor) -> Tensor:
    """Score each band with each region by the rates of their pulses, whatever their phase.

    Correlates the magnitudes of modulation spectra from 0.5 to 7 Hz, or to half the frame rate.

    Args, returns: as `synchrony`.
    """
    count, curves = _frames_heard(window, powers)
    times_s = torch.arange(count, dtype=torch.float64) / window.fps
    seen = _unit(_centred(_modulation(curves, window.fps)))
    scores = [
        _unit(_centred(_modulation(_sampled(loudness, times_s), window.fps))) @ seen.T for loudness in _loudness(powers)
    ]
    return torch.stack(scores).mean(0)


def _modulation(curves: Tensor, fps: float) -> Tensor:
    """Magnitudes of the spectrum of curves `[..., T]` at the compared rates `[..., F]`."""
    count = curves.shape[-1]
    rates = torch.arange(SLOWEST_HZ, min(FASTEST_HZ, fps / 2) + 1e-9, SPACING_HZ, dtype=torch.float64)
    phase = 2 * torch.pi * rates[:, None] * torch.arange(count, dtype=torch.float64) / fps
    windowed = _detrended(curves) * torch.hann_window(count, dtype=torch.float64)
    return torch.hypot(windowed @ phase.cos().T, windowed @ phase.sin().T)


def _frames_heard(window: Movement, powers: Tensor) -> tuple[int, Tensor]:
    """Frames during which there is sound, and their curves."""
    count = min(window.curves.shape[1], int(len(powers) / RATE_HZ * window.fps))
    return count, window.curves[:, :count].double()


def _loudness(powers: Tensor) -> tuple[Tensor, Tensor]:
    """Loudness `[B, n]` of each band, and of each band with its neighbours."""
    powers = powers.double()
    floor = INAUDIBLE * powers.mean(0).amax()
    index = torch.arange(powers.shape[1], dtype=torch.float64)
    near = torch.exp(-0.5 * ((index[:, None] - index) / POOLING) ** 2)
    pooled = powers @ (near / near.sum(0))
    return (powers + floor).T ** LOUDNESS, (pooled + floor).T ** LOUDNESS


def _sampled(loudness: Tensor, times_s: Tensor) -> Tensor:
    """Read loudness `[B, n]` at times within the window, held at its ends."""
    position = (times_s * RATE_HZ).clamp(0.0, loudness.shape[1] - 1.0)
    before = position.long().clamp_max(max(0, loudness.shape[1] - 2))
    after = (before + 1).clamp_max(loudness.shape[1] - 1)
    return torch.lerp(loudness[:, before], loudness[:, after], position - before)


def _detrended(curves: Tensor) -> Tensor:
    """Take the best parabola out of curves `[..., T]`."""
    x = torch.linspace(-1, 1, curves.shape[-1], dtype=torch.float64)
    basis = torch.linalg.qr(torch.stack((torch.ones_like(x), x, x * x), 1)).Q
    return curves - curves @ basis @ basis.T


def _rises(curves: Tensor) -> Tensor:
    return _centred(curves.diff(dim=-1).clamp_min(0.0))


def _centred(curves: Tensor) -> Tensor:
    return curves - curves.mean(-1, keepdim=True)


def _unit(curves: Tensor) -> Tensor:
    """Scale to length 1; what is constant but for rounding becomes 0."""
    length = curves.norm(dim=-1, keepdim=True)
    return torch.where(length > _TINY, curves / length.clamp_min(_TINY), 0.0)
