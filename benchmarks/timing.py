"""Race competitors: each runs once per round, so that a busy machine slows all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

# On a machine that others use, the processor's time is fairer; with several threads it adds them up.
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        what: the work. peer: the competitor.
        ours_s, peer_s: medians in seconds.
        target: ratio wanted, peer over ours; None without a target.
        equal: comparison of the two results, in words.
    """

    what: str
    peer: str
    ours_s: float
    peer_s: float
    target: float | None
    equal: str

    @property
    def ratio(self) -> float:
        return self.peer_s / self.ours_s


_clock = [CLOCKS["wall"]]


def use_clock(name: str) -> None:
    _clock[0] = CLOCKS[name]


def is_processors() -> bool:
    """True where the processor's clock was chosen."""
    return _clock[0] is CLOCKS["cpu"]


@torch.no_grad()
def race(competitors: Mapping[str, Callable[[], Any]], rounds: int, warm_up: bool = True) -> dict[str, float]:
    """Median seconds of each competitor, by the clock that `use_clock` set."""
    now = _clock[0]
    times: dict[str, list[float]] = {name: [] for name in competitors}
    if warm_up:
        for run in competitors.values():
            run()
    for index in range(rounds):
        names = list(competitors)
        # Rotate and reverse the order, so that none always runs after the same one.
        names = names[index % len(names) :] + names[: index % len(names)]
        for name in names[:: -1 if index % 2 else 1]:
            start = now()
            competitors[name]()
            times[name].append(now() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def largest_difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest absolute difference of two tensors of one shape, relative to the peak of `b`."""
    return float((a.double() - b.double()).abs().max() / b.double().abs().max())


def table(rows: list[Row]) -> str:
    """Markdown."""
    lines = ["| what | beside | ours | peer | ratio | wanted | results |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        wanted = "" if row.target is None else f"{row.target:g}"
        lines.append(
            f"| {row.what} | {row.peer} | {_seconds(row.ours_s)} | {_seconds(row.peer_s)} "
            f"| {row.ratio:.2f} | {wanted} | {row.equal} |"
        )
    return "\n".join(lines)


def _seconds(value: float) -> str:
    return f"{1000 * value:.1f} ms" if value < 1 else f"{value:.2f} s"
