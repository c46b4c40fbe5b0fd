"""List the parts of the evaluation, in the order of their rows in the table. A new part is one line here."""

from __future__ import annotations

from train.evaluation import off_screen, paired, probes
from train.evaluation.part import Part

PARTS: tuple[Part, ...] = (
    paired.PART,
    probes.TURN,
    probes.MOVING,
    probes.ENTRY_EXIT,
    off_screen.LEVEL,
    off_screen.PRESENCE,
)
