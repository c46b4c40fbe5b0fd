"""Name what a check can find: a state, one sentence, and what to mend."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

# `good` fits. `look` may be meant so. `mend` is a fault. `unknown` says that the measure cannot tell.
State = Literal["good", "look", "mend", "unknown"]
NAMES = (
    "file", "aspect", "stereo", "projection", "seam", "poles", "horizon", "motion", "metadata",
    "sound", "channels", "order", "pair",
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One line of a check.

    Args:
        name: one of `NAMES`.
        says: what was found, as a sentence. mend: what to do about it; empty where nothing is.
        measures: the figures behind it, by name.
    """

    name: str
    state: State
    says: str
    mend: str = ""
    measures: Mapping[str, float] = field(default_factory=dict)

    @property
    def line(self) -> str:
        return f"{self.says} {self.mend}".strip()


@dataclass(frozen=True)
class Checked:
    """Everything that was found of one file or clip.

    Args:
        name: of the file as it was given, or of the clip. kind: `video`, `picture`, `sound`, or "" where unreadable.
        findings: in the order of `NAMES`, each name at most once.
    """

    name: str
    kind: str
    findings: tuple[Finding, ...]

    @property
    def must_mend(self) -> bool:
        return any(finding.state == "mend" for finding in self.findings)

    def state(self, name: str) -> State | None:
        """Return the state of a finding; None where it was not looked for."""
        return next((finding.state for finding in self.findings if finding.name == name), None)

    def as_json(self) -> dict[str, Any]:
        """Return values that JSON holds."""
        rows = [
            {"name": f.name, "state": f.state, "says": f.says, "mend": f.mend,
             # JSON has no NaN: a measure that could not be made is left out.
             "measures": {name: round(value, 4) for name, value in f.measures.items() if math.isfinite(value)}}
            for f in self.findings
        ]  # fmt: skip
        return {"name": self.name, "kind": self.kind, "must_mend": self.must_mend, "findings": rows}


def unreadable(path: Path, error: Exception) -> Checked:
    """Report a file that cannot be read, by the sentence of its error."""
    return Checked(path.name, "", (Finding("file", "mend", str(error)),))


def in_order(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Sort findings by `NAMES`."""
    return tuple(sorted(findings, key=lambda finding: NAMES.index(finding.name)))


def sentence(words: str) -> str:
    """Begin with a capital letter."""
    return words[:1].upper() + words[1:]
