"""Find subjects, the heaviest places of a saliency map under a narrow window, and their paths through time.

A region above a threshold can be 300 degrees wide; its centroid then lies beside everything in it. A window as wide as
a subject avoids that.

Shape legend: T maps, H W their rows and columns, N peaks.

Source: ours; measured by `benchmarks/framing.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ..geometry.erp import erp_area_weights, erp_directions, pad_erp
from ..geometry.labels import label_sphere
from ..geometry.perspective import to_camera
from ..geometry.smoothing import smooth_on_sphere
from ..geometry.sphere import angles, directions
from ..records import Region, View

MAP_HEIGHT = 64
# Windows (sigma): one that a subject fills, to weigh it, and a finer one to find it.
WINDOW_DEG, FINE_WINDOW_DEG = 20.0, 10.0
# Least distance of two subjects; sine of the highest pitch: sky and tripod are no subjects.
APART_DEG, HIGHEST = 45.0, math.sin(math.radians(60.0))
# A peak lower than this share of the highest, both above the map's minimum, is not worth a viewpoint.
MIN_RELATIVE_MASS = 0.2
MAX_PEAKS, SAME_PEAK_DEG = 12, 4.0
# A subject is searched within this angle of its expected place, and dropped after this time unseen.
MAX_STEP_DEG, MAX_GAP_S = 25.0, 1.5
# Two subjects this close to a place between them share one peak of the map.
SHARED_PEAK_DEG = 14.0
# Gains of the alpha-beta filter: share of a measurement's surprise that changes place and speed.
PLACE_GAIN, SPEED_GAIN = 0.6, 0.3
# Fastest plausible subject.
MAX_SPEED_DEG_S = 120.0


def small_maps(maps: Tensor) -> Tensor:
    """Average maps `[T, H, W]` of any size to `[T, MAP_HEIGHT, 2 MAP_HEIGHT]` float32."""
    maps = maps.detach().float().cpu()
    if maps.shape[-2:] == (MAP_HEIGHT, 2 * MAP_HEIGHT):
        return maps
    return F.interpolate(maps[:, None], size=(MAP_HEIGHT, 2 * MAP_HEIGHT), mode="area")[:, 0]


def is_flat(saliency_map: Tensor) -> bool:
    """Tell whether nothing stands out of a map."""
    low, high = saliency_map.aminmax()
    return bool(high - low <= 1e-6 * max(1.0, abs(float(high))))


def find_subjects(saliency_map: Tensor, max_subjects: int = 8) -> tuple[Region, ...]:
    """Find the places that a camera would frame in one map, the heaviest first.

    Convention: a place is a peak of the map smoothed by 10 degrees; its weight is the saliency in a Gaussian window of
    20 degrees around it. The heaviest place within 60 degrees of the horizon comes first, then the heaviest at least 45
    degrees away from it, and so on.

    Args:
        saliency_map: `[H, W]`, finite, not negative, `W = 2 H`. max_subjects: most subjects to return.

    Returns:
        Subjects: the centre; the box around all pixels that join the strongest place and are at least half as salient;
        the window's share of the map's saliency. No subject for a flat map.
    """
    if is_flat(saliency_map):
        return ()
    small = small_maps(saliency_map[None])[0]
    wide = smooth_on_sphere(small, WINDOW_DEG)
    # Two close subjects would be one peak under the wide window.
    places = _peaks(smooth_on_sphere(small, FINE_WINDOW_DEG))
    weights = torch.tensor([_at(wide, place) for place in places])
    found: list[Tensor] = []
    for index in weights.argsort(descending=True, stable=True):
        place = places[index]
        apart = all(float(place @ other) <= math.cos(math.radians(APART_DEG)) for other in found)
        if apart and abs(float(place[1])) <= HIGHEST:
            found.append(place)
    return tuple(_region(small, place) for place in found[:max_subjects])


def _peaks(maps: Tensor) -> Tensor:
    """Find the peaks of a smooth map that are worth a viewpoint: directions `[N, 3]`, the highest first."""
    padded = pad_erp(maps[None, None])
    highest = F.max_pool2d(padded, 3, stride=1)[0, 0]
    low, high = maps.aminmax()
    worth = maps >= low + MIN_RELATIVE_MASS * (high - low)
    rows, columns = torch.nonzero((maps >= highest) & worth, as_tuple=True)
    order = maps[rows, columns].argsort(descending=True, stable=True)
    found = _between_pixels(padded[0, 0], rows[order], columns[order])
    # A peak between two equal pixels is found at both.
    twice = torch.triu(found @ found.T > math.cos(math.radians(SAME_PEAK_DEG)), diagonal=1).any(0)
    return found[~twice][:MAX_PEAKS]


def _between_pixels(padded: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Fit a parabola through each peak and its neighbours: a subject moves by less than a pixel."""

    def shift(before: Tensor, here: Tensor, after: Tensor) -> Tensor:
        curve = before - 2 * here + after
        return torch.where(curve < 0, 0.5 * (before - after) / curve.clamp_max(-1e-12), 0.0).clamp(-0.5, 0.5)

    here = padded[rows + 1, columns + 1]
    across = shift(padded[rows + 1, columns], here, padded[rows + 1, columns + 2])
    down = shift(padded[rows, columns + 1], here, padded[rows + 2, columns + 1])
    yaw = ((columns + 0.5 + across) / (2 * MAP_HEIGHT) - 0.5) * 360.0
    pitch = (0.5 - (rows + 0.5 + down) / MAP_HEIGHT) * 180.0
    return directions(yaw.double(), pitch.double())


