"""From saliency to viewpoints: regions, their centroids and boxes, and the view or the track that looks at them.

Shape legend: T frames, H W map rows and columns.

Source: paper section 2.1 (normalise, threshold, regions, centroids and boxes). Thresholding at half of the range, the
sphere's own weights and the tracks are ours; nothing is published about them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from ..choices import RANKINGS, VIEW_MODES, Ranking, ViewMode
from ..errors import InputError
from ..geometry.sphere import angles, wrap_yaw_deg
from ..records import Region, SaliencyMaps, View, Viewpoint, ViewTrack
from .regions import as_maps, find_regions
from .subjects import find_subjects, follow_subjects
from .tracks import SMOOTHING_S, follow_regions, smooth_track, vector_of

FOV_RANGE_DEG = (30.0, 150.0)
DEFAULT_FOV_DEG = 90.0
# A field of view taken from a region's box: room around it, and what a view can reasonably show.
BOX_MARGIN = 1.2
BOX_FOV_RANGE_DEG = (60.0, 120.0)


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
    mode: ViewMode = "still",
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
    if mode not in VIEW_MODES:
        raise InputError(f"viewpoint mode {mode!r} is unknown; choose 'still' or 'track'.")
    if ranking not in RANKINGS:
        raise InputError(f"viewpoint ranking {ranking!r} is unknown; choose 'subject' or 'centroid'.")
    if fov_deg != "box":
        check_fov_deg(fov_deg)
    found = _ranked_paths(as_maps(saliency.maps), fps, mode, ranking, max_viewpoints, threshold)
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
            return follow_regions(maps, fps, threshold, most)
        subjects = follow_subjects(torch.from_numpy(maps), fps, most)
        return [(region, smooth_track(path, SMOOTHING_S * fps)) for region, path in subjects]
    mean = torch.from_numpy(maps.mean(0))
    still = find_regions(mean, threshold, most) if ranking == "centroid" else find_subjects(mean, most)
    return [(region, np.array(vector_of(region))[None].repeat(len(maps), 0)) for region in still]


def viewpoint_notices(found: Sequence[Viewpoint]) -> tuple[str, ...]:
    """Notices about the viewpoints that were found.

    Convention: whole sentences; none when every viewpoint has its region or was set by hand.
    """
    if any(viewpoint.rank and viewpoint.region is None for viewpoint in found):
        return ("Nothing stands out in the saliency map: the view looks to the front (yaw 0, pitch 0).",)
    return ()


def _as_track(path: np.ndarray, fov_deg: float) -> ViewTrack:
    """`path [T, 3]` as views."""
    if (path == path[0]).all():
        path = path[:1].repeat(len(path), 0)
    yaw, pitch = angles(torch.from_numpy(path))
    return ViewTrack(tuple(View(y, p, fov_deg) for y, p in zip(yaw.tolist(), pitch.tolist(), strict=True)))
