"""Cut views out of panoramas: pictures in RGB or as planes of luma and chroma, with lookup tables for a still camera.

The part that a view sees is enlarged twofold by cubic interpolation, then read by linear interpolation. That takes half
the time of reading by cubic interpolation, and comes as close to what a view truly shows (docs/speed.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ..geometry.degrees import DEG
from ..geometry.wrapped import part_of
from ..media.planes import CHROMA, LUMA, Planes, Siting
from ..records import View

if TYPE_CHECKING:
    from collections.abc import Hashable

# Columns and rows that interpolation reads around the part that a view sees.
MARGIN = 4
ENLARGED = 2
# Rows whose places are computed at once, so that they stay in a core's cache.
BAND = 32

_T = TypeVar("_T", np.ndarray, Planes)


class Camera:
    """Draw views of one size in pixels.

    Where `enlarged` is 1, samples are read by cubic interpolation at once.
    """

    enlarged = ENLARGED

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._key: Hashable = None
        self._tables: dict[Siting, _Table] = {}

    def picture(self, pixels: _T, view: View) -> _T:
        """Cut a view out of a panorama of any ratio: `[h, w, 3]` uint8 out of `[H, W, 3]`, or planes out of planes."""
        if isinstance(pixels, Planes):
            read = self._reader(view, *pixels.shape)
            blue, red = (read(plane, CHROMA) for plane in (pixels.blue, pixels.red))
            return replace(pixels, luma=read(pixels.luma, LUMA), blue=blue, red=red)
        return self._reader(view, *pixels.shape[:2])(pixels, LUMA)

    def _reader(self, view: View, rows: int, columns: int) -> Callable[[np.ndarray, Siting], np.ndarray]:
        """Make what reads a view out of a plane, sited as told, of a panorama of `rows` and `columns`."""
        if self._key != (view, rows, columns):
            self._key, self._tables = (view, rows, columns), {}

        def read(plane: np.ndarray, siting: Siting) -> np.ndarray:
            if siting not in self._tables:
                places, shrinking = self.places(view, rows, columns, siting), self._shrinking(view, columns)
                self._tables[siting] = _table(places, shrinking, self.enlarged)
            return self._tables[siting].read(plane)

        return read

    def _shrinking(self, view: View, columns: int) -> int:
        """Choose by how much the panorama is averaged down, where it is twice as fine as the picture or finer.

        Cubic samples alone would flicker.
        """
        finer = columns / (2 * math.pi) * 2 * math.tan(view.fov_deg * DEG / 2) / max(self.width, self.height)
        return max(1, int(finer))

    def places(self, view: View, rows: int, columns: int, siting: Siting = LUMA) -> tuple[np.ndarray, np.ndarray]:
        """Locate a view's samples in the same plane of a panorama.

        Returns:
            Columns and rows, float32 `[h, w]` each; columns rise over the seam, so that they can lie beyond the edges.
        """
        reach = math.tan(view.fov_deg * DEG / 2) / max(self.width, self.height)
        across, down = siting.positions(self.width, self.height)
        x = ((2 * across + 1 - self.width) * reach).astype(np.float32)
        y = (-(2 * down + 1 - self.height) * reach).astype(np.float32)[:, None]
        places = np.empty((2, len(y), len(x)), np.float32)
        for top in range(0, len(y), BAND):
            band = slice(top, top + BAND)
            places[:, band] = _places_of_rays(x, y[band], view, rows, columns)
        return siting.column(places[0]), siting.row(places[1])


def _places_of_rays(x: np.ndarray, y: np.ndarray, view: View, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of luma where the rays `(x, y, 1)` of a camera meet the panorama."""
    (sin_roll, cos_roll), (sin, cos) = (
        (math.sin(angle * DEG), math.cos(angle * DEG)) for angle in (view.roll_deg, view.pitch_deg)
    )
    # Yaw alone shifts columns: without it the seam lies behind the camera.
    right, level = cos_roll * x + sin_roll * y, cos_roll * y - sin_roll * x
    up, ahead = cos * level + sin, cos - sin * level
    yaw, pitch = np.arctan2(right, ahead), np.arctan2(up, np.sqrt(right * right + ahead * ahead))
    middle = (view.yaw_deg / 360 + 0.5) * columns - 0.5
    return yaw * (columns / (2 * math.pi)) + middle, (0.5 - pitch / math.pi) * rows - 0.5


@dataclass(frozen=True)
class _Table:
    """Places of a view's samples in an enlarged part of a plane.

    Args:
        top, bottom, left, right: of the part, in the plane's pixels; they may lie beyond its edges.
        shrinking: pixels, across and down, that are averaged to one first. enlarged: as in `Camera`.
        maps: as `cv2.remap` asks.
    """

    top: int
    bottom: int
    left: int
    right: int
    shrinking: int
    enlarged: int
    maps: tuple[np.ndarray, np.ndarray]

    def read(self, plane: np.ndarray) -> np.ndarray:
        """Read the samples out of a plane `[H, W]` or `[H, W, C]`."""
        import cv2

        part = part_of(plane, self.top, self.bottom, self.left, self.right)
        if self.shrinking > 1:
            size = (part.shape[1] // self.shrinking, part.shape[0] // self.shrinking)
            part = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
        if self.enlarged == 1:
            return cv2.remap(np.ascontiguousarray(part), *self.maps, cv2.INTER_CUBIC)
        part = cv2.resize(part, None, fx=self.enlarged, fy=self.enlarged, interpolation=cv2.INTER_CUBIC)
        return cv2.remap(part, *self.maps, cv2.INTER_LINEAR)


def _table(places: tuple[np.ndarray, np.ndarray], shrinking: int, enlarged: int) -> _Table:
    (left, right), (top, bottom) = (_span(along, shrinking) for along in places)
    scale = enlarged / shrinking
    x, y = ((along + (0.5 - first)) * scale - 0.5 for along, first in zip(places, (left, top), strict=True))
    return _Table(top, bottom, left, right, shrinking, enlarged, (x.astype(np.float32), y.astype(np.float32)))


def _span(along: np.ndarray, shrinking: int) -> tuple[int, int]:
    """Choose whole blocks of `shrinking` pixels around places along one axis, with room for interpolation."""
    first = math.floor(float(along.min()) / shrinking) - MARGIN
    last = math.ceil(float(along.max()) / shrinking) + MARGIN
    return first * shrinking, (last + 1) * shrinking
