"""Find where a sound comes from: each band of frequency goes to the region that moves with it.

Shape legend: T frames of a window, K regions, M windows, B bands, R rows of a field.

A band whose loudness follows no region stays diffuse: nothing is invented where nothing moves. Windows of the picture
are matched one by one and faded into each other, so that recordings of any length stream through.

Source: ours; measured by `benchmarks/sound/finding.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..records import DirectionField, Sound
from ..sound.band_powers import RATE_HZ, band_powers
from ..sound.bands import BANDS
from ..sound.fields import ROW_S
from ..sound.levels import to_mono
from .matching import rhythm, synchrony
from .movement import MOVEMENT_FPS, SHORTEST_S, SLOWEST_FPS, Movement

# A band's score must reach this to be placed. Set on scenes that no test uses: at 0.7, voices without a shape stay
# diffuse; rhythm alone cannot tell those, and at 0.4 it places three quarters of the rest.
CONFIDENCE, RHYTHM_CONFIDENCE = 0.7, 0.4
# Mean change of colour per second below which nothing moves: noise and coding of a still picture.
STILL = 0.02
# Scores bands `[B, K]` by what moves and the powers `[n, B]` of the same window.
Rule: TypeAlias = Callable[[Movement, Tensor], Tensor]


@dataclass(frozen=True)
class Found:
    """Places of a sound.

    Args:
        field: of the whole sound. Placed bands point to their region, the rest is diffuse.
        bands: `[M, B]` int64, number of the region that each band went to in each window, the most salient is 0; -1
            where it stays diffuse. Windows after the sound's end are not looked at.
        confidence: `[M, B]`, each band's best score in [-1, 1], whether it was placed or not.
        start_s: `[M]`, where each window begins.
        share: share of the sound's energy that has a place, in [0, 1].
        notices: sentences for people.
    """

    field: DirectionField
    bands: Tensor
    confidence: Tensor
    start_s: tuple[float, ...]
    share: float
    notices: tuple[str, ...]


def find_places(windows: Iterable[Movement], sound: Sound, confidence: float = CONFIDENCE) -> Found:
    """Find the place of each band by its synchrony with what moves.

    Args:
        windows: of `movement_of_clip` or `movement_of_stream`; picture and sound begin together.
        sound: any; its downmix is matched. confidence: least score of a band that is placed, above 0 and at most 1.

    Raises:
        InputError: a confidence outside its range, no sample, or NaN or infinity in the sound.
    """
    return _in_sound(windows, sound, synchrony, confidence)


def most_moving(windows: Iterable[Movement], sound: Sound) -> Found:
    """Send the whole sound to the region that moves most, whatever the sound does; diffuse where nothing moves.

    Args, raises: as `find_places`.
    """
    return _in_sound(windows, sound, movement_alone, 1.0)


def find_rhythms(windows: Iterable[Movement], sound: Sound, confidence: float = RHYTHM_CONFIDENCE) -> Found:
    """Find places by the rates of pulses, whatever their phase: for sound that a model made for these regions.

    Args, raises: as `find_places`.
    """
    return _in_sound(windows, sound, rhythm, confidence)


def _in_sound(windows: Iterable[Movement], sound: Sound, rule: Rule, confidence: float) -> Found:
    return find_in_blocks(windows, [to_mono(sound).waveform], sound.sample_rate_hz, rule, confidence)


def find_in_blocks(
    windows: Iterable[Movement], blocks: Iterable[Tensor], rate_hz: int, rule: Rule = synchrony,
    confidence: float = CONFIDENCE,
) -> Found:  # fmt: skip
    """Find places in a mono sound that streams beside its picture; the field alone grows, by 26 KB a second.

    Args:
        windows: in order. blocks: `[1, n]` each. rate_hz: of the sound. rule: `synchrony`, `rhythm` or
            `movement_alone`. confidence: as in `find_places`.

    Raises:
        InputError: as `find_places`.
    """
    if not 0 < confidence <= 1:
        raise InputError(f"a confidence of {confidence:g} was asked for; choose one above 0, up to 1.")
    heard, fading, tally = _Heard(band_powers(blocks, rate_hz)), _Fading(), _Tally()
    for window in windows:
        powers = heard.between(window.start_s, window.stop_s)
        if not len(powers):  # a film may go on long after the sound
            break
        certainty, chosen = _scores(rule, window, powers).max(1)
        chosen = torch.where(certainty >= confidence, chosen, -1)
        fading.add(window, chosen)
        tally.add(window, powers, chosen, certainty)
    rows = math.ceil(heard.finish() / (RATE_HZ * ROW_S) - 1e-6)
    if not rows:
        raise InputError("places are found for a sound with at least one sample; this one has none.")
    return Found(
        fading.field(rows), _stacked(tally.chosen, torch.int64), _stacked(tally.certainty, torch.float64),
        tuple(tally.start_s), tally.share, tally.notices(rule, rows * ROW_S),
    )  # fmt: skip


def movement_alone(window: Movement, powers: Tensor) -> Tensor:
    """Score every band 1 with the region that moves most, and 0 with the others; 0 where nothing moves."""
    scores = torch.zeros(powers.shape[1], len(window.movement), dtype=torch.float64)
    scores[:, window.movement.argmax()] = float(window.movement.max() > STILL)
    return scores


def _scores(rule: Rule, window: Movement, powers: Tensor) -> Tensor:
    """Scores `[B, K]`; all 0 where there is no region or no sound, and too little of either to compare."""
    regions = len(window.paths)
    short = len(powers) < SHORTEST_S * RATE_HZ or window.fps < SLOWEST_FPS
    if not regions or not powers.any() or (short and rule is not movement_alone):
        return torch.zeros(BANDS, max(1, regions), dtype=torch.float64)
    return rule(window, powers)


class _Heard:
    """Band powers of a sound that streams; holds those from the last window on."""

    def __init__(self, rows: Iterator[Tensor]) -> None:
        self._rows, self._first, self._held = rows, 0, torch.empty(0, BANDS)

    def between(self, start_s: float, stop_s: float) -> Tensor:
        """Return powers `[n, B]` between two times, fewer where the sound ends before; starts must not fall."""
        first, last = round(start_s * RATE_HZ), round(stop_s * RATE_HZ)
        while self._first + len(self._held) < last and (fresh := next(self._rows, None)) is not None:
            self._held = torch.cat((self._held, fresh))
        dropped = min(len(self._held), first - self._first)
        self._held, self._first = self._held[dropped:], self._first + dropped
        return self._held[: last - first]

    def finish(self) -> int:
        """Read the sound to its end; return the number of its rows."""
        return self._first + len(self._held) + sum(len(fresh) for fresh in self._rows)


class _Fading:
    """Fade windows into each other: rows of vectors, weighted by their distance to the window's ends."""

    def __init__(self) -> None:
        self._done: list[Tensor] = []
        self._first = 0
        self._sums, self._weights = torch.empty(0, BANDS, 3), torch.empty(0)

    def add(self, window: Movement, chosen: Tensor) -> None:
        """Add a window whose bands go to the regions `chosen [B]`, -1 for none."""
        first, last = (math.ceil(time_s / ROW_S - 0.5) for time_s in (window.start_s, window.stop_s))
        times_s = (torch.arange(first, last) + 0.5) * ROW_S
        weight = torch.minimum(times_s - window.start_s, window.stop_s - times_s).clamp_min(1e-3)
        places = F.pad(_dipoles(window, times_s), (0, 0, 0, 0, 0, 1))
        self._settle(first)
        missing = last - self._first - len(self._sums)
        self._sums = F.pad(self._sums, (0, 0, 0, 0, 0, missing))
        self._weights = F.pad(self._weights, (0, missing))
        self._sums += (places[chosen] * weight[:, None]).movedim(0, 1)
        self._weights += weight

    def _settle(self, row: int) -> None:
        """Finish the rows before `row`: no later window reaches them."""
        count = row - self._first
        self._done.append(self._sums[:count] / self._weights[:count, None, None])
        self._sums, self._weights, self._first = self._sums[count:], self._weights[count:], row

    def field(self, rows: int) -> DirectionField:
        """Return the field of so many rows; diffuse where no window was.

        The dipoles have W's energy throughout, as those of a plane wave and of diffuse sound have alike.
        """
        self._settle(self._first + len(self._sums))
        vectors = torch.cat(self._done)[:rows]
        vectors = F.pad(vectors, (0, 0, 0, 0, 0, rows - len(vectors)))
        return DirectionField(vectors, (1.0 - vectors.square().sum(-1)).clamp(0.0, 1.0), ROW_S)


