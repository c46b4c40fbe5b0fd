"""Measure what a generated clip's caption, picture and sound share: three cosines and their volume, always together."""

from __future__ import annotations

from typing import Any

import numpy as np

from con360.meaning.measure import Meaning
from con360.meaning.measure import measure as meaning_of
from con360.metrics.figure import bootstrap_interval
from con360.protocols import MeaningEncoder
from con360.records import ViewTrack
from con360.scenes import Scene
from train.evaluation.bench import Bench, Clip, Use
from train.evaluation.part import Measured, Metrics, Part, Tools
from train.evaluation.row import Row
from train.examples import Shares, staging

SECONDS = 2.0
# Voices mostly follow colours or shapes, so that picture and sound have something to share.
SHARES = Shares(follows=0.4)
OURS, CAPTION, TRUTH, OTHER = "con360", "baseline", "floor", "chance"
USES: tuple[Use, Use] = ("maps", "caption")
FIGURES = {
    "ta": "cosine of caption and sound", "tv": "cosine of caption and picture", "va": "cosine of picture and sound",
    "volume": "volume of the three (0 wherever they lie in a plane)",
}  # fmt: skip


def measure(tools: Tools, index: int) -> Measured:
    """Measure a scene's generated clip, the baseline's and the true one, and its caption beside two other scenes."""
    bench, encoder = tools.bench, tools.meaning()
    (scene, track), second, third = (_scene(bench, i) for i in (index, index + 1, index + 2))
    asks = [bench.ask(scene, track, index, use, SECONDS) for use in USES]
    ours, baseline = bench.generate(asks, SECONDS)
    truth, another, further = (bench.truth(*one, SECONDS) for one in ((scene, track), second, third))
    clips = {OURS: ours, CAPTION: baseline, TRUTH: truth, OTHER: Clip(another.frames, further.sound)}
    fps = bench.spec(SECONDS).fps
    found = {who: _values(_meaning(encoder, asks[0].caption, clip, fps)) for who, clip in clips.items()}
    return {"encoder": encoder.name, "who": found}, {}


def _scene(bench: Bench, index: int) -> tuple[Scene, ViewTrack]:
    spec = bench.spec(SECONDS)
    staged = staging("test", index, spec.num_frames, spec, SHARES)
    return staged.seen, staged.track


def _meaning(encoder: MeaningEncoder, caption: str, clip: Clip, fps: float) -> Meaning:
    sound = clip.sound
    return meaning_of(encoder, [caption], clip.frames[None], fps, sound.waveform, sound.sample_rate_hz)


def _values(found: Meaning) -> dict[str, float | None]:
    return {name: None if (value := getattr(found, name)) is None else float(value) for name in FIGURES}


def reduce(_: Tools, results: list[dict[str, Any]]) -> Metrics:
    """Average each figure over scenes, with intervals."""
    return {
        "meaning": {
            "text": f"clips of {SECONDS:g} s by the encoder named; beside them the same model with its maps off, the "
            "true clip, and a caption, a picture and a sound of three scenes",
            "encoder": results[0]["encoder"], "num_scenes": len(results),
            "who": {who: _averaged([row["who"][who] for row in results]) for who in (OURS, CAPTION, TRUTH, OTHER)},
        }
    }  # fmt: skip


def _averaged(rows: list[dict[str, float | None]]) -> dict[str, Any]:
    return {name: _figure([row[name] for row in rows]) for name in FIGURES}


def _figure(values: list[float | None]) -> dict[str, Any]:
    told = np.asarray([value for value in values if value is not None])
    if not len(told):
        return {"value": None, "interval": None}
    return {"value": float(told.mean()), "interval": bootstrap_interval(told)}


def table_rows(metrics: Metrics) -> list[Row]:
    if "meaning" not in metrics:
        return []
    figure = metrics["meaning"]
    return [_row(figure, name, text) for name, text in FIGURES.items()]


def _row(figure: Metrics, name: str, text: str) -> Row:
    ours, baseline, truth, other = (figure["who"][who][name] for who in (OURS, CAPTION, TRUTH, OTHER))
    beside = f"by {figure['encoder']}"
    if ours["value"] is None:
        beside += ", which has no common space of picture and sound"
    return Row(
        f"meaning: {text}", ours["value"], around=ours["interval"], baseline=baseline["value"], floor=truth["value"],
        chance=other["value"], beside=beside, n=f"{figure['num_scenes']} scenes",
    )  # fmt: skip


PART = Part("meaning", measure, reduce, table_rows, share=0.05, one_in=4)
