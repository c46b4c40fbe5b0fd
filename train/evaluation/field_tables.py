"""Write figures of Ambisonics as Markdown tables: one row a sound, intervals over clips."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

from con360.metrics import openl3_passt
from con360.metrics.directions import ANGULAR_ERROR, PAPER_READING
from con360.metrics.energy_maps import AUC, CC
from con360.metrics.figure import Definition, bootstrap_interval
from con360.metrics.frechet import frechet_distance
from train.evaluation.fields import WITHIN_DEG
from train.evaluation.row import number

# Figures of each clip, by sound.
Rows: TypeAlias = Mapping[str, Sequence[Mapping[str, Any]]]
# Of each sound: the number of clips, and each figure's value, interval and n.
Summaries: TypeAlias = dict[str, dict[str, Any]]
Statistic: TypeAlias = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class Column:
    """A column: which figure, over clips by which statistic.

    Args:
        scale: the value is shown times this. digits: after the point; None shows three in all.
    """

    key: str
    title: str
    median: bool = False
    scale: float = 1.0
    digits: int | None = None

    @property
    def statistic(self) -> Statistic:
        return (lambda x: float(np.median(x))) if self.median else (lambda x: float(np.mean(x)))

    def shown(self, figure: Mapping[str, Any]) -> str:
        """Write a value and its interval; nothing where there is none."""
        if figure["value"] is None:
            return ""
        around = figure["interval"]
        return self._number(figure["value"]) + (f" [{', '.join(map(self._number, around))}]" if around else "")

    def _number(self, value: float) -> str:
        scaled = self.scale * value
        return number(scaled) if self.digits is None else f"{scaled:.{self.digits}f}"


def degrees(key: str, title: str) -> Column:
    return Column(key, title, median=True, digits=1)


DIRECTIONS = (
    degrees("clip", "clip, median, degrees"), degrees("second", "seconds, median"), degrees("band", "bands, median"),
    Column("within", f"bands within {WITHIN_DEG:g}, %", scale=100.0, digits=0),
    Column("missing", "missing, %", scale=100.0, digits=0), Column("log_mel", "log-mel of W, dB"),
)  # fmt: skip
PAPER = (
    Column("fd", "FD"), Column("kl", "KL"), Column("theta", "d_theta"), Column("phi", "d_phi"),
    Column("angular", "d_angular"),
)  # fmt: skip
MAPS = tuple(
    Column(f"{figure}_{rate}", f"{title}, {rate} a second" if rate else f"{title}, clip", digits=2)
    for rate in (0, 1, 5)
    for figure, title in (("cc", "CC"), ("auc", "AUC"))
)


def summaries(rows: Rows, columns: Sequence[Column]) -> Summaries:
    """Value, 95 % interval and number of clips with an answer of each column, and of clips, of each sound."""
    return {
        name: {"clips": len(clips)}
        | {c.key: _summary([clip.get(c.key, math.nan) for clip in clips], c) for c in columns}
        for name, clips in rows.items()
    }


def _summary(values: Sequence[float], column: Column) -> dict[str, Any]:
    kept = np.array([value for value in values if math.isfinite(value)])
    if not len(kept):
        return {"value": None, "interval": None, "n": 0}
    around = bootstrap_interval(kept, column.statistic)
    return {"value": column.statistic(kept), "interval": around, "n": len(kept)}


def table(found: Summaries, columns: Sequence[Column], names: Mapping[str, str]) -> str:
    """Write one row a sound; columns that no sound has are left out."""
    shown = [c for c in columns if any(figures[c.key]["n"] for figures in found.values())]
    lines = [
        f"| {' | '.join(('sound', *(c.title for c in shown), 'N'))} |", f"|{'---|' * (len(shown) + 2)}",
    ]  # fmt: skip
    for name, figures in found.items():
        cells = [c.shown(figures[c.key]) for c in shown]
        lines.append(f"| {' | '.join((names.get(name, name), *cells, str(figures['clips'])))} |")
    return "\n".join(lines) + "\n"


def distances(clips: Sequence[Mapping[str, Tensor]], sounds: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Frechet distances of sounds to `true`, from embeddings `[windows, D]` of clips, as `summaries` writes figures."""
    found = {}
    for name in sounds:
        pairs = [(clip[name].numpy(), clip["true"].numpy()) for clip in clips if {name, "true"} <= set(clip)]
        value, around = fd(*zip(*pairs, strict=True)) if len(pairs) > 1 else (None, None)
        found[name] = {"value": value, "interval": around, "n": len(pairs) if len(pairs) > 1 else 0}
    return found


def fd(made: Sequence[np.ndarray], true: Sequence[np.ndarray]) -> tuple[float, list[float] | None]:
    """Frechet distance over all windows `[windows, D]` of all clips, with its interval over clips."""

    def distance(rows: np.ndarray) -> float:
        chosen = rows.astype(int)
        return frechet_distance(*(np.concatenate([every[i] for i in chosen]) for every in (made, true)))

    places = np.arange(len(true))
    return distance(places), bootstrap_interval(places, distance, resamples=100)


def definitions(published: bool) -> str:
    """Say what each figure is; `published` adds those that need networks of the user."""
    every: list[Definition] = [*ANGULAR_ERROR.values(), *PAPER_READING.values(), CC, AUC]
    every += [openl3_passt.FD, openl3_passt.KL] if published else []
    lines = [f"- **{d.name}**{f', {d.unit}' if d.unit else ''}: {d.text}. Source: {d.source}." for d in every]
    return "\n".join(lines) + "\n"
