"""Views set by hand at points in time, and the track between them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InputError
from ..geometry.sphere import wrap_yaw_deg
from ..moments import moments_from_json
from ..records import View, ViewTrack
from .choose import manual_viewpoint

FIELDS = ("time", "yaw", "pitch", "fov")
# Beyond, something else was pasted.
MAX_KEYFRAMES = 1000


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
    moments = moments_from_json(text, "keyframe", FIELDS[1:], most=MAX_KEYFRAMES, example=_example())
    return tuple(_keyframe(moment) for moment in moments)


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


def _keyframe(moment: dict[str, float]) -> Keyframe:
    try:
        view = manual_viewpoint(moment["yaw"], moment["pitch"], moment["fov"], 1).track.views[0]
    except InputError as error:
        raise InputError(f"the keyframe at {moment['time']:g} s: {error}") from None
    return Keyframe(moment["time"], view)


def _example() -> str:
    return keyframes_to_json([Keyframe(0.0, View(-30.0))])
