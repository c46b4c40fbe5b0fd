"""Check the files with faults, and lay out what was found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from con360.checking.findings import NAMES, Checked
from con360.checking.run import check
from con360.checking.samples import sampled_sound
from con360.checking.sound_findings import sound_findings
from con360.media.info import MediaInfo, probe

from .base import RECORDING, Base, shared_data
from .faults import FAULTS, fuma, good_file, n3d

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


def recoded() -> str:
    """Re-code real recordings as FuMa and N3D, and count the verdicts on their order, as a Markdown table."""
    clips = sorted((shared_data() / RECORDING).parent.glob("sph360_*.webm"))
    lines = ["| real recordings | AmbiX | to mend | cannot tell |", "|---|---|---|---|"]
    kinds: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "as they are, AmbiX": lambda field: field, "re-coded as FuMa": fuma, "re-coded as N3D": n3d,
    }  # fmt: skip
    for name, change in kinds.items():
        states = [_order_of(clip, change) for clip in clips]
        counts = [states.count(state) for state in ("good", "mend", "unknown")]
        lines.append(f"| {len(clips)} {name} | " + " | ".join(map(str, counts)) + " |")
    return "\n".join(lines)


def _order_of(clip: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> str:
    info = probe(clip)
    track = info.audio_tracks[0]
    heard = sampled_sound(info, track)
    field = np.ascontiguousarray(change(torch.from_numpy(heard.waveform)).numpy())
    return next(f.state for f in sound_findings(track, replace(heard, waveform=field)) if f.name == "order")
