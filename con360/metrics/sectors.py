"""Compare how an Ambisonic sound's energy lies around the listener: the level of ten sectors, band by band.

A sector is what a cardioid hears that looks at it: eight azimuths 45 degrees apart from the front on, up and down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..records import Sound
from ..sound.channels import FIRST_ORDER

# Sectors this far below the loudest one are its nulls, and no level is compared there.
NULL_DB = -20.0
_MOST_DB = 60.0


def sector_levels_db(sound: Sound, bands_hz: Sequence[tuple[float, float]]) -> Tensor:
    """Measure the level of each sector relative to W in the same band, in decibels: `[bands, 10]`.

    Args:
        sound: `ambix`; of higher orders the first-order part is read. bands_hz: lower and upper edge.
    """
    spectrum = torch.fft.rfft(sound.waveform[:FIRST_ORDER].double())
    hz = torch.fft.rfftfreq(sound.waveform.shape[1], 1 / sound.sample_rate_hz)
    looks, rows = _looks().to(spectrum.dtype), []
    for low, high in bands_hz:
        band = spectrum[:, (hz >= low) & (hz < high)]
        heard = 0.5 * (band[:1] + looks @ band[1:])
        rows.append(_db(heard.abs().square().sum(1)) - _db(band[0].abs().square().sum()))
    return torch.stack(rows)


def sector_errors_db(made: Sound, true: Sound, bands_hz: Sequence[tuple[float, float]]) -> Tensor:
    """Compare the sectors of two sounds: absolute differences in decibels, at most 60, of all but the true nulls."""
    one, two = sector_levels_db(true, bands_hz), sector_levels_db(made, bands_hz)
    heard = one > one.amax(1, keepdim=True) + NULL_DB
    return (two - one).abs().clamp_max(_MOST_DB)[heard]


def _looks() -> Tensor:
    """Directions of the sectors along the dipoles Y, Z, X: `[10, 3]`."""
    azimuth = torch.arange(8, dtype=torch.float64) * (math.pi / 4)
    around = torch.stack((azimuth.sin(), torch.zeros(8, dtype=torch.float64), azimuth.cos()), 1)
    return torch.cat((around, torch.tensor([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]], dtype=torch.float64)))


def _db(energy: Tensor) -> Tensor:
    return 10 * energy.clamp_min(1e-20).log10()
