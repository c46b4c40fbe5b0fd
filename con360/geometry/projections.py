"""Projections of 360° files: where each pixel of a panorama lies in the picture of one eye.

Convention: a pixel's centre has whole coordinates, x to the right and y down. Directions are x right, y up, z forward.
A turn `[3, 3]` brings the panorama's directions to those of the picture: `picture = turn @ panorama`.

Source: Spherical Video V2 RFC (equi, cbmp); py360convert's horizon (6x1); FFmpeg's v360 filter (c3x2, eac).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch

from ..errors import InputError
from .erp import erp_angles
from .sphere import directions
from .wrapped import part_of

# Directions whose places are computed at once: of a large panorama, all at once would take gigabytes.
STRIP_PX = 1 << 18
# Pixels that cubic interpolation reads beyond a sample.
MARGIN = 2
# A cubemap's faces may be this far from square; coders round sizes.
SQUARE = 0.01
# Width over height of equi-angular cubemaps: 3:2 by their faces, 16:9 where YouTube stretches them.
EAC_ASPECT = (1.4, 1.9)
# Pixels around each row of an equi-angular cubemap that continue its faces.
EAC_PAD = 2

Places = tuple[np.ndarray, np.ndarray]


class Projection(Protocol):
    """Lay the sphere, or a part of it, out in the picture of one eye."""

    @property
    def is_whole(self) -> bool:
        """True where the picture shows the whole sphere."""

    @property
    def aspect(self) -> float:
        """Width over height of the picture of one eye, where its pixels are square; 0 where nothing is known."""

    def size(self, rows: int, columns: int) -> tuple[int, int]:
        """Rows and columns of a panorama as fine as a picture of `rows` and `columns`.

        Raises:
            InputError: no picture of this projection has such a shape.
        """

    def bordered(self, picture: np.ndarray) -> np.ndarray:
        """Add to a picture `[rows, columns, C]` what interpolation reads beyond its edges."""

    def places(self, panorama: tuple[int, int], picture: tuple[int, int], turn: np.ndarray) -> Places:
        """Locate a panorama's pixels in the bordered picture.

        Args:
            panorama, picture: rows and columns of each, the picture without its border.
            turn: as in the module's text.

        Returns:
            Columns and rows, float32 `[rows, columns]` of the panorama each; NaN where the picture shows nothing.
        """


class _ByDirection(ABC):
    """Locate pixels by their directions, strip by strip."""

    def places(self, panorama: tuple[int, int], picture: tuple[int, int], turn: np.ndarray) -> Places:
        height, width = panorama
        yaw, pitch = erp_angles(height, width, torch.float64)
        where, step = np.empty((2, height, width), np.float32), max(1, STRIP_PX // width)
        for top in range(0, height, step):
            dirs = directions(yaw[None, :], pitch[top : top + step, None]).numpy() @ turn.T
            where[0, top : top + step], where[1, top : top + step] = self.locate(dirs, *picture)
        return where[0], where[1]

    @abstractmethod
    def locate(self, dirs: np.ndarray, rows: int, columns: int) -> Places:
        """Locate directions `[..., 3]` in the bordered picture."""


@dataclass(frozen=True)
class Equirectangular(_ByDirection):
    """An equirectangular picture of the sphere, or of a part of it.

    Args:
        top, bottom, left, right: fractions of the whole panorama that the picture lacks on each side.

    Raises:
        InputError: nothing is left, or a fraction is below 0.
    """

    top: float = 0.0
    bottom: float = 0.0
    left: float = 0.0
    right: float = 0.0

    def __post_init__(self) -> None:
        sides = (self.top, self.bottom, self.left, self.right)
        # Written so that NaN fails.
        if not (min(sides) >= 0 and self.top + self.bottom < 1 and self.left + self.right < 1):
            said = ", ".join(f"{side:.4g}" for side in sides)
            raise InputError(
                f"the picture's part of the sphere makes no sense: it lacks {said} at its top, bottom, left and right"
            )

    @property
    def is_whole(self) -> bool:
        return not (self.top or self.bottom or self._is_cut)

    @property
    def _is_cut(self) -> bool:
        return bool(self.left or self.right)

    @property
    def _shares(self) -> tuple[float, float]:
        return 1 - self.top - self.bottom, 1 - self.left - self.right

    @property
    def aspect(self) -> float:
        down, across = self._shares
        return 2 * across / down

    def size(self, rows: int, columns: int) -> tuple[int, int]:
        if self.is_whole:
            return rows, columns
        down, across = self._shares
        height = max(1, round(max(rows / down, columns / across / 2)))
        return height, 2 * height

    def bordered(self, picture: np.ndarray) -> np.ndarray:
        rows, columns = picture.shape[:2]
        if self.is_whole:
            return part_of(picture, -MARGIN, rows + MARGIN, -MARGIN, columns + MARGIN)
        return picture if self._is_cut else part_of(picture, 0, rows, -MARGIN, columns + MARGIN)

    def locate(self, dirs: np.ndarray, rows: int, columns: int) -> Places:
        x, y, z = np.moveaxis(dirs, -1, 0)
        (down, across), edge = self._shares, 1e-6
        u = (np.arctan2(x, z) / (2 * math.pi) + 0.5 - self.left) / across
        v = (0.5 - np.arctan2(y, np.hypot(x, z)) / math.pi - self.top) / down
        shown = (np.abs(u - 0.5) <= 0.5 + edge) & (np.abs(v - 0.5) <= 0.5 + edge)
        border = 0 if self._is_cut else MARGIN, MARGIN if self.is_whole else 0
        sides = (np.where(shown, part, np.nan) for part in (u, v))
        u, v = sides
        return u * columns - 0.5 + border[0], v * rows - 0.5 + border[1]


_AXES = {"R": (1, 0, 0), "L": (-1, 0, 0), "U": (0, 1, 0), "D": (0, -1, 0), "F": (0, 0, 1), "B": (0, 0, -1)}
# Rows of faces. Each is named by what lies in its middle, at its right edge and at its top edge: Front, Back, Left,
# Right, Up, Down.
CUBE_3X2 = ("RBU LFU URB", "DRF FRU BLU")
CUBE_6X1 = ("FRU RBU BLU LFU URB DRF",)
# Layout 0 of cbmp: the up face's top is in front, that of the down face behind.
CUBE_CBMP = ("RBU LFU ULF", "DLB FRU BLU")
EAC = ("LFU FRU RBU", "DBR BUR UFR")


@dataclass(frozen=True)
class _Faces(_ByDirection):
    """Six faces of a cube in a grid.

    Args:
        grid: rows of faces, as `CUBE_3X2`.
    """

    grid: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        return True

    @property
    def aspect(self) -> float:
        rows, columns = self._counts
        return columns / rows

    @property
    def _counts(self) -> tuple[int, int]:
        return len(self.grid), len(self.grid[0].split())

    @property
    def axes(self) -> np.ndarray:
        """Right, up and forward axes of the faces, `[6, 3, 3]`."""
        names = [[_AXES[side] for side in name] for row in self.grid for name in row.split()]
        return np.array([[right, up, middle] for middle, right, up in names], float)

    def on_faces(self, dirs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Number of the face that each direction `[..., 3]` meets, and its place there: -1 to 1 right and up."""
        axes = self.axes
        face = (dirs @ axes[:, 2].T).argmax(-1)
        x, y, z = (np.einsum("...c,...c->...", dirs, axes[face, axis]) for axis in range(3))
        return face, x / z, y / z


