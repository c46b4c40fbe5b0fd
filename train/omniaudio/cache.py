"""Render scenes once: features of their pictures, latents of their sound; training then reads only these.

Shape legend: C clips, K pictures, F features, Z latent channels, R latent rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from con360.choices import VoiceFollows
from con360.geometry.erp import erp_directions
from con360.media.files import atomic_path
from con360.models.oobleck import Oobleck
from con360.scenes import Scene
from con360.sounding.pictures import squared
from con360.sounding.small_encoder import SmallEncoder
from train.examples import SPLIT_FIRST_SEED
from train.omniaudio.panoramas import HEIGHT, equiangular, frame_of, pictures_of
from train.omniaudio.scenes import moving_scene
from train.omniaudio.settings import Branches
from train.omniaudio.sounds import poor_field, scene_field

FPS, CLIP_S = 8.0, 4.0


@dataclass(frozen=True)
class FieldCache:
    """Hold clips of 4 s, or without the first axis one clip.

    Args:
        panorama, view: features of pictures, `[C, K, F]`; of sounds without pictures `[C, 0, 0]`.
        mean, std: of the latents, `[C, Z, R]`.
    """

    panorama: Tensor
    view: Tensor
    mean: Tensor
    std: Tensor

    def __len__(self) -> int:
        return len(self.mean)

    def to(self, device: torch.device) -> FieldCache:
        return FieldCache(*(value.to(device, non_blocking=True) for value in vars(self).values()))


@torch.no_grad()
def features_of(
    scene: Scene, encoder: SmallEncoder, seconds: float = CLIP_S, whole: Callable[[np.ndarray], np.ndarray] = squared
) -> tuple[Tensor, Tensor]:
    """Features of a scene's panoramas and front views at 8 fps, `[K, F]` each.

    Args:
        whole: makes the square picture of the panorama.
    """
    rays = erp_directions(HEIGHT)
    times = np.arange(round(seconds * FPS)) / FPS
    pairs = [pictures_of(frame_of(scene, float(t), rays), whole) for t in times]
    panorama, view = (encoder.features(torch.stack(half)) for half in zip(*pairs, strict=True))
    return panorama, view


def whole_picture(branches: Branches) -> Callable[[np.ndarray], np.ndarray]:
    """Choose how the panorama becomes one square picture."""
    return equiangular if branches.startswith("eac") else squared


def build(
    path: Path, encoder: SmallEncoder, codec: Oobleck, voice_follows: VoiceFollows, split: str, count: int,
    whole: Callable[[np.ndarray], np.ndarray] = squared,
) -> FieldCache:  # fmt: skip
    """Render and encode the first scenes of a split, or read them from the file that an earlier call wrote."""

    def rows() -> Iterator[FieldCache]:
        for seed in _seeds(split, count, path):
            scene = moving_scene(seed, voice_follows)
            yield FieldCache(*features_of(scene, encoder, whole=whole), *_moments(codec, scene_field(scene)))

    return _kept(path, count, rows)


def build_poor(path: Path, codec: Oobleck, split: str, count: int) -> FieldCache:
    """The same without pictures, of mono (every second scene) and stereo turned into Ambisonics."""

    def rows() -> Iterator[FieldCache]:
        for seed in _seeds(split, count, path):
            field = poor_field(moving_scene(seed, "none"), mono=seed % 2 == 0)
            yield FieldCache(torch.zeros(0, 0), torch.zeros(0, 0), *_moments(codec, field))

    return _kept(path, count, rows)


def _seeds(split: str, count: int, path: Path) -> Iterator[int]:
    first = SPLIT_FIRST_SEED[split]
    yield from tqdm(range(first, first + count), desc=f"rendering {path.stem}", unit="clip")


@torch.no_grad()
def _moments(codec: Oobleck, field: Tensor) -> tuple[Tensor, Tensor]:
    mean, std = codec.moments(field[None].to(codec.device, codec.dtype))
    return mean[0].cpu(), std[0].cpu()


def _kept(path: Path, count: int, rows: Callable[[], Iterator[FieldCache]]) -> FieldCache:
    """Read so many clips of a file; make it if there are fewer."""
    found = FieldCache(**load_file(path)) if path.is_file() else None
    if found is None or len(found) < count:
        clips = [FieldCache(*(value.half() for value in vars(row).values())) for row in rows()]
        with atomic_path(path) as temporary:
            columns = {name: [getattr(clip, name) for clip in clips] for name in vars(clips[0])}
            save_file({name: torch.stack(values) for name, values in columns.items()}, temporary)
        found = FieldCache(**load_file(path))
    return FieldCache(*(value[:count] for value in vars(found).values()))


class Fields:
    """Read the clips of a cache by number."""

    reads_ahead = False

    def __init__(self, cache: FieldCache) -> None:
        self.cache = cache
        self.groups: Sequence[range] = [range(i, i + 1) for i in range(len(cache))]

    def __len__(self) -> int:
        return len(self.cache)

    def __getitem__(self, index: int) -> FieldCache:
        return FieldCache(*(value[index] for value in vars(self.cache).values()))


def stacked(samples: Sequence[FieldCache]) -> FieldCache:
    """Join clips as one batch in float32."""
    columns = zip(*(vars(sample).values() for sample in samples), strict=True)
    return FieldCache(*(torch.stack(column).float() for column in columns))
