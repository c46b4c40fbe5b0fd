"""Gaussian smoothing: of maps on the sphere, exact at the seam and over the poles, and of flat pictures.

Shape legend: H W map rows and columns, M = W // 2 + 1 frequencies along a row.

Between two rows of the sphere, a kernel that depends on the angle alone is a circular convolution along longitude. So
the whole kernel is one small matrix per frequency.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..errors import InputError
from .degrees import DEG
from .erp import erp_angles, erp_area_weights
from .sphere import cached_grid

# For taller maps the matrices would take too much memory.
MAX_HEIGHT = 128


@cached_grid
def _row_matrices(height: int, width: int, sigma_deg: float, device: torch.device) -> Tensor:
    """Make `[M, H, H]` float32: weights from each row to each other row, per frequency along longitude."""
    yaw, pitch = (angle * DEG for angle in erp_angles(height, width, torch.float64))
    up, level, turn = pitch.sin(), pitch.cos(), (yaw - yaw[0]).cos()
    cosine = up[:, None, None] * up[:, None] + level[:, None, None] * level[:, None] * turn
    kernel = torch.exp(-0.5 * (cosine.clamp(-1.0, 1.0).acos() / (sigma_deg * DEG)) ** 2)
    kernel = kernel * erp_area_weights(height, dtype=torch.float64)
    kernel = kernel / kernel.sum((1, 2), keepdim=True)
    # Even in longitude, so the spectrum is real.
    return torch.fft.rfft(kernel).real.permute(2, 0, 1).to(device=device, dtype=torch.float32).contiguous()


def smooth_on_sphere(maps: Tensor, sigma_deg: float) -> Tensor:
    """Average each place of a map with its surroundings, weighted by a Gaussian of the angle and by area.

    Convention: a constant map stays as it is; columns wrap, the poles are ordinary places.

    Args:
        maps: `[..., H, W]` over the panorama, `W = 2 H`, H at most 128. sigma_deg: of the Gaussian, in degrees; below
            about half a row, the map's own grid limits it.

    Returns:
        Maps of the same shape, float32.

    Raises:
        InputError: another shape, or a sigma that is not positive.
    """
    height, width = maps.shape[-2:]
    if width != 2 * height or height > MAX_HEIGHT:
        raise InputError(f"smoothing takes maps [..., H, 2 H] of at most {MAX_HEIGHT} rows, not {list(maps.shape)}.")
    if not sigma_deg > 0:
        raise InputError(f"smoothing by {sigma_deg:g} degrees was asked for; it must be positive.")
    matrices = _row_matrices(height, width, float(sigma_deg), maps.device)
    spectrum = torch.fft.rfft(maps.float())
    mixed = torch.einsum("mij,...jm->...im", matrices.to(spectrum.dtype), spectrum)
    return torch.fft.irfft(mixed, n=width)


def smooth_on_plane(pictures: Tensor, sigma_px: float) -> Tensor:
    """Blur flat pictures by a Gaussian, mirrored at the edges.

    Args:
        pictures: `[..., H, W]`. sigma_px: of the Gaussian, in pixels; it is cut off at 2.5 sigma, or at the picture's
            size where that is less.

    Returns:
        Pictures of the same shape and dtype.
    """
    flat = rearrange(pictures, "... h w -> (...) 1 h w")
    radius = min(math.ceil(2.5 * sigma_px), flat.shape[-1] - 1, flat.shape[-2] - 1)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma_px) ** 2)
    kernel = (taps / taps.sum()).to(flat)
    flat = F.conv2d(F.pad(flat, (radius, radius, 0, 0), mode="reflect"), kernel.view(1, 1, 1, -1))
    flat = F.conv2d(F.pad(flat, (0, 0, radius, radius), mode="reflect"), kernel.view(1, 1, -1, 1))
    return flat.reshape(pictures.shape)
