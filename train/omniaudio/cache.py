"""Render scenes once: features of their pictures, latents of their sound; training then reads only these.

Shape legend: C clips, K pictures, F features, Z latent channels, R latent rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
# Clips of a part that is written at once.
PART = 400


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
    stem: Path, encoder: SmallEncoder, codec: Oobleck, voice_follows: VoiceFollows, split: str, count: int,
    whole: Callable[[np.ndarray], np.ndarray] = squared,
) -> FieldCache:  # fmt: skip
    """Render and encode the first scenes of a split, or read them from the files of earlier calls.

    Args:
        stem: parts are `<stem>-0.safetensors` and on, PART clips or more each; a kill costs the unfinished one.
    """

    def clip_of(seed: int) -> FieldCache:
        scene = moving_scene(seed, voice_follows)
        return FieldCache(*features_of(scene, encoder, whole=whole), *_moments(codec, scene_field(scene)))

    return _kept(stem, split, count, clip_of)


def build_poor(stem: Path, codec: Oobleck, split: str, count: int) -> FieldCache:
    """The same without pictures, of mono (every second scene) and stereo turned into Ambisonics."""

    def clip_of(seed: int) -> FieldCache:
        field = poor_field(moving_scene(seed, "none"), mono=seed % 2 == 0)
        return FieldCache(torch.zeros(0, 0), torch.zeros(0, 0), *_moments(codec, field))

    return _kept(stem, split, count, clip_of)


@torch.no_grad()
def _moments(codec: Oobleck, field: Tensor) -> tuple[Tensor, Tensor]:
    mean, std = codec.moments(field[None].to(codec.device, codec.dtype))
    return mean[0].cpu(), std[0].cpu()


def _kept(stem: Path, split: str, count: int, clip_of: Callable[[int], FieldCache]) -> FieldCache:
    """Read so many clips from parts; make those that are missing."""
    parts: list[FieldCache] = []
    while (done := sum(map(len, parts))) < count:
        path = stem.with_name(f"{stem.name}-{len(parts)}.safetensors")
        if not path.is_file():
            first = SPLIT_FIRST_SEED[split] + done
            seeds = tqdm(range(first, first + min(PART, count - done)), desc=f"rendering {path.stem}", unit="clip")
            _write(path, [clip_of(seed) for seed in seeds])
        parts.append(FieldCache(**load_file(path)))
    columns = {name: torch.cat([getattr(part, name) for part in parts])[:count] for name in vars(parts[0])}
    return FieldCache(**columns)


def _write(path: Path, clips: Sequence[FieldCache]) -> None:
    columns = {name: torch.stack([getattr(clip, name) for clip in clips]).half() for name in vars(clips[0])}
    with atomic_path(path) as temporary:
        save_file(columns, temporary)


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
