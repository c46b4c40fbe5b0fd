"""Cut panoramas into SalViT360's tangent images and put its predictions back.

Convention: the published weights were trained on this corner-aligned, seam-clamped grid; it stays in this room.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..geometry.sphere import cached_grid

INPUT_SIZE = (960, 1920)
MAP_SIZE = (240, 480)
PATCH_PX, DECODED_PX, PLACE_PX = 224, 28, 14


@dataclass(frozen=True)
class TangentScale:
    """One layout of tangent patches.

    Args:
        fov_deg: nominal; the plane reaches `radians(fov_deg) / 2` to each side.
        rows: (latitude in degrees, positive downwards, number of patches) from the top.
        inverse_latitude: latitude of the outer rows when patches are put back, where the published code says another.
        shift: turned by half a patch spacing.
    """

    fov_deg: float
    rows: tuple[tuple[float, int], ...]
    inverse_latitude: float | None = None
    shift: bool = False

    @property
    def num_patches(self) -> int:
        return sum(count for _, count in self.rows)

    def centers(self, inverse: bool = False) -> Tensor:
        """Return longitude and latitude of the patches' centres in radians, `[N, 2]` float64."""
        offset = 1.0 if self.shift else 0.5
        centers = []
        for latitude, count in self.rows:
            if inverse and latitude and self.inverse_latitude is not None:
                latitude = math.copysign(self.inverse_latitude, latitude)
            centers += [((i + offset) * 360.0 / count - 180.0, latitude) for i in range(count)]
        return torch.tensor(centers, dtype=torch.float64).deg2rad()


SCALES = (
    TangentScale(80.0, ((-67.5, 3), (-22.5, 6), (22.5, 6), (67.5, 3))),
    TangentScale(120.0, ((-60.0, 3), (0.0, 4), (60.0, 3)), inverse_latitude=59.6, shift=True),
)


def _patch_angles(scale: TangentScale, size: int) -> tuple[Tensor, Tensor]:
    """Longitude and latitude, radians, of a patch's samples from corner to corner: two `[N, size, size]` float64."""
    reach = math.radians(scale.fov_deg) / 2
    line = torch.linspace(-reach, reach, size, dtype=torch.float64)
    y, x = torch.meshgrid(line, line, indexing="ij")
    lon, lat = (angle[:, None, None] for angle in scale.centers().unbind(-1))
    sample_lat = torch.asin((lat.sin() + y * lat.cos()) / (1 + x * x + y * y).sqrt())
    return lon + torch.atan2(x, lat.cos() - y * lat.sin()), sample_lat


@cached_grid
def tangent_grid(scale: TangentScale, device: torch.device) -> Tensor:
    """Coordinates at which patches read the panorama, in corner-aligned `grid_sample` units: `[N, 224, 224, 2]`."""
    lon, lat = _patch_angles(scale, PATCH_PX)
    x = lon / math.pi
    x = torch.where(x > 1, x - 2, torch.where(x < -1, x + 2, x))
    return torch.stack((x, lat / (math.pi / 2)), dim=-1).float().to(device)


@cached_grid
def place_features(scale: TangentScale, device: torch.device) -> Tensor:
    """Features of each patch's place, `[N, 5, 14, 14]`.

    They are two of the three coordinates of each direction, a one, and the patch's centre in units of the panorama.
    """
    lon, lat = _patch_angles(scale, 4 * PLACE_PX)
    sphere = torch.stack((lat.cos() * lon.sin(), lat.cos() * lon.cos()), dim=1)
    centers = scale.centers() / torch.tensor([math.pi, math.pi / 2])
    centers = centers[:, :, None, None].expand(-1, -1, *sphere.shape[2:])
    features = torch.cat((sphere, torch.ones_like(sphere[:, :1]), centers), dim=1)
    return F.avg_pool2d(features, 4).float().to(device)