@dataclass(frozen=True)
class Cubemap(_Faces):
    """A cubemap: each face is a view of 90 degrees.

    Args:
        padding: pixels around each face that continue it. Without, they are read from its neighbours.
    """

    padding: int = 0

    def size(self, rows: int, columns: int) -> tuple[int, int]:
        side = self._side(rows, columns)
        return 2 * side, 4 * side

    def _side(self, rows: int, columns: int) -> int:
        down, across = self._counts
        if abs(columns * down / (rows * across) - 1) > SQUARE:
            raise InputError(
                f"a cubemap of {across}x{down} square faces has a ratio of {across}:{down}, and the picture of one "
                f"eye is {columns}x{rows}"
            )
        side = round(rows / down) - 2 * self.padding
        if side < 2:
            raise InputError(f"a cubemap of {columns}x{rows} with a padding of {self.padding} has no faces left")
        return side

    def bordered(self, picture: np.ndarray) -> np.ndarray:
        import cv2

        side, (down, across) = self._side(*picture.shape[:2]), self._counts
        cell = side + 2 * self.padding
        if picture.shape[:2] != (down * cell, across * cell):
            picture = cv2.resize(picture, (across * cell, down * cell), interpolation=cv2.INTER_CUBIC)
        if self.padding:
            return picture
        wide = side + 2 * MARGIN
        whole = np.empty((down * wide, across * wide, *picture.shape[2:]), picture.dtype)
        for row, column in np.ndindex(down, across):
            inner = whole[row * wide + MARGIN :, column * wide + MARGIN :][:side, :side]
            inner[:] = picture[row * side :, column * side :][:side, :side]
        places, x, y = _ring(self, side)
        around = cv2.remap(np.ascontiguousarray(picture), x, y, cv2.INTER_LINEAR)
        whole.reshape(-1, *picture.shape[2:])[places] = around.reshape(-1, *picture.shape[2:])
        return whole

    def locate(self, dirs: np.ndarray, rows: int, columns: int) -> Places:
        side, border = self._side(rows, columns), self.padding or MARGIN
        face, x, y = self.on_faces(dirs)
        row, column = np.divmod(face, self._counts[1])
        cell = side + 2 * border
        return (column * cell + border + (x + 1) / 2 * side - 0.5, row * cell + border + (1 - y) / 2 * side - 0.5)


