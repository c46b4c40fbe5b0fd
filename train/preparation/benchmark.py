"""Measure the stages on real clips, with one and two workers, and estimate the cost of a data set.

Stage times are core seconds (CPU time of all threads of a process); other load on the machine hardly changes them. The
rate of a run is measured from its first finished segment to its last, so it leaves out process start and model loading.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path

from con360.errors import InputError
from train.preparation.plan import Segment
from train.preparation.report import price_text, stage_costs, stages_text
from train.preparation.run import Executor, prepare
from train.preparation.settings import Settings
from train.preparation.sources import SPLITS, ClipSource, SourceClip
from train.shards import committed_shards, read_outcomes

CLIPS = 100_000


@dataclass(frozen=True)
class Trial:
    """Hold one executor's run: outcomes of the finished segments, their rate, and their size in bytes."""

    outcomes: tuple
    per_second: float
    bytes_per_segment: float


def benchmark(source: ClipSource, settings: Settings, segments: int, nodes: int, cores: int) -> None:
    """Print the stage table, the rates of one and two workers, the cost of 100k clips and a plan for a cluster.

    Raises:
        InputError: no clip can be prepared.
    """
    clips = _usable(source, settings, segments)
    alone = _measure(clips, settings, Executor())
    costs = stage_costs(alone.outcomes)
    print(f"\n## Stages, {len(alone.outcomes)} segments of real clips, one process\n\n{stages_text(costs)}\n")
    print("## Rates\n\n| executor | segments per s |\n|---|---|")
    print(f"| this process | {alone.per_second:.3f} |", flush=True)
    for workers in (1, 2):
        try:
            run = _measure(clips, settings, Executor("ray", workers))
        except InputError as error:
            print(f"| Ray, {workers} workers | not measured: {error} |")
        else:
            print(f"| Ray, {workers} workers | {run.per_second:.3f} |", flush=True)
    print(f"\n## Cost\n\n{price_text(costs, alone.bytes_per_segment, CLIPS, nodes, cores)}")


def _usable(source: ClipSource, settings: Settings, count: int) -> list[SourceClip]:
    """Choose `count` usable clips of one segment each; if there are fewer, repeat them under new names."""
    source = (source[0][:count], [])
    with tempfile.TemporaryDirectory() as folder:
        account = prepare(source, folder, settings, Executor(), say=lambda line: None)
    good = [
        Segment(clip, start, "train") for clip in source[0] for start in clip.starts_s or settings.starts_s
        if (known := account.outcomes.get(f"{clip.id}@{start:g}")) is not None and known.status == "done"
    ]  # fmt: skip
    if not good:
        raise InputError("no segment of these clips can be prepared; run without --benchmark to see why.")
    return [
        replace(segment.clip, id=f"{number}/{segment.id}", starts_s=(segment.start_s,), split="train")
        for number, segment in enumerate(islice(cycle(good), count))
    ]


def _measure(clips: list[SourceClip], settings: Settings, executor: Executor) -> Trial:
    with tempfile.TemporaryDirectory() as folder:
        prepare((clips, []), folder, replace(settings, split="given"), executor, say=lambda line: None)
        shards = [path for split in SPLITS for path in committed_shards(Path(folder) / split)]
        outcomes = tuple(outcome for path in shards for outcome in read_outcomes(path))
        size = sum(path.stat().st_size for path in shards)
    times = sorted(outcome.finished_s for outcome in outcomes)
    span = times[-1] - times[0]
    return Trial(outcomes, (len(times) - 1) / span if span else 0.0, size / len(outcomes))
