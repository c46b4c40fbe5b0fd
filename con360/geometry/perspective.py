"""Make perspective (gnomonic) views of a panorama: square pictures, and other shapes inside them.

Shape legend: B frames, C channels, H W panorama, h w the view in pixels, N points.

Convention: x right, y up, z forward; the picture's first row is its top. Samples at pixel centres: the field of view
spans the outer edges of the longer side's outer pixels; pixels are square.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..choices import check_aspect
from ..errors import InputError
from ..records import View, ViewTrack
from .degrees import DEG
from .erp import check_erp, sample_at, sampling_dtype, sampling_grid, shrink_for
from .sphere import cached_grid, rotation

Views = View | ViewTrack | Sequence[View]


def check_view(view: View) -> View:
    """Check that a view can be drawn.

    Convention: finite angles, and a field of view strictly between 0 and 180 degrees, the limits of a plane.

    Raises:
        InputError: anything else.
    """
    if not all(map(math.isfinite, (view.yaw_deg, view.pitch_deg, view.roll_deg))):
        there = f"yaw {view.yaw_deg:g}, pitch {view.pitch_deg:g}, roll {view.roll_deg:g}"
        raise InputError(f"a view to {there} has no picture; give finite ones.")
    if not 0.0 < view.fov_deg < 180.0:
        raise InputError(f"a field of view of {view.fov_deg:g} degrees has no picture; choose one inside 0 to 180.")
    return view


def picture_size(longer: int, aspect: float = 1.0) -> tuple[int, int]:
    """Give width and height in pixels of a picture.

    Convention: the longer side is as asked; the other one is the nearest even number, as H.264 wants it.

    Args:
        longer: pixels of the longer side. aspect: width over height.

    Raises:
        InputError: as in `check_aspect`.
    """
    if check_aspect(aspect) == 1.0:
        return longer, longer
    shorter = max(2, 2 * round(longer * min(aspect, 1 / aspect) / 2))
    return (longer, shorter) if aspect > 1 else (shorter, longer)


@cached_grid
def _camera_directions(fov_deg: float, width: int, height: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Give unit vectors `[h, w, 3]` of the pixels in the camera's frame."""
    longer, reach = max(width, height), math.tan(fov_deg * DEG / 2)
    across, down = (
        ((torch.arange(side, dtype=torch.float64) + 0.5) * 2.0 / longer - side / longer) * reach
        for side in (width, height)
    )
    x, y = torch.meshgrid(across, -down, indexing="xy")
    dirs = torch.nn.functional.normalize(torch.stack((x, y, torch.ones_like(x)), dim=-1), dim=-1)
    return dirs.to(device=device, dtype=dtype)


@cached_grid
def _view_directions(view: View, width: int, height: int, dtype: torch.dtype, device) -> Tensor:
    check_view(view)
    camera = _camera_directions(view.fov_deg, width, height, torch.float64, torch.device("cpu"))
    return (camera @ camera_rotation(view).T).to(device=device, dtype=dtype)


