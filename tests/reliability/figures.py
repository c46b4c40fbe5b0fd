"""Figures that checks report, the effort they make, and the table of all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Figure:
    """One promise, and the outcome of trying to break it.

    Args:
        promise: a sentence that SECURITY.md holds as well. tried: what was tried, how often. seconds: time taken.
        failures: one line per broken promise, empty when it held. outcome: what was seen; "" says "held".
    """

    promise: str
    tried: str = ""
    outcome: str = ""
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not self.failures

    def expect(self, condition: object, failure: str) -> None:
        """Note a failure unless a condition holds."""
        if not condition:
            self.failures.append(failure)


@contextmanager
def timed(promise: str) -> Iterator[Figure]:
    """Yield a figure, and note how long the block took."""
    figure, started = Figure(promise), time.perf_counter()
    try:
        yield figure
    finally:
        figure.seconds = time.perf_counter() - started


@dataclass(frozen=True)
class Effort:
    """Number of trials of each check.

    Args:
        name: `test` runs in pytest, `quick` in CI by hand (under 3 minutes), `full` in the background.
        fuzz: executions of the media reader on mutated bytes; the small parsers get as many, weights and models a
            tenth. kills: number for each kind of run. generations: number in the soak. prompts: number of cancelled
            and failing ones. sync_seconds: length of each clip. all_files: put every file through every entry point;
            else only a sample through the command line. demo: run the demo too.
    """

    name: str
    fuzz: int
    kills: int
    generations: int
    prompts: int
    sync_seconds: float
    all_files: bool
    demo: bool


EFFORTS = {
    "test": Effort("test", 120, 1, 3, 3, 6.0, False, False),
    "quick": Effort("quick", 500, 1, 8, 5, 10.0, False, False),
    "full": Effort("full", 100_000, 70, 200, 50, 60.0, True, True),
}


def table(figures: list[Figure]) -> str:
    """Format promise, trials, outcome and seconds, one line per figure; list failures below their line."""
    rows = [("promise", "tried", "outcome", "seconds")]
    for figure in figures:
        outcome = figure.outcome or "held"
        rows.append((figure.promise, figure.tried, outcome if figure.holds else "BROKEN", f"{figure.seconds:.1f}"))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = ["  ".join([*(row[i].ljust(widths[i]) for i in range(3)), row[3].rjust(widths[3])]) for row in rows]
    for number, figure in reversed(list(enumerate(figures, 1))):
        lines[number + 1 : number + 1] = [f"    {failure}" for failure in figure.failures]
    return "\n".join(lines)
