"""Read latents and features of pictures from prepared shards, or latents alone from files with sound."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from con360.errors import InputError
from con360.models.oobleck import Oobleck
from train.omniaudio.cache import FieldCache
from train.order import WINDOW, Source
from train.shards import FIELD_TENSORS, field_groups, read_field_group, shard_paths


class SoundFields:
    """Encode the sounds of another source, anew for each request; there are no pictures."""

    reads_ahead = False

    def __init__(self, sounds: Source, codec: Oobleck) -> None:
        self.sounds, self.codec, self.groups = sounds, codec, sounds.groups

    def __len__(self) -> int:
        return len(self.sounds)

    @torch.no_grad()
    def __getitem__(self, index: int) -> FieldCache:
        mean, std = self.codec.moments(self.sounds[index][None].to(self.codec.device, self.codec.dtype))
        return FieldCache(torch.zeros(0, 0), torch.zeros(0, 0), mean[0].cpu(), std[0].cpu())


class PreparedFields:
    """Read the segments of a split that have latents of Ambisonics, one clip each.

    Raises:
        InputError: the split has none, or its latents are another codec's.
    """

    reads_ahead = True

    def __init__(self, folder: str | Path, split: str, codec: Oobleck) -> None:
        counts = ((path, field_groups(path)) for path in shard_paths(folder, split))
        self.places = [(path, group, count) for path, of in counts for group, count in enumerate(of) if count]
        if not self.places:
            raise InputError(
                f"{folder} holds no latents of Ambisonics for {split}; prepare it with --field-model MODEL."
            )
        ends = np.cumsum([count for *_, count in self.places])
        self.groups: Sequence[range] = [
            range(int(end - count), int(end)) for end, (*_, count) in zip(ends, self.places, strict=True)
        ]
        self.length, self._group_of = int(ends[-1]), np.repeat(np.arange(len(self.groups)), [len(g) for g in self.groups])
        self._read = lru_cache(maxsize=WINDOW)(self._read_group)
        found, wanted = self[0].mean.shape[0], codec.config.latent_channels
        if found != wanted:
            raise InputError(f"{folder} holds latents of {found} numbers, and this codec makes {wanted}; name its own.")

    def _read_group(self, number: int) -> list[FieldCache]:
        path, index, _ = self.places[number]
        return [_clip(row) for row in read_field_group(path, index)]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> FieldCache:
        number = int(self._group_of[index])
        return self._read(number)[index - self.groups[number].start]

    def first(self, count: int) -> PreparedFields:
        """Limit to the first clips, for validation."""
        few = copy.copy(self)
        few.length = min(count, len(self))
        return few

    def __getstate__(self) -> dict[str, Any]:
        # Reading processes start with an empty cache of their own.
        return {name: value for name, value in vars(self).items() if name != "_read"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._read = lru_cache(maxsize=WINDOW)(self._read_group)


def _clip(row: dict[str, Tensor]) -> FieldCache:
    return FieldCache(*(row[name] for name in FIELD_TENSORS))
