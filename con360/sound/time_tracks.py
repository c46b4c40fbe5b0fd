"""Drawn tracks of when sounds begin and how loud they are: their JSON, their curve, and whether a clip can hold them.

Files of them are read by `media.timelines`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..moments import moments_from_json
from ..records import Envelope, OnsetTrack, Sound, TimeTrack
from .envelopes import (
    DECAY_S,
    RATE_HZ,
    check_envelope,
    curve_at,
    envelope_of,
    envelope_of_onsets,
    frame_times_s,
)
from .onset_text import envelope_from_text, onsets_from_text, onsets_to_text
from .onsets import check_onsets, find_onsets

# An onset of strength 1 rises to this RMS (-14 dB), as loud as a struck thing is in a clip.
ONSET_RMS = 0.2
# Levels of breakpoints: from here down is silence.
FLOOR_DB = -60.0
# Breakpoints that stand for a measured envelope keep it within this.
KEPT_DB = 0.25
MAX_POINTS, LONGEST_S = 10_000, 3600.0
# The sampler's grid is 10 ms.
MOST_ONSETS_PER_S = 100

_EXAMPLE = '{"onsets": [{"time": 0.5}], "envelope": {"points": [{"time": 0, "db": -20}]}}'
_POINTS_EXAMPLE = '[{"time": 0, "db": -20}]'


def time_track_from_text(text: str, duration_s: float | None = None) -> TimeTrack:
    """Read a track from JSON: onsets, an envelope by breakpoints in decibels, or both.

    `{"onsets": [{"time": 0.5, "strength": 1, "label": ""}], "envelope": {"points": [{"time": 0, "db": -20}]},
    "decay_s": 0.25}`; every part may be absent. The JSON of onsets alone and of an envelope's values
    (`sound.onset_text`) are read as well.

    Convention: `db` is relative to an RMS of 1, and -60 is silence. Between points the level is monotone (PCHIP); the
    first and last one hold to the clip's ends. `"free": 1` at a point leaves the level free from there to the next.

    Args:
        duration_s: of the clip; None ends the envelope at its last point.

    Returns:
        The track; without onsets and envelope where the text is empty.

    Raises:
        InputError: other JSON, or times, strengths and levels that cannot be used.
    """
    found = _json(text)
    if isinstance(found, list):
        found = {"onsets": found}
    if not isinstance(found, dict):
        raise InputError(f"a time track is JSON like {_EXAMPLE}; other JSON came.")
    if "values" in found:
        return TimeTrack(envelope=envelope_from_text(text))
    if not set(found) <= {"onsets", "envelope", "decay_s"}:
        raise InputError(f"a time track has the parts onsets, envelope and decay_s; {', '.join(map(str, found))} came.")
    onsets = onsets_from_text(json.dumps(found.get("onsets") or []))
    decay_s = found.get("decay_s")
    return TimeTrack(
        replace(onsets, source="drawn") if onsets.times_s else None,
        _envelope(found.get("envelope"), duration_s),
        None if decay_s is None else _decay(decay_s),
    )


def time_track_of_sound(sound: Sound) -> TimeTrack:
    """Take the track from a sound: its onsets and its envelope.

    Raises:
        InputError: as `find_onsets` and `envelope_of`.
    """
    onsets = find_onsets(sound)
    return TimeTrack(onsets if onsets.times_s else None, envelope_of(sound))


def time_track_to_text(track: TimeTrack) -> str:
    """Write the JSON that `time_track_from_text` reads; an envelope as breakpoints, within 0.25 dB.

    Raises:
        InputError: parts that cannot be used, or an envelope that needs over 10,000 breakpoints.
    """
    found: dict[str, Any] = {}
    if track.onsets is not None:
        found["onsets"] = json.loads(onsets_to_text(track.onsets))
    if track.envelope is not None:
        found["envelope"] = {"points": _points(check_envelope(track.envelope))}
    if track.decay_s is not None:
        found["decay_s"] = track.decay_s
    return json.dumps(found)


def check_time_track(track: TimeTrack, duration_s: float) -> TimeTrack:
    """Return the track if a clip of this duration can follow it.

    Raises:
        InputError: a track that says nothing, goes on past the clip, has more onsets than the clip has places, or
            whose parts cannot be used.
    """
    onsets, envelope = track.onsets, track.envelope
    if envelope is None and (onsets is None or not onsets.times_s):
        raise InputError("the time track is empty; draw an onset or a level, or leave the track out.")
    if onsets is not None:
        check_onsets(replace(onsets, duration_s=duration_s))
        most = math.ceil(duration_s * MOST_ONSETS_PER_S)
        if len(onsets.times_s) > most:
            raise InputError(
                f"{len(onsets.times_s)} onsets came for {duration_s:g} s; wanted at most {most}, one every 10 ms."
            )
    if envelope is not None and check_envelope(envelope).duration_s > duration_s + 1 / envelope.rate_hz:
        raise InputError(
            f"the envelope lasts {envelope.duration_s:g} s and the clip {duration_s:g} s; shorten the envelope."
        )
    if track.decay_s is not None:
        _decay(track.decay_s)
    return track


def fit_time_track(track: TimeTrack, duration_s: float) -> tuple[TimeTrack, tuple[str, ...]]:
    """Leave out what lies past the clip's end, with a notice.

    Raises:
        InputError: what is left cannot be used (`check_time_track`).
    """
    onsets, envelope, said = track.onsets, track.envelope, []
    if onsets is not None:
        kept = sum(time <= duration_s for time in check_onsets(onsets).times_s)
        if kept < len(onsets.times_s):
            past = len(onsets.times_s) - kept
            lie = "onset lies" if past == 1 else "onsets lie"
            said.append(f"{past} {lie} past the clip's end and {'was' if past == 1 else 'were'} left out")
            onsets = OnsetTrack(
                onsets.times_s[:kept], onsets.strengths[:kept], onsets.labels[:kept], duration_s, onsets.source
            )
    if envelope is not None and envelope.duration_s > duration_s + 1 / envelope.rate_hz:
        said.append(f"the envelope lasts {envelope.duration_s:.2f} s; its first {duration_s:g} s were used")
        count = round(duration_s * envelope.rate_hz)
        present = None if envelope.present is None else envelope.present[:count]
        envelope = replace(envelope, values=envelope.values[:count], present=present)
    return check_time_track(replace(track, onsets=onsets, envelope=envelope), duration_s), tuple(said)


def envelope_of_track(track: TimeTrack, duration_s: float) -> Envelope:
    """Return the level that a track asks for, 125 values a second over the whole clip.

    Convention: without an envelope, onsets rise to `ONSET_RMS` times their strength and die away by the track's decay.
    An envelope that is shorter than the clip leaves the rest free.

    Raises:
        InputError: as `check_time_track`.
    """
    check_time_track(track, duration_s)
    count = max(round(duration_s * RATE_HZ), 1)
    if track.envelope is None:
        assert track.onsets is not None  # an empty track was refused
        drawn = envelope_of_onsets(track.onsets, count / RATE_HZ, track.decay_s or DECAY_S)
        return replace(drawn, values=drawn.values * ONSET_RMS)
    given = track.envelope
    present = torch.ones_like(given.values) if given.present is None else given.present.float()
    times = frame_times_s(count)
    present = (curve_at(present, given.rate_hz, times) > 0.5) & (times <= given.duration_s)
    return Envelope(curve_at(given.values, given.rate_hz, times), RATE_HZ, present.float())


# Text to curves -------------------------------------------------------------------------------------------------------


def _json(text: str) -> Any:
    try:
        return json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError) as error:
        raise InputError(f"a time track came that is no JSON ({error}); wanted it like {_EXAMPLE}.") from None


def _decay(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InputError(f"the track's decay_s is {value!r}; wanted seconds above 0.")
    return float(value)


def _envelope(found: Any, duration_s: float | None) -> Envelope | None:
    """An envelope of breakpoints; None where there are none."""
    if found is None:
        return None
    if not isinstance(found, dict) or not set(found) <= {"points"}:
        raise InputError(f"a time track's envelope holds points like {_POINTS_EXAMPLE}; something else came.")
    points = moments_from_json(
        json.dumps(found.get("points") or []), "point", ("db",), ("free",), most=MAX_POINTS, example=_POINTS_EXAMPLE
    )
    if not points:
        return None
    if points[-1]["time"] > LONGEST_S:
        raise InputError(f"a point stands at {points[-1]['time']:g} s; wanted times up to {LONGEST_S:g} s.")
    count = max(round((duration_s or 0) * RATE_HZ), math.ceil(points[-1]["time"] * RATE_HZ - 1e-3), 1)
    centres = (np.arange(count) + 0.5) / RATE_HZ
    levels, present = np.full(count, FLOOR_DB), np.zeros(count, dtype=np.float32)
    for first, last, run in _runs(points):
        there = (centres >= first - 1e-6) & (centres <= last + 1e-6)
        levels[there], present[there] = _between(run, centres[there]), 1
    values = np.where(levels > FLOOR_DB, 10 ** (levels / 20), 0.0)
    return Envelope(torch.from_numpy(values).float(), RATE_HZ, None if present.all() else torch.from_numpy(present))


def _runs(points: list[dict[str, float]]) -> Iterator[tuple[float, float, list[dict[str, float]]]]:
    """Points between which the level is drawn, with the times from and to which it is."""
    run: list[dict[str, float]] = []
    first = -math.inf
    for point in points:
        first = point["time"] if not run and first == math.inf else first
        run.append(point)
        if point.get("free"):
            yield first, point["time"], run
            run, first = [], math.inf
    if run:
        yield first, math.inf, run


def _between(points: list[dict[str, float]], times: np.ndarray) -> np.ndarray:
    """Levels in decibels between points; the first and last one hold beyond."""
    from scipy.interpolate import PchipInterpolator

    at, levels = (np.array([point[name] for point in points]) for name in ("time", "db"))
    levels = levels.clip(min=FLOOR_DB)
    if len(points) == 1:
        return np.full(len(times), levels[0])
    return PchipInterpolator(at, levels)(times.clip(at[0], at[-1]))


# Curves to text -------------------------------------------------------------------------------------------------------


def _points(envelope: Envelope) -> list[dict[str, float]]:
    """Breakpoints of an envelope, at the middles of some of its frames."""
    centres = (np.arange(len(envelope.values)) + 0.5) / envelope.rate_hz
    levels = 20 * np.log10(envelope.values.double().numpy().clip(min=10 ** (FLOOR_DB / 20)))
    present = np.ones(len(levels)) if envelope.present is None else envelope.present.numpy()
    edges = np.flatnonzero(np.diff((present > 0.5).astype(int), prepend=0, append=0)).reshape(-1, 2)
    # A free beginning needs a point of its own: without one, the first level holds from 0 on.
    points = [] if len(edges) and edges[0, 0] == 0 else [{"time": 0.0, "db": FLOOR_DB, "free": 1.0}]
    for begin, end in edges:
        kept = begin + _thinned(centres[begin:end], levels[begin:end])
        points += [{"time": round(float(centres[i]), 6), "db": round(float(levels[i]), 2)} for i in kept]
        if end < len(levels):
            points[-1]["free"] = 1.0
    if len(points) > MAX_POINTS:
        raise InputError(f"the envelope needs {len(points)} breakpoints; wanted at most {MAX_POINTS}. Shorten it.")
    return points


def _thinned(times: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Indices of breakpoints between which the levels stay within `KEPT_DB`."""
    from scipy.interpolate import PchipInterpolator

    kept = np.unique([0, len(levels) - 1])
    while len(kept) > 1:
        error = np.abs(PchipInterpolator(times[kept], levels[kept])(times) - levels)
        worst = np.maximum.reduceat(error, kept[:-1])[np.searchsorted(kept[1:-1], np.arange(len(levels)), "right")]
        new = np.flatnonzero((error > KEPT_DB) & (error == worst))
        if not len(new):
            break
        kept = np.union1d(kept, new)
    return kept
