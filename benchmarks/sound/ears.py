"""Measure headphones against the head that their filters are made of, MIT KEMAR.

Levels are of octaves, seen from the measured responses after the same equalising (`ear_filters.equalised`): it is one
filter for all directions. Interaural delays are the peak of GCC-PHAT from 100 Hz to 1.5 kHz.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from con360.media.sofa import read_sofa
from con360.records import Sound, SourcePoint, SourceTrack
from con360.sound.ambisonics import encode, harmonics, stereo_matrix
from con360.sound.ear_filters import HeadResponses, ears_of_responses, equalised
from con360.sound.ear_pairs import pairs_of_responses, place_pairs
from con360.sound.headphones import EarFilters, load_ears

from .row import Row

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))
from shared_data import shared_root

OCTAVES_HZ = (250, 500, 1000, 2000, 4000)
LEVEL_BAR_DB, HOLE_BAR_DB = 1.5, 4.0
CROSSOVERS_HZ = (700, 1000, 1500)
SOFA = "data/hrtf/MIT_KEMAR_normal_pinna.sofa"
_SIZE, _FINER = 8192, 16


@dataclass(frozen=True)
class Ring:
    """Heard on the horizon: `spectra [72, 2, F]` by `yaw_deg [72]`, with the rate in Hz."""

    spectra: Tensor
    yaw_deg: Tensor
    rate_hz: int

    @property
    def hz(self) -> Tensor:
        return torch.linspace(0, self.rate_hz / 2, self.spectra.shape[-1], dtype=torch.float64)

    def levels_db(self) -> Tensor:
        """`[72, 2, octaves]`."""
        bands = [(self.hz >= c / 2**0.5) & (self.hz < c * 2**0.5) for c in OCTAVES_HZ]
        return torch.stack([10 * (self.spectra[..., b].abs() ** 2).sum(-1).log10() for b in bands], -1)

    def delays_us(self) -> Tensor:
        """Right ear after the left one, `[72]`."""
        cross = self.spectra[:, 1] * self.spectra[:, 0].conj()
        used = (self.hz >= 100) & (self.hz <= 1500)
        phases = torch.where(used, cross / cross.abs().clamp_min(1e-12), torch.zeros_like(cross))
        size = 2 * (cross.shape[-1] - 1) * _FINER
        found = torch.fft.irfft(phases, size)
        reach = int(1.1e-3 * self.rate_hz * _FINER)
        near = torch.cat((found[:, -reach:], found[:, : reach + 1]), 1)
        return (near.argmax(1) - reach) / (self.rate_hz * _FINER) * 1e6


@dataclass(frozen=True)
class Compared:
    """Errors beside the measurement, on the horizon.

    Args:
        near_db, far_db: `[n, octaves]`; at 0 and 180 degrees both ears count as near and as far.
        delay_us: `[72]`.
    """

    near_db: Tensor
    far_db: Tensor
    delay_us: Tensor

    @property
    def share(self) -> float:
        return float((self.near_db.abs() <= LEVEL_BAR_DB).double().mean())

    @property
    def hole_db(self) -> float:
        """The deepest loss at 1 kHz at either ear."""
        at = OCTAVES_HZ.index(1000)
        return max(0.0, -float(torch.cat((self.near_db, self.far_db))[:, at].min()))

    def levels(self) -> str:
        near, far = (np.quantile(x.abs().numpy(), 0.95) for x in (self.near_db, self.far_db))
        return f"near ear {self.share:.1%} within 1.5 dB (95 % within {near:.1f}), far ear 95 % within {far:.1f} dB"

    def delays(self) -> str:
        return f"ITD median {self.delay_us.abs().median():.1f}, most {self.delay_us.abs().max():.1f} us"


def measured(head: HeadResponses, rate_hz: int) -> Ring:
    """The head's own responses on the horizon, equalised."""
    equal = equalised(head.at_rate(rate_hz))
    on = torch.nonzero(head.pitch_deg.abs() < 1e-6)[:, 0]
    on = on[head.yaw_deg[on].argsort()]
    time = torch.fft.irfft(equal.spectra[on]).roll(256, -1)
    return Ring(torch.fft.rfft(time, _SIZE), head.yaw_deg[on], rate_hz)


def filtered(ears: EarFilters, yaw_deg: Tensor) -> Ring:
    """Plane waves on the horizon through filters."""
    patterns = harmonics(yaw_deg, torch.zeros_like(yaw_deg), ears.order)
    responses = torch.einsum("dc,ect->det", patterns, ears.taps.double())
    return Ring(torch.fft.rfft(responses, _SIZE), yaw_deg, ears.rate_hz)


