"""Turn whole panoramas: each sample is read where the turned sphere has it, with lookup tables for a still turn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ..geometry.erp import erp_coordinates
from ..geometry.sphere import directions, rotation
from ..media.painting import pixels_of
from ..media.planes import LUMA, Planes, Siting
from ..media.spherical_tags import Packing
from ..media.unfolding import eye_parts
from ..records import View
from .camera import Camera

# Samples whose places are computed at once: of a large panorama, all at once would take gigabytes.
STRIP_PX = 1 << 18


class SphereCamera(Camera):
    """Draw what lies all around a view as a panorama; the field of view does not matter."""

    # As fine as its source, the picture shows the difference: 1.5 dB from there and back.
    enlarged = 1

    def places(self, view: View, rows: int, columns: int, siting: Siting = LUMA) -> tuple[np.ndarray, np.ndarray]:
        """Locate the samples of a turned panorama in the same plane of a panorama, as `Camera.places`."""
        turn = rotation(view.yaw_deg, view.pitch_deg, view.roll_deg, dtype=torch.float64).T
        across, down = map(torch.from_numpy, siting.positions(self.width, self.height))
        yaw = ((across + 0.5) / self.width - 0.5) * 360.0
        pitch = (0.5 - (down + 0.5) / self.height) * 180.0
        where = np.empty((2, len(pitch), len(yaw)), np.float32)
        step = max(1, STRIP_PX // self.width)
        for top in range(0, len(pitch), step):
            seen = directions(yaw[None, :], pitch[top : top + step, None])
            x, y = erp_coordinates(seen @ turn, rows, columns)
            where[0, top : top + step], where[1, top : top + step] = siting.column(x.numpy()), siting.row(y.numpy())
        return where[0], where[1]

    def _shrinking(self, view: View, columns: int) -> int:
        # The turned picture is as fine as its source.
        return 1


class Turner:
    """Turn pictures so that what lies where a view looks comes to the middle, each eye by itself."""

    def __init__(self, packing: Packing = "mono") -> None:
        self.packing = packing
        self._camera: SphereCamera | None = None

    def size(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Width and height of the turned picture: those of a source of `shape`, made even, as H.264 needs."""
        return shape[1] // 2 * 2, shape[0] // 2 * 2

    def picture(self, pixels: np.ndarray | Planes, view: View) -> np.ndarray | Planes:
        """Turn a picture `[h, w, 3]` uint8, or planes, to one of `size`."""
        width, height = self.size(pixels.shape)
        width //= 2 if self.packing == "left-right" else 1
        height //= 2 if self.packing == "top-bottom" else 1
        eyes = [_cut(pixels, part) for part in eye_parts(pixels.shape, self.packing)]
        # Colour has no half samples: eyes of odd sizes are turned in RGB.
        if isinstance(pixels, Planes) and (None in eyes or width % 2 or height % 2):
            whole = pixels_of(pixels)
            eyes = [whole[part] for part in eye_parts(whole.shape, self.packing)]
        if self._camera is None:
            self._camera = SphereCamera(width, height)
        turned = [self._camera.picture(eye, view) for eye in eyes if eye is not None]
        return _joined(turned, axis=1 if self.packing == "left-right" else 0)


def _cut(pixels: np.ndarray | Planes, part: tuple[slice, slice]) -> np.ndarray | Planes | None:
    """Cut a part out; None where its corner lies within a sample of colour of planes."""
    return pixels.part(*part) if isinstance(pixels, Planes) else pixels[part]


def _joined(eyes: list[np.ndarray | Planes], axis: int) -> np.ndarray | Planes:
    first = eyes[0]
    if len(eyes) == 1:
        return first
    if isinstance(first, Planes):
        planes = {name: np.concatenate([getattr(eye, name) for eye in eyes], axis) for name in ("luma", "blue", "red")}
        return replace(first, **planes)
    return np.concatenate([eye for eye in eyes if isinstance(eye, np.ndarray)], axis)
