"""Cut a panorama into six square faces, and join them again.

Shape legend: B frames, C channels, H W panorama, s the face's side in pixels.

Convention: faces in the order front, right, back, left, up, down, each a 90 degree view; the top of the up face is
behind the viewer, the top of the down face in front of the viewer (as in py360convert). Samples at pixel centres.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..errors import InputError
from ..records import View
from .degrees import DEG
from .erp import _erp_directions, check_erp, sample_at, sampling_dtype, sampling_grid, shrink_for
from .perspective import _camera_directions, view_directions
from .sphere import cached_grid, rotation

FACE_NAMES = ("front", "right", "back", "left", "up", "down")
FACES = (View(0.0), View(90.0), View(-180.0), View(-90.0), View(0.0, 90.0), View(0.0, -90.0))


def _face_axes() -> Tensor:
    """Make the camera axes of the faces, `[6, 3, 3]` float64."""
    return torch.stack([rotation(face.yaw_deg, face.pitch_deg, dtype=torch.float64) for face in FACES])


def erp_to_cubemap(erp: Tensor, face_size: int, mode: str = "bilinear", antialias: bool = True) -> Tensor:
    """Cut a panorama into its six faces.

    Convention: as in the module's text.

    Args:
        erp: `[B, C, H, W]`. face_size: s, pixels. mode, antialias: as in `erp_to_perspective`.

    Returns:
        `[B, 6, C, s, s]`.
    """
    check_erp(erp, mode)
    if antialias and mode == "bilinear":
        erp = shrink_for(erp, 2.0 / face_size / DEG)
    height, width = erp.shape[-2:]
    grid = _faces_grid(face_size, height, width, sampling_dtype(erp), erp.device)
    strip = sample_at(erp, rearrange(grid, "face h w xy -> 1 (face h) w xy"), mode)
    return rearrange(strip, "b c (face h) w -> b face c h w", face=6)


@cached_grid
def _faces_grid(size: int, height: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Locate the faces' pixels in a panorama, `[6, s, s, 2]` for `sample_at`."""
    dirs = [view_directions(face.yaw_deg, face.pitch_deg, face.fov_deg, size, torch.float64) for face in FACES]
    return sampling_grid(torch.stack(dirs), height, width).to(device=device, dtype=dtype)


def _strip_grid(dirs: Tensor, size: int, pad: int) -> Tensor:
    """Convert directions to `grid_sample` coordinates in stacked faces, top to bottom, `pad` pixels around each."""
    axes = _face_axes()
    camera = torch.einsum("...w,fwc->...fc", dirs.double(), axes)
    face = camera[..., 2].argmax(-1)
    x, y, z = camera.gather(-2, face[..., None, None].expand(*face.shape, 1, 3)).squeeze(-2).unbind(-1)
    side = size + 2 * pad
    x_px = ((x / z + 1.0) * size / 2 - 0.5 + pad).clamp(0, side - 1)
    y_px = ((1.0 - y / z) * size / 2 - 0.5 + pad).clamp(0, side - 1) + face * side
    return torch.stack((x_px * 2 / (side - 1) - 1, y_px * 2 / (6 * side - 1) - 1), dim=-1)


@cached_grid
def _frame_grid(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Locate the pixels of each face, padded by one, in the unpadded faces: `[6, s + 2, s + 2, 2]`."""
    wide_fov = 2 * torch.rad2deg(torch.atan(torch.tensor((size + 2) / size, dtype=torch.float64))).item()
    camera = _camera_directions(wide_fov, size + 2, size + 2, torch.float64, torch.device("cpu"))
    dirs = torch.einsum("hwc,fdc->fhwd", camera, _face_axes())
    return _strip_grid(dirs, size, 0).to(device=device, dtype=dtype)


@cached_grid
def _erp_grid(height: int, width: int, size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    dirs = _erp_directions(height, width, torch.float64, torch.device("cpu"))
    return _strip_grid(dirs, size, 1).to(device=device, dtype=dtype)


def _sample_strip(faces: Tensor, grid: Tensor, mode: str) -> Tensor:
    """Sample faces `[B, 6, C, s, s]` at `[h, w, 2]`: `[B, C, h, w]`."""
    strip = rearrange(faces, "b face c h w -> b c (face h) w")
    return F.grid_sample(strip, grid.expand(len(faces), -1, -1, -1), mode=mode, align_corners=True)


def pad_faces(faces: Tensor) -> Tensor:
    """Pad each face by one pixel from its neighbours.

    Convention: the pixel continues the face's own plane, so that interpolation runs across the cube's edges.

    Args:
        faces: `[B, 6, C, s, s]`, s at least 2.

    Returns:
        `[B, 6, C, s + 2, s + 2]`.
    """
    size = faces.shape[-1]
    grid = rearrange(_frame_grid(size, faces.dtype, faces.device), "face h w xy -> (face h) w xy")
    around = rearrange(_sample_strip(faces, grid, "bilinear"), "b c (face h) w -> b face c h w", face=6)
    ours = F.pad(torch.ones(size, size, dtype=torch.bool, device=faces.device), (1, 1, 1, 1))
    return torch.where(ours, F.pad(faces, (1, 1, 1, 1)), around)


def cubemap_to_erp(faces: Tensor, height: int, mode: str = "bilinear") -> Tensor:
    """Join six faces to a panorama.

    Convention: as in the module's text; interpolation runs across the faces' edges, so that no seam shows.

    Args:
        faces: `[B, 6, C, s, s]`, floating point, s at least 2. height: H of the panorama, whose width is 2 H.
        mode: "bilinear" or "nearest".

    Returns:
        `[B, C, H, 2 H]` in the faces' dtype.

    Raises:
        InputError: the faces have another shape.
    """
    if faces.dim() != 5 or faces.shape[1] != 6 or faces.shape[-1] != faces.shape[-2] or faces.shape[-1] < 2:
        raise InputError(f"a cubemap must be [B, 6, C, s, s] with s of at least 2, not {list(faces.shape)}.")
    work = faces.to(torch.promote_types(faces.dtype, torch.float32))
    grid = _erp_grid(height, 2 * height, faces.shape[-1], work.dtype, work.device)
    return _sample_strip(pad_faces(work), grid, mode).to(faces.dtype)
