"""Make tracks of sources from keyframes, views, depth maps and a stereo sound's own panning.

A salient region's track is that of its viewpoint: `track_of_views(viewpoint.track, fps)`.

Source: method notes "Where: sources, depth, rendering".
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..choices import EASES
from ..errors import InputError
from ..geometry.degrees import wrap_yaw_deg
from ..geometry.easing import Move, eased
from ..geometry.erp import sample_erp
from ..geometry.sphere import directions, rotation
from ..moments import moments_from_json
from ..records import Sound, SourcePoint, SourceTrack, ViewTrack
from .moving import mix_blocks, rows_of
from .sources import check_track, path_of
from .stereo import SPEAKER_YAW_DEG, law_gains, law_yaw_deg

# Of each moment in JSON. `fov` and `roll` are a view's and say nothing about a source.
FIELDS = ("time", "yaw", "pitch", "distance", "spread", "gain")
# Points of an hour at 60 frames a second.
MAX_POINTS = 216_000
# Distances and panning are smoothed by a Gaussian of this sigma; panning is measured in rows.
SMOOTHING_S = 0.3
ROW_S = 0.04
# A move that is not even becomes points this far apart; a hold ends so long before its cut.
EASED_STEP_S, CUT_S = 0.05, 0.001
_DEFAULTS = tuple(zip(FIELDS[1:], (0.0, 0.0, 1.0, 0.0, 0.0), strict=True))


def track_from_json(text: str) -> SourceTrack:
    """Read a track: `[{"time": 0, "yaw": -30, "pitch": 0, "distance": 2, "spread": 0, "gain": 0}, ...]`.

    Convention: units of `SourcePoint`; only time and yaw are needed. Keyframes of a viewpoint are read as well; a
    move with an "ease" becomes points 0.05 s apart.

    Raises:
        InputError: no JSON list of such objects, none at all, or a value out of its range.
    """
    example = track_to_json(SourceTrack.still(SourcePoint(-30.0)))
    optional = (*FIELDS[2:], "fov", "roll")
    moments = moments_from_json(
        text, "source point", ["yaw"], optional, words={"ease": EASES}, most=MAX_POINTS, example=example
    )
    if not moments:
        raise InputError(f"the source has no point; wanted a list like {example}.")
    times_s = [moment["time"] for moment in moments]
    rows = [tuple(moment.get(name, default) for name, default in _DEFAULTS) for moment in moments]
    moves = [
        Move(_change(a, b), later - time_s, moment.get("ease", "linear"))
        for a, b, time_s, later, moment in zip(rows, rows[1:], times_s, times_s[1:], moments, strict=False)
    ]
    found = [point for i, row in enumerate(rows) for point in _points(times_s[i], row, moves, i)]
    return check_track(SourceTrack(tuple(t for t, _ in found), tuple(SourcePoint(*row) for _, row in found)))


def _change(a: tuple[float, ...], b: tuple[float, ...]) -> tuple[float, ...]:
    return (float(wrap_yaw_deg(b[0] - a[0])), *(y - x for x, y in zip(a[1:], b[1:], strict=True)))


def _points(time_s: float, row: tuple[float, ...], moves: list[Move], i: int) -> Iterator[tuple[float, tuple]]:
    """A point, and those on the way to the next where it is not even; each with its time."""
    yield time_s, row
    if i == len(moves) or moves[i].ease == "linear":
        return
    move, before, after = moves[i], moves[i - 1] if i else None, moves[i + 1] if i + 1 < len(moves) else None
    cut = [move.seconds - CUT_S] if move.seconds > CUT_S else []
    steps = cut if move.ease == "hold" else np.arange(EASED_STEP_S, move.seconds - CUT_S, EASED_STEP_S).tolist()
    for step in steps:
        moved = eased(move, step / move.seconds, before, after)
        yield time_s + step, tuple(was + by for was, by in zip(row, moved, strict=True))


def track_to_json(track: SourceTrack) -> str:
    """Write the text that `track_from_json` reads."""
    rows = [
        (time_s, p.yaw_deg, p.pitch_deg, p.distance_m, p.spread_deg, p.gain_db)
        for time_s, p in zip(track.times_s, track.points, strict=True)
    ]
    return json.dumps([dict(zip(FIELDS, row, strict=True)) for row in rows])


def track_of_views(views: ViewTrack, fps: float) -> SourceTrack:
    """Make the track of a source that stays in the middle of a view."""
    if views.is_still:
        return SourceTrack.still(SourcePoint(views.views[0].yaw_deg, views.views[0].pitch_deg))
    points = tuple(SourcePoint(view.yaw_deg, view.pitch_deg) for view in views.views)
    return SourceTrack(tuple(i / fps for i in range(len(points))), points)


def track_of_depth(
    track: SourceTrack, maps: Iterable[Tensor], fps: float, *, near_m: float = 1.0, far_m: float = 10.0,
    width_deg: float = 20.0, height_deg: float = 20.0,
) -> SourceTrack:  # fmt: skip
    """Give a track the distances that depth maps show around it: the median of a box's inner half, smoothed by 0.3 s.

    Convention: a map's value d in [0, 1] is 1 at `near_m` and 0 at `far_m`: r = near + (far - near) (1 - d).

    Args:
        maps: `[H, W]` over the panorama, one after the other; map i stands at i / fps seconds.
        width_deg, height_deg: of the box around the source.

    Raises:
        InputError: an unusable track, no map, a value outside [0, 1], or distances that are not 0 < near < far.
    """
    if not 0 < near_m < far_m:
        raise InputError(f"near is {near_m:g} m and far {far_m:g} m; wanted 0 < near < far.")
    path, depths = path_of(check_track(track)), []
    for i, one in enumerate(maps):
        depths.append(_depth_around(path([i / fps])[0], one, width_deg, height_deg))
        if not 0 <= depths[-1] <= 1:
            raise InputError(
                f"depth map {i + 1} shows {depths[-1]:g}; wanted 0 (far) to 1 (near). Scale the maps first."
            )
    if not depths:
        raise InputError("there is no depth map; give at least one.")
    seen_s = np.arange(len(depths)) / fps
    smooth = ndimage.gaussian_filter1d(np.array(depths), SMOOTHING_S * fps, mode="nearest")
    times_s = np.union1d(track.times_s, seen_s)
    rows = path(times_s)
    rows[:, 2] = near_m + (far_m - near_m) * (1 - np.interp(times_s, seen_s, smooth))
    return SourceTrack(tuple(times_s.tolist()), tuple(SourcePoint(*row) for row in rows.tolist()))


def _depth_around(point: np.ndarray, one: Tensor, width_deg: float, height_deg: float) -> float:
    """Median of a map in the inner half of a box around a point; NaN where a value is not finite."""
    across, up = (torch.linspace(-size / 4, size / 4, 9) for size in (width_deg, height_deg))
    box = directions(across, up[:, None]) @ rotation(point[0], point[1]).T
    seen = sample_erp(one[None, None].float(), box, "nearest")
    return float(seen.median()) if bool(seen.isfinite().all()) else math.nan


# Panning --------------------------------------------------------------------------------------------------------------


def panned_tracks(sound: Sound) -> tuple[tuple[Sound, SourceTrack], ...]:
    """Split a stereo sound into what is panned, with its track by the tangent law, and the rest of each channel.

    Convention: one direction at a time, broad-band, per 40 ms, smoothed by 0.3 s. Panned again, the parts add up to the
    sound.

    Returns:
        The panned source, the rest of left and the rest of right, each mono and as long as the sound, with the tracks
        that `panning_tracks` gives them.

    Raises:
        InputError: the sound is not stereo.
    """
    if sound.layout != "stereo":
        raise InputError(f"a stereo sound was wanted; this is {sound.layout} with {sound.waveform.shape[0]} channels.")
    track = panned_track([sound.waveform], sound.sample_rate_hz)
    empty = sound.waveform.new_zeros(3, 0)
    parts = torch.cat([empty, *unpanned_blocks([sound.waveform], sound.sample_rate_hz, track)], dim=1)
    tracks = panning_tracks(track)
    return tuple((Sound(part[None], sound.sample_rate_hz), one) for part, one in zip(parts, tracks, strict=True))


def panned_track(blocks: Iterable[Tensor], rate_hz: int) -> SourceTrack:
    """Track of what is panned in stereo blocks `[2, n]`, by the tangent law; silence keeps the direction before."""
    rows = np.array([_powers(row) for row in rows_of(blocks, max(1, round(ROW_S * rate_hz)))]).reshape(-1, 3)
    smooth = ndimage.gaussian_filter1d(rows, SMOOTHING_S / ROW_S, axis=0, mode="nearest")
    heard = smooth[:, 0] + smooth[:, 1] > 0
    if not heard.any():
        return SourceTrack.still(SourcePoint(0.0))
    left, right, both = torch.from_numpy(smooth[heard]).unbind(1)
    total, both = left + right, both.clamp_min(0)
    # The principal axis of left and right. Sound that is wide or out of phase has none, and pulls to the centre.
    strength = torch.hypot(left - right, 2 * both) / total
    angle = 0.5 * torch.atan2(2 * both + (1 - strength) ** 2 * total, left - right)
    yaws = law_yaw_deg(angle.cos(), angle.sin(), "tangent")
    times_s = ((np.flatnonzero(heard) + 0.5) * ROW_S).tolist()
    return SourceTrack(tuple(times_s), tuple(SourcePoint(yaw) for yaw in yaws.tolist()))


def panning_tracks(track: SourceTrack) -> tuple[SourceTrack, SourceTrack, SourceTrack]:
    """Tracks of the three parts that `unpanned_blocks` makes: the source's own, and the loudspeakers at -30 and 30."""
    first = replace(track.points[0], pitch_deg=0.0)
    left, right = (SourceTrack.still(replace(first, yaw_deg=side * SPEAKER_YAW_DEG["tangent"])) for side in (-1, 1))
    return track, left, right


def unpanned_blocks(blocks: Iterable[Tensor], rate_hz: int, track: SourceTrack) -> Iterator[Tensor]:
    """Split stereo blocks `[2, n]` into the panned source, the rest of left and the rest of right, `[3, n]`."""
    path = path_of(track)

    def matrices(times_s: np.ndarray) -> Tensor:
        gains = law_gains(torch.from_numpy(path(times_s)[:, 0]), "tangent")
        rest = torch.eye(2, dtype=gains.dtype) - gains[:, :, None] * gains[:, None]
        return torch.cat((gains[:, None], rest), 1)

    return mix_blocks(blocks, rate_hz, matrices)


def _powers(row: Tensor) -> tuple[float, float, float]:
    left, right = row.double()
    return float(left @ left), float(right @ right), float(left @ right)