def inverse_weights(scale: TangentScale) -> tuple[Tensor, Tensor, Tensor]:
    """Weights from decoded patches to the 240 x 480 map: (map pixel `[K]`, patch pixel `[K]`, weight `[K]` float64).

    Four neighbours in every patch that sees the pixel. In a patch's last row and column the published weights are
    partly negative and dropped.
    """
    reach, size = math.radians(scale.fov_deg) / 2, DECODED_PX
    lat = torch.linspace(-math.pi / 2, math.pi / 2, MAP_SIZE[0], dtype=torch.float64)[:, None]
    lon = torch.linspace(-math.pi, math.pi, MAP_SIZE[1], dtype=torch.float64)[None]
    lon0, lat0 = (angle[:, None, None] for angle in scale.centers(inverse=True).unbind(-1))
    ahead = lat0.sin() * lat.sin() + lat0.cos() * lat.cos() * (lon - lon0).cos()
    x = ((lat.cos() * (lon - lon0).sin() / ahead) / reach + 1) * size / 2
    y = ((lat0.cos() * lat.sin() - lat0.sin() * lat.cos() * (lon - lon0).cos()) / ahead / reach + 1) * size / 2
    seen = (x > 0) & (x < size) & (y > 0) & (y < size) & (ahead > 0)
    patch, row, column = seen.nonzero(as_tuple=True)
    pixel, x, y = row * MAP_SIZE[1] + column, x[seen], y[seen]
    x0, y0 = x.floor().long().clamp(0, size - 1), y.floor().long().clamp(0, size - 1)
    x1, y1 = (x0 + 1).clamp_max(size - 1), (y0 + 1).clamp_max(size - 1)
    corners = (
        (x0, y0, (x1 - x) * (y1 - y)),
        (x0, y1, (x1 - x) * (y - y0)),
        (x1, y0, (x - x0) * (y1 - y)),
        (x1, y1, (x - x0) * (y - y0)),
    )
    weight = torch.cat([w for _, _, w in corners])
    source = torch.cat([(patch * size + cy) * size + cx for cx, cy, _ in corners])
    kept = weight > 1e-5
    return pixel.repeat(4)[kept], source[kept], weight[kept]


@cached_grid
def inverse_table(scale: TangentScale, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise `inverse_weights` over all patches: each map pixel's weights sum to 1."""
    pixel, source, weight = inverse_weights(scale)
    total = torch.zeros(math.prod(MAP_SIZE), dtype=weight.dtype).index_add_(0, pixel, weight)
    return pixel.to(device), source.to(device), (weight / total[pixel]).float().to(device)


def to_tangents(frames: Tensor, scale: TangentScale) -> Tensor:
    """Cut panoramas `[T, 3, H, W]` into patches `[T, N, 3, 224, 224]`, on the published grid."""
    grid = rearrange(tangent_grid(scale, frames.device), "n h w xy -> (n h) w xy")
    patches = F.grid_sample(
        frames, grid.to(frames.dtype).expand(len(frames), -1, -1, -1), padding_mode="border", align_corners=True
    )
    return rearrange(patches, "t c (n h) w -> t n c h w", n=scale.num_patches)


def from_tangents(patches: Tensor, scale: TangentScale) -> Tensor:
    """Put decoded patches `[B, N, s, s]` together as maps `[B, 240, 480]`.

    The published table indexes 28 x 28 pixels, whatever s is. Of the single-scale variant's 56 x 56 pixels it reads
    the upper left quarter.
    """
    pixel, source, weight = inverse_table(scale, patches.device)
    values = rearrange(patches[..., :DECODED_PX, :DECODED_PX], "b n h w -> b (n h w)")
    maps = values.new_zeros(len(values), math.prod(MAP_SIZE))
    maps = maps.index_add(1, pixel, values[:, source] * weight.to(values.dtype))
    return rearrange(maps, "b (h w) -> b h w", h=MAP_SIZE[0])
