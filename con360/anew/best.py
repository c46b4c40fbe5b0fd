"""Make a clip with several seeds and keep the one whose parts agree best, by a judge's vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..errors import InputError
from ..meaning.measure import measure, read_captions
from ..protocols import MeaningEncoder
from ..records import ViewpointClip
from ..sound.levels import to_mono

MOST_CANDIDATES = 64


@dataclass(frozen=True)
class Candidate:
    """One seed's figures, as a judge sees its clip.

    Args:
        volume, ta, tv, va: V, and the cosines of caption and sound, caption and picture, picture and sound; None where
            the judge has none.
        said: why nothing was measured, such as a silent clip; empty where it was.
    """

    seed: int
    volume: float | None = None
    ta: float | None = None
    tv: float | None = None
    va: float | None = None
    said: str = ""

    @property
    def rank_key(self) -> tuple[bool, bool, float]:
        """Sorts the best first: ascending V, else ascending distance from the caption.

        V is blind to signs, so a clip that contradicts its caption stands behind all others; one that could not be
        measured stands last.
        """
        if self.ta is None or self.tv is None:
            return True, True, 0.0
        far = self.volume if self.volume is not None else 2 - self.ta - self.tv
        return False, self.ta < 0 or self.tv < 0, far


@dataclass(frozen=True)
class Best:
    """The best clip, and all candidates, the best first."""

    clip: ViewpointClip
    ranked: tuple[Candidate, ...]


def seeds_from(first: int, count: int) -> tuple[int, ...]:
    """Return `count` seeds in a row.

    Raises:
        InputError: fewer than 2 or more than 64.
    """
    if not 2 <= count <= MOST_CANDIDATES:
        raise InputError(f"the best of {count} was asked for; choose 2 to {MOST_CANDIDATES}.")
    return tuple((first + i) % 2**64 for i in range(count))


def best_of(
    make: Callable[[int], ViewpointClip], seeds: Iterable[int], judge: MeaningEncoder, caption: str, *,
    told: Callable[[Candidate, ViewpointClip], None] | None = None,
) -> Best:  # fmt: skip
    """Make a clip per seed, one after the other, and keep the best.

    No more than the best clip so far and the present one exist at a time.

    Args:
        make: generates the clip of a seed; may raise to cancel.
        judge: not the encoder that guides (`meaning.guiding.check_judge`).
        caption: that the clips are compared with.
        told: told of each clip when it is there.

    Raises:
        InputError: an empty caption, or not one clip that can be measured.
    """
    read_captions(judge, [caption])
    found: list[Candidate] = []
    best: ViewpointClip | None = None
    for seed in seeds:
        clip = make(seed)
        found.append(judged(clip, seed, judge, caption))
        if told is not None:
            told(found[-1], clip)
        if best is None or min(found, key=lambda c: c.rank_key) is found[-1]:
            best = clip
        # Else the last one would still be there while the next is made.
        del clip
    ranked = tuple(sorted(found, key=lambda c: c.rank_key))
    if best is None or ranked[0].said:
        raise InputError(f"no candidate can be measured: {ranked[0].said if ranked else 'there is none'}")
    return Best(best, ranked)


def judged(clip: ViewpointClip, seed: int, judge: MeaningEncoder, caption: str) -> Candidate:
    """Measure one clip; one that is silent or black says so in place of figures."""
    sound = to_mono(clip.sound)
    try:
        found = measure(judge, [caption], clip.frames[None], clip.fps, sound.waveform, sound.sample_rate_hz)
    except InputError as error:
        return Candidate(seed, said=str(error))
    volume, va = (None if value is None else float(value) for value in (found.volume, found.va))
    return Candidate(seed, volume, float(found.ta), float(found.tv), va)
