"""Compare the loudness of bands with the movement of regions.

Shape legend: T frames of a window, K regions, B bands, G groups of neighbouring bands, L lags, n rows of powers.

A voice may fill its bands one after the other, as an arpeggio does. So `synchrony` joins bands with their neighbours
for as long as that follows a region better than either part alone; a group's score is that of all its bands.

Source: ours; measured by `benchmarks/sound/finding.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from ..sound.band_powers import RATE_HZ
from .movement import Movement

# Loudness grows with this power of the power: near Stevens' 0.3 of a tone, and best on scenes that no test uses.
LOUDNESS = 0.2
# Below this share of the window's loudest band nothing is heard.
INAUDIBLE = 1e-6
# Sound may come before or after its picture by this much, in these steps.
LAGS_S = tuple(step * 0.02 for step in range(-3, 4))
# Modulations that are compared without phase, and the spacing of their spectrum.
SLOWEST_HZ, FASTEST_HZ, SPACING_HZ = 0.5, 7.0, 0.125
_TINY = 1e-12
# Scores loudness `[L, G, T]` with each region: `[G, K]`.
Score: TypeAlias = Callable[[Tensor], Tensor]


def synchrony(window: Movement, powers: Tensor) -> Tensor:
    """Score each band with each region by moving together.

    Half the correlation of loudness and curve, half that of their rises, at the best lag. Slow trends are taken out.

    Args:
        window: what moves, at least one region. powers: `[n, B]` of the same window, from its first frame on.

    Returns:
        `[B, K]` in [-1, 1]; 0 where a band or a curve is constant.
    """
    curves = _curves(window, powers)
    steady, rising = _unit(_detrended(curves)), _unit(_rises(curves))

    def score(loudness: Tensor) -> Tensor:
        level = _unit(_detrended(loudness)) @ steady.T
        return (level + _unit(_rises(loudness)) @ rising.T).amax(0) / 2

    return _grouped(_loudness(window, powers, LAGS_S), score)


def rhythm(window: Movement, powers: Tensor) -> Tensor:
    """Score each band with each region by the rates of their pulses, whatever their phase.

    Correlates magnitudes of modulation spectra from 0.5 to 7 Hz, or to half the frame rate.

    Args, returns: as `synchrony`.
    """
    seen, heard = (
        _unit(_centred(_modulation(curves, window.fps)))
        for curves in (_curves(window, powers), _loudness(window, powers, (0.0,))[0])
    )
    return heard @ seen.T


def _grouped(loudness: Tensor, score: Score) -> Tensor:
    """Join neighbours `[L, B, T]` while it raises the score; return each band's group's scores `[B, K]`."""
    groups = [[band] for band in range(loudness.shape[1])]
    alone, joined = score(loudness), score(loudness[:, 1:] + loudness[:, :-1])
    while len(groups) > 1:
        best = alone.amax(1)
        gains = joined.amax(1) - torch.maximum(best[1:], best[:-1])
        i = int(gains.argmax())
        if gains[i] <= 0:
            break
        both = loudness[:, i : i + 1] + loudness[:, i + 1 : i + 2]
        groups[i : i + 2] = [groups[i] + groups[i + 1]]
        loudness = torch.cat((loudness[:, :i], both, loudness[:, i + 2 :]), 1)
        alone = torch.cat((alone[:i], joined[i : i + 1], alone[i + 2 :]))
        near = loudness[:, max(0, i - 1) : i + 2]
        joined = torch.cat((joined[: max(0, i - 1)], score(near[:, 1:] + near[:, :-1]), joined[i + 2 :]))
    return alone.repeat_interleave(torch.tensor([len(group) for group in groups]), 0)


def _modulation(curves: Tensor, fps: float) -> Tensor:
    """Magnitudes of the spectrum of curves `[..., T]` at the compared rates `[..., F]`."""
    count = curves.shape[-1]
    rates = torch.arange(SLOWEST_HZ, min(FASTEST_HZ, fps / 2) + 1e-9, SPACING_HZ, dtype=torch.float64)
    phase = 2 * torch.pi * rates[:, None] * torch.arange(count, dtype=torch.float64) / fps
    windowed = _detrended(curves) * torch.hann_window(count, dtype=torch.float64)
    return torch.hypot(windowed @ phase.cos().T, windowed @ phase.sin().T)


def _curves(window: Movement, powers: Tensor) -> Tensor:
    """Curves of the frames during which there is sound."""
    return window.curves[:, : int(len(powers) / RATE_HZ * window.fps)].double()


def _loudness(window: Movement, powers: Tensor, lags_s: tuple[float, ...]) -> Tensor:
    """Loudness of each band at the frames, for each lag: `[L, B, T]`; held beyond the window's ends."""
    count = _curves(window, powers).shape[1]
    times_s = torch.arange(count, dtype=torch.float64) / window.fps + torch.tensor(lags_s, dtype=torch.float64)[:, None]
    floor = INAUDIBLE * powers.double().mean(0).amax()
    loud = ((powers.double() + floor) ** LOUDNESS).T
    loud = loud - loud.amin(1, keepdim=True)
    position = (times_s * RATE_HZ).clamp(0.0, loud.shape[1] - 1.0)
    before = position.long().clamp_max(max(0, loud.shape[1] - 2))
    after = (before + 1).clamp_max(loud.shape[1] - 1)
    return torch.lerp(loud[:, before], loud[:, after], position - before).movedim(0, 1)


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
