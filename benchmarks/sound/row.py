"""One measured row, and the table of many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One figure beside its bar.

    Args:
        what: what was measured, and on what. wanted: the bar; empty where a figure is only stated.
        found: the figure with its unit. holds: whether it meets the bar; None without one.
    """

    what: str
    wanted: str
    found: str
    holds: bool | None = None


def table(rows: Sequence[Row]) -> str:
    """Write rows as a table in Markdown."""
    lines = ["| what | wanted | found | |", "|---|---|---|---|"]
    words = {True: "met", False: "missed", None: ""}
    return "\n".join(lines + [f"| {r.what} | {r.wanted or '-'} | {r.found} | {words[r.holds]} |" for r in rows])
