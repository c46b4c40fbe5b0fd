"""Measure how far a panorama is tilted, by the edges of upright things.

Each edge lies on a great circle. Those of upright things pass through the zenith. The zenith that most edges agree on
is sought within 30 degrees of the top; where another one far from it would do nearly as well, nothing is claimed.

Source: the vanishing point of vertical lines on the sphere, as in Jung et al., "Robust upright adjustment of 360
spherical panoramas", 2017; the vote and its thresholds are ours.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..geometry.degrees import DEG
from ..media.looks import gray

# Finer than other measures, with a kernel that is true to directions: coarser ones were off by up to 4 degrees.
ROWS, COLUMNS, BLUR_PX, MARGIN_PX = 512, 1024, 1.0, 8
WIDEST_DEG, COARSE_DEG, FINE_DEG = 30.0, 1.5, 0.5
# Edges count that miss a zenith by about this much.
WIDTH_DEG = 1.3
# Another zenith so far away is another answer.
ELSEWHERE_DEG = 9.0
# Rows within this latitude are looked at, the strongest edges of them, at most so many in all.
LATITUDE_DEG, STRONGEST, MOST = 55.0, 0.15, 20_000
LEAST_EDGES, LEAST_STEP = 1000, 1.0


class Tilt(NamedTuple):
    """The camera's tilt: turning by it levels the picture; `trust` is the vote's best over the best elsewhere."""

    pitch_deg: float
    roll_deg: float
    tilt_deg: float
    trust: float


def find_tilt(pictures: tuple[np.ndarray, ...]) -> Tilt | None:
    """Measure the tilt of panoramas of one camera; None where they have too few edges."""
    normals = np.concatenate([_edge_normals(gray(pixels, ROWS, COLUMNS)) for pixels in pictures])
    if len(normals) < LEAST_EDGES:
        return None
    normals = normals[:: -(-len(normals) // MOST)]
    lean = _disc(WIDEST_DEG, COARSE_DEG)
    votes = _votes(normals, lean)
    best = lean[votes.argmax()]
    elsewhere = votes[np.hypot(*(lean - best).T) > ELSEWHERE_DEG].max()
    near = best + _disc(2 * COARSE_DEG, FINE_DEG)
    fine = _votes(normals, near)
    peak = near[fine.argmax()]
    x, y, z = _zeniths(peak[None])[0]
    return Tilt(
        math.degrees(math.atan2(-z, y)), math.degrees(math.asin(x)), float(np.hypot(*peak)),
        float(fine.max() / max(elsewhere, 1e-9)),
    )  # fmt: skip


@lru_cache(maxsize=2)
def _disc(radius: float, step: float) -> np.ndarray:
    """Leanings `[K, 2]` of the zenith in degrees, to the right and to the front."""
    axis = np.arange(-radius, radius + step / 2, step)
    points = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    return points[np.hypot(*points.T) <= radius + 1e-6]


def _zeniths(lean: np.ndarray) -> np.ndarray:
    """Directions `[K, 3]` (right, up, ahead) of zeniths that lean so many degrees."""
    angle = np.maximum(np.hypot(*lean.T), 1e-9)[:, None]
    return np.concatenate((lean / angle * np.sin(angle * DEG), np.cos(angle * DEG)), 1)[:, (0, 2, 1)]


def _votes(normals: np.ndarray, lean: np.ndarray) -> np.ndarray:
    """Share of edges that pass each zenith, by a bell curve of `WIDTH_DEG`."""
    misses = normals @ _zeniths(lean).T.astype(np.float32)
    misses *= np.float32(1 / math.sin(WIDTH_DEG * DEG))
    return np.exp(-np.square(misses, out=misses), out=misses).mean(0)


def _edge_normals(picture: np.ndarray) -> np.ndarray:
    """Unit normals `[K, 3]` of the great circles along the strongest edges of a panorama `[ROWS, COLUMNS]`."""
    import cv2

    padded = cv2.GaussianBlur(np.pad(picture, ((0, 0), (MARGIN_PX, MARGIN_PX)), mode="wrap"), (0, 0), BLUR_PX)
    across, down = (cv2.Scharr(padded, cv2.CV_32F, x, 1 - x)[:, MARGIN_PX:-MARGIN_PX] / 32 for x in (1, 0))
    latitude = (0.5 - (np.arange(ROWS) + 0.5) / ROWS) * np.pi
    longitude = ((np.arange(COLUMNS) + 0.5) / COLUMNS - 0.5) * 2 * np.pi
    east = across / np.cos(latitude)[:, None]
    size = np.hypot(east, down)
    rows = np.abs(latitude) < LATITUDE_DEG * DEG
    least = max(LEAST_STEP, float(np.quantile(size[rows], 1 - STRONGEST)))
    at = np.nonzero((size > least) & rows[:, None])
    east, up, size = east[at], -down[at], size[at]
    lat, lon = latitude[at[0]], longitude[at[1]]
    normal = np.stack((
        east * np.cos(lon) - up * np.sin(lat) * np.sin(lon),
        up * np.cos(lat),
        -east * np.sin(lon) - up * np.sin(lat) * np.cos(lon),
    ), 1)  # fmt: skip
    return (normal / size[:, None]).astype(np.float32)
