"""Perspective (gnomonic) views of a panorama: a square picture with one field of view across and down.

Shape legend: B frames, C channels, H W panorama, s the view's side in pixels, N points.

Convention: x right, y up, z forward; the picture's first row is its top. Samples at pixel centres: the field of view
spans the outer edges of the outer pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import InputError
from ..records import View, ViewTrack
from .erp import check_erp, sample_at, sampling_dtype, sampling_grid, shrink_for
from .sphere import DEG, cached_grid, rotation

Views = View | ViewTrack | Sequence[View]


def check_view(view: View) -> View:
    """A view that can be drawn.

    Convention: finite angles, and a field of view strictly between 0 and 180 degrees, beyond which no plane reaches.

    Raises:
        InputError: anything else.
    """
    if not (math.isfinite(view.yaw_deg) and math.isfinite(view.pitch_deg)):
        raise InputError(f"a view to yaw {view.yaw_deg:g}, pitch {view.pitch_deg:g} has no picture; give finite ones.")
    if not 0.0 < view.fov_deg < 180.0:
        raise InputError(f"a field of view of {view.fov_deg:g} degrees has no picture; choose one inside 0 to 180.")
    return view


@cached_grid
def _camera_directions(fov_deg: float, size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """`[s, s, 3]` unit vectors of the pixels in the camera's own frame."""
    steps = ((torch.arange(size, dtype=torch.float64) + 0.5) * 2.0 / size - 1.0) * math.tan(fov_deg * DEG / 2)
    x, y = torch.meshgrid(steps, -steps, indexing="xy")
    dirs = torch.nn.functional.normalize(torch.stack((x, y, torch.ones_like(x)), dim=-1), dim=-1)
    return dirs.to(device=device, dtype=dtype)


@cached_grid
def _view_directions(yaw: float, pitch: float, fov: float, size: int, dtype: torch.dtype, device) -> Tensor:
    check_view(View(yaw, pitch, fov))
    camera = _camera_directions(fov, size, torch.float64, torch.device("cpu"))
    return (camera @ rotation(yaw, pitch, dtype=torch.float64).T).to(device=device, dtype=dtype)


@cached_grid
def _view_grid(
    yaw: float, pitch: float, fov: float, size: int, height: int, width: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Positions of a view's pixels in a panorama, `[s, s, 2]` for `sample_at`."""
    return sampling_grid(_view_directions(yaw, pitch, fov, size, dtype, device), height, width)


def view_directions(
    yaw_deg: float, pitch_deg: float, fov_deg: float, size: int, dtype: torch.dtype = torch.float32, device=None
) -> Tensor:
    """Unit vectors of a square view's pixel centres.

    Convention: x right, y up, z forward; `[0, 0]` is the view's upper left pixel.

    Args:
        yaw_deg, pitch_deg: where the view looks. fov_deg: across and down, in (0, 180). size: pixels across and down.

    Returns:
        `[s, s, 3]`.

    Raises:
        InputError: as in `check_view`.
    """
    key = (float(yaw_deg), float(pitch_deg), float(fov_deg), size)
    return _view_directions(*key, dtype, torch.device(device or "cpu")).clone()


def as_views(views: Views) -> tuple[View, ...]:
    """One view, a track or a list of views, as a tuple of views.

    Convention: nothing is repeated or dropped; a track gives one view per frame.
    """
    if isinstance(views, View):
        return (views,)
    return views.views if isinstance(views, ViewTrack) else tuple(views)


def erp_to_perspective(erp: Tensor, views: Views, size: int, mode: str = "bilinear", antialias: bool = True) -> Tensor:
    """Look into a panorama; differentiable in the panorama.

    Convention: pixel centres; seam and poles exact; the view's top is towards the zenith.

    Args:
        erp: `[B, C, H, W]`.
        views: one view for all frames, or one per frame (a track or a list of B); a single panorama (B = 1) may be
            looked at by any number of views.
        size: side of the square picture in pixels.
        mode: "bilinear" or "nearest".
        antialias: average the panorama down first where it is more than twice as fine as the picture.

    Returns:
        `[B, C, s, s]`; `[number of views, C, s, s]` when B = 1.

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
    where = (size, *erp.shape[-2:], sampling_dtype(erp), erp.device)
    grids = [_view_grid(float(v.yaw_deg), float(v.pitch_deg), float(v.fov_deg), *where) for v in chosen]
    return sample_at(erp, torch.stack(grids), mode)


def to_camera(dirs: Tensor, view: View) -> Tensor:
    """World directions in a view's own frame.

    Convention: the result's axes are the view's right, up and forward; what the view looks at has z > 0.

    Args:
        dirs: `[..., 3]`.
    """
    return dirs @ rotation(view.yaw_deg, view.pitch_deg, dtype=dirs.dtype, device=dirs.device)


def inside_view(dirs: Tensor, view: View) -> Tensor:
    """Mark the directions that a square view sees, its edge included.

    Convention: the test is made in the camera's frame, so that seams and poles need no care.

    Args:
        dirs: `[..., 3]`, any length but zero.

    Returns:
        `[...]` bool.

    Raises:
        InputError: as in `check_view`.
    """
    x, y, z = to_camera(dirs, view).unbind(-1)
    reach = z * math.tan(check_view(view).fov_deg * DEG / 2)
    return (z > 0) & (x.abs() <= reach) & (y.abs() <= reach)


def fov_outline(view: View, points_per_edge: int = 64, dtype: torch.dtype = torch.float32, device=None) -> Tensor:
    """The outline of a square view on the sphere.

    Convention: clockwise as the viewer sees it, from the upper left corner along the top; evenly spaced in the picture
    plane; the first point is not repeated at the end.

    Args:
        points_per_edge: points on each of the four edges, each edge's first corner included.

    Returns:
        `[4 * points_per_edge, 3]` unit vectors.

    Raises:
        InputError: as in `check_view`.
    """
    along = torch.arange(points_per_edge, dtype=torch.float64) * 2.0 / points_per_edge - 1.0
    one = torch.ones_like(along)
    x = torch.cat((along, one, -along, -one))
    y = torch.cat((one, -along, -one, along))
    reach = math.tan(check_view(view).fov_deg * DEG / 2)
    camera = torch.nn.functional.normalize(torch.stack((x * reach, y * reach, torch.ones_like(x)), -1), dim=-1)
    return (camera @ rotation(view.yaw_deg, view.pitch_deg, dtype=torch.float64).T).to(device=device, dtype=dtype)
