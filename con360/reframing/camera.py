"""Cut views out of panorama frames, with lookup tables for a still camera."""

from __future__ import annotations

import math

import numpy as np
import torch

from ..geometry.erp import erp_coordinates
from ..geometry.sphere import DEG, rotation
from ..records import View

# Columns and rows that cubic interpolation reads beyond the panorama's edges.
MARGIN = 2


class Camera:
    """Draw views of one size in pixels."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._key: tuple[View, tuple[int, int]] | None = None
        self._maps: tuple[np.ndarray, np.ndarray] | None = None

    def picture(self, pixels: np.ndarray, view: View) -> np.ndarray:
        """Cut a view `[h, w, 3]` uint8 out of a panorama `[H, W, 3]` uint8 of any ratio."""
        import cv2

        pixels = self._shrunk(pixels, view)
        if self._key != (view, pixels.shape[:2]):
            self._key, self._maps = (view, pixels.shape[:2]), self._coordinates(view, *pixels.shape[:2])
        assert self._maps is not None
        return cv2.remap(with_margin(pixels), *self._maps, cv2.INTER_CUBIC)

    def _shrunk(self, pixels: np.ndarray, view: View) -> np.ndarray:
        """Average the panorama down where it is at least twice as fine as the picture: cubic samples alone flicker."""
        import cv2

        finer = pixels.shape[1] / (2 * math.pi) * 2 * math.tan(view.fov_deg * DEG / 2) / max(self.width, self.height)
        if finer < 2:
            return np.ascontiguousarray(pixels)
        size = (pixels.shape[1] // int(finer), pixels.shape[0] // int(finer))
        return cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_AREA)

    def _coordinates(self, view: View, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
        reach = math.tan(view.fov_deg * DEG / 2) / max(self.width, self.height)
        x = (2 * torch.arange(self.width, dtype=torch.float32) + 1 - self.width) * reach
        y = -(2 * torch.arange(self.height, dtype=torch.float32) + 1 - self.height) * reach
        ahead = torch.ones(self.height, self.width)
        camera = torch.stack((x.expand(self.height, -1), y[:, None].expand(-1, self.width), ahead), -1)
        where = erp_coordinates(camera @ rotation(view.yaw_deg, view.pitch_deg, view.roll_deg).T, rows, columns)
        return where[0].numpy() + MARGIN, where[1].numpy() + MARGIN


def with_margin(pixels: np.ndarray) -> np.ndarray:
    """Add a margin: columns wrap, and beyond a pole the picture continues half a turn further."""
    tall = np.empty((pixels.shape[0] + 2 * MARGIN, pixels.shape[1] + 2 * MARGIN, 3), np.uint8)
    inner, half = tall[:, MARGIN:-MARGIN], pixels.shape[1] // 2
    inner[MARGIN:-MARGIN] = pixels
    inner[:MARGIN] = np.roll(pixels[:MARGIN][::-1], half, axis=1)
    inner[-MARGIN:] = np.roll(pixels[-MARGIN:][::-1], half, axis=1)
    tall[:, :MARGIN], tall[:, -MARGIN:] = inner[:, -MARGIN:], inner[:, :MARGIN]
    return tall
