"""Measure headphones against the head that their filters are made of, MIT KEMAR.

Levels are of octaves, seen from the measured responses after the same equalising (`ear_filters.equalised`): it is one
filter for all directions. Interaural delays are the peak of GCC-PHAT from 100 Hz to 1.5 kHz.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from con360.media.reader import read_sound
from con360.media.sofa import read_sofa
from con360.records import Sound, SourcePoint, SourceTrack
from con360.sound.ambisonics import encode, harmonics, stereo_matrix
from con360.sound.ear_filters import HeadResponses, ears_of_responses, equalised
from con360.sound.ear_pairs import pairs_of_responses, place_pairs
from con360.sound.headphones import EarFilters, load_ears, to_ears
from con360.sound.rigid_sphere import sphere_head
from con360.sound.rotation import turn

from .row import Row

SHARED = Path(os.environ.get("CON360_TEST_DATA") or Path(__file__).resolve().parents[3] / "shared")
OCTAVES_HZ = (250, 500, 1000, 2000, 4000)
LEVEL_BAR_DB, HOLE_BAR_DB = 1.5, 4.0
CROSSOVERS_HZ = (700, 1000, 1500)
SOFA = "data/hrtf/MIT_KEMAR_normal_pinna.sofa"
# Real first-order clips of one performer each, by direction as measured: 2, 8 and 88 degrees to the left.
CLIPS = ("sph360_JUN314mwb90_49.webm", "sph360_NdE7uYVaynQl_0.webm", "sph360_v5f-G9Uu5dE_31_cut5s.webm")
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

    def at(self, index: list[int] | Tensor) -> Ring:
        """Some of the directions."""
        return Ring(self.spectra[index], self.yaw_deg[index], self.rate_hz)

    def levels_db(self) -> Tensor:
        """`[72, 2, octaves]`."""
        bands = [(self.hz >= c / 2**0.5) & (self.hz < c * 2**0.5) for c in OCTAVES_HZ]
        return torch.stack([10 * (self.spectra[..., b].abs() ** 2).mean(-1).clamp_min(1e-6).log10() for b in bands], -1)

    def delays_us(self) -> Tensor:
        """Right ear after the left one, `[72]`."""
        cross = self.spectra[:, 1] * self.spectra[:, 0].conj()
        used = (self.hz >= 100) & (self.hz <= 1500)
        phases = torch.where(used, cross / cross.abs().clamp_min(1e-9), torch.zeros_like(cross))
        size = 2 * (cross.shape[-1] - 1) * _FINER
        found = torch.fft.irfft(phases, size)
        reach = int(1.1e-3 * self.rate_hz * _FINER)
        near = torch.cat((found[:, -reach:], found[:, : reach + 1]), 1)
        late = (near.argmax(1) - reach) / (self.rate_hz * _FINER) * 1e6
        # Where one ear hears nothing there is no delay.
        return torch.where(near.amax(1) > 1e-3, late, torch.zeros_like(late))


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
        return f"near ear {self.share:.0%} within 1.5 dB (95 % within {near:.1f}), far ear 95 % within {far:.1f} dB"

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
    """Measure the shipped filters beside what they are made of; `quick` leaves 44.1 kHz and the choices out."""
    if not (SHARED / SOFA).exists():
        return [Row(f"headphones (needs {SOFA})", "", "not measured")]
    head = read_sofa(SHARED / SOFA)
    found: list[Row] = []
    for rate_hz in (48000,) if quick else (44100, 48000):
        wanted, at = measured(head, rate_hz), f"{rate_hz / 1000:g} kHz"
        found += _shipped(wanted, at)
        if not quick:
            found += [*_crossovers(head, wanted, at), *_straight(head, wanted, at)]
        found += _references(head, wanted, at)
    return found + [*_diffuse(head), *_turned_clips()]


def _shipped(wanted: Ring, at: str) -> Iterator[Row]:
    rings = {order: filtered(load_ears(order, wanted.rate_hz), wanted.yaw_deg) for order in (1, 2, 3)}
    by_order = {order: compare(ring, wanted) for order, ring in rings.items()}
    third, late = by_order[3], by_order[3].delay_us.abs()
    holds = bool(late.median() <= 10 and late.max() <= 30)
    yield Row(f"order 3, {at}: levels", "near ear 95 % within 1.5 dB", third.levels(), third.share >= 0.95)
    yield Row(f"order 3, {at}: delays", "ITD median 10 us, most 30", third.delays(), holds)
    yield Row(f"order 2, {at}", "", f"{by_order[2].levels()}, {by_order[2].delays()}")
    hole = by_order[1].hole_db
    yield Row(f"order 1, {at}: hole at 1 kHz", "at most 4 dB", f"{hole:.1f} dB", hole <= HOLE_BAR_DB)
    yield Row(f"order 1, {at}", "", f"{by_order[1].levels()}, {by_order[1].delays()}")
    sides = all(map(left_is_left, rings.values()))
    yield Row(f"left is left, {at}", "louder and earlier there", "at all orders" if sides else "not always", sides)


def _crossovers(head: HeadResponses, wanted: Ring, at: str) -> Iterator[Row]:
    """The table that the crossover of order 1 is chosen from."""
    for crossover in CROSSOVERS_HZ:
        found = compare(filtered(ears_of_responses(head, 1, wanted.rate_hz, crossover), wanted.yaw_deg), wanted)
        said = f"hole {found.hole_db:.1f} dB, {found.levels()}, {found.delays()}"
        yield Row(f"order 1 with a crossover at {crossover / 1000:g} kHz, {at}", "", said)


def _straight(head: HeadResponses, wanted: Ring, at: str) -> Iterator[Row]:
    """Tracks through pairs, at the measured directions and, every second one left out, between them."""
    found = compare(straight(head, wanted.yaw_deg, wanted.rate_hz), wanted)
    yield Row(f"tracks straight through pairs, {at}", "", f"{found.levels()}, {found.delays()}")
    left_out = (head.pitch_deg.abs() < 1e-6) & (torch.round(head.yaw_deg / 5) % 2 == 1)
    kept = ~left_out
    fewer = replace(
        head, responses=head.responses[kept], yaw_deg=head.yaw_deg[kept], pitch_deg=head.pitch_deg[kept]
    )  # fmt: skip
    some = wanted.at(torch.round(wanted.yaw_deg / 5) % 2 == 1)
    found = compare(straight(fewer, some.yaw_deg, some.rate_hz), some)
    yield Row(f"the same, 36 directions left out, {at}", "", f"{found.levels()}, {found.delays()}")


def _references(head: HeadResponses, wanted: Ring, at: str) -> Iterator[Row]:
    """Compare what needs no data: a sphere for a head, and today's stereo."""
    sphere = measured(sphere_head(head.yaw_deg, head.pitch_deg, wanted.rate_hz), wanted.rate_hz)
    cardioids = two_cardioids(wanted.yaw_deg, wanted.rate_hz)
    for name, ring in (("a rigid sphere", sphere), ("two cardioids (trivial)", cardioids)):
        found = compare(ring, wanted)
        said = f"hole {found.hole_db:.1f} dB, {found.levels()}, {found.delays()}"
        yield Row(f"{name}, {at}", "", said)


