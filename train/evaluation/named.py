"""Probe the shapes one can name: does a view that looks at a performer show its shape in its colour?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from con360.metrics.figure import bootstrap_interval
from con360.records import ViewTrack
from con360.scenes import COLOURS, SHAPES
from train.evaluation.part import Measured, Metrics, Part, Tools
from train.evaluation.probes import FOV_DEG, rng_of, through_vae, true_views
from train.evaluation.row import Bar, Row, percent
from train.evaluation.shape_reader import Reading, ShapeReader, aimed_view, shape_reader, truth_of
from train.examples import scene_of

SECONDS = 0.5
VIEWS = 2
READER = "shape_reader.safetensors"
WHAT = ("colour", "shape")
WHO = ("con360", "baseline", "codec")


def measure_named(tools: Tools, index: int) -> Measured:
    """Generate views of up to two performers; let the reader name what each view's middle shows."""
    reading = shape_reader(tools.bench, tools.folder / READER, tools.say)
    bench, scene, rng = tools.bench, scene_of("test", index), rng_of(index, 6)
    chosen = rng.permutation(len(scene.performers))[:VIEWS]
    performers, spec = [scene.performers[i] for i in chosen], bench.spec(SECONDS)
    views = [aimed_view(p, SECONDS / 2, rng, FOV_DEG) for p in performers]
    tracks = [ViewTrack.still(view, spec.num_frames) for view in views]
    asks = [bench.ask(scene, track, index, seconds=SECONDS) for track in tracks]
    # Without maps, the first view's clip shows what a caption alone gives.
    *ours, baseline = bench.generate([*asks, replace(asks[0], use="caption")], SECONDS)
    true = [through_vae(bench, frames) for frames in true_views(scene, tracks, bench.size, spec)]
    clips = {"con360": [clip.frames for clip in ours], "baseline": [baseline.frames] * len(views), "codec": true}
    wanted = [truth_of(p) for p in performers]
    right = {who: _right(reading.network, clips[who], wanted) for who in WHO}
    return {"right": right, "reader": _said(reading)}, {}


def _right(network: ShapeReader, clips: list[Tensor], wanted: list[tuple[int, int]]) -> dict[str, list[bool]]:
    """Compare the reader's mean answer over each clip's frames with the truth, for colour and shape."""
    named = [[int(logits.log_softmax(1).mean(0).argmax()) for logits in _read(network, frames)] for frames in clips]
    return {
        what: [answers[k] == truth[k] for answers, truth in zip(named, wanted, strict=True)]
        for k, what in enumerate(WHAT)
    }


@torch.no_grad()
def _read(network: ShapeReader, frames: Tensor) -> tuple[Tensor, Tensor]:
    return network(frames)


def _said(reading: Reading) -> dict[str, Any]:
    return {"colour": reading.colour, "shape": reading.shape, "problem": reading.problem}


def reduce_named(rows: list[dict[str, Any]]) -> Metrics:
    """Compute the shares of views whose colour and shape are named rightly."""
    figure: Metrics = {
        "text": "a view that looks within 15 degrees of a performer: a classifier, trained on true views through the "
        "codec, names the colour and the shape nearest to the middle; baseline: the clip without maps; floor: the true "
        f"view through the codec; {SECONDS:g} s clips",
        "num_scenes": len(rows), "num_views": sum(len(row["right"]["con360"]["colour"]) for row in rows),
        "reader": rows[0]["reader"],
    }  # fmt: skip
    for what in WHAT:
        figure[what] = {}
        for who in WHO:
            shares = np.array([np.mean(row["right"][who][what]) for row in rows])
            figure[what] |= {who: float(shares.mean()), f"{who}_interval": bootstrap_interval(shares)}
    return figure


def rows_named(metrics: Metrics) -> list[Row]:
    if "named" not in metrics:
        return []
    figure, marks = metrics["named"], {"colour": (0.9, len(COLOURS)), "shape": (0.7, len(SHAPES))}
    return [_row(figure, what, *mark) for what, mark in marks.items()]


def _row(figure: Metrics, what: str, wanted: float, answers: int) -> Row:
    found, reader, n = figure[what], figure["reader"], f"{figure['num_views']} views of {figure['num_scenes']} scenes"
    name = f"{what} of what the view holds, as a classifier names it"
    if reader["problem"]:
        return Row(name, None, percent, bar=Bar(low=wanted), chance=1 / answers, beside=reader["problem"], n=n)
    beside = f"the classifier on unseen true views {100 * reader[what]:.1f} %"
    return Row(
        name, found["con360"], percent, found["con360_interval"], Bar(low=wanted), found["baseline"], found["codec"],
        1 / answers, beside, n,
    )  # fmt: skip


PART = Part(
    "named", measure_named, lambda tools, found: {"named": reduce_named(found)}, rows_named, share=0.08, one_in=4
)
