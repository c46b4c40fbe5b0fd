"""Views set by hand at points in time, and the track between them."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..choices import EASES, Ease
from ..errors import InputError
from ..geometry.degrees import DEG, wrap_yaw_deg
from ..moments import moments_from_json
from ..records import View, ViewTrack
from .choose import FOV_RANGE_DEG, manual_viewpoint

FIELDS = ("time", "yaw", "pitch", "fov")
# Beyond, something else was pasted.
MAX_KEYFRAMES = 10_000
# Greatest error of a path that was made sparse.
SPARSE_ERROR_DEG = 1.0
# Yaw, pitch, field of view and roll: a view, or the change from one to another.
_Angles = tuple[float, float, float, float]


@dataclass(frozen=True)
class Keyframe:
    """A view at a time, in seconds from the start of the clip.

    Args:
        ease: how the view moves from here to the next keyframe: `linear` evenly, `smooth` as `view_at` says, `hold`
            not at all until the next one cuts in.
    """

    time_s: float
    view: View
    ease: Ease = "linear"


def keyframes_from_json(text: str) -> tuple[Keyframe, ...]:
    """Read keyframes from JSON: `[{"time": 0, "yaw": -30, "pitch": 0, "fov": 90}, ...]`.

    Convention: time in seconds, at least 0; angles in degrees as everywhere; any order. Each may have a "roll" in
    degrees (0) and an "ease": "linear" (taken where it is missing), "smooth" or "hold".

    Returns:
        Keyframes sorted by time; none for an empty text or list.

    Raises:
        InputError: no JSON list of such objects, an angle outside its range, or two keyframes at one time.
    """
    moments = moments_from_json(
        text, "keyframe", FIELDS[1:], ["roll"], words={"ease": EASES}, most=MAX_KEYFRAMES, example=_example()
    )
    return tuple(_keyframe(moment) for moment in moments)


def keyframes_to_json(keyframes: Sequence[Keyframe]) -> str:
    """Write the text that `keyframes_from_json` reads; a level roll and an even move are left out."""
    return json.dumps([_row(keyframe) for keyframe in keyframes])


def keyframed_track(keyframes: Sequence[Keyframe], fps: float, num_frames: int, aspect: float = 1.0) -> ViewTrack:
    """Make the view of each frame, moving from keyframe to keyframe as `view_at` does.

    Convention: frame i stands at i / fps seconds.

    Args:
        keyframes: sorted by time, at least one. aspect: of the track.

    Raises:
        InputError: no keyframe.
    """
    if not keyframes:
        raise InputError("there are no keyframes; set at least one, or choose the view in another way.")
    return ViewTrack(tuple(view_at(keyframes, i / fps) for i in range(num_frames)), aspect)


def view_at(keyframes: Sequence[Keyframe], time_s: float) -> View:
    """Interpolate the view at a time.

    Convention: yaw and roll take the shorter way round (to the left at exactly half a turn); pitch and field of view
    change as numbers, as on a tripod: a path over a pole would whirl. The first keyframe holds before its time, the
    last after its own. `linear` moves evenly. `smooth` is a cubic without a jump in speed: it starts and ends at rest,
    passes a keyframe between two smooth moves at the harmonic mean of their speeds, and at rest where an angle turns
    back there. So it never overshoots; between two keyframes alone it is 3 s² - 2 s³ of the way.

    Args:
        keyframes: sorted by time, at least one.
    """
    after = bisect_right(keyframes, time_s, key=lambda frame: frame.time_s)
    if after in (0, len(keyframes)):
        return keyframes[0 if after == 0 else -1].view
    a, b = keyframes[after - 1], keyframes[after]
    if a.ease == "hold":
        return a.view
    seconds = b.time_s - a.time_s
    share, change = (time_s - a.time_s) / seconds, _change(a, b)
    if a.ease == "linear":
        return _moved(a.view, [share * whole for whole in change])
    speeds = zip(_speed(keyframes, after - 1), _speed(keyframes, after), strict=True)
    return _moved(
        a.view,
        [_cubic(share, whole, v * seconds, w * seconds) for whole, (v, w) in zip(change, speeds, strict=True)],
    )


def keyframes_of(track: ViewTrack, fps: float, error_deg: float = SPARSE_ERROR_DEG) -> tuple[Keyframe, ...]:
    """Turn a track into a few smooth keyframes, to edit by hand.

    Convention: at each of the track's frames the camera of `view_at` is at most `error_deg` away, in the angle between
    the two cameras, roll included, and in the field of view. Where that takes more than `MAX_KEYFRAMES`, twice the
    error is allowed, and so on. A still track gives one keyframe.

    Args:
        track: at least one view; fields of view are brought to 30 to 150 degrees, the range of keyframes.
        fps: frames of the track per second. error_deg: at least 0.1, for keyframes are rounded to 0.01 degrees.
    """
    if track.is_still:
        return (Keyframe(0.0, _rounded(track.views[0])),)
    kept = {0, len(track) - 1}
    cameras, fresh = _cameras(track.views), [(0, len(track) - 1)]
    while fresh and len(kept) <= MAX_KEYFRAMES:
        order = sorted(kept)
        keys = [_smooth_key(track, i, fps) for i in order]
        worst = [_worst(track, cameras, keys, span, fps, error_deg) for span in fresh]
        kept |= (added := {i for i in worst if i is not None})
        fresh = _spans_around(sorted(kept), added)
    if len(kept) > MAX_KEYFRAMES:
        return keyframes_of(track, fps, 2 * error_deg)
    return tuple(_smooth_key(track, i, fps) for i in sorted(kept))


def _spans_around(order: Sequence[int], added: set[int]) -> list[tuple[int, int]]:
    """Pairs of neighbouring keys whose curve changes with the added keys: two on both sides of each."""
    near = {j for i, key in enumerate(order) if key in added for j in range(i - 2, i + 2)}
    return [(order[j], order[j + 1]) for j in sorted(near) if 0 <= j < len(order) - 1]


def _worst(
    track: ViewTrack, cameras: np.ndarray, keys: Sequence[Keyframe], span: tuple[int, int], fps: float, most_deg: float
) -> int | None:
    """The frame inside a span that is farthest from the track; None where all are near enough."""
    inside = range(span[0] + 1, span[1])
    if not inside:
        return None
    views = [view_at(keys, i / fps) for i in inside]
    # |A - B| of two rotations by an angle a apart is 2 sqrt(2) sin(a / 2).
    apart = np.linalg.norm(_cameras(views) - cameras[span[0] + 1 : span[1]], axis=(1, 2)) / np.sqrt(8)
    turned = 2 * np.arcsin(np.clip(apart, 0, 1)) / DEG
    zoomed = [abs(view.fov_deg - _in_range(track.views[i].fov_deg)) for view, i in zip(views, inside, strict=True)]
    error = np.maximum(turned, zoomed)
    return None if error.max() <= most_deg else inside[int(error.argmax())]


def _cameras(views: Sequence[View]) -> np.ndarray:
    """Rotations `[T, 3, 3]` of the views' cameras."""
    import torch

    from ..geometry.sphere import rotation

    angles = torch.tensor([(v.yaw_deg, v.pitch_deg, v.roll_deg) for v in views], dtype=torch.float64)
    return rotation(*angles.unbind(-1)).numpy()


