"""Turn whole panoramas: each pixel is read where the turned sphere has it, with lookup tables for a still turn."""

from __future__ import annotations

import numpy as np
import torch

from ..geometry.erp import erp_angles, erp_coordinates
from ..geometry.sphere import directions, rotation
from ..media.painting import eyes_of
from ..media.spherical_tags import Packing
from ..records import View
from .camera import MARGIN, with_margin

# Pixels whose places are computed at once: of a large panorama, all at once would take gigabytes.
STRIP_PX = 1 << 18


class Turner:
    """Turn pictures so that what lies where a view looks comes to the middle, each eye by itself.

    The view's field of view does not matter.
    """

    def __init__(self, packing: Packing = "mono") -> None:
        self.packing = packing
        self._key: tuple[View, tuple[int, int]] | None = None
        self._maps: tuple[np.ndarray, np.ndarray] | None = None

    def size(self, pixels: np.ndarray) -> tuple[int, int]:
        """Width and height of the turned picture: those of `pixels [h, w, 3]`, made even, as H.264 needs."""
        return pixels.shape[1] // 2 * 2, pixels.shape[0] // 2 * 2

    def picture(self, pixels: np.ndarray, view: View) -> np.ndarray:
        """Turn a picture `[h, w, 3]` uint8 to `[h, w, 3]` uint8 of `size`."""
        width, height = self.size(pixels)
        eyes = [self._eye(eye, view, *self._eye_size(width, height)) for eye in eyes_of(pixels, self.packing)]
        return np.concatenate(eyes, axis=1 if self.packing == "left-right" else 0)

    def _eye_size(self, width: int, height: int) -> tuple[int, int]:
        return width // (1 + (self.packing == "left-right")), height // (1 + (self.packing == "top-bottom"))

    def _eye(self, pixels: np.ndarray, view: View, width: int, height: int) -> np.ndarray:
        import cv2

        rows, columns = pixels.shape[:2]
        if self._key != (view, (rows, columns)):
            self._key, self._maps = (view, (rows, columns)), _places(view, rows, columns, width, height)
        assert self._maps is not None
        return cv2.remap(with_margin(pixels), *self._maps, cv2.INTER_CUBIC)


def _places(view: View, rows: int, columns: int, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Locate the pixels of a turned panorama in a source of `rows` and `columns` with its margin, as `cv2.remap` asks.

    Returns:
        Columns and rows, `[height, width]` float32 each.
    """
    turn = rotation(view.yaw_deg, view.pitch_deg, view.roll_deg, dtype=torch.float64).T
    yaw, pitch = erp_angles(height, width, torch.float64)
    where = np.empty((2, height, width), np.float32)
    step = max(1, STRIP_PX // width)
    for top in range(0, height, step):
        strip = directions(yaw[None, :], pitch[top : top + step, None])
        x, y = erp_coordinates(strip @ turn, rows, columns)
        where[0, top : top + step], where[1, top : top + step] = x.numpy() + MARGIN, y.numpy() + MARGIN
    return where[0], where[1]
