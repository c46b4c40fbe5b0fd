"""List the parts of the evaluation, in the order of their rows in the table. A new part is one line here."""

from __future__ import annotations

from train.evaluation import (
    directions_rows,
    drawn_rows,
    field_levels,
    meaning_rows,
    named,
    off_screen,
    paired,
    probes,
    two_views,
)
from train.evaluation.part import Part

PARTS: tuple[Part, ...] = (
    paired.PART,
    probes.TURN,
    probes.MOVING,
    probes.ENTRY_EXIT,
    named.PART,
    directions_rows.PART,
    field_levels.FIELD,
    off_screen.LEVEL,
    off_screen.PRESENCE,
    two_views.TWO_VIEWS,
    drawn_rows.PART,
    meaning_rows.PART,
)
