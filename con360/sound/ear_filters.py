"""Make headphone filters for Ambisonics out of measured responses of a head.

Below a crossover the filters fit the responses by least squares, phase included. Above it so few channels cannot hold
the phase, and only magnitudes are fitted: each frequency takes its phase over from the one below. Then each frequency
is scaled, so that sound from everywhere is as loud as through the responses.

Source: Schörkhuber, Zaunschirm and Höldrich, "Binaural rendering of Ambisonic signals via magnitude least squares",
2018.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..geometry.sphere import directions
from .ambisonics import harmonics
from .headphones import ORDERS, RATES_HZ, EarFilters

TAPS = 256
# By order: the highest frequency whose phase is fitted, chosen by `python -m benchmarks.sound ears`.
CROSSOVERS_HZ = {1: 1000.0, 2: 1250.0, 3: 1500.0}
# Of a rigid sphere that stands for the head.
RADIUS_M = 0.0875
SOUND_SPEED_M_S = 343.0
# The filters are late by a millisecond: the ear that is near hears before the middle of the head would.
LEAD_S = 0.001
# Below, loudspeakers of measurements fade: responses approach those of a head that is small beside the wave.
_LOWEST_HZ = 200.0
_SPHERE_HZ = 1000.0
# Equalising lifts no frequency by more, seen from the loudest one.
_DEEPEST_DB = 30.0
_FADE = 16
# A cell of the sphere counts at most so many times the mean one: measurements stop above the floor.
_WIDEST_CELL = 3.0
# Channels that are less independent than this over the measured directions cannot be told apart: order 3 needs sources
# down to 20 degrees below the horizon.
_WORST_CONDITION = 30.0


@dataclass(frozen=True)
class HeadResponses:
    """Responses of two ears to plane waves, measured or modelled.

    Args:
        responses: `[D, 2, N]` float64, impulse responses of the left and the right ear.
        yaw_deg, pitch_deg: `[D]` float64, direction of each source; yaw is right-positive.
        rate_hz: of the responses.
        source: whose head it is.
    """

    responses: Tensor
    yaw_deg: Tensor
    pitch_deg: Tensor
    rate_hz: int
    source: str

    def at_rate(self, rate_hz: int) -> HeadResponses:
        """Resample the responses; their level by frequency stays."""
        from scipy.signal import resample_poly

        if rate_hz == self.rate_hz:
            return self
        divisor = math.gcd(rate_hz, self.rate_hz)
        moved = resample_poly(self.responses.numpy(), rate_hz // divisor, self.rate_hz // divisor, axis=-1)
        return replace(self, responses=torch.from_numpy(moved) * (self.rate_hz / rate_hz), rate_hz=rate_hz)


@dataclass(frozen=True)
class EqualHead:
    """A head without the colour that all its directions share, its time counted from the middle of the head.

    Args:
        spectra: `[D, 2, F]` complex128; F frequencies from 0 to half the rate.
        areas: `[D]`, share of the sphere that each direction stands for; their sum is 1.
        head: the responses it was made of.
    """

    spectra: Tensor
    areas: Tensor
    head: HeadResponses

    @property
    def hz(self) -> Tensor:
        return torch.linspace(0, self.head.rate_hz / 2, self.spectra.shape[-1], dtype=torch.float64)


def ears_of_responses(head: HeadResponses, order: int, rate_hz: int, crossover_hz: float | None = None) -> EarFilters:
    """Make headphone filters for Ambisonics of an order.

    Args:
        crossover_hz: None takes `CROSSOVERS_HZ`.

    Returns:
        256 taps at 44.1 and 48 kHz; for other rates those of 48 kHz resampled.

    Raises:
        InputError: another order than 1, 2 or 3, or directions that leave most of the sphere out.
    """
    if order not in ORDERS:
        raise InputError(f"headphones take Ambisonics of order 1, 2 or 3; got order {order}.")
    base_hz = rate_hz if rate_hz in RATES_HZ else RATES_HZ[-1]
    equal = equalised(head.at_rate(base_hz))
    fitted = magnitude_least_squares(equal, order, CROSSOVERS_HZ[order] if crossover_hz is None else crossover_hz)
    return EarFilters(_taps(fitted, equal.hz), base_hz, _lead(base_hz), head.source).at_rate(rate_hz)


def _lead(rate_hz: int) -> int:
    return round(LEAD_S * rate_hz)


# Equalise ------------------------------------------------------------------------------------------------------------


def equalised(head: HeadResponses) -> EqualHead:
    """Take out of a head's responses what all directions share: ear canal, microphone and loudspeaker.

    Raises:
        InputError: directions that do not go round the sphere.
    """
    areas = cell_areas(head)
    # Twice as long as responses and filters, so that nothing comes round from the end.
    size = 2 ** math.ceil(math.log2(2 * max(head.responses.shape[-1], 2 * TAPS)))
    spectra = torch.fft.rfft(head.responses, size)
    hz = torch.linspace(0, head.rate_hz / 2, spectra.shape[-1], dtype=torch.float64)
    diffuse = (areas[:, None, None] * spectra.abs() ** 2).sum(0).mean(0)
    spectra = spectra * minimum_phase(1 / _colour(diffuse, hz))
    return EqualHead(_mended_low(_in_time(spectra, areas, hz), hz), areas, head)


def cell_areas(head: HeadResponses) -> Tensor:
    """Share of the sphere `[D]` that each direction is nearest to; a gap's edge gets only a part of the gap.

    Raises:
        InputError: directions that repeat, or that do not go round the sphere.
    """
    from scipy.spatial import QhullError, SphericalVoronoi

    try:
        cells = SphericalVoronoi(directions(head.yaw_deg, head.pitch_deg).numpy(), threshold=1e-9)
        areas = torch.from_numpy(cells.calculate_areas())
    except (QhullError, ValueError) as error:
        raise InputError(
            f"the {len(head.yaw_deg)} directions of {head.source} do not go round the head, or repeat; take responses "
            "that were measured from all around."
        ) from error
    areas = areas.clamp(max=_WIDEST_CELL * float(areas.mean()))
    return areas / areas.sum()


def _colour(diffuse: Tensor, hz: Tensor) -> Tensor:
    """Smooth the energy from everywhere over thirds of octaves; returns its magnitude."""
    total = torch.cat((diffuse.new_zeros(1), diffuse.cumsum(0)))
    first = torch.searchsorted(hz, hz * 2 ** (-1 / 6))
    last = torch.searchsorted(hz, hz * 2 ** (1 / 6), right=True)
    smooth = ((total[last] - total[first]) / (last - first)).sqrt()
    return smooth.clamp_min(float(smooth.max()) * 10 ** (-_DEEPEST_DB / 20))


def minimum_phase(magnitude: Tensor) -> Tensor:
    """Give magnitudes `[..., F]` the phase of the filter that responds soonest, by the folded cepstrum."""
    size = 2 * (magnitude.shape[-1] - 1)
    cepstrum = torch.fft.irfft(magnitude.log(), size)
    fold = torch.ones(size, dtype=magnitude.dtype)
    fold[1 : size // 2], fold[size // 2 + 1 :] = 2, 0
    return torch.exp(torch.fft.rfft(cepstrum * fold))


def _in_time(spectra: Tensor, areas: Tensor, hz: Tensor) -> Tensor:
    """Count time from the middle of the head, by the phase of all directions and both ears together.

    Up to `_SPHERE_HZ` that phase becomes a rigid sphere's: loudspeakers and equalising turn low sound by up to a
    millisecond. Above, only the delay that it names there is taken out.
    """
    size = 2 * math.pi * hz * RADIUS_M / SOUND_SPEED_M_S
    whole = (areas[:, None, None] * spectra).sum(0).mean(0) * torch.exp(-1j * (size - size.atan()))
    used = (hz >= _SPHERE_HZ / 2) & (hz <= 2 * _SPHERE_HZ)
    phase = torch.from_numpy(np.unwrap(whole[used].angle().numpy()))
    ahead = hz[used] - hz[used].mean()
    slope = (ahead * phase).sum() / (ahead**2).sum()
    rest = (whole * torch.exp(-1j * hz * slope)).angle()
    last = int(torch.searchsorted(hz, _SPHERE_HZ))
    rest[last:] = rest[last] * hz[last:] / hz[last]
    return spectra * torch.exp(-1j * (hz * slope + rest))


def _mended_low(spectra: Tensor, hz: Tensor) -> Tensor:
    """Let level and phase fall to those of no head on the way from `_LOWEST_HZ` to 0 Hz."""
    low = int(torch.searchsorted(hz, _LOWEST_HZ))
    share = hz[:low] / hz[low]
    edge = spectra[..., low : low + 1]
    return torch.cat((torch.polar(edge.abs() ** share, edge.angle() * share), spectra[..., low:]), -1)


# Fit -----------------------------------------------------------------------------------------------------------------


def magnitude_least_squares(equal: EqualHead, order: int, crossover_hz: float) -> Tensor:
    """Fit filters by least squares below the crossover and by magnitude above it.

    Returns:
        Spectra `[2, C, F]` complex128 for ACN and SN3D channels, time counted from the middle of the head.

    Raises:
        InputError: directions that leave too much of the sphere out.
    """
    patterns = harmonics(equal.head.yaw_deg, equal.head.pitch_deg, order)
    degrees = torch.tensor([2 * n + 1 for n in range(order + 1) for _ in range(2 * n + 1)], dtype=patterns.dtype)
    solve = _least_squares(patterns, equal, degrees).to(torch.complex128)
    patterns = patterns.to(torch.complex128)
    columns: list[Tensor] = []
    for wanted, hz in zip(equal.spectra.unbind(-1), equal.hz.tolist(), strict=True):
        if columns and hz >= crossover_hz:
            wanted = torch.polar(wanted.abs(), (patterns @ columns[-1]).angle())
        columns.append(solve @ wanted)
    fitted = torch.stack(columns, -1).movedim(1, 0)
    diffuse = (equal.areas[:, None, None] * equal.spectra.abs() ** 2).sum(0)
    energy = (fitted.abs() ** 2 / degrees[:, None]).sum(1)
    return fitted * (diffuse / energy.clamp_min(1e-20)).sqrt()[:, None]


def _least_squares(patterns: Tensor, equal: EqualHead, degrees: Tensor) -> Tensor:
    """Make `[C, D]` that fits channels to values at the directions."""
    weights = equal.areas.sqrt()[:, None]
    even = patterns * degrees.sqrt() * weights
    if even.shape[0] < even.shape[1] or float(torch.linalg.cond(even)) > _WORST_CONDITION:
        raise InputError(
            f"the {even.shape[0]} directions of {equal.head.source} leave too much of the sphere out for Ambisonics "
            f"with {even.shape[1]} channels; take a lower order, or responses from all around."
        )
    return degrees.sqrt()[:, None] * torch.linalg.solve(even.T @ even, even.T) * weights.T


def _taps(spectra: Tensor, hz: Tensor) -> Tensor:
    """Cut filters `[2, C, TAPS]` out of spectra, `LEAD_S` late, faded in and out."""
    rate = round(2 * float(hz[-1]))
    late = spectra * torch.exp(-2j * math.pi * hz * (_lead(rate) / rate))
    taps = torch.fft.irfft(late)[..., :TAPS]
    edge = torch.sin(torch.arange(_FADE, dtype=taps.dtype) / _FADE * (math.pi / 2)) ** 2
    taps[..., :_FADE] *= edge
    taps[..., -_FADE:] *= edge.flip(0)
    return taps.float()
