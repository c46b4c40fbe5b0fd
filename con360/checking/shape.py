"""Measure if a picture is a whole panorama: its poles, black bars, and other layouts (`media.looks` has its seam).

Convention: pictures `[h, w, 3]` uint8 of one eye. Steps are mean differences of gray values from one pixel to the next
in a picture of 256 by 512.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..media.looks import ROWS, gray

# Below this mean step a picture is too plain to tell.
PLAIN_POLE_STEP = 1.0
DARK = 24.0
# Of a fisheye: share of dark pixels outside the circle at least, inside it at most.
OUTSIDE_DARK, INSIDE_DARK = 0.97, 0.3


def pole_steps(pixels: np.ndarray) -> tuple[float, float]:
    """Divide the mean step along the top and the bottom row by that of middle rows; NaN for plain pictures.

    A pole is one point: its row hardly changes.
    """
    steps = np.abs(np.diff(gray(pixels), axis=1)).mean(1)
    usual = float(np.median(steps[ROWS // 4 : -ROWS // 4]))
    if usual < PLAIN_POLE_STEP:
        return float("nan"), float("nan")
    return float(steps[0]) / usual, float(steps[-1]) / usual


class Bars(NamedTuple):
    """Shares of the height and the width that are black at each side."""

    top: float
    bottom: float
    left: float
    right: float


def black_bars(pictures: tuple[np.ndarray, ...]) -> Bars:
    """Measure rows and columns that are dark in all of the pictures."""
    brightest = np.max([gray(pixels) for pixels in pictures], 0)
    rows, columns = brightest.max(1) < DARK, brightest.max(0) < DARK
    return Bars(_leading(rows), _leading(rows[::-1]), _leading(columns), _leading(columns[::-1]))


def _leading(dark: np.ndarray) -> float:
    return 1.0 if dark.all() else float(np.argmin(dark)) / len(dark)


def _inside_bars(pixels: np.ndarray) -> np.ndarray:
    """Cut off black bars and average to gray values `[ROWS, ROWS]`."""
    bars, (height, width) = black_bars((pixels,)), pixels.shape[:2]
    rows = slice(round(bars.top * height), height - round(bars.bottom * height))
    columns = slice(round(bars.left * width), width - round(bars.right * width))
    inner = pixels[rows, columns]
    return gray(inner if inner.size else pixels, ROWS, ROWS)


def is_fisheye(pixels: np.ndarray, circles: int = 1) -> bool:
    """Tell whether all outside of one circle, or of two beside each other, is dark, and most inside is not."""
    halves = [_inside_bars(half) for half in np.array_split(pixels, circles, axis=1)]
    y, x = (np.mgrid[:ROWS, :ROWS] - (ROWS - 1) / 2) / (ROWS / 2)
    radius = np.hypot(x, y)
    # The circle's own top and bottom tell it from a picture with black bars.
    ends = (radius < 0.95) & (np.abs(y) > 0.75)
    return all(
        (half[radius > 1.06] < DARK).mean() >= OUTSIDE_DARK
        and (half[radius < 0.9] < DARK).mean() <= INSIDE_DARK
        and (half[ends] < DARK).mean() <= INSIDE_DARK
        for half in halves
    )  # fmt: skip