def two_cardioids(yaw_deg: Tensor, rate_hz: int) -> Ring:
    """The trivial baseline: today's stereo, which has levels and no delays."""
    gains = encode(torch.ones(len(yaw_deg), dtype=torch.float64), yaw_deg, 0.0).T @ stereo_matrix().T
    return Ring(gains[..., None].to(torch.complex128).expand(-1, -1, _SIZE // 2 + 1), yaw_deg, rate_hz)


def straight(head: HeadResponses, yaw_deg: Tensor, rate_hz: int) -> Ring:
    """Clicks placed through pairs of responses."""
    pairs = pairs_of_responses(head, rate_hz)
    click = torch.zeros(1, 1024)
    click[0, 512] = 1
    heard = [
        place_pairs(Sound(click, rate_hz), SourceTrack.still(SourcePoint(float(yaw))), pairs).waveform
        for yaw in yaw_deg
    ]
    return Ring(torch.fft.rfft(torch.stack(heard).double(), _SIZE), yaw_deg, rate_hz)


def compare(found: Ring, wanted: Ring) -> Compared:
    """Compare two rings of the same directions."""
    error = found.levels_db() - wanted.levels_db()
    yaw = wanted.yaw_deg
    left = (yaw <= 1e-6) | (yaw.abs() > 180 - 1e-6)
    right = (yaw >= -1e-6) | (yaw.abs() > 180 - 1e-6)
    near = torch.cat((error[left, 0], error[right, 1]))
    far = torch.cat((error[right, 0], error[left, 1]))
    return Compared(near, far, found.delays_us() - wanted.delays_us())


def left_is_left(ring: Ring) -> bool:
    """Every source at the left is louder and earlier at the left ear; right alike."""
    side = torch.sin(torch.deg2rad(ring.yaw_deg))
    aside = side.abs() > 0.05
    levels = 10 * (ring.spectra.abs() ** 2).sum(-1).log10()
    louder = torch.sign(levels[:, 1] - levels[:, 0]) == torch.sign(side)
    earlier = torch.sign(-ring.delays_us()) == torch.sign(side)
    return bool((louder & earlier)[aside].all())


# Rows ----------------------------------------------------------------------------------------------------------------


def rows(quick: bool) -> list[Row]:
    """Measure the shipped filters and what they were chosen from."""
    path = shared_root() / SOFA
    if not path.exists():
        return [Row(f"headphones (needs {SOFA})", "", "not measured")]
    head = read_sofa(path)
    found: list[Row] = []
    for rate_hz in (48000,) if quick else (44100, 48000):
        found += _rows_of(head, rate_hz)
    return found


def _rows_of(head: HeadResponses, rate_hz: int) -> list[Row]:
    wanted = measured(head, rate_hz)
    at = f"{rate_hz / 1000:g} kHz"
    third = compare(filtered(load_ears(3, rate_hz), wanted.yaw_deg), wanted)
    delay = third.delay_us.abs()
    found = [
        Row(f"order 3, {at}, levels", "near ear 95 % within 1.5 dB", third.levels(), third.share >= 0.95),
        Row(
            f"order 3, {at}, delays",
            "median 10 us, most 30",
            third.delays(),
            bool(delay.median() <= 10 and delay.max() <= 30),
        ),
        _stated(f"order 2, {at}", load_ears(2, rate_hz), wanted),
    ]
    for crossover in CROSSOVERS_HZ:
        ears = ears_of_responses(head, 1, rate_hz, crossover)
        first = compare(filtered(ears, wanted.yaw_deg), wanted)
        said = f"hole at 1 kHz {first.hole_db:.1f} dB, {first.levels()}, {first.delays()}"
        found.append(Row(f"order 1, {at}, crossover {crossover / 1000:g} kHz", "", said))
    first = compare(filtered(load_ears(1, rate_hz), wanted.yaw_deg), wanted)
    found.append(
        Row(
            f"order 1, {at}, as shipped",
            "hole at 1 kHz at most 4 dB",
            f"{first.hole_db:.1f} dB",
            first.hole_db <= HOLE_BAR_DB,
        )
    )
    pairs = compare(straight(head, wanted.yaw_deg, rate_hz), wanted)
    found.append(Row(f"tracks straight through pairs, {at}", "", f"{pairs.levels()}, {pairs.delays()}"))
    baseline = compare(two_cardioids(wanted.yaw_deg, rate_hz), wanted)
    found.append(
        Row(
            f"two cardioids, {at} (trivial)",
            "",
            f"hole at 1 kHz {baseline.hole_db:.1f} dB, {baseline.levels()}, {baseline.delays()}",
        )
    )
    return found


def _stated(what: str, ears: EarFilters, wanted: Ring) -> Row:
    found = compare(filtered(ears, wanted.yaw_deg), wanted)
    return Row(what, "", f"{found.levels()}, {found.delays()}")
