"""Find where a sound comes from: each band of frequency goes to the region that moves with it.

Shape legend: T frames of a window, K regions, M windows, B bands, R rows of a field.

A band whose loudness follows no region stays diffuse: nothing is invented where nothing moves. Windows of the picture
are matched one by one and faded into each other, so that recordings of any length stream through.

Source: ours; measured by `benchmarks/sound/finding.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from ..records import DirectionField, Sound
from .movement import Movement

# A band's score must reach this to be placed: set on scenes that no test uses, so that voices without a shape stay
# diffuse.
CONFIDENCE = 0.55


@dataclass(frozen=True)
class Found:
    """Places of a sound.

    Args:
        field: of the whole sound. Placed bands point to their region, the rest is diffuse.
        bands: `[M, B]` int64, number of the region that each band went to in each window, the most salient is 0; -1
            where it stays diffuse.
        confidence: `[M, B]` best score of each band, in [-1, 1], whether it was placed or not.
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
        windows: of `movement_of_clip` or `movement_of_stream`. sound: any; its downmix is matched.
        confidence: least score of a band that is placed, in (0, 1].
    """
    raise NotImplementedError


def most_moving(windows: Iterable[Movement], sound: Sound) -> Found:
    """Send the whole sound to the region that moves most, whatever the sound does; diffuse where nothing moves."""
    raise NotImplementedError


def find_rhythms(windows: Iterable[Movement], sound: Sound, confidence: float = CONFIDENCE) -> Found:
    """Find places as `find_places`, by rhythm without phase: for sound that a model made for the picture's regions.

    Each band's modulation spectrum, 0.5 to 7 Hz, is compared with each region's.
    """
    raise NotImplementedError
