"""Lay pictures of other projections out as panorama, each eye by itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .info import MediaInfo
from .layouts import projections_of
from .limits import max_pixels
from .spherical_tags import Packing

if TYPE_CHECKING:
    from ..geometry.projections import Projection


def eye_parts(shape: tuple[int, ...], packing: Packing) -> tuple[tuple[slice, slice], ...]:
    """Rows and columns of the eyes in a picture of `shape`, the upper or left one first."""
    rows, columns = (slice(0, size) for size in shape[:2])
    if packing == "top-bottom":
        return tuple((half, columns) for half in _halves(rows.stop))
    return tuple((rows, half) for half in _halves(columns.stop)) if packing == "left-right" else ((rows, columns),)


def _halves(size: int) -> tuple[slice, slice]:
    return slice(0, size // 2), slice(size - size // 2, size)


def unfolding_of(info: MediaInfo) -> Unfolding | None:
    """Choose what makes panoramas of a file's pictures; None where they are whole panoramas already.

    Raises:
        InputError: as in `projections_of`.
    """
    found = projections_of(info.spherical, info.reading.upright, info.path.name)
    return None if found is None else Unfolding(info, found)


def check_copied(info: MediaInfo) -> None:
    """Check that a file's picture is a panorama as it is stored, before it is copied and labelled as one.

    Raises:
        InputError: it is not.
    """
    if unfolding_of(info) is not None:
        raise InputError(
            f"the picture of {info.path.name} ({info.projection}) is copied as it is here, and a plain equirectangular "
            f"one is wanted. Write it anew with `con360 level` first."
        )


class Unfolding:
    """Make panoramas of the pictures of one file."""

    def __init__(self, info: MediaInfo, projections: tuple[Projection, ...]) -> None:
        self._info, self._projections = info, projections
        self._tables: dict[tuple[int, ...], _Table] = {}

    @property
    def is_whole(self) -> bool:
        """True where all of the sphere is shown."""
        return self._projections[0].is_whole

    def packing(self) -> Packing:
        """Tell how the eyes lie in the file's picture: as it says, else by the shape that one eye has."""
        said = self._info.spherical.stereo
        if said in ("mono", "top-bottom", "left-right"):
            return said
        ratio = self._info.aspect / (self._projections[0].aspect or self._info.aspect)
        if said == "custom":
            return "mono"
        return "left-right" if ratio > 1.6 else "top-bottom" if ratio < 0.625 else "mono"

    def parts(self, shape: tuple[int, ...]) -> tuple[tuple[slice, slice], ...]:
        """Rows and columns of what each eye is made of, the left eye first; one entry where there is one eye."""
        whole = eye_parts(shape, "mono")
        if self._info.spherical.stereo == "custom":
            return (*whole, *whole)
        eyes = eye_parts(shape, self.packing())
        return eyes if self._info.spherical.left_first else eyes[::-1]

    def panorama(self, picture: np.ndarray, eye: int) -> np.ndarray:
        """Make the panorama `[H, 2 H, C]` of one eye (0 left, 1 right) of its part of the picture, `[h, w, C]`.

        Where the picture shows nothing, the panorama is black.
        """
        number = min(eye, len(self._projections) - 1)
        key = (number, *picture.shape[:2])
        if key not in self._tables:
            self._tables[key] = self._table(self._projections[number], *picture.shape[:2])
        return self._tables[key].read(picture)

    def _table(self, projection: Projection, rows: int, columns: int) -> _Table:
        try:
            # One size for both eyes, which are packed together.
            size = _limited(max(each.size(rows, columns) for each in self._projections))
            return _Table(projection, size, (rows, columns), self._turn())
        except InputError as error:
            raise InputError(f"{self._info.path.name}: {error}. Choose its projection or layout by hand.") from error

    def _turn(self) -> np.ndarray:
        if not self._info.reading.upright:
            return np.eye(3)
        import torch

        from ..geometry.sphere import rotation

        # The pose brings the picture to the level world.
        return rotation(*self._info.spherical.pose_deg, dtype=torch.float64).numpy().T


def _limited(size: tuple[int, int]) -> tuple[int, int]:
    """Bring rows and columns of a panorama below the limit of pixels; metadata can claim any size."""
    height, width = size
    if height * width <= max_pixels():
        return size
    height = int(math.sqrt(max_pixels() / 2)) // 2 * 2
    return height, 2 * height


class _Table:
    """Places of a panorama's pixels in a picture, found once for all frames."""

    def __init__(
        self, projection: Projection, size: tuple[int, int], picture: tuple[int, int], turn: np.ndarray
    ) -> None:
        import cv2

        self._projection, self._size = projection, size
        x, y = projection.places(size, picture, turn)
        shown = ~np.isnan(x)
        # Of a picture that shows a part of the sphere, the rest costs no time.
        self._part = tuple(_span(shown.any(axis)) for axis in (1, 0))
        self._black = None if shown[self._part].all() else ~shown[self._part]
        self._maps = cv2.convertMaps(*(np.nan_to_num(place[self._part]) for place in (x, y)), cv2.CV_16SC2)

    def read(self, picture: np.ndarray) -> np.ndarray:
        import cv2

        source = np.ascontiguousarray(self._projection.bordered(picture))
        made = cv2.remap(source, *self._maps, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        if self._black is not None:
            made[self._black] = 0
        if made.shape[:2] == self._size:
            return made
        whole = np.zeros((*self._size, *made.shape[2:]), made.dtype)
        whole[self._part] = made
        return whole


def _span(shown: np.ndarray) -> slice:
    """From the first to the last that is shown; all where nothing is."""
    found = np.flatnonzero(shown)
    return slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, len(shown))
