"""The equirectangular panorama (ERP): where its pixels look, and how to read it between pixels.

Shape legend: B frames, C channels, H W panorama rows and columns, h w rows and columns of the output.

Convention: samples at pixel centres. Column x holds yaw ((x + 0.5) / W - 0.5) * 360, row y holds pitch
(0.5 - (y + 0.5) / H) * 180: yaw 0 lies between the two middle columns, the poles half a pixel above the first row and
below the last. Longitude wraps; crossing a pole turns longitude by 180.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from .sphere import angles, cached_grid, directions

# From here on several planes at once no longer fit a core's cache: 256 x 512 pixels.
LARGE_PLANE_PX = 1 << 17


def erp_angles(height: int, width: int | None = None, dtype: torch.dtype = torch.float32, device=None):
    """Yaw of each column and pitch of each row.

    Convention: as in the module's text; yaw rises to the right from just above -180, pitch falls from just below 90.

    Args:
        height: rows. width: columns, `2 * height` when None.

    Returns:
        (yaw_deg `[W]`, pitch_deg `[H]`).
    """
    width = width or 2 * height
    columns = torch.arange(width, dtype=torch.float64, device="cpu")
    rows = torch.arange(height, dtype=torch.float64, device="cpu")
    yaw, pitch = ((columns + 0.5) / width - 0.5) * 360.0, (0.5 - (rows + 0.5) / height) * 180.0
    return yaw.to(device=device, dtype=dtype), pitch.to(device=device, dtype=dtype)


@cached_grid
def _erp_directions(height: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    yaw, pitch = erp_angles(height, width, torch.float64)
    return directions(yaw[None, :], pitch[:, None]).to(device=device, dtype=dtype)


def erp_directions(height: int, device=None, dtype: torch.dtype = torch.float32, width: int | None = None) -> Tensor:
    """Unit vectors of a panorama's pixel centres.

    Convention: x right, y up, z forward; see the module's text for the angles of a pixel.

    Args:
        height: rows. width: columns, `2 * height` when None.

    Returns:
        `[H, W, 3]`.
    """
    return _erp_directions(height, width or 2 * height, dtype, torch.device(device or "cpu")).clone()


def erp_coordinates(dirs: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Project directions onto a panorama, in pixels.

    Convention: a pixel's centre has whole coordinates; x in [-0.5, W - 0.5), y in [-0.5, H - 0.5], so that the seam is
    at x = -0.5 and the poles are at y = -0.5 and H - 0.5.

    Args:
        dirs: `[..., 3]`, any length but zero.
        height, width: the panorama's size.

    Returns:
        (x_px, y_px), each `[...]`.
    """
    yaw, pitch = angles(dirs)
    return (yaw / 360.0 + 0.5) * width - 0.5, (0.5 - pitch / 180.0) * height - 0.5


