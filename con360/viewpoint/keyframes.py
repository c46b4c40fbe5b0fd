"""Views set by hand at points in time, and the track between them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InputError
from ..geometry.sphere import wrap_yaw_deg
from ..records import View, ViewTrack
from .choose import manual_viewpoint

FIELDS = ("time", "yaw", "pitch", "fov")
# Most keyframes and largest number; beyond, something else was pasted.
MAX_KEYFRAMES = 1000
MAX_NUMBER = 1e9


@dataclass(frozen=True)
class Keyframe:
    """A view at a time, in seconds from the start of the clip."""

    time_s: float
    view: View


def keyframes_from_json(text: str) -> tuple[Keyframe, ...]:
    """Read keyframes from JSON: `[{"time": 0, "yaw": -30, "pitch": 0, "fov": 90}, ...]`.

    Convention: time in seconds, at least 0; angles in degrees as everywhere; any order.

    Returns:
        Keyframes sorted by time; none for an empty text or list.

    Raises:
        InputError: no JSON list of such objects, an angle outside its range, or two keyframes at one time.
    """
    if not text.strip():
        return ()
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the keyframes are no JSON ({error}); wanted a list like {_example()}.") from None
    if not isinstance(found, list) or len(found) > MAX_KEYFRAMES:
        raise InputError(f"the keyframes are no list of at most {MAX_KEYFRAMES}; wanted one like {_example()}.")
    keyframes = sorted((_keyframe(item, i) for i, item in enumerate(found, 1)), key=lambda frame: frame.time_s)
    for before, after in zip(keyframes, keyframes[1:], strict=False):
        if before.time_s == after.time_s:
            raise InputError(f"two keyframes stand at {after.time_s:g} s; keep one of them.")
    return tuple(keyframes)


def keyframes_to_json(keyframes: Sequence[Keyframe]) -> str:
    """Write the text that `keyframes_from_json` reads."""
    rows = [(k.time_s, k.view.yaw_deg, k.view.pitch_deg, k.view.fov_deg) for k in keyframes]
    return json.dumps([dict(zip(FIELDS, row, strict=True)) for row in rows])


def keyframed_track(keyframes: Sequence[Keyframe], fps: float, num_frames: int) -> ViewTrack:
    """Make the view of each frame, moving evenly from keyframe to keyframe.

    Convention: frame i stands at i / fps seconds. Yaw takes the shorter way round (to the left at exactly half a turn);
    pitch and field of view change linearly, as on a tripod: a path over a pole would whirl. The first keyframe holds
    before its time, the last after its own.

    Args:
        keyframes: sorted by time, at least one.

    Raises:
        InputError: no keyframe.
    """
    if not keyframes:
        raise InputError("there are no keyframes; set at least one, or choose the view in another way.")
    return ViewTrack(tuple(view_at(keyframes, i / fps) for i in range(num_frames)))


def view_at(keyframes: Sequence[Keyframe], time_s: float) -> View:
    """Interpolate the view at a time, as `keyframed_track` does."""
    after = next((i for i, frame in enumerate(keyframes) if frame.time_s > time_s), len(keyframes))
    if after in (0, len(keyframes)):
        return keyframes[0 if after == 0 else -1].view
    a, b = keyframes[after - 1], keyframes[after]
    share = (time_s - a.time_s) / (b.time_s - a.time_s)
    turn = wrap_yaw_deg(b.view.yaw_deg - a.view.yaw_deg)
    return View(
        float(wrap_yaw_deg(a.view.yaw_deg + share * turn)),
        a.view.pitch_deg + share * (b.view.pitch_deg - a.view.pitch_deg),
        a.view.fov_deg + share * (b.view.fov_deg - a.view.fov_deg),
    )


def _keyframe(item: object, number: int) -> Keyframe:
    if not isinstance(item, dict) or set(item) != set(FIELDS):
        raise InputError(f"keyframe {number} is {_short(item)}; wanted the fields {', '.join(FIELDS)}, and no others.")
    for name in FIELDS:
        value = item[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < MAX_NUMBER:
            raise InputError(f"keyframe {number}: its {name} is {_short(value)}; wanted a number.")
    if item["time"] < 0:
        raise InputError(f"keyframe {number} stands at {item['time']:g} s; times begin at 0, the clip's start.")
    try:
        view = manual_viewpoint(item["yaw"], item["pitch"], item["fov"], 1).track.views[0]
    except InputError as error:
        raise InputError(f"keyframe {number}: {error}") from None
    return Keyframe(float(item["time"]), view)


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _example() -> str:
    return keyframes_to_json([Keyframe(0.0, View(-30.0))])
