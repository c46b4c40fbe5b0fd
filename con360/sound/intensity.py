"""Measure directions of Ambisonics: the intensity of first order, and the energy vector of any.

Convention: vectors are (right, up, ahead), as directions are in `geometry.sphere`, so `angles` reads them.

Source: Pulkki, "Spatial Sound Reproduction with Directional Audio Coding", 2007; Gerzon, "General Metatheory of
Auditory Localisation", 1992 (energy vector); Zotter and Frank, "Ambisonics", 2019.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..geometry.sphere import angles, directions
from ..records import Sound
from .ambisonics import field_and_pair
from .channels import FIRST_ORDER
from .microphones import microphone
from .moving import rows_of


def intensity(waveform: Tensor) -> Tensor:
    """Intensity and energy of each sample: `[4 or more, N]` to `[4, N]` float64 (right, up, ahead, energy).

    A plane wave's intensity is as long as its energy; summed over sound from all sides, it is next to 0.
    """
    w, y, z, x = waveform[:FIRST_ORDER].double()
    return torch.stack((-w * y, w * z, w * x, (w * w + x * x + y * y + z * z) / 2))


def intensity_rows(blocks: Iterable[Tensor], rate_hz: int, row_s: float = 0.04) -> Iterator[Tensor]:
    """Sum intensity and energy over rows of time, of Ambisonics that comes in blocks `[C, n]`; yields `[4]` a row."""
    for row in rows_of(blocks, max(1, round(row_s * rate_hz))):
        yield intensity(row).sum(1)


def heard_angles_deg(sound: Sound, row_s: float | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Find the direction of the intensity, over the whole sound or per row of time.

    Returns:
        Yaw and pitch in degrees, `[R]` (one row without `row_s`), and the diffuseness `[R]`: 0 for one plane wave, 1
        for sound from all sides or none at all. Silent rows have yaw and pitch 0.

    Raises:
        InputError: the sound is not Ambisonics of first order or more, or has no sample.
    """
    if (sound.ambisonic_order or 0) < 1 or not sound.waveform.shape[1]:
        channels, samples = sound.waveform.shape
        raise InputError(
            f"directions need AmbiX with 4 channels or more, and samples; got {sound.layout} of {channels} channels "
            f"and {samples} samples."
        )
    if row_s is None:
        rows = intensity(sound.waveform).sum(1)[None]
    else:
        rows = torch.stack(list(intensity_rows([sound.waveform], sound.sample_rate_hz, row_s)))
    energy, silent = rows[:, 3], rows[:, :3].norm(dim=1) == 0
    ahead = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    yaw, pitch = angles(torch.where(silent[:, None], ahead, rows[:, :3]))
    share = torch.where(silent, 0.0, rows[:, :3].norm(dim=1) / energy.clamp_min(1e-300))
    return yaw, pitch, (1 - share).clamp(0, 1)


def energy_vector(waveform: Tensor) -> Tensor:
    """Energy vector of a field: where its energy comes from, measured by max-rE beams to all sides.

    Args:
        waveform: Ambisonics `[C, N]` of order 1, 2 or 3; a head-locked pair is left out.

    Returns:
        `[3]` float64 (right, up, ahead); of one plane wave 0.58, 0.78 or 0.86 long by the order, 0 of sound from all
        sides alike, and of silence.
    """
    field = field_and_pair(waveform)[0].double()
    matrices = _beam_moments(round(len(field) ** 0.5) - 1)
    moments = (matrices * (field @ field.T)).sum((1, 2))
    return moments[1:] / moments[0].clamp_min(1e-300)


@functools.lru_cache(maxsize=4)
def _beam_moments(order: int) -> Tensor:
    """Make `[4, C, C]`: quadratic forms whose values are the beams' energy over the sphere, and that along each axis.

    The integrals are exact: Gauss-Legendre over the sine of the pitch, evenly over yaw.
    """
    count = 2 * order + 2
    sines, weights = np.polynomial.legendre.leggauss(count)
    pitch = torch.rad2deg(torch.asin(torch.from_numpy(sines))).repeat_interleave(count)
    yaw = (torch.arange(count, dtype=torch.float64) * (360 / count)).repeat(count)
    beams = microphone(yaw, pitch, "max-re", order)
    places = torch.cat((torch.ones(len(yaw), 1, dtype=torch.float64), directions(yaw, pitch)), 1)
    shares = torch.from_numpy(weights).repeat_interleave(count) / (2 * count)
    return torch.einsum("pk,p,pi,pj->kij", places, shares, beams, beams)