def _diffuse(head: HeadResponses) -> Iterator[Row]:
    """Sound from everywhere: its level, and how alike both ears hear it, beside the head's own."""
    equal = equalised(head)
    left, right = equal.spectra.unbind(1)
    own = torch.stack([(equal.areas[:, None] * x).sum(0) for x in (left.abs() ** 2, (left * right.conj()).real)])
    for order in (1, 2, 3):
        taps = load_ears(order, head.rate_hz).taps.double()
        left, right = torch.fft.rfft(taps, 2 * (len(equal.hz) - 1))
        degrees = torch.tensor([2 * n + 1 for n in range(order + 1) for _ in range(2 * n + 1)])[:, None]
        made = torch.stack([(x / degrees).sum(0) for x in (left.abs() ** 2, (left * right.conj()).real)])
        level, alike = [], []
        for centre in OCTAVES_HZ:
            band = (equal.hz >= centre / 2**0.5) & (equal.hz < centre * 2**0.5)
            (ours, same), (theirs, wanted) = made[:, band].sum(1).tolist(), own[:, band].sum(1).tolist()
            level.append(10 * math.log10(ours / theirs))
            alike.append(same / ours - wanted / theirs)
        said = ", ".join(f"{x:+.2f}" for x in alike)
        found = f"level within {max(map(abs, level)):.1f} dB; interaural coherence by octave {said} too much"
        yield Row(f"order {order}: sound from everywhere", "", found)


def _turned_clips() -> Iterator[Row]:
    """Real clips heard over a full turn of the head: both figures must follow the sine of the source's side."""
    for name in CLIPS:
        path = SHARED / "data" / "video_unlicensed" / name
        if not path.exists():
            yield Row(f"a full turn in {name}", "", "not measured: no such file")
            continue
        sound, _ = read_sound(path)
        w, y, _, x = sound.waveform[:4].double()
        source = -math.atan2(float((w * y).sum()), float((w * x).sum()))
        yaws = torch.arange(-180.0, 180.0, 15.0, dtype=torch.float64)
        heard = torch.stack([to_ears(turn(sound, yaw)).waveform for yaw in yaws.tolist()]).double()
        ring = Ring(torch.fft.rfft(heard, 2 ** math.ceil(math.log2(heard.shape[-1]))), yaws, sound.sample_rate_hz)
        side = torch.sin(source - torch.deg2rad(yaws))
        used = OCTAVES_HZ.index(1000)
        levels = ring.levels_db()[:, :, used:].mean(-1)
        louder, earlier = levels[:, 1] - levels[:, 0], -ring.delays_us()
        alike = [float(torch.corrcoef(torch.stack((side, figure)))[0, 1]) for figure in (louder, earlier)]
        found = (
            f"ILD (1 to 4 kHz) up to {louder.abs().max():.1f} dB, correlation {alike[0]:.2f}; ITD up to "
            f"{earlier.abs().max():.0f} us, correlation {alike[1]:.2f}"
        )
        yield Row(f"a full turn in {name}", "correlation 0.9 with the sine", found, min(alike) >= 0.9)
