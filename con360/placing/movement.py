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
import torch.nn.functional as F
from torch import Tensor

from ..choices import MULTICUE
from ..errors import InputError
from ..geometry.erp import erp_area_weights, erp_directions, shrink_for
from ..geometry.sphere import directions
from ..media.reader import PanoramaStream, at_rate, small_picture
from ..records import PanoramaClip, Progress, SaliencyMaps, ViewTrack
from ..saliency.colours import unusual_colours
from ..saliency.predict import predict_saliency
from ..viewpoint.choose import viewpoints
from ..viewpoint.subjects import fill_path, small_maps
from ..viewpoint.tracks import SMOOTHING_S, smooth_track

# Frames a second that movement is read at, at least: at 8, what repeats four times a second cannot be seen.
MOVEMENT_FPS = 15.0
# Seconds of a window, and from one window to the next.
WINDOW_S, HOP_S = 4.0, 2.0
PICTURE_HEIGHT, MAP_HEIGHT, CURVE_HEIGHT = 128, 64, 64
# Maps a second that are estimated: regions move slowly. Of the block before, so many frames are seen for motion.
MAP_FPS, OVERLAP = 5.0, 2
# A picture shorter than this, or with fewer frames a second, is not compared with a sound.
SHORTEST_S, SLOWEST_FPS = 2.0, 6.0
MOST_REGIONS = 8
# A region's curve counts what lies within this angle of its path.
REACH_DEG = 25.0
CENTRINGS = 2
# Maps `[n, h, 2h]` of the next frames `[n, 3, H, 2H]` at a rate.
Maps: TypeAlias = Callable[[Tensor, float], Tensor]


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
    """Watch a clip in memory.

    Args:
        clip: its sound is not listened to. saliency: maps of its frames; None estimates them.
        method, device: of the estimate, as in `predict_saliency`. progress: told per window; may raise to cancel.

    Yields:
        Windows of 4 s, one each 2 s; the last ends with the clip. None for a clip shorter than 2 s.

    Raises:
        InputError: NaN or infinity in the frames, or another number of maps than frames.
    """
    if not torch.isfinite(clip.frames).all():
        raise InputError("the frames hold NaN or infinite values; give finite pixels in [0, 1].")
    if saliency is not None and len(saliency.maps) != clip.num_frames:
        raise InputError(f"{len(saliency.maps)} saliency maps came for {clip.num_frames} frames; give one per frame.")
    small = shrink_for(clip.frames, 180.0 / PICTURE_HEIGHT)
    found = _estimate(method, device) if saliency is None else _given(saliency.maps[:: _step(clip.fps)])
    return _windows(iter(small), clip.fps, found, clip.num_frames, progress)


