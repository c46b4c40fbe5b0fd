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
from ..geometry.easing import Move, Share, eased
from ..moments import moments_from_json
from ..records import View, ViewTrack
from .choose import FOV_RANGE_DEG, manual_viewpoint

FIELDS = ("time", "yaw", "pitch", "fov")
# Beyond, something else was pasted.
MAX_KEYFRAMES = 10_000
# Greatest error of a path that was made sparse.
SPARSE_ERROR_DEG = 1.0


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
    last after its own. Between them the view moves as `geometry.easing.eased` says.

    Args:
        keyframes: sorted by time, at least one.
    """
    after = bisect_right(keyframes, time_s, key=lambda frame: frame.time_s)
    if after in (0, len(keyframes)):
        return keyframes[0 if after == 0 else -1].view
    yaw, pitch, fov, roll = _on_the_way(keyframes, after - 1, time_s)
    return View(float(wrap_yaw_deg(yaw)), pitch, fov, float(wrap_yaw_deg(roll)))


def _on_the_way(keyframes: Sequence[Keyframe], i: int, time_s: Share) -> tuple[Share, ...]:
    """Yaw, pitch, field of view and roll between keyframe i and the next, at one or several times; none is wrapped."""
    a, move = keyframes[i], _move(keyframes, i)
    assert move is not None  # the last keyframe leads nowhere
    moved = eased(move, (time_s - a.time_s) / move.seconds, _move(keyframes, i - 1), _move(keyframes, i + 1))
    start = (a.view.yaw_deg, a.view.pitch_deg, a.view.fov_deg, a.view.roll_deg)
    return tuple(was + by for was, by in zip(start, moved, strict=True))


def _move(keyframes: Sequence[Keyframe], i: int) -> Move | None:
    """The way from keyframe i to the next; None outside of them."""
    if not 0 <= i < len(keyframes) - 1:
        return None
    a, b = keyframes[i], keyframes[i + 1]
    change = (
        float(wrap_yaw_deg(b.view.yaw_deg - a.view.yaw_deg)),
        b.view.pitch_deg - a.view.pitch_deg,
        b.view.fov_deg - a.view.fov_deg,
        float(wrap_yaw_deg(b.view.roll_deg - a.view.roll_deg)),
    )
    return Move(change, b.time_s - a.time_s, a.ease)


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
    views, every = _numbers(track.views), [_smooth_key(view, i / fps) for i, view in enumerate(track.views)]
    kept = {0, len(track) - 1}
    cameras, order = _cameras(views), sorted(kept)
    fresh = _spans_around(order, kept)
    while fresh and len(kept) <= MAX_KEYFRAMES:
        inside = [np.arange(order[j] + 1, order[j + 1]) for j in fresh]
        keys = [every[i] for i in order]
        path = np.hstack([_on_the_way(keys, j, frames / fps) for j, frames in zip(fresh, inside, strict=True)])
        frames = np.concatenate(inside)
        error = np.maximum(_apart_deg(_cameras(path), cameras[frames]), abs(path[2] - views[2, frames]))
        added = _worst(inside, error, error_deg)
        kept |= added
        order = sorted(kept)
        fresh = _spans_around(order, added)
    if len(kept) > MAX_KEYFRAMES:
        return keyframes_of(track, fps, 2 * error_deg)
    return tuple(every[i] for i in order)


def _spans_around(order: Sequence[int], added: set[int]) -> list[int]:
    """Positions in `order` of keys whose curve to the next one changes with the added keys: two on both sides of each.

    Spans without a frame inside are left out.
    """
    near = {j for i, key in enumerate(order) if key in added for j in range(i - 2, i + 2)}
    return [j for j in sorted(near) if 0 <= j < len(order) - 1 and order[j + 1] - order[j] > 1]


def _worst(spans: Sequence[np.ndarray], error: np.ndarray, most: float) -> set[int]:
    """The frame with the greatest error of each span where that exceeds `most`; errors of all spans are in a row."""
    errors = np.split(error, np.cumsum([len(frames) for frames in spans])[:-1])
    return {int(frames[own.argmax()]) for frames, own in zip(spans, errors, strict=True) if own.max() > most}


def _apart_deg(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angles `[T]` between cameras `[T, 3, 3]`."""
    # |A - B| of two rotations by an angle a apart is 2 sqrt(2) sin(a / 2).
    apart = np.linalg.norm(a - b, axis=(1, 2)) / np.sqrt(8)
    return 2 * np.arcsin(np.clip(apart, 0, 1)) / DEG


def _numbers(views: Sequence[View]) -> np.ndarray:
    """Yaw, pitch, field of view in the range of keyframes, and roll, `[4, T]`."""
    return np.array([(v.yaw_deg, v.pitch_deg, _in_range(v.fov_deg), v.roll_deg) for v in views], np.float64).T


def _cameras(numbers: np.ndarray) -> np.ndarray:
    """Rotations `[T, 3, 3]` of the cameras of views, `[4, T]` as `_numbers`."""
    import torch

    from ..geometry.sphere import rotation

    yaw, pitch, _, roll = torch.from_numpy(np.ascontiguousarray(numbers))
    return rotation(yaw, pitch, roll).numpy()


def _smooth_key(view: View, time_s: float) -> Keyframe:
    return Keyframe(round(time_s, 6), _rounded(view), "smooth")


def _rounded(view: View) -> View:
    yaw, roll = (float(wrap_yaw_deg(round(float(angle), 2))) for angle in (view.yaw_deg, view.roll_deg))
    return View(yaw, round(view.pitch_deg, 2), round(_in_range(view.fov_deg), 2), roll)


def _in_range(fov_deg: float) -> float:
    low, high = FOV_RANGE_DEG
    return min(high, max(low, fov_deg))


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
