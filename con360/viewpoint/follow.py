"""A camera that follows the subject through a recording of any length, map by map.

Of each map only the subjects' places and weights are kept, about a hundred bytes. The camera's way is planned when all
maps are known, so that it stands right from the first picture on.
"""

from __future__ import annotations

import math
from array import array

import numpy as np
import torch
from scipy import ndimage

from ..errors import InputError
from ..geometry.sphere import angles
from ..records import View
from .subjects import APART_DEG, SubjectTracker, is_flat

# A change of subject costs as much as the best subject's weight over this time: glances aside are not followed.
CHANGE_COST_S = 1.0
# The camera swings to a new subject no faster than this, and its path is smoothed over this time.
MAX_SPEED_DEG_S = 60.0
SMOOTHING_S = 0.5
# Subjects per map that are kept, the heaviest.
MOST_KEPT = 6


class Follower:
    """Plans one direction per saliency map.

    Args:
        fps: maps per second.
        rank: follow the heaviest subject (1), the second (2), ...; where fewer are seen, the last.

    Raises:
        InputError: a rank below 1.
    """

    def __init__(self, fps: float, rank: int = 1) -> None:
        if rank < 1:
            raise InputError(f"rank {rank} was asked for; 1 is the most salient subject.")
        self._fps, self._rank, self._found = fps, rank, False
        self._tracker = SubjectTracker(fps)
        # Per map `MOST_KEPT` rows of: number of the subject, direction, weight; weight -1 where there is none.
        self._rows = array("f")

    def __len__(self) -> int:
        return len(self._rows) // (5 * MOST_KEPT)

    @property
    def found_something(self) -> bool:
        """True where any map had a subject so far."""
        return self._found

    def add(self, saliency_map: torch.Tensor) -> None:
        """Takes the next map `[H, W]`."""
        self._found |= not is_flat(saliency_map)
        seen = sorted(self._tracker.add(saliency_map), key=lambda one: -one.weight)[:MOST_KEPT]
        for one in seen:
            self._rows.extend((one.number, *one.place, one.weight))
        self._rows.extend((-1.0, 0.0, 0.0, 1.0, -1.0) * (MOST_KEPT - len(seen)))

    def path(self) -> np.ndarray:
        """Unit vectors `[maps, 3]` of where the camera looks, smoothed."""
        rows = np.array(self._rows, dtype=np.float64).reshape(-1, MOST_KEPT, 5)
        numbers, places, weights = rows[..., 0], rows[..., 1:4], rows[..., 4]
        aims = _plan(numbers, places, weights, self._fps)
        for _ in range(self._rank - 1):
            near = (places * aims[:, None]).sum(-1) > math.cos(math.radians(APART_DEG))
            weights = np.where(near, -1.0, weights)
            # Where no other subject is left, the one before.
            alone = (weights < 0).all(1)
            aims = np.where(alone[:, None], aims, _plan(numbers, places, weights, self._fps))
        steady = _limited(aims, MAX_SPEED_DEG_S / self._fps)
        smooth = ndimage.gaussian_filter1d(steady, SMOOTHING_S * self._fps, axis=0, mode="nearest")
        return smooth / np.linalg.norm(smooth, axis=1, keepdims=True)


def _plan(numbers: np.ndarray, places: np.ndarray, weights: np.ndarray, fps: float) -> np.ndarray:
    """The directions `[T, 3]` of the subjects that weigh most over time, changes paid for (Viterbi's algorithm).

    Args:
        numbers, weights: `[T, N]`; a weight below 0 is no subject. places: `[T, N, 3]`.
    """
    count, most = weights.shape
    there = weights >= 0
    cost = CHANGE_COST_S * fps * float(weights.max(1).clip(0).mean())
    total, came_from = np.where(there[0], weights[0], -np.inf), np.zeros((count, most), dtype=np.int16)
    for t in range(1, count):
        same = numbers[t][:, None] == numbers[t - 1]
        reached = total - np.where(same, 0.0, cost)
        came_from[t] = reached.argmax(1)
        best = reached.max(1)
        # Maps without any subject hold what was there before.
        total = np.where(there[t], (best if np.isfinite(best).any() else 0.0) + weights[t], -np.inf)
        if not there[t].any():
            total = np.zeros(most)
    chosen = np.empty(count, dtype=int)
    chosen[-1] = int(total.argmax())
    for t in range(count - 1, 0, -1):
        chosen[t - 1] = came_from[t, chosen[t]]
    picked = np.arange(count)
    return _held(places[picked, chosen], there[picked, chosen])


def _held(aims: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Directions kept over maps without a subject, from before, else from after; to the front without any."""
    if not known.any():
        return np.tile((0.0, 0.0, 1.0), (len(aims), 1))
    last = np.maximum.accumulate(np.where(known, np.arange(len(aims)), -1))
    return aims[np.where(last < 0, int(known.argmax()), last)]


def _limited(aims: np.ndarray, most_deg: float) -> np.ndarray:
    """Directions that swing towards `aims` by at most an angle per map."""
    steps = [aims[0]]
    for aim in aims[1:]:
        steps.append(_swing(steps[-1], aim, most_deg))
    return np.stack(steps)


def _swing(start: np.ndarray, aim: np.ndarray, most_deg: float) -> np.ndarray:
    """From one direction towards another along the great circle, by at most an angle."""
    between = math.acos(float(np.clip(start @ aim, -1.0, 1.0)))
    step = min(between, math.radians(most_deg))
    if step < 1e-9:
        return aim
    side = aim - (start @ aim) * start
    if np.linalg.norm(side) < 1e-6:  # opposite: over the horizon rather than over a pole
        side = np.cross(start, [0.0, 1.0, 0.0]) if abs(start[1]) < 0.9 else np.array([1.0, 0.0, 0.0])
    return math.cos(step) * start + math.sin(step) * side / np.linalg.norm(side)


def view_on_path(path: np.ndarray, position: float, fov_deg: float) -> View:
    """The view at a fractional index of a path `[N, 3]`, held at its ends."""
    position = min(max(position, 0.0), len(path) - 1.0)
    low = min(int(position), len(path) - 2) if len(path) > 1 else 0
    share = position - low
    there = path[low] if len(path) == 1 else (1 - share) * path[low] + share * path[low + 1]
    yaw, pitch = angles(torch.from_numpy(there))
    return View(yaw.item(), pitch.item(), fov_deg)
