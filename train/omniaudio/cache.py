"""Render scenes once: features of their pictures, latents of their sound; training then reads only these."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from con360.choices import VoiceFollows
from con360.geometry.erp import erp_directions
from con360.media.files import atomic_path
from con360.models.oobleck import Oobleck
from con360.scenes import Scene
from con360.sounding.small_encoder import SmallEncoder
from con360.timing import ClipSpec
from train.examples import SPLIT_FIRST_SEED
from train.omniaudio.pictures import HEIGHT, frame_of, pictures_of
from train.omniaudio.scenes import moving_scene

FPS = 8.0


@dataclass(frozen=True)
class FieldCache:
    """Hold many clips of 4 s.

    Args:
        panorama, view: features of pictures, `[N, 32, F]`.
        mean, std: of the latents, `[N, Z, R]`.
    """

    panorama: Tensor
    view: Tensor
    mean: Tensor
    std: Tensor

    def __len__(self) -> int:
        return len(self.mean)


@torch.no_grad()
def features_of(scene: Scene, encoder: SmallEncoder, seconds: float = 4.0) -> tuple[Tensor, Tensor]:
    """Features of a scene's panoramas and front views at 8 fps, `[K, F]` each."""
    rays = erp_directions(HEIGHT)
    times = np.arange(round(seconds * FPS)) / FPS
    pairs = [pictures_of(frame_of(scene, float(t), rays)) for t in times]
    panorama, view = (encoder.features(torch.stack(half)) for half in zip(*pairs, strict=True))
    return panorama, view


def build(
    path: Path, encoder: SmallEncoder, codec: Oobleck, voice_follows: VoiceFollows, split: str, count: int
) -> FieldCache:
    """Render and encode scenes of a split; a file of as many clips is read instead."""
    if path.is_file():
        found = FieldCache(**load_file(path))
        if len(found) == count:
            return found
    rows: dict[str, list[Tensor]] = {"panorama": [], "view": [], "mean": [], "std": []}
    for i in range(count):
        scene = moving_scene(SPLIT_FIRST_SEED[split] + i, voice_follows)
        with torch.no_grad():
            mean, std = codec.moments(scene.foa(ClipSpec()).waveform[None])
        panorama, view = features_of(scene, encoder)
        for name, value in (("panorama", panorama), ("view", view), ("mean", mean[0]), ("std", std[0])):
            rows[name].append(value.half())
        if (i + 1) % 500 == 0:
            print(f"{path.name}: {i + 1}/{count}", flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        save_file({name: torch.stack(values) for name, values in rows.items()}, temporary)
    return FieldCache(**load_file(path))
