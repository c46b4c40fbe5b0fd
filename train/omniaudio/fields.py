"""Read latents and features of pictures from prepared shards, or latents alone from files with sound."""

from __future__ import annotations

from pathlib import Path

import torch

from con360.errors import InputError
from con360.models.oobleck import Oobleck
from train.by_group import ByGroup
from train.omniaudio.cache import FieldCache
from train.order import Source
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


class PreparedFields(ByGroup[FieldCache]):
    """Read the segments of a split that have latents of Ambisonics, one clip each.

    Raises:
        InputError: the split has none, or its latents are another codec's.
    """

    def __init__(self, folder: str | Path, split: str, codec: Oobleck) -> None:
        super().__init__(shard_paths(folder, split), field_groups, _clips)
        if not len(self):
            raise InputError(f"{folder} holds no latents of Ambisonics for {split}; prepare it with --field-model.")
        found, wanted = self[0].mean.shape[0], codec.config.latent_channels
        if found != wanted:
            raise InputError(f"{folder} holds latents of {found} numbers, and this codec makes {wanted}; name its own.")


def _clips(path: Path, group: int) -> list[FieldCache]:
    return [FieldCache(*(row[name] for name in FIELD_TENSORS)) for row in read_field_group(path, group)]
