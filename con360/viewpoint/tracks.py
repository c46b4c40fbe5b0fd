"""Join regions of successive maps into tracks, fill their gaps and smooth them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage

from ..geometry.sphere import angles
from ..records import Region
from .regions import MIN_RELATIVE_MASS, find_regions
from .subjects import degrees_of, fill_path

# A region within this angle in the next frame is the same one; a track can lose it for this long.
MAX_STEP_DEG = 25.0
MAX_GAP_S = 1.0
SMOOTHING_S = 0.25


def vector_of(region: Region) -> tuple[float, float, float]:
    yaw, pitch = math.radians(region.yaw_deg), math.radians(region.pitch_deg)
    return math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)


def follow_regions(
    frames: np.ndarray, fps: float, threshold: float, max_tracks: int
) -> list[tuple[Region, np.ndarray]]:
    """Follow regions through time: (the region over the clip, its smoothed path `[T, 3]`), heaviest first."""
    tracks: list[dict[int, Region]] = []
    for t, frame in enumerate(frames):
        regions = find_regions(torch.from_numpy(frame), threshold, 2 * max_tracks)
        alive = [track for track in tracks if t - max(track) <= max(1.0, MAX_GAP_S * fps)]
        for track, region in _match(alive, regions):
            track[t] = region
        taken = {id(track[t]) for track in alive if t in track}
        tracks += [{t: region} for region in regions if id(region) not in taken]
    tracks.sort(key=lambda track: -sum(region.mass for region in track.values()))
    chosen: list[tuple[Region, np.ndarray]] = []
    for track in tracks:
        places = {t: np.array(vector_of(region)) for t, region in track.items()}
        path = smooth_track(fill_path(places, len(frames)), SMOOTHING_S * fps)
        # Drop tracks close to a heavier one: a region that was lost too long starts a second track.
        if all(np.median(degrees_of((path * other).sum(1))) >= MAX_STEP_DEG for _, other in chosen):
            chosen.append((_over_time(track, path, len(frames)), path))
    heavy = [item for item in chosen if item[0].mass >= MIN_RELATIVE_MASS * chosen[0][0].mass]
    return heavy[:max_tracks]


def _match(tracks: list[dict[int, Region]], regions: Sequence[Region]) -> list[tuple[dict[int, Region], Region]]:
    """Pair tracks with regions, nearest pairs first, each used once."""
    if not tracks or not regions:
        return []
    ends = np.array([vector_of(track[max(track)]) for track in tracks])
    angle = degrees_of(ends @ np.array([vector_of(region) for region in regions]).T)
    pairs = []
    while angle.min() <= MAX_STEP_DEG:
        i, j = divmod(int(angle.argmin()), angle.shape[1])
        pairs.append((tracks[i], regions[j]))
        angle[i, :] = angle[:, j] = np.inf
    return pairs


def smooth_track(path: np.ndarray, sigma: float) -> np.ndarray:
    """Smooth unit vectors along time by a Gaussian; vectors know no seam and no poles."""
    mean = ndimage.gaussian_filter1d(path, max(sigma, 1e-3), axis=0, mode="nearest")
    length = np.linalg.norm(mean, axis=1, keepdims=True)
    # Across a jump to the antipode there is no mean: keep the measured direction.
    return np.where(length > 1e-6, mean / np.maximum(length, 1e-6), path)


def _over_time(track: dict[int, Region], path: np.ndarray, num_frames: int) -> Region:
    """Make one region for a whole track: mean place, median box, mass averaged over all frames of the clip."""
    mean = path.mean(0)
    yaw, pitch = angles(torch.from_numpy(mean if np.linalg.norm(mean) > 1e-6 else path[len(path) // 2]))
    sizes = [(region.width_deg, region.height_deg) for region in track.values()]
    width, height = np.median(sizes, axis=0).tolist()
    return Region(yaw.item(), pitch.item(), width, height, sum(r.mass for r in track.values()) / num_frames)
