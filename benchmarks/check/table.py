"""Check the files with faults, and lay out what was found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from con360.checking.findings import NAMES, Checked
from con360.checking.run import check
from con360.media.info import MediaInfo, probe

from .base import Base
from .faults import FAULTS, good_file

GOOD = "no fault"
BAD = ("mend", "look")


@dataclass(frozen=True)
class Result:
    """One file: its fault and the finding that should tell it, what was found, and what metadata alone would tell."""

    fault: str
    finding: str
    base: str
    checked: Checked
    probed: bool


def measure(base: Base, folder: Path) -> Iterator[Result]:
    """Write the good file and each fault of a base, and check them."""
    stem = base.name.replace(" ", "_")
    good = good_file(base, folder / f"{stem}_good.mp4")
    yield Result(GOOD, "", base.name, check(good), _is_told(probe(good)))
    for number, fault in enumerate(FAULTS, 1):
        path = fault.write(base, folder / f"{stem}_{number:02d}")
        yield Result(fault.name, fault.finding, base.name, check(path), _is_told(probe(path)))


def _is_told(info: MediaInfo) -> bool:
    """Tell whether shape or metadata alone, as `probe` reads them, look wrong."""
    shape = info.kind != "sound" and (abs(info.aspect - 2) > 0.02 or info.spherical.projection != "equirectangular")
    return shape or bool(info.notices) or not info.audio_tracks


def is_found(result: Result) -> bool:
    return result.checked.state(result.finding) in BAD


def confusion(results: list[Result]) -> str:
    """Lay out faults by findings as a Markdown table."""
    lines = ["| fault | told by | " + " | ".join(NAMES) + " |", "|---|---|" + "---|" * len(NAMES)]
    for fault in dict.fromkeys(result.fault for result in results):
        rows = [result for result in results if result.fault == fault]
        cells = (_cell([row.checked.state(name) for row in rows]) for name in NAMES)
        bold = [
            f"**{cell}**" if name == rows[0].finding and cell else cell for name, cell in zip(NAMES, cells, strict=True)
        ]
        lines.append(f"| {fault} | {rows[0].finding or '-'} | " + " | ".join(bold) + " |")
    return "\n".join(lines)


def _cell(states: list[str | None]) -> str:
    found, unknown = sum(state in BAD for state in states), states.count("unknown")
    return f"{found or ''}{'?' * unknown}"


def summary(results: list[Result]) -> str:
    """Count the faults that were told, by base, beside what metadata and shape tell."""
    lines = ["| files | faults told | by metadata and shape alone | good file to mend |", "|---|---|---|---|"]
    for base in dict.fromkeys(result.base for result in results):
        rows = [result for result in results if result.base == base]
        faults = [row for row in rows if row.fault != GOOD]
        told, probed = sum(map(is_found, faults)), sum(row.probed for row in faults)
        good = "yes" if any(row.checked.must_mend for row in rows if row.fault == GOOD) else "no"
        lines.append(f"| {base} | {told} of {len(faults)} | {probed} of {len(faults)} | {good} |")
    return "\n".join(lines)
