"""Read the rows of shards by number, a row group at a time."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from train.order import WINDOW

Row = TypeVar("Row")
Own = TypeVar("Own", bound="ByGroup")


class ByGroup(Generic[Row]):
    """Number the rows of some shards' row groups, and keep those that were read last.

    Args:
        paths: shards, in order. sizes: counts the rows of each group of a shard. read: reads the rows of one group.
    """

    reads_ahead = True

    def __init__(
        self, paths: Sequence[Path], sizes: Callable[[Path], Sequence[int]], read: Callable[[Path, int], Sequence[Row]]
    ) -> None:
        self.places = [(path, i, n) for path in paths for i, n in enumerate(sizes(path)) if n]
        ends = np.cumsum([n for *_, n in self.places])
        self.groups = [range(int(end - n), int(end)) for end, (*_, n) in zip(ends, self.places, strict=True)]
        self._group_of = np.repeat(np.arange(len(self.groups)), [len(g) for g in self.groups])
        self.length, self._read_rows = len(self._group_of), read
        self._read = lru_cache(maxsize=WINDOW)(self._read_group)

    def _read_group(self, number: int) -> Sequence[Row]:
        path, index, _ = self.places[number]
        return self._read_rows(path, index)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Row:
        number = int(self._group_of[index])
        return self._read(number)[index - self.groups[number].start]

    def first(self: Own, count: int) -> Own:
        """Limit to the first `count` rows (for validation, which asks by number)."""
        few = copy.copy(self)
        few.length = min(count, len(self))
        return few

    def __getstate__(self) -> dict[str, Any]:
        # Reading processes start with an empty cache of their own.
        return {name: value for name, value in vars(self).items() if name != "_read"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._read = lru_cache(maxsize=WINDOW)(self._read_group)
