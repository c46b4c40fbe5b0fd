"""Rows of the table: a figure, the mark it is held to, and all that stands beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

NOT_WORSE = "not worse"


def number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"


def decibels(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} dB"


def interval(values: list[float] | None, show: Callable[[float | None], str] = number) -> str:
    return "" if values is None else f"[{show(values[0])}, {show(values[1])}]"


@dataclass(frozen=True)
class Bar:
    """Hold a figure to a mark: at least `low`, at most `high`; without both, no worse than before.

    Args:
        better: "lower" or "higher", where it is held to what was before.
    """

    low: float | None = None
    high: float | None = None
    better: str = "higher"

    def wanted(self, show: Callable[[float | None], str]) -> str:
        if self.low is not None and self.high is not None:
            return f"{show(self.low)} to {show(self.high)}"
        if self.low is None and self.high is None:
            return NOT_WORSE
        return f"{show(self.high)} at most" if self.low is None else show(self.low)

    def missed(self, value: float) -> float:
        """Measure by how much a value misses the mark, 0 where it is met."""
        below = 0.0 if self.low is None else self.low - value
        above = 0.0 if self.high is None else value - self.high
        return max(below, above, 0.0)

    def held_to(self, row: Row | None) -> Bar:
        """Return the mark with numbers: a bar without any takes the figure before, to its interval's worse end."""
        if row is None or row.ours is None or self.low is not None or self.high is not None:
            return self
        low, high = row.around or (row.ours, row.ours)
        return Bar(low=low) if self.better == "higher" else Bar(high=high)


@dataclass(frozen=True)
class Row:
    """A figure in the table.

    Args:
        name: as no other row's.
        ours: the figure; None where it was not measured, and `beside` says why.
        show: writes figures of its unit.
        around: its interval. bar: its mark.
        baseline, floor, chance: the same of the baseline, of the truth through the codecs, and of guessing or another
            scene.
        beside: more that must be read with it, in words.
        n: how many, and of which.
    """

    name: str
    ours: float | None
    show: Callable[[float | None], str] = number
    around: list[float] | None = None
    bar: Bar | None = None
    baseline: float | None = None
    floor: float | None = None
    chance: float | None = None
    beside: str = ""
    n: str = ""

    def cells(self, before: Row | None) -> list[str]:
        values = (self.show(value) for value in (self.baseline, self.floor, self.chance))
        said = f"{self.show(self.ours)} {interval(self.around, self.show)}".strip()
        earlier = "" if before is None else self.show(before.ours)
        return [self.name, earlier, self._wanted(before), said or "not measured", *values, self.beside, self.n]

    def _wanted(self, before: Row | None) -> str:
        if self.bar is None:
            return ""
        wanted, missed = self.bar.wanted(self.show), 0.0
        if self.ours is not None:
            missed = self.bar.held_to(before).missed(self.ours)
        return f"{wanted}; **missed** by {self.show(missed)}" if missed else wanted


def table(rows: Iterable[Row], before: Mapping[str, Row]) -> str:
    """Write rows as a Markdown table; `before` has the rows of an earlier evaluation by name, none without one."""
    lines = [
        "| figure | before | wanted | con360 | baseline | floor | chance or ceiling | beside it | N |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(f"| {' | '.join(row.cells(before.get(row.name)))} |")
    return "\n".join([*lines, ""])
