"""Measure how a decoded picture looks: whether its seam joins, and how alike its halves are.

Convention: pictures `[h, w, 3]` uint8. Steps are mean differences of gray values from one pixel to the next in a
picture of 256 by 512.
"""

from __future__ import annotations

import numpy as np

from .spherical_tags import Packing

ROWS, COLUMNS = 256, 512
# Rows so near to the poles say nothing of the seam.
POLAR_ROWS = 13
# Below this mean step a picture is too plain to tell.
PLAIN_STEP = 0.1
# An edge column with less contrast is a border.
PLAIN_EDGE = 1.5
# Steps at the seam: 0.1 to 2.0 in 38 real panoramas, up to 3.0 in a dark or poorly coded one; 3.6 and more in flat
# pictures, faces of a cube and a panorama that was cut.
JOINED_SEAM, OPEN_SEAM = 2.3, 3.4
# Halves with less contrast than this show nothing to compare.
PLAIN = 2.0


def gray(pixels: np.ndarray, rows: int = ROWS, columns: int = COLUMNS) -> np.ndarray:
    """Average to gray values `[rows, columns]`, 0 to 255."""
    import cv2

    small = cv2.resize(np.ascontiguousarray(pixels), (columns, rows), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32).mean(-1)


def seam_step(pixels: np.ndarray) -> float:
    """Divide the step from the last column to the first by the mean step; NaN for plain pictures and plain borders."""
    rows = gray(pixels)[POLAR_ROWS:-POLAR_ROWS]
    usual = float(np.abs(np.diff(rows, axis=1)).mean())
    if usual < PLAIN_STEP or max(rows[:, 0].std(), rows[:, -1].std()) < PLAIN_EDGE:
        return float("nan")
    return float(np.abs(rows[:, 0] - rows[:, -1]).mean()) / usual


def likeness(pixels: np.ndarray, packing: Packing) -> tuple[float, float]:
    """Correlate the halves, as they are and without the means of rows and columns; NaN where they are plain."""
    whole = gray(pixels, 32, 32) if packing == "top-bottom" else gray(pixels, 16, 64)
    one, other = np.split(whole, 2, axis=0 if packing == "top-bottom" else 1)
    if min(one.std(), other.std()) < PLAIN:
        return float("nan"), float("nan")
    return _correlation(one, other), _correlation(_centred(one), _centred(other))


def _centred(values: np.ndarray) -> np.ndarray:
    return values - values.mean(0, keepdims=True) - values.mean(1, keepdims=True) + values.mean()


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    spread = float(one.std() * other.std())
    return float(((one - one.mean()) * (other - other.mean())).mean()) / spread if spread > 1e-6 else 0.0
