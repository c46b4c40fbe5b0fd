"""Render scenes once: maps of their panoramas, powers and paths of their voices; training then reads only these.

Shape legend: S scenes, T frames, H W map rows and columns, V voices, R rows of 40 ms, B bands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from con360.control.field_head import MAP_SIZE
from con360.geometry.erp import erp_directions
from con360.media.files import atomic_path
from con360.saliency.colours import unusual_colours
from con360.saliency.heard import sound_intensity
from con360.saliency.predict import predict_saliency
from con360.scenes import Scene
from con360.sound.band_powers import band_powers
from con360.sound.bands import BANDS
from con360.sound.fields import ROW_S
from con360.timing import ClipSpec
from train.examples import ESTIMATOR, MAP_HEIGHT
from train.field.scenes import field_scene

MOST_VOICES = 4
# Scenes of a part that is written at once.
PART = 20
# Power of silence, in decibels.
SILENT_DB = -120.0


@dataclass(frozen=True)
class Rendered:
    """Hold scenes of 4 s, or without the first axis one scene.

    Args:
        estimated, true, colours: maps `[S, T, H, W]` uint8, 255 is 1.
        powers_db: of each voice alone, `[S, V, R, B]`; `SILENT_DB` where there is no voice.
        yaws_deg: of each voice, `[S, V, R]`. pitches_deg: `[S, V]`.
    """

    estimated: Tensor
    true: Tensor
    colours: Tensor
    powers_db: Tensor
    yaws_deg: Tensor
    pitches_deg: Tensor

    def __len__(self) -> int:
        return len(self.true)

    def at(self, index: int) -> Rendered:
        return Rendered(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def with_maps(self, change: Callable[[Tensor], Tensor]) -> Rendered:
        """Change all maps alike."""
        return replace(self, estimated=change(self.estimated), true=change(self.true), colours=change(self.colours))


def render(scene: Scene, spec: ClipSpec | None = None) -> Rendered:
    """Render one scene, and estimate its saliency as for users: picture and sound."""
    spec = spec or ClipSpec()
    rays, small = erp_directions(2 * MAP_HEIGHT), erp_directions(MAP_HEIGHT)
    frames = torch.stack([scene.render(rays, t) for t in spec.frame_times_s()])
    heard = sound_intensity(scene.foa(spec), spec.fps, spec.num_frames)
    estimated = predict_saliency(frames, ESTIMATOR, fps=spec.fps, heard=heard).maps
    true = torch.stack([scene.saliency_at(small, t) for t in spec.frame_times_s()])
    colours = unusual_colours(F.avg_pool2d(frames, 2)).clamp_max(1.0)
    powers, yaws, pitches = voices_of(scene, spec)
    return Rendered(_bytes(estimated), _bytes(true), _bytes(colours), powers.half(), yaws, pitches)


def voices_of(scene: Scene, spec: ClipSpec) -> tuple[Tensor, Tensor, Tensor]:
    """Powers in decibels `[V, R, B]`, yaws `[V, R]` and pitches `[V]` of a scene's voices, in its order."""
    rows = round(spec.seconds / ROW_S)
    powers = torch.full((MOST_VOICES, rows, BANDS), SILENT_DB)
    yaws, pitches = torch.zeros(MOST_VOICES, rows), torch.zeros(MOST_VOICES)
    times, centres = np.arange(spec.num_samples) / spec.sample_rate_hz, (np.arange(rows) + 0.5) * ROW_S
    for i, p in enumerate(scene.performers):
        mono = torch.from_numpy(p.mono(times)).float()[None]
        fine = torch.cat(list(band_powers([mono], spec.sample_rate_hz)))
        powers[i] = 10 * fine.unflatten(0, (rows, -1)).mean(1).clamp_min(10 ** (SILENT_DB / 10)).log10()
        yaws[i], pitches[i] = torch.from_numpy(np.broadcast_to(p.yaw_at(centres), centres.shape).copy()), p.pitch_deg
    return powers, yaws, pitches


def _bytes(maps: Tensor) -> Tensor:
    return (F.interpolate(maps[:, None], MAP_SIZE, mode="area")[:, 0] * 255).round().byte()


def build(stem: Path, split: str, count: int, scene_at: Callable[[str, int], Scene] = field_scene) -> Rendered:
    """Render the first scenes of a split, or read them from the files of earlier calls.

    Args:
        stem: parts are `<stem>-0.safetensors` and on; a kill costs the unfinished one.
    """
    parts: list[Rendered] = []
    while (done := sum(map(len, parts))) < count:
        path = stem.with_name(f"{stem.name}-{len(parts)}.safetensors")
        if not path.is_file():
            _write(path, [render(scene_at(split, done + i)) for i in range(min(PART, count - done))])
        parts.append(Rendered(**load_file(path)))
    return Rendered(*(torch.cat([getattr(p, f.name) for p in parts])[:count] for f in fields(Rendered)))


def _write(path: Path, scenes: Sequence[Rendered]) -> None:
    columns = {f.name: torch.stack([getattr(scene, f.name) for scene in scenes]) for f in fields(Rendered)}
    with atomic_path(path) as temporary:
        save_file(columns, temporary)