def movement_of_stream(
    stream: PanoramaStream, start_s: float = 0.0, stop_s: float = math.inf, *, method: str | Path = MULTICUE,
    device: torch.device | str = "cpu", progress: Progress | None = None,
) -> Iterator[Movement]:  # fmt: skip
    """Watch a file of any length; memory holds one window of small frames. Times count from `start_s`.

    Args:
        method, device, progress: as in `movement_of_clip`.

    Yields, raises: as `movement_of_clip`.
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


def _step(fps: float) -> int:
    """Frames from one map to the next."""
    return max(1, int(fps / MAP_FPS))


def _estimate(method: str | Path, device: torch.device | str) -> Maps:
    """Estimate saliency from the picture alone: the sound must not tell where it is."""
    before = torch.empty(0)

    def maps(frames: Tensor, fps: float) -> Tensor:
        nonlocal before
        known, count = torch.cat((before, frames)) if len(before) else frames, len(before)
        before = known[-OVERLAP:]
        return predict_saliency(known, method, fps=fps, height=MAP_HEIGHT, device=device).maps[count:]

    return maps


def _given(all_maps: Tensor) -> Maps:
    left = iter(small_maps(all_maps))
    return lambda frames, fps: torch.stack(list(islice(left, len(frames))))


def _windows(
    pictures: Iterator[Tensor], fps: float, saliency: Maps, total: int, progress: Progress | None
) -> Iterator[Movement]:
    """Take frames in hops; after each, watch the window that ends with it."""
    step = _step(fps)
    hop = step * max(1, round(HOP_S * fps / step))
    frames, maps, seen = torch.empty(0), torch.empty(0), 0
    while fresh := list(islice(pictures, hop)):
        block = torch.stack(fresh)
        maps = torch.cat((maps, saliency(block[::step], fps / step)))
        frames = torch.cat((frames, shrink_for(block, 180.0 / CURVE_HEIGHT)))
        seen += len(block)
        if progress is not None:
            progress(seen, max(seen, total), "watching what moves")
        # The last window reaches back into the one before, by whole steps of the maps.
        surplus = max(0, len(frames) - round(WINDOW_S / HOP_S) * hop) // step
        frames, maps = frames[surplus * step :], maps[surplus:]
        if len(frames) > hop:
            yield _watched(frames, maps, fps, step, (seen - len(frames)) / fps)
    if SHORTEST_S * fps <= seen <= hop:
        yield _watched(frames, maps, fps, step, 0.0)


def _watched(frames: Tensor, maps: Tensor, fps: float, step: int, start_s: float) -> Movement:
    """Find the regions of frames `[T, 3, H, W]` whose every `step`-th has a map."""
    off, change, area = _seen(frames, fps)
    found = viewpoints(SaliencyMaps(maps, ""), fps / step, mode="track", max_viewpoints=MOST_REGIONS)
    tracks = [one.track for one in found if one.region is not None]
    regions = [_region(off, change, area, _path(track, step, len(frames)), fps) for track in tracks]
    paths, curves, movement = zip(*regions, strict=True) if regions else ((), (), ())
    if not regions:
        return Movement(start_s, fps, torch.zeros(0, len(frames), 3), torch.zeros(0, len(frames)), torch.zeros(0))
    return Movement(start_s, fps, torch.stack(paths), torch.stack(curves), torch.stack(movement))


def curve_along(clip: PanoramaClip, track: ViewTrack) -> Tensor:
    """Return the curve `[T]` of what lies in the views' middle, as `Movement.curves` has it for regions.

    Args:
        track: one view per frame.
    """
    frames = shrink_for(clip.frames, 180.0 / CURVE_HEIGHT)
    return _region(*_seen(frames, clip.fps), _path(track, 1, len(frames)), clip.fps)[1]


def _seen(frames: Tensor, fps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Distance from the usual colours and change of colour per second, by area; and each pixel's area."""
    height, width = frames.shape[-2:]
    area = erp_area_weights(height) / width
    off = unusual_colours(frames) * area
    return off, (frames[1:] - frames[:-1]).square().sum(1).sqrt() * area * fps, area


def _path(track: ViewTrack, step: int, count: int) -> Tensor:
    """Directions `[count, 3]` of a track with a view for each `step` frames."""
    yaws, pitches = ([getattr(view, name) for view in track.views] for name in ("yaw_deg", "pitch_deg"))
    known = directions(torch.tensor(yaws), torch.tensor(pitches)).numpy()
    return torch.from_numpy(fill_path(dict(zip(range(0, count, step), known, strict=True)), count)).float()


def _region(off: Tensor, change: Tensor, area: Tensor, path: Tensor, fps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Centre a path on the colours around it and measure its curve and movement.

    Saliency prefers the horizon: it leads a path up to 14 degrees away from what it follows.
    """
    rays = erp_directions(off.shape[-2])
    for _ in range(CENTRINGS):
        # A plain surround leaves the path where it is.
        centre = torch.einsum("thw,hwc->tc", off * _near(rays, path), rays) + 1e-6 * path
        path = torch.from_numpy(smooth_track(F.normalize(centre, dim=-1).numpy(), SMOOTHING_S * fps))
    near = _near(rays, path)
    return path, (off * near).sum((1, 2)), (change * near[1:]).sum() / (area * near[1:]).sum()


def _near(rays: Tensor, path: Tensor) -> Tensor:
    """Mask `[T, H, W]` of what lies within `REACH_DEG` of a path `[T, 3]`."""
    return (rays @ path.T > math.cos(math.radians(REACH_DEG))).movedim(-1, 0)
