"""Look at a panorama for what moves: salient regions, window by window, and how much of each is seen over time.

Shape legend: T frames of a window, K regions, H W picture.

Regions come from the saliency estimate. A region's curve is its area times how far its colours lie from the usual ones
of their latitude: it rises where a thing grows, brightens or comes nearer.

Source: ours; measured by `benchmarks/sound/finding.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from ..choices import MULTICUE
from ..errors import InputError
from ..geometry.erp import erp_area_weights, erp_directions, shrink_for
from ..geometry.sphere import directions
from ..media.reader import PanoramaStream, at_rate, small_picture
from ..records import PanoramaClip, Progress, SaliencyMaps, ViewTrack
from ..saliency.predict import predict_saliency
from ..viewpoint.choose import viewpoints
from ..viewpoint.subjects import small_maps
from ..viewpoint.tracks import SMOOTHING_S, smooth_track

# Frames a second that movement is read at, at least: at 8, what repeats four times a second cannot be seen.
MOVEMENT_FPS = 15.0
# Seconds of a window, and from one window to the next.
WINDOW_S, HOP_S = 4.0, 2.0
PICTURE_HEIGHT, MAP_HEIGHT = 128, 64
# Frames of the block before that the saliency's motion cue sees.
OVERLAP = 2
# A picture shorter than this is not compared with a sound.
SHORTEST_S = 2.0
MOST_REGIONS = 8
# A region's curve counts what lies within this angle of its path.
REACH_DEG = 25.0
CENTRINGS = 2
# Maps `[n, h, 2h]` of fresh frames; it gets the frames before them, the fresh ones and their rate.
Maps: TypeAlias = Callable[[list[Tensor], list[Tensor], float], Tensor]


@dataclass(frozen=True)
class Movement:
    """Regions of one window and how they move.

    Args:
        start_s: time of the first frame. fps: frames per second; frame i stands at start_s + i / fps.
        paths: `[K, T, 3]` unit vectors, x right, y up, z forward; the most salient region first.
        curves: `[K, T]`, share of the sphere's area times colour distance in [0, 1.7].
        movement: `[K]`, mean change of colour around the region, per second.
    """

    start_s: float
    fps: float
    paths: Tensor
    curves: Tensor
    movement: Tensor

    @property
    def stop_s(self) -> float:
        return self.start_s + self.paths.shape[1] / self.fps


def movement_of_clip(
    clip: PanoramaClip, saliency: SaliencyMaps | None = None, *, method: str | Path = MULTICUE,
    device: torch.device | str = "cpu", progress: Progress | None = None,
) -> Iterator[Movement]:  # fmt: skip
    """Look at a clip in memory.

    Args:
        clip: its sound is not listened to. saliency: maps of its frames; None estimates them.
        method, device: of the estimate, as in `predict_saliency`. progress: told per window; may raise to cancel.
    """
    if saliency is not None and len(saliency.maps) != clip.num_frames:
        raise InputError(f"{len(saliency.maps)} saliency maps came for {clip.num_frames} frames; give one per frame.")
    small = shrink_for(clip.frames, 180.0 / PICTURE_HEIGHT)
    found = _estimate(method, device) if saliency is None else _given(saliency.maps)
    return _windows(iter(small), clip.fps, found, clip.num_frames, progress)


def movement_of_stream(
    stream: PanoramaStream, start_s: float = 0.0, stop_s: float = math.inf, *, method: str | Path = MULTICUE,
    device: torch.device | str = "cpu", progress: Progress | None = None,
) -> Iterator[Movement]:  # fmt: skip
    """Watch a file of any length; memory holds one window of small frames. Times count from `start_s`.

    Args:
        method, device, progress: as in `movement_of_clip`.
    """
    fps = movement_fps(stream.info.fps)
    total = round(max(0.0, min(stop_s, stream.info.duration_s or 0.0) - start_s) * fps)
    pictures = (small_picture(pixels(), PICTURE_HEIGHT) for pixels in at_rate(stream, fps, start_s, stop_s))
    return _windows(pictures, fps, _estimate(method, device), total, progress)


def movement_fps(recorded_fps: float | None) -> float:
    """Choose frames per second: a whole part of the recorded rate, so that frames stand evenly; about 15 or more."""
    if not recorded_fps:
        return MOVEMENT_FPS
    return recorded_fps / max(1, math.floor(recorded_fps / MOVEMENT_FPS + 0.01))


def _estimate(method: str | Path, device: torch.device | str) -> Maps:
    """Estimate saliency from the picture alone: the sound must not tell where it is."""

    def maps(before: list[Tensor], fresh: list[Tensor], fps: float) -> Tensor:
        frames = torch.stack([*before, *fresh])
        found = predict_saliency(frames, method, fps=fps, height=MAP_HEIGHT, device=device)
        return found.maps[len(before) :]

    return maps


def _given(all_maps: Tensor) -> Maps:
    left = iter(small_maps(all_maps))

    def maps(before: list[Tensor], fresh: list[Tensor], fps: float) -> Tensor:
        return torch.stack(list(islice(left, len(fresh))))

    return maps


def _windows(
    pictures: Iterator[Tensor], fps: float, saliency: Maps, total: int, progress: Progress | None
) -> Iterator[Movement]:
    """Take frames in hops; after each, watch the window that ends with it."""
    length, hop = round(WINDOW_S * fps), round(HOP_S * fps)
    frames: list[Tensor] = []
    maps = torch.empty(0, MAP_HEIGHT, 2 * MAP_HEIGHT)
    seen = 0
    while fresh := list(islice(pictures, hop)):
        maps = torch.cat((maps, saliency(frames[-OVERLAP:], fresh, fps)))[-length:]
        frames, seen = [*frames, *fresh][-length:], seen + len(fresh)
        if progress is not None:
            progress(seen, max(seen, total), "watching what moves")
        if seen >= length:
            yield _watched(torch.stack(frames), maps, fps, (seen - len(frames)) / fps)
    if SHORTEST_S * fps <= seen < length:
        yield _watched(torch.stack(frames), maps, fps, 0.0)


def _watched(frames: Tensor, maps: Tensor, fps: float, start_s: float) -> Movement:
    height, width = frames.shape[-2:]
    area = erp_area_weights(height) / width
    off = (frames - frames.median(-1, keepdim=True).values).square().sum(1).sqrt() * area
    change = (frames[1:] - frames[:-1]).square().sum(1).sqrt() * area * fps
    found = viewpoints(SaliencyMaps(maps, ""), fps, mode="track", max_viewpoints=MOST_REGIONS)
    regions = [_region(off, change, area, _path(one.track), fps) for one in found if one.region is not None]
    paths, curves, movement = zip(*regions, strict=True) if regions else ((), (), ())
    if not regions:
        return Movement(start_s, fps, torch.zeros(0, len(frames), 3), torch.zeros(0, len(frames)), torch.zeros(0))
    return Movement(start_s, fps, torch.stack(paths), torch.stack(curves), torch.stack(movement))


def _path(track: ViewTrack) -> Tensor:
    yaws, pitches = ([getattr(view, name) for view in track.views] for name in ("yaw_deg", "pitch_deg"))
    return directions(torch.tensor(yaws), torch.tensor(pitches))


def _region(off: Tensor, change: Tensor, area: Tensor, path: Tensor, fps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Centre a path on the colours around it and measure its curve and movement.

    Saliency prefers the horizon: it leads a path up to 14 degrees away from what it follows.
    """
    rays = erp_directions(off.shape[-2])
    for _ in range(CENTRINGS):
        seen = off * _near(rays, path)
        path = torch.from_numpy(smooth_track(torch.einsum("thw,hwc->tc", seen, rays).numpy(), SMOOTHING_S * fps))
    near = _near(rays, path)
    return path, (off * near).sum((1, 2)), (change * near[1:]).sum() / (area * near[1:]).sum()


def _near(rays: Tensor, path: Tensor) -> Tensor:
    """Mask `[T, H, W]` of what lies within `REACH_DEG` of a path `[T, 3]`."""
    return (rays @ path.T > math.cos(math.radians(REACH_DEG))).movedim(-1, 0)