def _region(small: Tensor, place: Tensor) -> Region:
    """Measure weight and extent inside a window around a place."""
    dirs = erp_directions(MAP_HEIGHT, dtype=torch.float64)
    weight = small.double() * erp_area_weights(MAP_HEIGHT, dtype=torch.float64)
    angle = torch.rad2deg((dirs @ place).clamp(-1, 1).acos())
    share = (weight * torch.exp(-0.5 * (angle / WINDOW_DEG) ** 2)).sum() / weight.sum()
    yaw, pitch = (float(value) for value in angles(place))
    width, height = _extent(small, dirs, angle, View(yaw, pitch))
    return Region(yaw, pitch, width, height, min(1.0, float(share)))


def _extent(small: Tensor, dirs: Tensor, angle: Tensor, view: View) -> tuple[float, float]:
    """Measure the box, centred on the view, of pixels that join the window's strongest one and are half as salient."""
    near = torch.where(angle <= WINDOW_DEG, small, -1.0)
    strongest = int(near.argmax())
    labels = label_sphere(((small >= near.max() / 2) & (angle <= APART_DEG)).numpy())
    inside = torch.from_numpy(labels == labels.flat[strongest])
    across, up = angles(to_camera(dirs[inside], view))
    pixel = 180.0 / MAP_HEIGHT
    return 2 * float(across.abs().max()) + pixel, 2 * float(up.abs().max()) + pixel


# Through time ---------------------------------------------------------------------------------------------------------


@dataclass
class Seen:
    """A subject that is followed from map to map.

    Args:
        number: counts subjects as they come. place: unit vector `[3]`.
        weight: of its window in the present map.
        seen_at: number of the map that last showed it. spin: its motion, a rotation vector per map.
    """

    number: int
    place: np.ndarray
    weight: float
    seen_at: int
    spin: np.ndarray = field(default_factory=lambda: np.zeros(3))


class SubjectTracker:
    """Follow subjects through maps that come one by one; remember only those in sight.

    A subject is expected where its motion leads. Expected places and peaks are paired at the least sum of angles, so
    two that cross keep their paths. Directions are vectors, so the seam and the poles are ordinary.

    Args:
        fps: maps per second.
    """

    def __init__(self, fps: float) -> None:
        self.fps, self._maps, self._subjects = fps, 0, 0
        self._seen: list[Seen] = []
        self._gap = max(1, round(MAX_GAP_S * fps))

    def add(self, saliency_map: Tensor) -> list[Seen]:
        """Take the next map `[H, W]`; return the subjects in sight and those just lost."""
        now, self._maps = self._maps, self._maps + 1
        small = small_maps(saliency_map[None])[0]
        flat = is_flat(small)
        fine, wide = smooth_on_sphere(small, FINE_WINDOW_DEG), smooth_on_sphere(small, WINDOW_DEG)
        places = np.empty((0, 3)) if flat else _peaks(fine).numpy()
        for one in self._seen:
            one.place = _spun(one.place, one.spin)
        pairs = _match([one.place for one in self._seen], places)
        sharing = self._sharing(pairs, places)
        for i, j in pairs:
            if i not in sharing:
                self._update(self._seen[i], places[j], now)
        for i in sharing:
            self._seen[i].seen_at = now
        taken = {j for _, j in pairs}
        for j, place in enumerate(places):
            if j not in taken and abs(place[1]) <= HIGHEST:
                self._seen.append(Seen(self._subjects, place, 0.0, now))
                self._subjects += 1
        self._seen = [one for one in self._seen if now - one.seen_at <= self._gap]
        for one in self._seen:
            one.weight = 0.0 if flat else _at(wide, torch.from_numpy(one.place))
        return self._seen

    def _sharing(self, pairs: list[tuple[int, int]], places: np.ndarray) -> set[int]:
        """Find subjects that pass each other as one peak; each keeps moving as before until there are two again."""
        alone = set(range(len(self._seen))) - {i for i, _ in pairs}
        near = math.cos(math.radians(SHARED_PEAK_DEG))
        return {k for i, j in pairs for other in alone for k in (i, other)
                if min(float(self._seen[one].place @ places[j]) for one in (i, other)) > near}  # fmt: skip

    def _update(self, one: Seen, found: np.ndarray, now: int) -> None:
        off = _turn_between(one.place, found)
        # Peaks of two close subjects pull on each other, so their speed is kept.
        leaning = any(other is not one and float(other.place @ one.place) > math.cos(math.radians(2 * SHARED_PEAK_DEG))
                      for other in self._seen)  # fmt: skip
        one.place = _spun(one.place, PLACE_GAIN * off)
        if not leaning:
            one.spin = one.spin + SPEED_GAIN * off / (now - one.seen_at)
            fastest = math.radians(MAX_SPEED_DEG_S) / self.fps
            one.spin *= min(1.0, fastest / max(1e-12, float(np.linalg.norm(one.spin))))
        one.seen_at = now


