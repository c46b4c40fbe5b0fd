"""Compare maps of where a sound's energy comes from, as ViSAGe does: correlation (CC) and AUC-Judd.

Shape legend: M maps, P points of the sphere.

Convention: maps are 90 rows of 180 columns, 2 degrees apart, from +88 degrees down and from left +178 degrees on. A
value is the root mean square of a beam whose Y and X are louder by the square root of 2, as published. Rows near the
poles are read at fewer places, so that each point stands for about the same area. The published script adds random
numbers before AUC, against ties; ours come from a fixed seed. It also leaves out maps without an answer; here a flat
map has CC 0, and only flat true maps are left out.

Source: ViSAGe (arXiv 2506.12199), its published evaluation.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..records import Sound
from ..sound.channels import FIRST_ORDER
from .figure import Definition

ROWS, COLUMNS, STEP_DEG = 90, 180, 2.0
JITTER, JITTER_SEED = 1e-7, 0
# Maps a second that ViSAGe averages over; 0 is one map of the whole clip.
RATES = (0, 1, 5)

_MAP = "maps of the decoded beam's RMS, 2 degrees, resampled by area; {}; mean over maps"
CC = Definition("CC", _MAP.format("Pearson's correlation"), "ViSAGe", better="higher")
AUC = Definition(
    "AUC-Judd", _MAP.format(f"fixations are above max - std of the true map; jitter {JITTER:g} of seed {JITTER_SEED}"),
    "ViSAGe", better="higher",
)  # fmt: skip


class Agreement(NamedTuple):
    """Mean over a clip's maps; NaN where no true map can be judged."""

    cc: float
    auc: float


def map_agreement(generated: Sound, reference: Sound, per_second: int = 0) -> Agreement:
    """Compare energy maps of two sounds; the longer one's end is left out.

    Args:
        per_second: maps a second; 0 is one map of the whole clip. ViSAGe gives 0, 1 and 5.

    Raises:
        InputError: a sound is not Ambisonics, holds no number, or is shorter than one map.
    """
    made, true = (energy_maps(sound, per_second) for sound in (generated, reference))
    pairs = [
        (_correlation(a, b), auc_judd(a, b)) for a, b in zip(made, true, strict=False) if b.std() > 1e-6 * abs(b.max())
    ]
    return Agreement(*np.mean(pairs, axis=0).tolist()) if pairs else Agreement(math.nan, math.nan)


def energy_maps(sound: Sound, per_second: int = 0) -> np.ndarray:
    """Energy maps as points of about the same area, `[M, P]` float64.

    Raises:
        InputError: as `map_agreement`.
    """
    if (sound.ambisonic_order or 0) < 1 or not sound.waveform.isfinite().all():
        raise InputError(f"energy maps need finite Ambisonics; got {sound.layout}, {sound.waveform.shape[0]} channels.")
    samples = sound.waveform.shape[1]
    size = sound.sample_rate_hz // per_second if per_second else samples
    if not 0 < size <= samples:
        raise InputError(f"an energy map needs {size} samples or more; the sound has {samples}. Give a longer one.")
    parts = sound.waveform[:FIRST_ORDER, : samples // size * size].double().unflatten(1, (-1, size)).movedim(1, 0)
    products = parts @ parts.mT / size
    beams, (below, above, share) = _beams(), _points()
    maps = torch.einsum("pc,mcd,pd->mp", beams, products, beams).clamp_min(0).sqrt().numpy()
    return maps[:, below] * (1 - share) + maps[:, above] * share


def auc_judd(made: np.ndarray, true: np.ndarray) -> float:
    """Area under the curve of hits over false alarms: how well `made [P]` tells the loudest points of `true [P]`.

    1 is perfect (to half a fixation), 0.5 is chance.
    """
    noise = np.random.default_rng(JITTER_SEED).standard_normal(len(made))
    jittered = made + JITTER * noise
    values = (jittered - jittered.min()) / (jittered.max() - jittered.min())
    found = np.sort(values[true > true.max() - true.std()])[::-1]
    at_least = len(values) - np.searchsorted(np.sort(values), found, side="left")
    before = np.arange(len(found))
    hits = np.concatenate(([0.0], before / len(found), [1.0]))
    alarms = np.concatenate(([0.0], (at_least - before) / (len(values) - len(found)), [1.0]))
    return float(((hits[1:] + hits[:-1]) / 2 * np.diff(alarms)).sum())


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    off_a, off_b = a - a.mean(), b - b.mean()
    scale = float(np.linalg.norm(off_a) * np.linalg.norm(off_b))
    return float(off_a @ off_b) / scale if np.ptp(a) > 1e-6 * abs(a.max()) else 0.0


@lru_cache(maxsize=1)
def _beams() -> Tensor:
    """Gains of W, Y, Z, X at each place of a map, `[ROWS * COLUMNS, 4]`."""
    azimuth = torch.deg2rad(180.0 - STEP_DEG * torch.arange(1, COLUMNS + 1, dtype=torch.float64)).expand(ROWS, COLUMNS)
    elevation = torch.deg2rad(90.0 - STEP_DEG * torch.arange(1, ROWS + 1, dtype=torch.float64))[:, None]
    across = math.sqrt(2) * elevation.cos()
    up = elevation.sin().expand(ROWS, COLUMNS)
    beams = (torch.ones(ROWS, COLUMNS, dtype=torch.float64), across * azimuth.sin(), up, across * azimuth.cos())
    return torch.stack(beams, -1).flatten(0, 1)


@lru_cache(maxsize=1)
def _points() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places of the points in a flattened map: neighbours on the left and right, and the right one's share, `[P]`."""
    left, right, share = [], [], []
    for row in range(ROWS):
        count = int(np.round(COLUMNS * np.sin(np.pi * (row + 0.5) / ROWS)))
        at = np.arange(count) * (COLUMNS - 0.5 * COLUMNS / count) / count
        below = np.minimum(at.astype(int), COLUMNS - 1)
        left.append(row * COLUMNS + below)
        right.append(row * COLUMNS + np.minimum(below + 1, COLUMNS - 1))
        share.append(at - below)
    return np.concatenate(left), np.concatenate(right), np.concatenate(share)
