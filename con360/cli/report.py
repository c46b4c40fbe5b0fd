"""Report a command's progress, notices, stages and figures."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from ..devices import describe_device
from ..pace import Pace, left_in_words

if TYPE_CHECKING:
    from tqdm import tqdm

    from ..records import Progress, Viewpoint

Made = TypeVar("Made")


class Report:
    """Times stages, shows a bar for each, and keeps the notices.

    Args:
        started: `time.perf_counter()` when the command began; the time until now is the stage "start-up".
        device: where networks compute; None where the command has none.
    """

    def __init__(self, started: float, device: str | None = None) -> None:
        self.started, self.device = started, device and describe_device(device)
        self.seconds: dict[str, float] = {"start-up": time.perf_counter() - started}
        self.notices: list[str] = []

    @contextmanager
    def stage(self, name: str, steps: bool = True) -> Iterator[Progress]:
        """Time a stage; yields the callback that moves its bar.

        Args:
            steps: whether the stage reports progress; if not, its bar shows at once.
        """
        began = time.perf_counter()
        with Bar(name) as bar:
            if not steps:
                bar.update(0, 1, name)
            yield bar.update
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

    def stages(self, names: Iterable[str], make: Callable[[Progress], Iterator[Made]]) -> Iterator[Made]:
        """Yield the results of `make` one by one, each made in a stage of its own.

        Args:
            make: is called at once with a callback that moves the bar of the stage in progress.
        """
        bars: list[Progress] = []
        made = make(lambda *told: bars[-1](*told))

        def each() -> Iterator[Made]:
            for name in names:
                with self.stage(name) as progress:
                    bars.append(progress)
                    result = next(made)
                yield result

        return each()

    def notice(self, *sentences: str) -> None:
        """Print sentences for the user on standard error, each once."""
        for sentence in sentences:
            whole = sentence[:1].upper() + sentence[1:].rstrip(".") + "."
            if whole not in self.notices:
                self.notices.append(whole)
                print(f"note: {whole}", file=sys.stderr)

    @property
    def total_seconds(self) -> float:
        return time.perf_counter() - self.started


class Bar:
    """Show a progress bar on standard error for each kind of work that a stage reports."""

    def __init__(self, name: str) -> None:
        self.name, self.what = name, ""
        self.bar: tqdm | None = None
        self.pace = Pace()

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.bar is not None:
            if kind is None:
                self.bar.update(self.bar.total - self.bar.n)
            self.bar.close()

    def _open(self, text: str, total: int) -> tqdm:
        from tqdm import tqdm

        # A log file gets few lines, a terminal a moving bar.
        lively = sys.stderr.isatty()
        form = "{desc:<36} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} {elapsed}{postfix}"
        size = {"mininterval": 0.1} if lively else {"mininterval": 20.0, "ncols": 90}
        return tqdm(total=total, desc=text, file=sys.stderr, bar_format=form, **size)

    def update(self, done: int, total: int, what: str) -> None:
        if self.bar is None or (what, total) != (self.what, self.bar.total):
            if self.bar is not None:
                self.bar.close()
            self.what = what
            self.bar = self._open(what if what.startswith(self.name) else f"{self.name}: {what}", total)
        left = self.pace.seconds_left(done, total, what)
        self.bar.set_postfix_str("" if left is None else left_in_words(left), refresh=False)
        self.bar.update(done - self.bar.n)


def peak_memory_mb() -> float | None:
    """Largest resident size of this process so far, None where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def table(rows: Iterable[Sequence[str]]) -> str:
    """Align rows in columns: words to the left, numbers to the right."""
    rows = [list(row) for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    numeric = [any(row[i][:1].isdigit() for row in rows) for i in range(len(rows[0]))]

    def cell(row: Sequence[str], i: int) -> str:
        return row[i].rjust(widths[i]) if numeric[i] else row[i].ljust(widths[i])

    return "\n".join("  ".join(cell(row, i) for i in range(len(row))).rstrip() for row in rows)


def stage_table(report: Report) -> str:
    """Seconds of each stage, their total, the peak of memory, and where networks computed."""
    rows = [("stage", "seconds"), *((name, f"{seconds:.1f}") for name, seconds in report.seconds.items())]
    memory = peak_memory_mb()
    rows.append(("total", f"{report.total_seconds:.1f}"))
    peak = "unknown" if memory is None else f"{memory:.0f} MB"
    device = f"\ndevice: {report.device}" if report.device else ""
    return f"{table(rows)}\npeak memory: {peak}{device}"


def viewpoint_table(found: Sequence[Viewpoint], chosen: Iterable[int] = ()) -> str:
    """The viewpoints, one per line; `chosen` ranks are marked."""
    chosen, rows = set(chosen), [("found", "yaw", "pitch", "box", "share of saliency")]
    for viewpoint in found:
        region, view = viewpoint.region, viewpoint.track.views[0]
        name = f"viewpoint {viewpoint.rank}{' *' if viewpoint.rank in chosen else ''}"
        box = "-" if region is None else f"{region.width_deg:.0f}° x {region.height_deg:.0f}°"
        share = "-" if region is None else f"{100 * region.mass:.0f} %"
        rows.append((name, f"{round(view.yaw_deg)}°", f"{round(view.pitch_deg)}°", box, share))
    return table(rows) + ("\n* generated" if chosen else "")