def _match(expected: Sequence[np.ndarray], found: np.ndarray) -> list[tuple[int, int]]:
    """Pair (expected, found) at most `MAX_STEP_DEG` apart, with the least sum of angles."""
    if not expected or not len(found):
        return []
    angle = degrees_of(np.stack(expected) @ found.T)
    # A pair too far apart costs more than any other pairing.
    rows, columns = linear_sum_assignment(np.where(angle <= MAX_STEP_DEG, angle, 1e4))
    return [(i, j) for i, j in zip(rows.tolist(), columns.tolist(), strict=True) if angle[i, j] <= MAX_STEP_DEG]


def degrees_of(cosine: np.ndarray) -> np.ndarray:
    """Convert cosines to degrees; rounding may have led them beyond 1."""
    return np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))


def _turn_between(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Find the rotation vector that carries one unit vector to another along the great circle."""
    axis, cosine = np.cross(start, end), float(start @ end)
    sine = float(np.linalg.norm(axis))
    return np.zeros(3) if sine < 1e-12 else axis * (math.atan2(sine, cosine) / sine)


def _spun(place: np.ndarray, spin: np.ndarray) -> np.ndarray:
    """Turn a unit vector by a rotation vector."""
    angle = float(np.linalg.norm(spin))
    if angle < 1e-12:
        return place
    axis = spin / angle
    turned = (place * math.cos(angle) + np.cross(axis, place) * math.sin(angle)
              + axis * float(axis @ place) * (1 - math.cos(angle)))  # fmt: skip
    return turned / np.linalg.norm(turned)


def _at(maps: Tensor, place: Tensor) -> float:
    """Read a map at the pixel nearest to a direction."""
    yaw, pitch = angles(place)
    row = min(MAP_HEIGHT - 1, int((0.5 - float(pitch) / 180.0) * MAP_HEIGHT))
    return float(maps[row, int((float(yaw) / 360.0 + 0.5) * 2 * MAP_HEIGHT) % (2 * MAP_HEIGHT)])


def follow_subjects(maps: Tensor, fps: float, max_subjects: int) -> list[tuple[Region, np.ndarray]]:
    """Follow the subjects of a clip, the heaviest first: (the region over the clip, its path `[T, 3]`).

    Convention: a path holds its first and last seen place before and after. A subject counts by its weight over the
    whole clip. Two on the same path are one.
    """
    tracker = SubjectTracker(fps)
    paths: dict[int, dict[int, np.ndarray]] = {}
    weights: dict[int, float] = {}
    for t, one_map in enumerate(maps):
        for one in tracker.add(one_map):
            weights[one.number] = weights.get(one.number, 0.0) + one.weight
            if one.seen_at == t:
                paths.setdefault(one.number, {})[t] = one.place
    small = small_maps(maps)
    chosen: list[tuple[Region, np.ndarray]] = []
    for number in sorted(paths, key=lambda number: -weights[number]):
        path = fill_path(paths[number], len(maps))
        if len(chosen) < max_subjects and all(_median_apart_deg(path, other) >= MAX_STEP_DEG for _, other in chosen):
            chosen.append((_over_time(small, path), path))
    return chosen


def _median_apart_deg(path: np.ndarray, other: np.ndarray) -> float:
    return float(np.median(degrees_of((path * other).sum(1))))


def fill_path(path: dict[int, np.ndarray], count: int) -> np.ndarray:
    """Complete a path: directions in every frame `[T, 3]`, straight on the sphere over gaps, held at the ends."""
    known = sorted(path)
    vectors = np.array([path[t] for t in known])
    whole = np.stack([np.interp(np.arange(count), known, vectors[:, axis]) for axis in range(3)], axis=1)
    return whole / np.linalg.norm(whole, axis=1, keepdims=True)


def _over_time(small: Tensor, path: np.ndarray) -> Region:
    """Make one region for a whole path: mean place, median box and share."""
    step = max(1, len(path) // 8)
    regions = [_region(small[t], torch.from_numpy(path[t])) for t in range(0, len(path), step)]
    mean = path.mean(0)
    yaw, pitch = angles(torch.from_numpy(mean if np.linalg.norm(mean) > 1e-6 else path[len(path) // 2]))
    width, height, mass = np.median([(r.width_deg, r.height_deg, r.mass) for r in regions], axis=0).tolist()
    return Region(yaw.item(), pitch.item(), width, height, mass)
