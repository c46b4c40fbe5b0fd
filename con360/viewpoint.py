"""From saliency to viewpoints: regions, their centroids and boxes, and the view or the track that looks at them.

Shape legend: T frames, H W map rows and columns.

Source: paper section 2.1 (normalise, threshold, regions, centroids and boxes). Thresholding at half of the range, the
sphere's own weights and the tracks are ours; nothing is published about them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from scipy import ndimage

from .errors import InputError
from .framing import degrees_of, fill_path, find_subjects, follow_subjects
from .geometry.erp import erp_area_weights, erp_directions
from .geometry.labels import label_sphere
from .geometry.perspective import to_camera
from .geometry.sphere import angles, wrap_yaw_deg
from .records import Region, SaliencyMaps, View, Viewpoint, ViewTrack

# What a viewpoint looks at: a subject, or the paper's centroid of a region cut out by a threshold.
Ranking = Literal["subject", "centroid"]
RANKINGS: tuple[str, ...] = get_args(Ranking)
FOV_RANGE_DEG = (30.0, 150.0)
DEFAULT_FOV_DEG = 90.0
# A field of view taken from a region's box: room around it, and what a view can reasonably show.
BOX_MARGIN = 1.2
BOX_FOV_RANGE_DEG = (60.0, 120.0)
# Specks: regions lighter than this share of the heaviest are not worth a viewpoint.
MIN_RELATIVE_MASS = 0.02
# A region seen again within this angle in the next frame is the same; a track may lose it for this long.
MAX_STEP_DEG = 25.0
MAX_GAP_S = 1.0
SMOOTHING_S = 0.25


def _as_maps(maps: torch.Tensor) -> np.ndarray:
    """`[T, H, W]` float64, checked."""
    maps = torch.as_tensor(maps).detach().to(device="cpu", dtype=torch.float64)
    if maps.dim() not in (2, 3) or not maps.numel():
        raise InputError(f"saliency must be [H, W] or [T, H, W], not {list(maps.shape)}; give one map per frame.")
    if not torch.isfinite(maps).all():
        raise InputError("the saliency map holds NaN or infinite values; give finite numbers.")
    return (maps if maps.dim() == 3 else maps[None]).numpy()


def _describe(saliency: np.ndarray, chosen: np.ndarray, dirs: torch.Tensor, weight: np.ndarray) -> Region:
    """Centroid, box and mass of the pixels `chosen [H, W]`; `weight [H, W]` is saliency times area and sums to 1."""
    inside, share = dirs[torch.from_numpy(chosen)], torch.from_numpy(weight[chosen])
    mean = (inside * share[:, None]).sum(0)
    if mean.norm() < 1e-6 * share.sum():
        # A ring around the whole sphere has no centre: look at its brightest place.
        mean = inside[int(saliency[chosen].argmax())]
    yaw_deg, pitch_deg = (float(angle) for angle in angles(mean))
    across, up = angles(to_camera(inside, View(yaw_deg, pitch_deg)))
    pixel_deg = 180.0 / len(saliency)
    return Region(
        yaw_deg,
        pitch_deg,
        width_deg=min(360.0, 2 * across.abs().max().item() + pixel_deg),
        height_deg=min(180.0, 2 * up.abs().max().item() + pixel_deg),
        mass=min(1.0, share.sum().item()),
    )


def find_regions(maps: torch.Tensor, threshold: float = 0.5, max_regions: int = 8) -> tuple[Region, ...]:
    """Salient regions of one map, or of the mean of several.

    Convention: the map is brought to [0, 1] by its minimum and maximum, then cut at `threshold`; regions join over
    diagonals, across the seam and over the poles. A centroid is the mean of unit vectors weighted by saliency and by
    each pixel's area on the sphere; its box is centred on it, measured in a frame that looks at it, and holds the whole
    region. Specks below 2 % of the heaviest region are left out.

    Args:
        maps: `[H, W]` or `[T, H, W]`, any finite range, `W = 2 H`.
        threshold: in (0, 1). max_regions: at most so many are returned.

    Returns:
        Regions, the greatest saliency mass first; none for a flat map.

    Raises:
        InputError: another shape, NaN, or a threshold outside (0, 1).
    """
    if not 0 < threshold < 1:
        raise InputError(f"the saliency threshold is {threshold:g}; choose one between 0 and 1.")
    mean = _as_maps(maps).mean(0)
    height, width = mean.shape
    spread = mean.max() - mean.min()
    if spread <= 1e-6 * max(1.0, np.abs(mean).max()):
        return ()
    saliency = (mean - mean.min()) / spread
    weight = saliency * erp_area_weights(height, dtype=torch.float64).numpy()
    weight /= weight.sum()
    labels = label_sphere(saliency >= threshold)
    dirs = erp_directions(height, dtype=torch.float64, width=width)
    masses = np.bincount(labels.ravel(), weight.ravel())
    masses[labels[saliency < threshold]] = 0.0
    heavy = [k for k in np.argsort(-masses, kind="stable") if masses[k] >= MIN_RELATIVE_MASS * masses.max()]
    return tuple(_describe(saliency, labels == k, dirs, weight) for k in heavy[:max_regions])


def check_fov_deg(fov_deg: float) -> float:
    """A field of view that a viewpoint may have.

    Convention: across and down alike, 30 to 150 degrees.

    Raises:
        InputError: outside the range, or not a number.
    """
    low, high = FOV_RANGE_DEG
    if not low <= fov_deg <= high:
        raise InputError(f"a field of view of {fov_deg:g} degrees was asked for; choose one from {low:g} to {high:g}.")
    return float(fov_deg)


def manual_viewpoint(yaw_deg: float, pitch_deg: float, fov_deg: float, num_frames: int) -> Viewpoint:
    """A still view set by hand.

    Convention: yaw right-positive, any finite number, wrapped to [-180, 180); pitch up-positive; rank 0, no region.

    Args:
        pitch_deg: in [-90, 90]. fov_deg: in [30, 150]. num_frames: length of the track, at least 1.

    Raises:
        InputError: an angle outside its range, or not a number.
    """
    if not math.isfinite(yaw_deg):
        raise InputError(f"the yaw is {yaw_deg}; give a finite number of degrees, 0 is the panorama's centre.")
    if not -90.0 <= pitch_deg <= 90.0:
        raise InputError(f"a pitch of {pitch_deg:g} degrees was asked for; choose one from -90 (down) to 90 (up).")
    if num_frames < 1:
        raise InputError(f"a view for {num_frames} frames was asked for; give at least one frame.")
    view = View(float(wrap_yaw_deg(float(yaw_deg))), float(pitch_deg), check_fov_deg(fov_deg))
    return Viewpoint(0, None, ViewTrack.still(view, num_frames))


def box_fov_deg(region: Region) -> float:
    """A field of view that holds a region's box.

    Convention: the larger side with a fifth more, at least 60, at most 120 degrees.
    """
    low, high = BOX_FOV_RANGE_DEG
    return min(high, max(low, BOX_MARGIN * max(region.width_deg, region.height_deg)))


def viewpoints(
    saliency: SaliencyMaps,
    fps: float,
    *,
    fov_deg: float | Literal["box"] = DEFAULT_FOV_DEG,
    mode: Literal["still", "track"] = "still",
    ranking: Ranking = "subject",
    max_viewpoints: int = 8,
    threshold: float = 0.5,
) -> tuple[Viewpoint, ...]:
    """The views worth looking at, the most salient first.

    Convention: `still` looks at the time-averaged map; `track` finds places in each map, follows each to the next, and
    smooths the path on the sphere over a quarter of a second. Where nothing stands out there is one viewpoint, to the
    front, without a region: `viewpoint_notices` says so.

    Args:
        saliency: one map per frame. fps: their rate.
        fov_deg: 30 to 150 for every view, or "box" for the region's own size (60 to 120; one size for a whole track).
        mode: "still" or "track".
        ranking: "subject" frames what is heaviest under a narrow window, then the next outside it (`framing`);
            "centroid" is the paper's: regions above a threshold, by their mass, each looked at in its centroid.
        max_viewpoints: at most so many. threshold: as in `find_regions`, for centroids alone.

    Returns:
        At least one viewpoint; ranks count from 1.

    Raises:
        InputError: maps, threshold, mode, ranking or field of view that cannot be used.
    """
    if mode not in ("still", "track"):
        raise InputError(f"viewpoint mode {mode!r} is unknown; choose 'still' or 'track'.")
    if ranking not in RANKINGS:
        raise InputError(f"viewpoint ranking {ranking!r} is unknown; choose 'subject' or 'centroid'.")
    if fov_deg != "box":
        check_fov_deg(fov_deg)
    found = _ranked_paths(_as_maps(saliency.maps), fps, mode, ranking, max_viewpoints, threshold)
    num_frames = len(saliency.maps)
    if not found:
        front = View(0.0, 0.0, DEFAULT_FOV_DEG if fov_deg == "box" else float(fov_deg))
        return (Viewpoint(1, None, ViewTrack.still(front, num_frames)),)
    return tuple(
        Viewpoint(rank, region, _as_track(path, box_fov_deg(region) if fov_deg == "box" else float(fov_deg)))
        for rank, (region, path) in enumerate(found, start=1)
    )


def _ranked_paths(
    maps: np.ndarray, fps: float, mode: str, ranking: str, most: int, threshold: float
) -> list[tuple[Region, np.ndarray]]:
    """(region, directions `[T, 3]`) in the order of their rank."""
    if mode == "track":
        if ranking == "centroid":
            return _follow(maps, fps, threshold, most)
        subjects = follow_subjects(torch.from_numpy(maps), fps, most)
        return [(region, _smooth(path, SMOOTHING_S * fps)) for region, path in subjects]
    mean = torch.from_numpy(maps.mean(0))
    still = find_regions(mean, threshold, most) if ranking == "centroid" else find_subjects(mean, most)
    return [(region, np.array(_vector(region))[None].repeat(len(maps), 0)) for region in still]


def viewpoint_notices(found: Sequence[Viewpoint]) -> tuple[str, ...]:
    """What a person should know about the viewpoints that were found.

    Convention: whole sentences; none when every viewpoint has its region or was set by hand.
    """
    if any(viewpoint.rank and viewpoint.region is None for viewpoint in found):
        return ("Nothing stands out in the saliency map: the view looks to the front (yaw 0, pitch 0).",)
    return ()


def _vector(region: Region) -> tuple[float, float, float]:
    yaw, pitch = math.radians(region.yaw_deg), math.radians(region.pitch_deg)
    return math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)


def _as_track(path: np.ndarray, fov_deg: float) -> ViewTrack:
    """`path [T, 3]` as views."""
    if (path == path[0]).all():
        path = path[:1].repeat(len(path), 0)
    yaw, pitch = angles(torch.from_numpy(path))
    return ViewTrack(tuple(View(y, p, fov_deg) for y, p in zip(yaw.tolist(), pitch.tolist(), strict=True)))


def _follow(frames: np.ndarray, fps: float, threshold: float, max_tracks: int) -> list[tuple[Region, np.ndarray]]:
    """Regions followed through time: (the region over the clip, its smoothed path `[T, 3]`), heaviest first."""
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
        places = {t: np.array(_vector(region)) for t, region in track.items()}
        path = _smooth(fill_path(places, len(frames)), SMOOTHING_S * fps)
        # What was lost for too long and found again is still the same thing to look at.
        if all(np.median(degrees_of((path * other).sum(1))) >= MAX_STEP_DEG for _, other in chosen):
            chosen.append((_over_time(track, path, len(frames)), path))
    heavy = [item for item in chosen if item[0].mass >= MIN_RELATIVE_MASS * chosen[0][0].mass]
    return heavy[:max_tracks]


def _match(tracks: list[dict[int, Region]], regions: Sequence[Region]) -> list[tuple[dict[int, Region], Region]]:
    """Pairs of a track and its continuation, nearest pairs first, each used once."""
    if not tracks or not regions:
        return []
    ends = np.array([_vector(track[max(track)]) for track in tracks])
    angle = degrees_of(ends @ np.array([_vector(region) for region in regions]).T)
    pairs = []
    while angle.min() <= MAX_STEP_DEG:
        i, j = divmod(int(angle.argmin()), angle.shape[1])
        pairs.append((tracks[i], regions[j]))
        angle[i, :] = angle[:, j] = np.inf
    return pairs


def _smooth(path: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian mean of unit vectors along time; on vectors, the seam and the poles need no care."""
    mean = ndimage.gaussian_filter1d(path, max(sigma, 1e-3), axis=0, mode="nearest")
    length = np.linalg.norm(mean, axis=1, keepdims=True)
    # A path that jumps to its antipode has no mean there: keep what was measured.
    return np.where(length > 1e-6, mean / np.maximum(length, 1e-6), path)


def _over_time(track: dict[int, Region], path: np.ndarray, num_frames: int) -> Region:
    """One region for a whole track: mean place, median box, mass averaged over all frames of the clip."""
    mean = path.mean(0)
    yaw, pitch = angles(torch.from_numpy(mean if np.linalg.norm(mean) > 1e-6 else path[len(path) // 2]))
    sizes = [(region.width_deg, region.height_deg) for region in track.values()]
    width, height = np.median(sizes, axis=0).tolist()
    return Region(yaw.item(), pitch.item(), width, height, sum(r.mass for r in track.values()) / num_frames)
