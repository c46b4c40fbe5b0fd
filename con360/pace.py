"""Time the stages of work, and estimate how long it still takes, by the pace of its own steps."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

# Reports that count: at least ten seconds of fast work, or so many slow steps.
KEPT, APART_S = 40, 0.25
# Nothing is told before so much is known.
STEPS_KNOWN, SECONDS_KNOWN = 2, 1.0


class Pace:
    """Seconds that work still takes, from the reports of its progress.

    The time before the first report does not count: it loads, compiles and warms up.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock, self._what, self._done = clock, "", 0
        self._reports: deque[tuple[float, int]] = deque(maxlen=KEPT)

    def seconds_left(self, done: int, total: int, what: str) -> float | None:
        """Take a report, and estimate from those of the same work; None before its pace is known.

        Args:
            done: steps that are done; fewer than before start the work anew.
            total: all steps of the work.
            what: names the work.
        """
        now = self._clock()
        if what != self._what or done < self._done:
            self._what = what
            self._reports.clear()
        self._done = done
        if not self._reports or (done > self._reports[-1][1] and now - self._reports[-1][0] >= APART_S):
            self._reports.append((now, done))
        (began, first), (latest, reached) = self._reports[0], self._reports[-1]
        if reached - first < STEPS_KNOWN or latest - began < SECONDS_KNOWN:
            return None
        at_once = (latest - began) / (reached - first)
        return max(at_once * (total - reached) - (now - latest), 0.0)


@dataclass
class Stopwatch:
    """Seconds per stage, in the order in which the stages ran."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


def left_in_words(seconds: float) -> str:
    """Say an estimate as exactly as it deserves: seconds, then tens of seconds, then minutes."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s left"
    if whole < 3600:
        minutes, rest = divmod(10 * round(seconds / 10), 60)
        return f"{minutes} min left" if not rest else f"{minutes} min {rest} s left"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min left"
