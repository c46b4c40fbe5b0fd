"""Cut parts out of a panorama that reach beyond its edges."""

from __future__ import annotations

import numpy as np


def part_of(plane: np.ndarray, top: int, bottom: int, left: int, right: int) -> np.ndarray:
    """Cut out a part: columns wrap, and beyond a pole the picture continues half a turn further.

    It is a view of the plane where it lies inside.
    """
    rows, parts = len(plane), []
    while top < bottom:
        beyond, start = divmod(top, rows)
        stop = min(rows, start + bottom - top)
        if beyond % 2:
            half = plane.shape[1] // 2
            parts.append(_columns(plane[rows - stop : rows - start][::-1], left + half, right + half))
        else:
            parts.append(_columns(plane[start:stop], left, right))
        top += stop - start
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


def _columns(rows: np.ndarray, left: int, right: int) -> np.ndarray:
    width, parts = rows.shape[1], []
    while left < right:
        start = left % width
        parts.append(rows[:, start : min(width, start + right - left)])
        left += parts[-1].shape[1]
    return np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]
