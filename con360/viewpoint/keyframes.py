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
from ..geometry.easing import Move, eased
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
    a, move = keyframes[after - 1], _move(keyframes, after - 1)
    assert move is not None  # the last keyframe was dealt with
    share = (time_s - a.time_s) / move.seconds
    yaw, pitch, fov, roll = eased(move, share, _move(keyframes, after - 2), _move(keyframes, after))
    return View(
        float(wrap_yaw_deg(a.view.yaw_deg + yaw)), a.view.pitch_deg + pitch, a.view.fov_deg + fov,
        float(wrap_yaw_deg(a.view.roll_deg + roll)),
    )  # fmt: skip


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