def _dipoles(window: Movement, times_s: Tensor) -> Tensor:
    """Places of a window's regions at times, along the dipoles Y, Z, X: `[K, n, 3]`."""
    position = ((times_s - window.start_s) * window.fps).clamp(0.0, window.paths.shape[1] - 1.0)
    before = position.long()
    after = (before + 1).clamp_max(window.paths.shape[1] - 1)
    path = torch.lerp(window.paths[:, before], window.paths[:, after], (position - before)[:, None])
    x, y, z = F.normalize(path, dim=-1).unbind(-1)
    return torch.stack((-x, y, z), -1)


def _stacked(rows: list[Tensor], dtype: torch.dtype) -> Tensor:
    return torch.stack(rows) if rows else torch.empty(0, BANDS, dtype=dtype)


@dataclass
class _Tally:
    """Count what is found, window by window."""

    start_s: list[float] = field(default_factory=list)
    chosen: list[Tensor] = field(default_factory=list)
    certainty: list[Tensor] = field(default_factory=list)
    energy: float = 0.0
    placed: float = 0.0
    sure: float = 0.0
    regions: int = 0
    fps: float = math.inf
    stop_s: float = 0.0

    def add(self, window: Movement, powers: Tensor, chosen: Tensor, certainty: Tensor) -> None:
        loud = powers.double().sum(0)
        self.start_s.append(window.start_s)
        self.chosen.append(chosen)
        self.certainty.append(certainty)
        self.energy += float(loud.sum())
        self.placed += float(loud[chosen >= 0].sum())
        self.sure += float((loud * certainty)[chosen >= 0].sum())
        self.regions = max(self.regions, len(window.paths))
        self.fps, self.stop_s = min(self.fps, window.fps), window.stop_s

    @property
    def share(self) -> float:
        return self.placed / self.energy if self.energy else 0.0

    def notices(self, rule: Rule, sound_s: float) -> tuple[str, ...]:
        """Say what was found, and what could not be."""
        said = [self._result(rule)]
        if SLOWEST_FPS <= self.fps < MOVEMENT_FPS - 1 and rule is not movement_alone:
            said.append(
                f"The picture has {self.fps:g} frames a second: movement that repeats faster than {self.fps / 2:g} "
                f"times a second looks slower than it is. Read it at {MOVEMENT_FPS:g} or more."
            )
        if self.start_s and sound_s > self.stop_s + 2 * ROW_S:
            said.append(f"The picture ends at {self.stop_s:.2f} s: the sound after it stays diffuse.")
        return tuple(said)

    def _result(self, rule: Rule) -> str:
        if not self.start_s:
            return f"The picture is shorter than {SHORTEST_S:g} s, too short to compare: the sound stays diffuse."
        if not self.energy:
            return "The sound is silent: there is nothing to place."
        if not self.regions:
            return "Nothing stands out in the picture: the sound stays diffuse."
        if rule is movement_alone:
            told = "The sound goes to the region that moves most; nothing tells that it comes from there."
            return told if self.placed else "Nothing moves in the picture: the sound stays diffuse."
        if self.fps < SLOWEST_FPS:
            least = f"movement is compared with sound at {SLOWEST_FPS:g} or more"
            return f"The picture has {self.fps:g} frames a second; {least}: the sound stays diffuse."
        how = "has the rhythm of" if rule is rhythm else "moves with"
        if not self.placed:
            return f"No part of the sound {how} a region of the picture: it stays diffuse."
        return (
            f"{self.share:.0%} of the sound's energy {how} a region and is placed there, with a mean score of "
            f"{self.sure / self.placed:.2f} of 1; the rest stays diffuse."
        )
