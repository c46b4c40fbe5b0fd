"""A camera that follows what is salient through a recording of any length, map by map.

`viewpoints` looks at a clip as a whole; here only regions of the last second are remembered, so that an hour takes no
more memory than a minute (but for its path: one direction per map).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy import ndimage

from .errors import InputError
from .geometry.sphere import angles, directions
from .records import Region, View
from .viewpoint import MAX_GAP_S, MAX_STEP_DEG, find_regions

# The camera stays with its region until another has been this much heavier, on average over about a second.
LEAVE_AT = 1.5
MASS_MEMORY_S = 1.0
# It swings to a new region no faster than this, and its path is smoothed over this time.
MAX_SPEED_DEG_S = 60.0
SMOOTHING_S = 0.5


@dataclass
class _Seen:
    """A region that is followed from map to map."""

    direction: np.ndarray
    mass: float
    at: int


@dataclass
class Follower:
    """Chooses one direction per saliency map.

    Args:
        fps: maps per second. rank: follow the heaviest region (1), the second (2), ...; where fewer are seen, the last.
        threshold: as in `find_regions`.
    """

    fps: float
    rank: int = 1
    threshold: float = 0.5
    _seen: list[_Seen] = field(default_factory=list)
    _target: _Seen | None = None
    _path: list[np.ndarray] = field(default_factory=list)
    _found: bool = False
    _had_target: bool = False

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise InputError(f"rank {self.rank} was asked for; 1 is the most salient region.")

    def __len__(self) -> int:
        return len(self._path)

    @property
    def found_something(self) -> bool:
        """Whether any map had a region so far."""
        return self._found

    def add(self, saliency_map: torch.Tensor) -> None:
        """Takes the next map `[H, W]`."""
        now = len(self._path)
        regions = find_regions(saliency_map, self.threshold)
        self._found |= bool(regions)
        self._remember(regions, now)
        target = self._choose()
        aim = np.array([0.0, 0.0, 1.0]) if target is None else target.direction
        if not self._path or not self._had_target:
            self._path.append(aim)
        else:
            self._path.append(_swing(self._path[-1], aim, MAX_SPEED_DEG_S / self.fps))
        self._had_target = target is not None

    def _remember(self, regions: Iterable[Region], now: int) -> None:
        keep = math.exp(-1.0 / (MASS_MEMORY_S * self.fps))
        self._seen = [one for one in self._seen if now - one.at <= max(1.0, MAX_GAP_S * self.fps)]
        free = list(self._seen)
        for one in self._seen:
            one.mass *= keep
        for region in regions:
            there = directions(region.yaw_deg, region.pitch_deg, dtype=torch.float64).numpy()
            near = max(free, key=lambda one: float(one.direction @ there), default=None)
            if near is not None and near.direction @ there >= math.cos(math.radians(MAX_STEP_DEG)):
                free = [one for one in free if one is not near]
                near.direction, near.at = there, now
            else:
                # What is seen for the first time has to prove itself, but for the very first map.
                near = _Seen(there, region.mass * keep if not now else 0.0, now)
                self._seen.append(near)
            near.mass += (1 - keep) * region.mass

    def _choose(self) -> _Seen | None:
        ranked = sorted(self._seen, key=lambda one: -one.mass)
        if not ranked:
            return self._target
        best = ranked[min(self.rank, len(ranked)) - 1]
        current = self._target
        # By identity: two regions may hold equal numbers, and arrays do not compare to one truth.
        alive = current is not None and any(one is current for one in ranked)
        if alive and current is not None and LEAVE_AT * current.mass > best.mass > current.mass / LEAVE_AT:
            return current
        self._target = best
        return best

    def path(self) -> np.ndarray:
        """Unit vectors `[maps, 3]` of where the camera looks, smoothed."""
        raw = np.stack(self._path)
        smooth = ndimage.gaussian_filter1d(raw, SMOOTHING_S * self.fps, axis=0, mode="nearest")
        return smooth / np.linalg.norm(smooth, axis=1, keepdims=True)


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
