"""Put drawn onsets that no map knows among the parts of the evaluation: 3 seeds a scene."""

from __future__ import annotations

from typing import Any

from train.evaluation import drawn_onsets
from train.evaluation.drawn_onsets import GAIN, GUIDED, LATER, SECONDS, SHIFT_S, SILENCE, TRAINED, UNGUIDED, Subject
from train.evaluation.part import Measured, Metrics, Part, Tools
from train.evaluation.row import Bar, Row, decibels, number, percent

SEEDS = 3
# Change of a voice's level that a way may cost, in decibels.
LEVEL_DB = {TRAINED: 6.0, GUIDED: 10.0}


def measure(tools: Tools, index: int) -> Measured:
    """Measure each way of following a drawn track, for one scene and seed."""
    scene, seed = divmod(index, SEEDS)
    bench = tools.bench
    subject = Subject(bench.model, bench.control, bench.settings)
    rows: dict[str, Any] = {}
    for part in (UNGUIDED, *(way + suffix for way in subject.ways for suffix in ("", LATER))):
        rows |= drawn_onsets.measure(subject, part, scene, seed)
    return {"scene": scene, "seed": seed, "rows": rows}, {}


def reduce(_: Tools, results: list[dict[str, Any]]) -> Metrics:
    """Bring together the figures of each way over scenes and seeds."""
    return {
        "drawn_onsets": {
            "text": f"onsets drawn at random times in {SECONDS:g} s clips; F by our detector within 50 ms, and by "
            "rises of the RMS, which the guidance's loss does not share; E-L1 to the drawn level over that of the "
            "unguided clip; levels: most that a voice's band changes; shift: lag between clips whose onsets lie "
            f"{1000 * SHIFT_S:g} ms apart",
            "clips": len(results),
            "ways": drawn_onsets.summary({(r["scene"], r["seed"]): r["rows"] for r in results}),
        }
    }


def table_rows(metrics: Metrics) -> list[Row]:
    if "drawn_onsets" not in metrics:
        return []
    figure = metrics["drawn_onsets"]
    return [row for way in (TRAINED, GUIDED) for row in _rows_of(way, figure["ways"], f"{figure['clips']} clips")]


def _rows_of(way: str, ways: Metrics, n: str) -> list[Row]:
    own = ways.get(way, {})
    lost = "" if own else "the control reads no time tracks; "

    def row(what: str, key: str, bar: Bar, show: Any = number) -> Row:
        others = ", ".join(f"{name} {show(ways[name][key])}" for name in (UNGUIDED, GAIN, SILENCE))
        around = own.get(f"{key}_interval")
        return Row(f"drawn onsets, {way}: {what}", own.get(key), show, around, bar, beside=lost + others, n=n)

    right = "" if not own else f"{percent(own['shift_right'])} within 25 ms"
    moved = Row(
        f"drawn onsets, {way}: lag of a sound drawn {1000 * SHIFT_S:g} ms later, s", own.get("shift_s"),
        bar=Bar(SHIFT_S - 0.025, SHIFT_S + 0.025), beside=lost + right, n=n,
    )  # fmt: skip
    return [
        row("F within 50 ms", "f_ours", Bar(low=0.8)),
        row("F by a detector that the loss does not share", "f_rms", Bar(low=0.6)),
        row("E-L1 over unguided", "e_l1_of_unguided", Bar(high=0.45)),
        row("most that a voice's level changes", "level_db_most", Bar(high=LEVEL_DB[way]), decibels),
        moved,
    ]


# Three seeds of a scene each fourth: 64 scenes of 256.
PART = Part("drawn_onsets", measure, reduce, table_rows, share=0.1, one_in=4 / SEEDS)