def _smooth_key(track: ViewTrack, i: int, fps: float) -> Keyframe:
    return Keyframe(round(i / fps, 6), _rounded(track.views[i]), "smooth")


def _rounded(view: View) -> View:
    yaw, roll = (float(wrap_yaw_deg(round(float(angle), 2))) for angle in (view.yaw_deg, view.roll_deg))
    return View(yaw, round(view.pitch_deg, 2), round(_in_range(view.fov_deg), 2), roll)


def _in_range(fov_deg: float) -> float:
    low, high = FOV_RANGE_DEG
    return min(high, max(low, fov_deg))


def _change(a: Keyframe, b: Keyframe) -> _Angles:
    """Angles from one keyframe to the next, yaw and roll the shorter way round."""
    return (
        float(wrap_yaw_deg(b.view.yaw_deg - a.view.yaw_deg)),
        b.view.pitch_deg - a.view.pitch_deg,
        b.view.fov_deg - a.view.fov_deg,
        float(wrap_yaw_deg(b.view.roll_deg - a.view.roll_deg)),
    )


def _moved(view: View, by: Sequence[float]) -> View:
    yaw, pitch, fov, roll = by
    return View(
        float(wrap_yaw_deg(view.yaw_deg + yaw)), view.pitch_deg + pitch, view.fov_deg + fov,
        float(wrap_yaw_deg(view.roll_deg + roll)),
    )  # fmt: skip


def _speed(keyframes: Sequence[Keyframe], i: int) -> _Angles:
    """Degrees per second at which a smooth move passes keyframe i."""
    if not 0 < i < len(keyframes) - 1 or {keyframes[i - 1].ease, keyframes[i].ease} != {"smooth"}:
        return (0.0, 0.0, 0.0, 0.0)
    before, here, after = keyframes[i - 1 : i + 2]
    speeds = (
        _mean_speed(was / (here.time_s - before.time_s), will / (after.time_s - here.time_s))
        for was, will in zip(_change(before, here), _change(here, after), strict=True)
    )
    yaw, pitch, fov, roll = speeds
    return yaw, pitch, fov, roll


def _mean_speed(a: float, b: float) -> float:
    """The harmonic mean of two speeds; 0 where they differ in sign."""
    return 2 * a * b / (a + b) if a * b > 0 else 0.0


def _cubic(share: float, whole: float, start: float, end: float) -> float:
    """Hermite's cubic from 0 to `whole`, with its slopes at share 0 and 1."""
    s, rest = share, 1.0 - share
    return whole * s * s * (3 - 2 * s) + start * s * rest * rest - end * s * s * rest


def _keyframe(moment: dict[str, Any]) -> Keyframe:
    try:
        made = manual_viewpoint(moment["yaw"], moment["pitch"], moment["fov"], 1, moment.get("roll", 0.0))
    except InputError as error:
        raise InputError(f"the keyframe at {moment['time']:g} s: {error}") from None
    return Keyframe(moment["time"], made.track.views[0], moment.get("ease", "linear"))


def _row(keyframe: Keyframe) -> dict[str, Any]:
    view = keyframe.view
    row: dict[str, Any] = dict(zip(FIELDS, (keyframe.time_s, view.yaw_deg, view.pitch_deg, view.fov_deg), strict=True))
    if view.roll_deg:
        row["roll"] = view.roll_deg
    if keyframe.ease != "linear":
        row["ease"] = keyframe.ease
    return row


def _example() -> str:
    return keyframes_to_json([Keyframe(0.0, View(-30.0))])