def pad_erp(erp: Tensor, pad: int = 1, out: Tensor | None = None) -> Tensor:
    """Surround a panorama with what the sphere shows there.

    Convention: beyond the seam comes the other side; beyond a pole come the same rows, mirrored and turned by half
    the width (an odd width has no such column: the two nearest are averaged).

    Args:
        erp: `[..., H, W]`. pad: pixels on each side, at most H and W.
        out: written to and returned; None is a new tensor.

    Returns:
        `[..., H + 2 pad, W + 2 pad]`.
    """
    height, width = erp.shape[-2:]

    def beyond(rows: Tensor) -> Tensor:
        turned = rows.flip(-2).roll(width // 2, -1)
        return turned if width % 2 == 0 else 0.5 * (turned + rows.flip(-2).roll(width // 2 + 1, -1))

    # Written into one tensor: joining pieces along both axes would copy the panorama twice.
    padded = erp.new_empty(*erp.shape[:-2], height + 2 * pad, width + 2 * pad) if out is None else out
    inner = slice(pad, pad + width)
    padded[..., pad : pad + height, inner] = erp
    padded[..., :pad, inner] = beyond(erp[..., :pad, :])
    padded[..., pad + height :, inner] = beyond(erp[..., -pad:, :])
    padded[..., :pad], padded[..., pad + width :] = padded[..., width : pad + width], padded[..., pad : 2 * pad]
    return padded


def sample_erp(erp: Tensor, dirs: Tensor, mode: str = "bilinear") -> Tensor:
    """Read a panorama along directions; differentiable in both.

    Convention: pixel centres; exact across the seam and over the poles.

    Args:
        erp: `[B, C, H, W]`, floating point, any H and W.
        dirs: `[h, w, 3]`, one grid for all frames, or `[B, h, w, 3]`, one per frame; either batch may be 1.
        mode: "bilinear" or "nearest".

    Returns:
        `[B, C, h, w]` in `erp`'s dtype.

    Raises:
        InputError: shapes that do not fit, or another mode.
    """
    check_erp(erp, mode)
    dirs = dirs if dirs.dim() == 4 else dirs[None]
    batch = max(erp.shape[0], dirs.shape[0])
    if {erp.shape[0], dirs.shape[0]} - {1, batch} or dirs.dim() != 4 or dirs.shape[-1] != 3:
        raise InputError(
            f"{erp.shape[0]} panoramas and directions {list(dirs.shape)} do not fit: "
            f"give [h, w, 3] for all frames or one [h, w, 3] per frame."
        )
    grid = sampling_grid(dirs.to(device=erp.device, dtype=sampling_dtype(erp)), *erp.shape[-2:])
    return sample_at(erp, grid, mode)


def check_erp(erp: Tensor, mode: str) -> None:
    """Check the panorama and the sampling mode.

    Raises:
        InputError: anything but a floating point `[B, C, H, W]`, or another mode.
    """
    if mode not in ("bilinear", "nearest"):
        raise InputError(f"sampling mode {mode!r} is unknown; choose 'bilinear' or 'nearest'.")
    if erp.dim() != 4 or not erp.is_floating_point():
        raise InputError(f"a panorama must be a floating point [B, C, H, W] tensor, not {erp.dtype} {list(erp.shape)}.")


def sampling_dtype(erp: Tensor) -> torch.dtype:
    """Choose the dtype of coordinates; half precision has too few digits for one: 1/8 px at column 200."""
    return torch.promote_types(erp.dtype, torch.float32)


def sampling_grid(dirs: Tensor, height: int, width: int) -> Tensor:
    """Directions `[..., 3]` as what `sample_at` reads, `[..., 2]`: corner-aligned places in a panorama padded by 1."""
    x_px, y_px = erp_coordinates(dirs, height, width)
    return torch.stack(((x_px + 1.0) * (2.0 / (width + 1)) - 1.0, (y_px + 1.0) * (2.0 / (height + 1)) - 1.0), dim=-1)


def sample_at(erp: Tensor, grid: Tensor, mode: str = "bilinear") -> Tensor:
    """`sample_erp` by a grid that can be kept: `[B or 1, h, w, 2]` in `sampling_dtype`, from `sampling_grid`."""
    if erp.device.type == "cpu" and erp.shape[-2] * erp.shape[-1] >= LARGE_PLANE_PX:
        return _sample_planes(erp.to(grid.dtype), grid, mode).to(erp.dtype)
    batch = max(erp.shape[0], grid.shape[0])
    padded, grid = pad_erp(erp.to(grid.dtype)).expand(batch, -1, -1, -1), grid.expand(batch, -1, -1, -1)
    return _read_padded(padded, grid, mode).to(erp.dtype)


def _read_padded(padded: Tensor, grid: Tensor, mode: str) -> Tensor:
    return F.grid_sample(padded, grid, mode=mode, padding_mode="border", align_corners=True)


def _sample_planes(erp: Tensor, grid: Tensor, mode: str) -> Tensor:
    """One plane after the other, which stays in the processor's cache; in strips, so that several threads find work."""
    num_grids, h, w = grid.shape[:3]
    if len(erp) == 1 and num_grids > 1:  # all read the same panorama: one grid below the other
        together = _sample_planes(erp, grid.flatten(0, 1)[None], mode)
        return together.unflatten(2, (num_grids, h)).transpose(1, 2)[0].contiguous()
    strips = math.gcd(h, 8)
    out = erp.new_empty(*erp.shape[:2], h, w)
    # Fresh memory for each plane costs more than filling it; a backward pass needs them all.
    differentiable, padded = torch.is_grad_enabled() and (erp.requires_grad or grid.requires_grad), None
    for index, frame in enumerate(erp):
        parts = grid[index % num_grids].unflatten(0, (strips, -1))
        for channel, plane in enumerate(frame):
            padded = pad_erp(plane[None, None], out=None if differentiable else padded)
            read = _read_padded(padded.expand(strips, -1, -1, -1), parts, mode)
            out[index, channel] = read.view(h, w)
    return out


@cached_grid
def _erp_area_weights(height: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    edges = torch.linspace(0.0, torch.pi, height + 1, dtype=torch.float64).cos()
    return ((edges[:-1] - edges[1:]) * 0.5)[:, None].to(device=device, dtype=dtype)


def erp_area_weights(height: int, device=None, dtype: torch.dtype = torch.float32) -> Tensor:
    """Each row's share of the sphere: proportional to the cosine of latitude, integrated exactly over the row.

    Convention: the weights sum to 1 over the rows; divide by the width for one pixel's share.

    Returns:
        `[H, 1]`, to be broadcast over columns.
    """
    return _erp_area_weights(height, dtype, torch.device(device or "cpu")).clone()


def shrink_for(erp: Tensor, degrees_per_pixel: float) -> Tensor:
    """Average a panorama down before it is sampled coarsely, so that fine detail does not alias.

    Convention: pixel centres stay where they are on the sphere. Averages blocks of whole pixels, at most as wide as the
    output's pixels; a panorama that is not finer than twice the output is returned as it is.

    Args:
        erp: `[B, C, H, W]`. degrees_per_pixel: spacing of the samples that will be taken.
    """
    factor = int(degrees_per_pixel * erp.shape[-1] / 360.0 + 1e-6)
    while factor > 1 and (erp.shape[-2] % factor or erp.shape[-1] % factor):
        factor -= 1
    return F.avg_pool2d(erp, factor) if factor > 1 else erp
