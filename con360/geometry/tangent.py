"""Cut tangent images, overlapping gnomonic patches that cover the sphere, and blend them back to a panorama.

Shape legend: B frames, N patches, C channels, H W panorama, s the patch's side in pixels, K pixels that one patch sees.

Convention: a patch is a square view without roll; samples at pixel centres.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..errors import InputError
from ..records import View
from .degrees import DEG
from .erp import _erp_directions, sample_erp, shrink_for
from .perspective import to_camera, view_directions
from .sphere import cached_grid

# SalViT360's layout (its own grids differ by half pixels): 3, 6, 6 and 3 patches; 80 degrees cover the sphere.
CENTERS_18: tuple[tuple[float, float], ...] = tuple(
    ((index + 0.5) * 360.0 / count - 180.0, pitch)
    for pitch, count in ((67.5, 3), (22.5, 6), (-22.5, 6), (-67.5, 3))
    for index in range(count)
)
FOV_18_DEG = 80.0


def erp_to_tangent(
    erp: Tensor,
    centers: Sequence[tuple[float, float]] = CENTERS_18,
    fov_deg: float = FOV_18_DEG,
    size: int = 224,
    antialias: bool = True,
) -> Tensor:
    """Cut tangent images out of a panorama.

    Convention: as in the module's text; each patch's top is towards the zenith.

    Args:
        erp: `[B, C, H, W]`. centers: N pairs (yaw_deg, pitch_deg). fov_deg: of each patch, in (0, 180).
        size: s, pixels. antialias: as in `erp_to_perspective`.

    Returns:
        `[B, N, C, s, s]`.
    """
    if antialias:
        erp = shrink_for(erp, 2.0 * math.tan(fov_deg * DEG / 2) / size / DEG)
    dirs = torch.cat([view_directions(yaw, pitch, fov_deg, size, torch.float64) for yaw, pitch in centers])
    return rearrange(sample_erp(erp, dirs), "b c (n h) w -> b n c h w", n=len(centers))


@cached_grid
def _blend_table(centers: tuple, fov_deg: float, height: int, dtype: torch.dtype, device: torch.device) -> tuple:
    """List per patch: (indices of the panorama's pixels in it `[K]`, sampling grid `[1, 1, K, 2]`, weights `[K]`).

    A pixel's weight falls linearly to the patch's edges, so that patches cross-fade; weights sum to 1.
    """
    dirs = _erp_directions(height, 2 * height, torch.float64, torch.device("cpu"))
    dirs = rearrange(dirs, "h w xyz -> (h w) xyz")
    total = torch.zeros(len(dirs), dtype=torch.float64)
    parts = []
    for yaw, pitch in centers:
        x, y, z = to_camera(dirs, View(yaw, pitch, fov_deg)).unbind(-1)
        reach = z.clamp_min(1e-9) * math.tan(fov_deg * DEG / 2)
        u, v = x / reach, -y / reach
        weight = (1 - u.abs()).clamp_min(0) * (1 - v.abs()).clamp_min(0) * (z > 0)
        seen = weight.nonzero().squeeze(-1)
        total[seen] += weight[seen]
        parts.append((seen, torch.stack((u[seen], v[seen]), -1)[None, None], weight[seen]))
    if not (total > 0).all():
        raise InputError(
            f"{len(centers)} patches of {fov_deg:g} degrees leave {(total <= 0).double().mean():.1%} of the panorama "
            f"uncovered; add patches or widen them."
        )
    return tuple(
        (seen.to(device), grid.to(device=device, dtype=dtype), (weight / total[seen]).to(device=device, dtype=dtype))
        for seen, grid, weight in parts
    )


def tangent_to_erp(
    patches: Tensor,
    centers: Sequence[tuple[float, float]] = CENTERS_18,
    fov_deg: float = FOV_18_DEG,
    height: int = 256,
) -> Tensor:
    """Blend tangent images into a panorama; differentiable.

    Convention: where patches overlap, each counts by its distance from its own edge, so that no edge shows.

    Args:
        patches: `[B, N, C, s, s]`, floating point. centers, fov_deg: as given to `erp_to_tangent`.
        height: H of the panorama, whose width is 2 H.

    Returns:
        `[B, C, H, 2 H]` in the patches' dtype.

    Raises:
        InputError: the patches do not cover the sphere, or are not N in number.
    """
    if patches.dim() != 5 or patches.shape[1] != len(centers):
        raise InputError(f"patches must be [B, {len(centers)}, C, s, s] for these centres, not {list(patches.shape)}.")
    work = patches.to(torch.promote_types(patches.dtype, torch.float32))
    key = tuple((float(yaw), float(pitch)) for yaw, pitch in centers)
    table = _blend_table(key, float(fov_deg), height, work.dtype, work.device)
    out = work.new_zeros(*work.shape[:1], work.shape[2], 2 * height * height)
    for index, (seen, grid, weight) in enumerate(table):
        values = F.grid_sample(
            work[:, index], grid.expand(len(work), -1, -1, -1), padding_mode="border", align_corners=False
        )
        out = out.index_add(2, seen, values[:, :, 0] * weight)
    return rearrange(out, "b c (h w) -> b c h w", h=height).to(patches.dtype)
