"""Order the clips of a run: a sample's number decides its clip, for any number of processes.

A resumed run needs only the next number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

# Row groups of shards that are shuffled together: enough to mix many clips, few enough to hold in memory.
WINDOW = 32


class Source(Protocol):
    """Read samples by number.

    Attributes:
        reads_ahead: reading processes may hold copies of it.
        groups: ranges of numbers that are cheap to read together.
    """

    @property
    def reads_ahead(self) -> bool: ...

    @property
    def groups(self) -> Sequence[range]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...


def epoch_order(groups: Sequence[range], seed: int, epoch: int, window: int = WINDOW) -> np.ndarray:
    """Order every clip once: shuffle the groups, then the clips within each window of groups.

    If each group holds a single clip, the order is a plain permutation.
    """
    rng = np.random.default_rng([seed, epoch])
    if all(len(g) == 1 for g in groups):
        window = len(groups)
    shuffled = [groups[i] for i in rng.permutation(len(groups))]
    windows = (shuffled[i : i + window] for i in range(0, len(shuffled), window))
    return np.concatenate([rng.permutation(np.concatenate([np.asarray(g) for g in part])) for part in windows])


class Order:
    """Map sample numbers of a run to clips, over any number of epochs."""

    def __init__(self, groups: Sequence[range], seed: int) -> None:
        self.groups, self.seed, self.size = groups, seed, sum(len(g) for g in groups)
        self._epoch = lru_cache(maxsize=2)(self._make)

    def _make(self, epoch: int) -> np.ndarray:
        return epoch_order(self.groups, self.seed, epoch)

    def clip(self, number: int) -> int:
        return int(self._epoch(number // self.size)[number % self.size])


def sample_numbers(start: int, batch: int, rank: int, processes: int) -> Iterator[list[int]]:
    """Yield the sample numbers of one process, batch after batch; processes take turns, a batch each."""
    while True:
        first = start + rank * batch
        yield list(range(first, first + batch))
        start += processes * batch