@cached_grid
def _view_grid(
    view: View, sides: tuple[int, int], height: int, width: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Locate a view's pixels in a panorama, `[h, w, 2]` for `sample_at`."""
    return sampling_grid(_view_directions(view, *sides, dtype, device), height, width)


def camera_rotation(view: View, dtype: torch.dtype = torch.float64, device=None) -> Tensor:
    """Make the rotation of a view's camera, `[3, 3]`, as `geometry.sphere.rotation`."""
    return rotation(view.yaw_deg, view.pitch_deg, view.roll_deg, dtype=dtype, device=device)


def view_directions(
    yaw_deg: float, pitch_deg: float, fov_deg: float, size: int, dtype: torch.dtype = torch.float32, device=None, *,
    roll_deg: float = 0.0, aspect: float = 1.0,
) -> Tensor:  # fmt: skip
    """Give unit vectors of a view's pixel centres.

    Convention: x right, y up, z forward; `[0, 0]` is the view's upper left pixel.

    Args:
        yaw_deg, pitch_deg: where the view looks. roll_deg: as in `View`.
        fov_deg: across the longer side, in (0, 180). size: pixels of the longer side. aspect: width over height.

    Returns:
        `[h, w, 3]`, sizes as `picture_size`.

    Raises:
        InputError: as in `check_view` and `picture_size`.
    """
    view = View(float(yaw_deg), float(pitch_deg), float(fov_deg), float(roll_deg))
    return _view_directions(view, *picture_size(size, aspect), dtype, torch.device(device or "cpu")).clone()


def as_views(views: Views) -> tuple[View, ...]:
    """Turn one view, a track or a list of views into a tuple of views.

    Convention: nothing is repeated or dropped; a track gives one view per frame.
    """
    if isinstance(views, View):
        return (views,)
    return views.views if isinstance(views, ViewTrack) else tuple(views)


def aspect_of_views(views: Views) -> float:
    """Width over height of the views' pictures: a track's own, else 1."""
    return views.aspect if isinstance(views, ViewTrack) else 1.0


def erp_to_perspective(erp: Tensor, views: Views, size: int, mode: str = "bilinear", antialias: bool = True) -> Tensor:
    """Look into a panorama; differentiable in the panorama.

    Convention: pixel centres; seam and poles exact; a level view's top is towards the zenith.

    Args:
        erp: `[B, C, H, W]`.
        views: one view for all frames, or one per frame (a track or a list of B); a single panorama (B = 1)
            takes any number of views. A track's pictures have its aspect ratio; others are square.
        size: longer side of the picture in pixels.
        mode: "bilinear" or "nearest".
        antialias: average the panorama down first where it is more than twice as fine as the picture.

    Returns:
        `[B, C, h, w]`; `[number of views, C, h, w]` when B = 1.

    Raises:
        InputError: the number of views fits neither 1 nor B, or a field of view is outside (0, 180).
    """
    chosen = as_views(views)
    if len(chosen) not in (1, erp.shape[0]) and erp.shape[0] != 1 or not chosen:
        raise InputError(f"{len(chosen)} views were given for {erp.shape[0]} frames; give one view, or one per frame.")
    if antialias and mode == "bilinear":
        finest = min(view.fov_deg for view in chosen)
        erp = shrink_for(erp, 2.0 * math.tan(finest * DEG / 2) / size / DEG)
    if erp.shape[0] > 1 and len(set(chosen)) == 1:
        chosen = chosen[:1]
    check_erp(erp, mode)
    sides, (rows, columns) = picture_size(size, aspect_of_views(views)), erp.shape[-2:]
    grids = [_view_grid(v, sides, rows, columns, sampling_dtype(erp), erp.device) for v in chosen]
    return sample_at(erp, torch.stack(grids), mode)


def to_camera(dirs: Tensor, view: View) -> Tensor:
    """Rotate world directions into a view's own frame.

    Convention: axes of the result are the view's right, up and forward; directions in front of it have z > 0.

    Args:
        dirs: `[..., 3]`.
    """
    return dirs @ camera_rotation(view, dirs.dtype, dirs.device)


def reaches(view: View, aspect: float = 1.0) -> tuple[float, float]:
    """Half of a view's width and height in the plane at distance 1.

    Raises:
        InputError: as in `check_view` and `check_aspect`.
    """
    longer, aspect = math.tan(check_view(view).fov_deg * DEG / 2), check_aspect(aspect)
    return longer * min(1.0, aspect), longer * min(1.0, 1 / aspect)


def inside_view(dirs: Tensor, view: View, aspect: float = 1.0) -> Tensor:
    """Mark the directions that a view sees, its edge included.

    Convention: the test is made in the camera's frame, so that seams and poles need no care.

    Args:
        dirs: `[..., 3]`, any length but zero. aspect: width over height of the picture.

    Returns:
        `[...]` bool.

    Raises:
        InputError: as in `reaches`.
    """
    x, y, z = to_camera(dirs, view).unbind(-1)
    across, up = reaches(view, aspect)
    return (z > 0) & (x.abs() <= z * across) & (y.abs() <= z * up)


def fov_outline(
    view: View, points_per_edge: int = 64, dtype: torch.dtype = torch.float32, device=None, *, aspect: float = 1.0
) -> Tensor:
    """Trace the outline of a view on the sphere.

    Convention: clockwise as the viewer sees it, from the upper left corner along the top; evenly spaced in the picture
    plane; the first point is not repeated at the end.

    Args:
        points_per_edge: points on each of the four edges, each edge's first corner included.
        aspect: width over height of the picture.

    Returns:
        `[4 * points_per_edge, 3]` unit vectors.

    Raises:
        InputError: as in `reaches`.
    """
    along = torch.arange(points_per_edge, dtype=torch.float64) * 2.0 / points_per_edge - 1.0
    one = torch.ones_like(along)
    x = torch.cat((along, one, -along, -one))
    y = torch.cat((one, -along, -one, along))
    across, up = reaches(view, aspect)
    camera = torch.nn.functional.normalize(torch.stack((x * across, y * up, torch.ones_like(x)), -1), dim=-1)
    return (camera @ camera_rotation(view).T).to(device=device, dtype=dtype)