@lru_cache(maxsize=4)
def _ring(cube: Cubemap, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of the pixels around the faces in the bordered picture, and where they lie in the one without border."""
    down, across = cube._counts
    wide = side + 2 * MARGIN
    along = (np.arange(-MARGIN, side + MARGIN) + 0.5) / side * 2 - 1
    x, y = np.meshgrid(along, -along)
    beyond = np.maximum(np.abs(x), np.abs(y)) > 1
    rays = np.stack((x[beyond], y[beyond], np.ones(beyond.sum())), -1)
    face, right, up = cube.on_faces(np.concatenate([rays @ axes for axes in cube.axes]))
    row, column = np.divmod(face, across)
    # A neighbour's outer pixels are not mixed with those of what lies beside them in the file.
    here = [((place + 1) / 2 * side - 0.5).clip(0, side - 1) for place in (right, -up)]
    maps = (start * side + inner for start, inner in zip((column, row), here, strict=True))
    numbers = np.arange(down * wide * across * wide).reshape(down, wide, across, wide)
    places = numbers.transpose(0, 2, 1, 3).reshape(6, wide, wide)[:, beyond].ravel()
    # In rows of a length that OpenCV takes.
    x_map, y_map = (part.astype(np.float32).reshape(24, -1) for part in maps)
    return places, x_map, y_map


@dataclass(frozen=True)
class EquiAngular(_Faces):
    """YouTube's equi-angular cubemap: equal angles across each face, faces of a row joined, pixels around each row."""

    grid: tuple[str, ...] = EAC

    def size(self, rows: int, columns: int) -> tuple[int, int]:
        low, high = EAC_ASPECT
        if not (low <= columns / rows <= high and rows > 4 * EAC_PAD):
            raise InputError(
                f"an equi-angular cubemap has a ratio of 3:2, stretched at most to 16:9, and the picture of one eye is "
                f"{columns}x{rows}"
            )
        side = max(round(rows / 2), round(columns / 3))
        return 2 * side, 4 * side

    def bordered(self, picture: np.ndarray) -> np.ndarray:
        return picture

    def locate(self, dirs: np.ndarray, rows: int, columns: int) -> Places:
        face, x, y = self.on_faces(dirs)
        row, column = np.divmod(face, 3)
        u, v = (0.5 + np.arctan(place) * 2 / math.pi for place in (x, -y))
        return (
            (column + u) * (columns - 2 * EAC_PAD) / 3 + EAC_PAD - 0.5,
            v * (rows / 2 - 2 * EAC_PAD) + EAC_PAD + row * (rows / 2) - 0.5,
        )
