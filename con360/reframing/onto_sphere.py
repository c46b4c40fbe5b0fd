"""Lay flat pictures onto panoramas, each where a camera that looks there would have seen it.

The way back of `reframing.camera`. Pictures are read by cubic interpolation, averaged down first where they are twice
as fine as the panorama or finer.

Convention: the field of view spans the picture's longer side. The feather lies inside the picture: its weight rises
from 0 at the edge to 1. Colours are not darkened towards the edge (straight alpha).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ..errors import InputError
from ..geometry.degrees import DEG
from ..geometry.perspective import camera_rotation, fov_outline, inside_view, reaches
from ..geometry.sphere import angles
from ..media.planes import CHROMA, LUMA, Planes, Siting
from ..records import View
from .camera import BAND, MARGIN

if TYPE_CHECKING:
    from collections.abc import Hashable

# Points on each edge of a picture, by which its part of the panorama is found.
OUTLINE_POINTS = 256

_T = TypeVar("_T", np.ndarray, Planes)


class Projector:
    """Lay pictures of one size onto panoramas of one size; what a still view needs is computed once.

    Args:
        aspect: width over height of the picture as it is shown. feather_deg: angle over which its edge fades.
        blend: whether the panorama shows through the feather. Without it, the picture is laid to its very edge, and the
            mask alone is feathered.
    """

    def __init__(self, aspect: float, feather_deg: float, blend: bool) -> None:
        self._aspect, self._feather_deg, self._blend = aspect, feather_deg, blend
        self._key: Hashable = None
        self._patches: dict[Siting, _Patch] = {}

    def lay(self, panorama: _T, picture: _T, view: View) -> _T:
        """Lay a picture onto a copy of a panorama.

        Args:
            panorama, picture: planes, or `[H, W, C]` and `[h, w, C]`, both uint8 or both float32.
        """
        if isinstance(panorama, Planes):
            luma, blue, red = (
                self._laid(getattr(panorama, name), getattr(picture, name), view, panorama.shape, siting)
                for name, siting in (("luma", LUMA), ("blue", CHROMA), ("red", CHROMA))
            )
            return replace(panorama, luma=luma, blue=blue, red=red)
        return self._laid(panorama, picture, view, panorama.shape[:2], LUMA)

    def weight(self, view: View, rows: int, columns: int) -> np.ndarray:
        """Weight of the picture in a panorama, `[rows, columns]` float32 from 0 to 1."""
        patch, cover = self._patch(view, (rows, columns), LUMA), np.zeros((rows, columns), np.float32)
        for part, own in patch.parts(columns):
            cover[patch.rows, part] = patch.weight[:, own]
        return cover

    def _laid(
        self, plane: np.ndarray, picture: np.ndarray, view: View, size: tuple[int, ...], siting: Siting
    ) -> np.ndarray:  # fmt: skip
        patch, laid = self._patch(view, size, siting), plane.copy()
        seen = patch.read(picture, size[1], siting)
        share = patch.weight if self._blend else patch.inside
        share = share.reshape(share.shape + (1,) * (plane.ndim - 2))
        for part, own in patch.parts(plane.shape[1]):
            below = laid[patch.rows, part].astype(np.float32)
            mixed = below + (seen[:, own] - below) * share[:, own]
            laid[patch.rows, part] = np.rint(mixed) if plane.dtype == np.uint8 else mixed
        return laid

    def _patch(self, view: View, size: tuple[int, ...], siting: Siting) -> _Patch:
        if self._key != (view, *size[:2]):
            self._key, self._patches = (view, *size[:2]), {}
        if siting not in self._patches:
            self._patches[siting] = _patch_of(view, self._aspect, self._feather_deg, size[0], size[1], siting)
        return self._patches[siting]


@dataclass(frozen=True)
class _Patch:
    """The part of a plane of a panorama that a picture covers.

    Args:
        top, left: its first row and column; columns rise over the seam.
        x, y: places of its samples in the picture, float32 `[h, w]`, from -1 at the picture's left and upper edge to 1.
        weight: of the picture, float32 `[h, w]`. inside: 1 where the picture lies, else 0.
        reach: half of the picture's width in the plane at distance 1.
    """

    top: int
    left: int
    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    inside: np.ndarray
    reach: float

    @property
    def rows(self) -> slice:
        return slice(self.top, self.top + len(self.weight))

    def parts(self, columns: int) -> list[tuple[slice, slice]]:
        """Columns of the panorama and of the patch that belong together: one pair, or two where it crosses the seam."""
        start, width = self.left % columns, self.weight.shape[1]
        first = min(width, columns - start)
        pairs = [(slice(start, start + first), slice(0, first))]
        return pairs if first == width else [*pairs, (slice(0, width - first), slice(first, width))]

    def read(self, picture: np.ndarray, columns: int, siting: Siting) -> np.ndarray:
        """Read a plane of the picture at the patch's samples, float32; `columns` are those of the panorama's luma."""
        import cv2

        height, width = (side * siting.step for side in picture.shape[:2])
        x, y = siting.column((self.x + 1) * (width / 2) - 0.5), siting.row((self.y + 1) * (height / 2) - 0.5)
        finer = int(width / 2 / self.reach / (columns / (2 * math.pi)))
        seen, (down, across) = picture.astype(np.float32), picture.shape[:2]
        if finer > 1:
            seen = cv2.resize(seen, (max(1, across // finer), max(1, down // finer)), interpolation=cv2.INTER_AREA)
            x, y = (x + 0.5) * (seen.shape[1] / across) - 0.5, (y + 0.5) * (seen.shape[0] / down) - 0.5
        read = cv2.remap(seen, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return read.clip(0, 255 if picture.dtype == np.uint8 else 1)


def _patch_of(view: View, aspect: float, feather_deg: float, rows: int, columns: int, siting: Siting) -> _Patch:
    (top, bottom), (left, right) = _bounds(view, aspect, rows, columns, siting.step)
    # Yaw alone shifts columns: all is computed as if the view looked to yaw 0.
    turn = camera_rotation(replace(view, yaw_deg=0.0)).numpy()
    column = np.arange(left, right) * siting.step + siting.across
    row = np.arange(top, bottom) * siting.step + siting.down
    yaw = ((column + 0.5) / columns - 0.5) * 2 * np.pi - view.yaw_deg * DEG
    pitch = ((0.5 - (row + 0.5) / rows) * np.pi)[:, None]
    reach = reaches(view, aspect)
    x, y, weight, inside = (np.empty((len(row), len(column)), np.float32) for _ in range(4))
    for start in range(0, len(row), BAND):
        band = slice(start, start + BAND)
        found = _in_picture(yaw, pitch[band], turn, reach, feather_deg)
        x[band], y[band], weight[band], inside[band] = found
    return _Patch(top, left, x, y, weight, inside, reach[0])


def _in_picture(
    yaw: np.ndarray, pitch: np.ndarray, turn: np.ndarray, reach: tuple[float, float], feather_deg: float
) -> tuple[np.ndarray, ...]:  # fmt: skip
    """Places in a picture, weights and whether they are inside, of directions; behind the camera they are outside."""
    level = np.cos(pitch)
    world = np.sin(yaw) * level, np.sin(pitch) + 0 * yaw, np.cos(yaw) * level
    right, up, ahead = (sum(turn[j, i] * world[j] for j in range(3)) for i in range(3))
    inside = ahead > 1e-6
    depth = np.where(inside, ahead, 1.0)
    x, y, weight = right / depth / reach[0], -up / depth / reach[1], np.ones_like(depth)
    for side, across, far in ((x, np.abs(right), reach[0]), (y, np.abs(up), reach[1])):
        inside &= np.abs(side) <= 1
        if feather_deg:
            # Angle to the plane through the camera and the picture's edge.
            angle = np.arcsin(((ahead * far - across) / math.hypot(1, far)).clip(0, 1))
            share = (angle / (feather_deg * DEG)).clip(0, 1)
            weight *= share * share * (3 - 2 * share)
    return x.clip(-1, 1), y.clip(-1, 1), weight * inside, inside


def _bounds(
    view: View, aspect: float, rows: int, columns: int, step: int
) -> tuple[tuple[int, int], tuple[int, int]]:  # fmt: skip
    """Rows and columns of a plane, every `step`-th of luma, that hold a view; the columns may lie beyond the edges."""
    import torch

    level = replace(view, yaw_deg=0.0)
    yaw, pitch = angles(fov_outline(level, OUTLINE_POINTS, torch.float64, aspect=aspect))
    poles = inside_view(torch.tensor([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]], dtype=torch.float64), level, aspect)
    above, below = poles.tolist()
    highest, lowest = 90.0 if above else float(pitch.max()), -90.0 if below else float(pitch.min())
    top = math.floor((0.5 - highest / 180) * rows / step) - MARGIN
    bottom = math.ceil((0.5 - lowest / 180) * rows / step) + MARGIN
    span = max(0, top), min(rows // step, bottom)
    middle = view.yaw_deg / 360 + 0.5
    left = math.floor((middle + float(yaw.min()) / 360) * columns / step) - MARGIN
    right = math.ceil((middle + float(yaw.max()) / 360) * columns / step) + MARGIN
    if above or below or right - left >= columns // step:
        return span, (0, columns // step)
    return span, (left, right)


def check_feather(feather_deg: float, view: View, aspect: float) -> None:
    """Check that a picture has room for a feather.

    Raises:
        InputError: it is negative, not a number, or reaches beyond the middle of the picture.
    """
    most = math.atan(min(reaches(view, aspect))) / DEG
    if not 0 <= feather_deg <= most:
        raise InputError(
            f"a feather of {feather_deg:g} degrees was asked for; this picture has room for 0 to {most:.4g}."
        )
