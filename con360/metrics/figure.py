"""A figure as it is published: never a bare number.

Source: percentile bootstrap, Efron and Tibshirani 1993.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..errors import InputError

NO_CHECKPOINT = "none needed"


@dataclass(frozen=True)
class Definition:
    """Meaning of a figure.

    Args:
        name: how tables call it.
        text: the formula in words, with every constant that decides its value.
        source: paper or method.
        checkpoint: weights that it depends on, by name.
        unit: of the value.
        better: "lower", "higher", or "target" where the true clip's own value is best.
    """

    name: str
    text: str
    source: str
    checkpoint: str = NO_CHECKPOINT
    unit: str = ""
    better: str = "lower"


def summary(definition: Definition, values: Sequence[float], *, seed: int = 0) -> dict[str, Any]:
    """Mean over scenes with its bootstrap interval, beside the definition; ready for JSON.

    Values that are not finite (a metric without an answer on a scene) are left out and counted.
    """
    kept = [float(v) for v in values if v is not None and math.isfinite(v)]
    figure: dict[str, Any] = {
        "value": None,
        "interval": None,
        "n": len(kept),
        "without_answer": len(values) - len(kept),
    }
    if kept:
        figure |= {"value": float(np.mean(kept)), "interval": bootstrap_interval(np.asarray(kept), seed=seed)}
    return figure | asdict(definition)


def bootstrap_interval(
    rows: np.ndarray,
    statistic: Callable[[np.ndarray], float] | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> list[float] | None:
    """Percentile interval of a statistic when the scenes are drawn again.

    Args:
        rows: `[N]` or `[N, ...]`: one row per scene, so that what is paired stays together.
        statistic: of such an array; None is the mean.
        confidence: in (0, 1). resamples: how many. seed: same seed, same interval.

    Returns:
        `[low, high]`; None for fewer than two rows, of which nothing can be said.

    Raises:
        InputError: a confidence outside (0, 1).
    """
    if not 0.0 < confidence < 1.0:
        raise InputError(f"the confidence is {confidence}; wanted a number between 0 and 1, such as 0.95.")
    rows = np.asarray(rows, dtype=float)
    if len(rows) < 2:
        return None
    rng, of = np.random.default_rng(seed), statistic or np.mean
    drawn = np.asarray([of(rows[rng.integers(len(rows), size=len(rows))]) for _ in range(resamples)])
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return None
    return [float(v) for v in np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])]
