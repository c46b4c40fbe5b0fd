"""Draft a time track from a picture: when something there grows or brightens, and how much of it is seen over time.

A draft is to be looked at and edited. A drumstick is seen before it strikes; what sounds without moving is not found.

Source: ours; the curve is that of `placing.movement`.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from ..choices import MULTICUE
from ..errors import InputError
from ..records import Envelope, OnsetTrack, PanoramaClip, Progress, Signal, TimeTrack, ViewTrack
from ..saliency.region_motion import REACH_DEG
from ..sound.envelopes import curve_at, frame_times_s
from ..sound.time_tracks import ONSET_RMS
from .movement import SHORTEST_S, WINDOW_S, curve_along, movement_of_clip

# Frames a second that a file is read at, where it has them: half a frame is the error of a time.
PICTURE_TIMES_FPS = 30.0
# Of the curve's range: a rise that counts as an onset, and a change from frame to frame that goes on with a rise.
LEAST_RISE, RISING = 0.25, 0.02
# A curve whose range is below this mean distance of colours, or below this share of its mean, stands still.
STILL, STILL_SHARE = 0.01, 0.05
# Share of the sphere that a region's curve counts.
REACH = (1 - math.cos(math.radians(REACH_DEG))) / 2
# Onsets fewer frames apart than this may be any rhythm.
LEAST_FRAMES = 3

Box = tuple[float, float, float, float]


def picture_times_fps(recorded_fps: float | None) -> float:
    """Choose frames per second to read a file at: a whole part of the recorded rate, 30 or more where it has them."""
    if not recorded_fps:
        return PICTURE_TIMES_FPS
    return recorded_fps / max(1, math.floor(recorded_fps / PICTURE_TIMES_FPS + 0.01))


def time_track_of_region(
    clip: PanoramaClip, rank: int = 1, *, method: str | Path = MULTICUE, device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> tuple[TimeTrack, tuple[str, ...]]:  # fmt: skip
    """Draft a track from a salient region.

    Args:
        clip: 2 to 4 s, at 15 frames a second or more; times are known to half a frame. rank: from 1, the most salient.
        method, device, progress: of the saliency estimate, as in `movement_of_clip`.

    Returns:
        The track, and notices with its resolution.

    Raises:
        InputError: a clip of another length, no such region, or one that neither grows nor brightens.
    """
    seconds = clip.num_frames / clip.fps
    # Four seconds at 29.97 frames a second are a little more.
    if not SHORTEST_S <= seconds <= WINDOW_S + 1 / clip.fps:
        raise InputError(
            f"the clip lasts {seconds:g} s; a region is watched for {SHORTEST_S:g} to {WINDOW_S:g} s. Take a part of "
            f"it, or give a direction."
        )
    window = next(iter(movement_of_clip(clip, method=method, device=device, progress=progress)))
    if not 1 <= rank <= len(window.curves):
        raise InputError(f"region {rank} was asked for and {len(window.curves)} were found; choose one of them.")
    return time_track_of_curve(Signal(window.curves[rank - 1] / REACH, clip.fps))


def time_track_of_direction(clip: PanoramaClip, track: ViewTrack) -> tuple[TimeTrack, tuple[str, ...]]:
    """Draft a track from what lies within 25 degrees of the views' middle.

    Args:
        track: one view per frame.

    Returns, raises: as `time_track_of_region`; also a track of another length.
    """
    if len(track) != clip.num_frames:
        raise InputError(f"the view has {len(track)} frames and the clip {clip.num_frames}; give one per frame.")
    return time_track_of_curve(Signal(curve_along(clip, track) / REACH, clip.fps))


def time_track_of_view(
    frames: Tensor, fps: float, box: Box = (0.0, 0.0, 1.0, 1.0)
) -> tuple[TimeTrack, tuple[str, ...]]:
    """Draft a track from an object's box in a flat picture.

    Args:
        frames: `[T, 3, H, W]` in [0, 1]. box: left, top, right, bottom as shares of width and height.

    Returns, raises: as `time_track_of_region`; also a box without pixels.
    """
    left, top, right, bottom = (
        round(edge * size) for edge, size in zip(box, (*reversed(frames.shape[-2:]),) * 2, strict=True)
    )
    inside = frames[..., max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if not inside.numel():
        raise InputError(f"the box {box} holds no pixel; give left, top, right, bottom as shares from 0 to 1.")
    usual = frames.flatten(2).median(-1).values[..., None, None]
    return time_track_of_curve(Signal((inside - usual).square().sum(1).sqrt().mean((1, 2)), fps))


def time_track_of_curve(curve: Signal) -> tuple[TimeTrack, tuple[str, ...]]:
    """Draft a track from how much is seen over time.

    Convention: frame i stands at i / fps. An onset stands where a rise of a quarter of the range or more has come
    half way; of a rise from one frame to the next, that is between them. Falls are no onsets. The loudest moment gets
    the level of an onset of strength 1.

    Args:
        curve: `[T]`, mean distance of the colours there from the usual ones, 0 to 1.73.

    Returns, raises: as `time_track_of_region`.
    """
    values, fps = curve.values.double(), curve.rate_hz
    low, high = float(values.min()), float(values.max())
    if len(values) < 2 or not high - low > max(STILL, STILL_SHARE * float(values.mean())):
        raise InputError("nothing grows or brightens there; choose another region or direction, or take the sound.")
    shares = (values - low) / (high - low)
    runs = _risen(shares)
    found = [(_half_way(shares, a, b) / fps, float(shares[b] - shares[a])) for a, b in runs]
    largest = max((rise for _, rise in found), default=1.0)
    times, strengths = tuple(time for time, _ in found), tuple(rise / largest for _, rise in found)
    count = max(round(curve.duration_s * Envelope.rate_hz), 1)
    # The curve's values stand at the frames' beginnings, an envelope's at the middles.
    levels = curve_at(shares, fps, frame_times_s(count).double() + 0.5 / fps) * ONSET_RMS
    onsets = OnsetTrack(times, strengths, (), curve.duration_s, "picture") if times else None
    return TimeTrack(onsets, Envelope(levels.float())), _notices(shares, runs, times, fps)


def _risen(shares: Tensor) -> list[tuple[int, int]]:
    """Frames from which and to which the curve rises without a pause, where that is enough for an onset."""
    rising = (shares.diff() > RISING).tolist()
    runs: list[tuple[int, int]] = []
    for i, rises in enumerate(rising):
        if rises and runs and runs[-1][1] == i:
            runs[-1] = (runs[-1][0], i + 1)
        elif rises:
            runs.append((i, i + 1))
    return [(a, b) for a, b in runs if shares[b] - shares[a] >= LEAST_RISE]


def _half_way(shares: Tensor, first: int, last: int) -> float:
    """Frame, with its fraction, at which a rise has come half way."""
    half = float(shares[first] + shares[last]) / 2
    i = next(i for i in range(first, last) if shares[i + 1] >= half)
    return i + (half - float(shares[i])) / float(shares[i + 1] - shares[i])


def _notices(shares: Tensor, runs: list[tuple[int, int]], times: tuple[float, ...], fps: float) -> tuple[str, ...]:
    """Say how exact the times are, and where the picture may be too slow for what happens in it."""
    said = [f"times from the picture are known to {500 / fps:.0f} ms, half a frame at {fps:g} frames a second"]
    gaps = sorted(after - before for before, after in zip(times, times[1:], strict=False))
    if gaps and gaps[len(gaps) // 2] < (LEAST_FRAMES - 0.5) / fps:
        said.append(
            f"onsets lie under {LEAST_FRAMES} frames apart, and at {fps:g} frames a second their rhythm may be "
            f"another; read the picture at a higher rate"
        )
    flashes = sum(b + 1 < len(shares) and shares[b + 1] < (shares[a] + shares[b]) / 2 for a, b in runs)
    if 2 * flashes > len(runs):
        said.append(
            f"what is seen there lasts about a frame; at {fps:g} frames a second, more of it may lie between frames"
        )
    return tuple(said)
