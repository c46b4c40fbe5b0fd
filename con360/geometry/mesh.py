"""Read a picture through a mesh: triangles around the viewer, each with its place in the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..errors import InputError
from .projections import Places

# Panoramas that all boxes around the triangles may fill together. Meshes of cameras fill one to three.
MOST_LAYERS = 64
# A ray through a triangle's edge belongs to it: no gaps between neighbours.
EDGE = -1e-9


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles that show a picture.

    Args:
        corners: `[N, 3, 3]`, x right, y up, z forward, as the viewer in the middle sees them.
        texture: `[N, 3, 2]`, place in the picture of each corner, (0, 0) lower left to (1, 1) upper right.

    Raises:
        InputError: no triangle covers anything.
    """

    corners: np.ndarray
    texture: np.ndarray

    def __post_init__(self) -> None:
        if not len(self._solid):
            raise InputError("the mesh has no triangle that the viewer could see")

    @cached_property
    def _solid(self) -> np.ndarray:
        """Numbers of the triangles that are seen from the middle."""
        lengths = np.linalg.norm(self.corners, axis=-1).prod(-1)
        return np.flatnonzero(np.abs(np.linalg.det(self.corners)) > 1e-9 * np.maximum(lengths, 1e-30))

    @property
    def is_whole(self) -> bool:
        return abs(self._solid_angles.sum() / (4 * math.pi) - 1) < 0.01

    @property
    def aspect(self) -> float:
        return 0.0

    @cached_property
    def _solid_angles(self) -> np.ndarray:
        a, b, c = (self._rays[:, i] for i in range(3))
        volume = np.abs(np.einsum("nc,nc->n", a, np.cross(b, c)))
        around = 1 + (a * b).sum(-1) + (b * c).sum(-1) + (c * a).sum(-1)
        return 2 * np.arctan2(volume, around)

    @cached_property
    def _rays(self) -> np.ndarray:
        corners = self.corners[self._solid]
        return corners / np.linalg.norm(corners, axis=-1, keepdims=True)

    def size(self, rows: int, columns: int) -> tuple[int, int]:
        first, second = (self.texture[self._solid, i] - self.texture[self._solid, 0] for i in (1, 2))
        areas = 0.5 * np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]) * rows * columns
        # Pixels per radian in the middle of all, by how much of the sphere has fewer.
        finest = areas / np.maximum(self._solid_angles, 1e-12)
        rising = np.argsort(finest)
        below = np.cumsum(self._solid_angles[rising])
        fineness = math.sqrt(float(finest[rising][np.searchsorted(below, below[-1] / 2)]))
        height = max(2, 2 * round(math.pi * fineness / 2))
        return height, 2 * height

    def bordered(self, picture: np.ndarray) -> np.ndarray:
        return picture

    def places(self, panorama: tuple[int, int], picture: tuple[int, int], turn: np.ndarray) -> Places:
        height, width = panorama
        rows, columns = picture
        # A panorama's direction d is the picture's turn @ d: the mesh is turned back.
        corners, texture = self.corners[self._solid] @ turn, self.texture[self._solid]
        # One size of all triangles, for one tolerance at their edges.
        corners = corners / np.linalg.norm(corners, axis=-1).max(-1)[:, None, None]
        boxes = _boxes(corners, height, width)
        if (np.prod(boxes[:, 1] - boxes[:, 0], axis=-1)).sum() > MOST_LAYERS * height * width:
            raise InputError("the triangles of the mesh lie over each other many times")
        x = np.full((height, width), np.nan, np.float32)
        y = x.copy()
        yaw = (2 * math.pi) * ((np.arange(width) + 0.5) / width - 0.5)
        pitch = math.pi * (0.5 - (np.arange(height) + 0.5) / height)
        for inverse, uv, ((top, left), (bottom, right)) in zip(np.linalg.inv(corners), texture, boxes, strict=True):
            across, down = np.arange(left, right) % width, slice(top, bottom)
            weights = _dirs(yaw[across], pitch[down]) @ inverse
            inside = (weights >= EDGE).all(-1)
            shares = weights[inside] / weights[inside].sum(-1, keepdims=True)
            r, c = np.nonzero(inside)
            u, v = (shares @ uv).T
            x[r + top, across[c]], y[r + top, across[c]] = u * columns - 0.5, (1 - v) * rows - 0.5
        return x, y


def _dirs(yaw: np.ndarray, pitch: np.ndarray) -> np.ndarray:
    ahead = np.cos(pitch)[:, None]
    up = np.broadcast_to(np.sin(pitch)[:, None], (len(pitch), len(yaw)))
    return np.stack((np.sin(yaw) * ahead, up, np.cos(yaw) * ahead), -1)


def _boxes(corners: np.ndarray, height: int, width: int) -> np.ndarray:
    """Rows and columns of a panorama around each triangle: `[N, 2, 2]`, (top, left) and (bottom, right), outside.

    Columns may lie beyond the right edge, where they wrap.
    """
    rays = corners / np.linalg.norm(corners, axis=-1, keepdims=True)
    middle = rays.sum(1)
    middle /= np.maximum(np.linalg.norm(middle, axis=-1, keepdims=True), 1e-12)
    reach = np.arccos(np.einsum("nkc,nc->nk", rays, middle).min(-1).clip(-1, 1))
    pitch, yaw = np.arcsin(middle[:, 1].clip(-1, 1)), np.arctan2(middle[:, 0], middle[:, 2])
    at_pole = np.abs(pitch) + reach >= math.pi / 2 - 1e-6
    narrow = np.arcsin((np.sin(reach) / np.maximum(np.cos(pitch), 1e-9)).clip(0, 1))
    spread = np.where(at_pole, math.pi, narrow)
    rows = [np.floor((0.5 - angle / math.pi) * height) for angle in (pitch + reach, pitch - reach)]
    sides = [np.floor((angle / (2 * math.pi) + 0.5) * width) for angle in (yaw - spread, yaw + spread)]
    top, bottom = (rows[0] - 1).clip(0, height), (rows[1] + 2).clip(0, height)
    left = sides[0] - 1
    right = np.minimum(sides[1] + 2, left + width)
    return np.stack((np.stack((top, left), -1), np.stack((bottom, right), -1)), 1).astype(int)
