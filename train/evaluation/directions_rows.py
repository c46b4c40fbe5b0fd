"""Put the azimuths of voices in generated fields among the parts of the evaluation."""

from __future__ import annotations

from typing import Any

from train.evaluation import directions_of_voices as voices
from train.evaluation.directions_of_voices import ANOTHER, FOUND, OTHER_RATES, WORD
from train.evaluation.part import Measured, Metrics, Part, Tools
from train.evaluation.row import Bar, Row, number, percent

NO_HEAD = "the control gives no directions"
# Row of the field, name in the table, marks: within 20 and 10 degrees, and the median in degrees.
ASKED: tuple[tuple[str, str, tuple[float | None, float | None, float | None]], ...] = (
    ("generated: caption, estimated maps", "generated W, caption, estimated maps", (0.95, 0.9, 5.0)),
    ("generated: caption, true maps", "generated W, caption, true maps", (0.98, 0.95, 3.0)),
    ("no directions, true maps", "true W, no direction words, true maps", (0.9, None, None)),
    ("no directions, estimated maps", "true W, no direction words, estimated maps", (0.8, None, None)),
    (f"{OTHER_RATES}no directions, true maps", "true W, no direction words, rates redrawn", (0.85, None, None)),
    ("generated: no directions, true maps", "generated W, no direction words, true maps", (None, None, None)),
    ("generated: no directions, estimated maps", "generated W, no direction words, estimated maps", (None, None, None)),
)
WITH_WORDS = (
    WORD, "caption and bands, no sound", "caption, estimated maps, no sound", "caption, true maps, no sound", ANOTHER,
)  # fmt: skip


def measure(tools: Tools, index: int) -> Measured:
    """Measure each voice's azimuth in the head's fields of a scene: of its true W and of a generated one."""
    bench = tools.bench
    if bench.control.field_head is None:
        return {"errors": {}}, {}
    found = voices.measure_scene(bench.control.field_head, index)
    made = voices.measure_generated(bench.control.field_head, bench.model, bench.control, bench.settings.steps, index)
    return {"errors": found["errors"] | made["errors"]}, {}


def reduce(_: Tools, results: list[dict[str, Any]]) -> Metrics:
    """Join the voices of all scenes, row by row."""
    return {
        "directions": {
            "text": "azimuth of each voice in a field, its bands together and weighted by energy, against the "
            "performer's; without direction words the caption's phrases are shuffled, too, for their order tells "
            "directions; rates redrawn: no voice pulses at its own rate",
            "num_scenes": len(results), "fields": voices.summary(results),
        }
    }  # fmt: skip


def table_rows(metrics: Metrics) -> list[Row]:
    if "directions" not in metrics:
        return []
    figure = metrics["directions"]
    return [row for asked in ASKED for row in _rows_of(figure, *asked)]


def _rows_of(figure: Metrics, key: str, name: str, marks: tuple[float | None, float | None, float | None]) -> list[Row]:
    fields = figure["fields"]
    own, n = fields.get(key), f"{figure['num_scenes']} scenes"
    if own is None:
        return [Row(f"azimuth of voices, {name}: within 20 degrees", None, percent, beside=NO_HEAD, n=n)]
    n = f"{own['voices']} voices of {n}"
    others = WITH_WORDS if " caption," in name else (f"generated: {FOUND}", "no directions, estimated maps, no sound")
    beside = ", ".join(f"{other} {percent(fields[other]['within_20'])}" for other in others if other in fields)
    beside = f"within 10 {percent(own['within_10'])}, median {number(own['median_deg'])}; {beside}"
    shown: list[Any] = [("within 20 degrees", own["within_20"], percent, _least(marks[0]), beside)]
    if marks[1] is not None:
        shown.append(("within 10 degrees", own["within_10"], percent, _least(marks[1]), ""))
    if marks[2] is not None:
        shown.append(("median, degrees", own["median_deg"], number, Bar(high=marks[2]), ""))
    return [
        Row(f"azimuth of voices, {name}: {what}", value, show, bar=bar, beside=said, n=n)
        for what, value, show, bar, said in shown
    ]


def _least(mark: float | None) -> Bar | None:
    return None if mark is None else Bar(low=mark)


PART = Part("directions", measure, reduce, table_rows, share=0.1, one_in=8)
