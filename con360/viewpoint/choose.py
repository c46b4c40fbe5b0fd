"""Choose viewpoints from saliency: views or tracks that look at subjects or regions.

Shape legend: T frames, H W map rows and columns.

Source: paper section 2.1 (normalise, threshold, regions, centroids and boxes). Thresholding at half of the range,
weights by area on the sphere and the tracks are ours: the paper says nothing about them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from ..choices import RANKINGS, VIEW_MODES, Ranking, ViewMode, check_aspect
from ..errors import InputError
from ..geometry.degrees import wrap_yaw_deg
from ..records import Region, SaliencyMaps, View, Viewpoint, ViewTrack

FOV_RANGE_DEG = (30.0, 150.0)
DEFAULT_FOV_DEG = 90.0
# A field of view from a region's box: room around the box, narrowest and widest view.
BOX_MARGIN = 1.2
BOX_FOV_RANGE_DEG = (60.0, 120.0)


def check_fov_deg(fov_deg: float) -> float:
    """Check a viewpoint's field of view.

    Convention: across the longer side, 30 to 150 degrees.

    Raises:
        InputError: outside the range, or not a number.
    """
    low, high = FOV_RANGE_DEG
    if not low <= fov_deg <= high:
        raise InputError(f"a field of view of {fov_deg:g} degrees was asked for; choose one from {low:g} to {high:g}.")
    return float(fov_deg)


def manual_viewpoint(
    yaw_deg: float, pitch_deg: float, fov_deg: float, num_frames: int, roll_deg: float = 0.0, aspect: float = 1.0
) -> Viewpoint:
    """Make a still view set by hand.

    Convention: yaw right-positive, any finite number, wrapped to [-180, 180); pitch up-positive; roll as in `View`,
    wrapped as yaw is; rank 0, no region.

    Args:
        pitch_deg: in [-90, 90]. fov_deg: in [30, 150]. num_frames: length of the track, at least 1.
        aspect: width over height, 1:4 to 4:1.

    Raises:
        InputError: an angle outside its range, or not a number.
    """
    if not math.isfinite(yaw_deg):
        raise InputError(f"the yaw is {yaw_deg}; give a finite number of degrees, 0 is the panorama's centre.")
    if not math.isfinite(roll_deg):
        raise InputError(f"the roll is {roll_deg}; give a finite number of degrees, 0 is level.")
    if not -90.0 <= pitch_deg <= 90.0:
        raise InputError(f"a pitch of {pitch_deg:g} degrees was asked for; choose one from -90 (down) to 90 (up).")
    if num_frames < 1:
        raise InputError(f"a view for {num_frames} frames was asked for; give at least one frame.")
    yaw, roll = (float(wrap_yaw_deg(float(angle))) for angle in (yaw_deg, roll_deg))
    view = View(yaw, float(pitch_deg), check_fov_deg(fov_deg), roll)
    return Viewpoint(0, None, ViewTrack.still(view, num_frames, check_aspect(aspect)))


def box_fov_deg(region: Region) -> float:
    """Choose a field of view that holds a region's box.

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
    """Choose the views worth looking at, the most salient first.

    Convention: `still` looks at the time-averaged map; `track` finds places in each map, follows each to the next, and
    smooths the path on the sphere over a quarter of a second. Where nothing stands out there is one viewpoint, to the
    front, without a region: `viewpoint_notices` says so.

    Args:
        saliency: one map per frame. fps: their rate.
        fov_deg: 30 to 150 for every view, or "box" for the region's own size (60 to 120; one size for a whole track).
        mode: "still" or "track".
        ranking: "subject" frames the heaviest place under a narrow window, then the next one away from it (`subjects`);
            "centroid" is the paper's: regions above a threshold by mass, each seen at its centroid.
        max_viewpoints: most viewpoints to return. threshold: as in `find_regions`, for centroids alone.

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
    from .regions import as_maps

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
    """List (region, directions `[T, 3]`) by rank."""
    import torch

    from .regions import find_regions
    from .subjects import find_subjects, follow_subjects
    from .tracks import SMOOTHING_S, follow_regions, smooth_track, vector_of

    if mode == "track":
        if ranking == "centroid":
            return follow_regions(maps, fps, threshold, most)
        subjects = follow_subjects(torch.from_numpy(maps), fps, most)
        return [(region, smooth_track(path, SMOOTHING_S * fps)) for region, path in subjects]
    mean = torch.from_numpy(maps.mean(0))
    still = find_regions(mean, threshold, most) if ranking == "centroid" else find_subjects(mean, most)
    return [(region, np.array(vector_of(region))[None].repeat(len(maps), 0)) for region in still]


def viewpoint_notices(found: Sequence[Viewpoint]) -> tuple[str, ...]:
    """Give notices about the viewpoints that were found.

    Convention: whole sentences; none when every viewpoint has its region or was set by hand.
    """
    if any(viewpoint.rank and viewpoint.region is None for viewpoint in found):
        return ("Nothing stands out in the saliency map: the view looks to the front (yaw 0, pitch 0).",)
    return ()


def _as_track(path: np.ndarray, fov_deg: float) -> ViewTrack:
    """Turn a path `[T, 3]` of unit vectors into views."""
    import torch

    from ..geometry.sphere import angles

    if (path == path[0]).all():
        path = path[:1].repeat(len(path), 0)
    yaw, pitch = angles(torch.from_numpy(path))
    return ViewTrack(tuple(View(y, p, fov_deg) for y, p in zip(yaw.tolist(), pitch.tolist(), strict=True)))
