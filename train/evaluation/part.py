"""Describe parts of the evaluation: each measures one scene, joins all scenes and gives rows of the table."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from con360.errors import InputError
from con360.protocols import MeaningEncoder
from train.evaluation.bench import Bench
from train.evaluation.row import Row

if TYPE_CHECKING:
    from train.evaluation.judges import Judges

# Plain values of a scene, and clips of it to show.
Measured = tuple[dict[str, Any], dict[str, Tensor]]
Metrics = dict[str, Any]


def no_meaning() -> MeaningEncoder:
    """Refuse to measure what clips share, where no encoder is named."""
    raise InputError("no encoder was named by which captions, pictures and sounds are compared; give --meaning.")


@dataclass(frozen=True)
class Tools:
    """Hold all that parts measure with.

    Args:
        bench: the models under test.
        judges: makes the judges of paired figures; called again it returns the same.
        folder: of the results; it keeps the networks that a part trains for itself.
        say: told what takes long.
        meaning: loads the encoder by which captions, pictures and sounds are compared.
    """

    bench: Bench
    judges: Callable[[], Judges]
    folder: Path
    say: Callable[[str], object]
    meaning: Callable[[], MeaningEncoder] = no_meaning


@dataclass(frozen=True)
class Part:
    """Describe a kind of measurement.

    Args:
        name: on the command line, and of the folder of its results.
        measure: maps tools and a scene's index to its values and clips.
        reduce: maps tools and the values of all scenes to entries of `metrics.json`.
        rows: maps `metrics.json`, which may lack these entries, to rows of the table.
        share: share of the time, if time limits the number of scenes.
        one_in: this part measures one in this many of `--scenes`; below 1 for several results of a scene.
    """

    name: str
    measure: Callable[[Tools, int], Measured]
    reduce: Callable[[Tools, list[dict[str, Any]]], Metrics]
    rows: Callable[[Metrics], Sequence[Row]]
    share: float
    one_in: float = 1

    def count(self, scenes: int) -> int:
        return math.ceil(scenes / self.one_in)


def probe(
    name: str, measure: Callable[[Bench, int], Measured], reduce: Callable[[list[dict[str, Any]]], Metrics],
    rows: Callable[[Metrics], Sequence[Row]], share: float, one_in: float = 1,
) -> Part:  # fmt: skip
    """Describe a part that needs no more than the bench.

    Args:
        reduce: returns figures of the part; they stand under its name in `metrics.json`.
        rows: maps these figures to rows.
    """

    def joined(_: Tools, found: list[dict[str, Any]]) -> Metrics:
        return {name: reduce(found)}

    def shown(metrics: Metrics) -> Sequence[Row]:
        return rows(metrics[name]) if name in metrics else ()

    return Part(name, lambda tools, index: measure(tools.bench, index), joined, shown, share, one_in)
