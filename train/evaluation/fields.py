"""Measure Ambisonics against a clip's true sound, and make the sounds that always stand beside it.

A figure of directions says little alone: a constant or another clip's sound may do as well. So every table has the
rows of `BESIDE`. All but the first are the true W, placed: their sound is perfect, only their directions are judged.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from con360.metrics.audio import log_mel_distance
from con360.metrics.directions import OCTAVES_HZ, PartErrors, angular_errors, direction_errors
from con360.metrics.energy_maps import RATES, map_agreement
from con360.placing.finding import find_places
from con360.placing.movement import Movement
from con360.records import Sound
from con360.sound.ambisonics import encode
from con360.sound.fields import synthesise
from con360.sound.intensity import heard_angles_deg
from con360.sound.levels import to_mono

BESIDE = {
    "another": "another clip's true sound",
    "ahead": "the true W, straight ahead",
    "anywhere": "chance: the true W, from a random direction",
    "placed": "cascade: the true W at the true angle of the clip (0 in the first column by construction)",
    "found": "cascade: the true W where `placing.finding` finds it in the picture",
}  # fmt: skip
WITHIN_DEG = 30.0
Bands = Sequence[tuple[float, float]]


def figures(made: Sound, true: Sound, bands_hz: Bands = OCTAVES_HZ) -> dict[str, float]:
    """Compare a sound with the true one; NaN, or no value, where a figure has no answer.

    Returns:
        `clip`, `second`, `band` in degrees; `within` and `missing` of the bands, shares; `theta`, `phi`, `angular` in
        the paper's reading, radians; `cc_N` and `auc_N` of N maps a second, 0 is one a clip; `log_mel` of W in dB.
    """
    clip, second, band = (_part(made, true, part, bands_hz) for part in ("clip", "second", "band"))
    paper = direction_errors(made, true, "paper")
    found = {
        "clip": clip.mean_deg, "second": second.mean_deg, "band": band.mean_deg, "within": band.within(WITHIN_DEG),
        "missing": band.missing_share, **paper._asdict(), "log_mel": log_mel_distance(made, true),
    }  # fmt: skip
    seconds = min(made.duration_s, true.duration_s)
    for rate in (rate for rate in RATES if seconds * rate >= 1 or not rate):
        found[f"cc_{rate}"], found[f"auc_{rate}"] = map_agreement(made, true, rate)
    return found


def _part(made: Sound, true: Sound, part: str, bands_hz: Bands) -> PartErrors:
    return angular_errors(made, true, part, bands_hz)  # type: ignore[arg-type]


def beside(true: Sound, another: Sound, windows: Sequence[Movement] | None, number: int) -> dict[str, Sound]:
    """Make the sounds of `BESIDE` for one clip; without a picture (`windows` None) none can be found in it.

    Args:
        another: another clip's true sound. number: the clip's, seeds its random direction.
    """
    w = to_mono(true)
    yaw, pitch, _ = heard_angles_deg(true)
    x, y, z = np.random.default_rng([number, 23]).standard_normal(3)
    anywhere = float(np.degrees(np.arctan2(y, x))), float(np.degrees(np.arctan2(z, np.hypot(x, y))))
    at = functools.partial(_from, w)
    found = {
        "another": another,
        "ahead": at(0.0, 0.0),
        "anywhere": at(*anywhere),
        "placed": at(float(yaw), float(pitch)),
    }
    return found if windows is None else found | {"found": as_found(w, windows)}


def as_found(sound: Sound, windows: Sequence[Movement]) -> Sound:
    """Place W of a sound where "find the place" finds it in a picture."""
    w = to_mono(sound)
    return synthesise(w, find_places(windows, w).field)


def _from(w: Sound, yaw_deg: float, pitch_deg: float) -> Sound:
    return replace(w, waveform=encode(w.waveform[0], yaw_deg, pitch_deg), layout="ambix")
