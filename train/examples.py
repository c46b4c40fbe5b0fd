"""Render training examples from procedural scenes, each from a seed.

Each split has its own range of seeds, so no two splits share a scene.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from con360.choices import MULTICUE
from con360.geometry.erp import erp_directions
from con360.geometry.perspective import view_directions
from con360.records import View, ViewTrack
from con360.saliency.heard import sound_intensity
from con360.saliency.predict import predict_saliency
from con360.scenes import Scene, random_scene
from con360.timing import ClipSpec
from con360.viewpoint.basd import basd_maps

SPLIT_FIRST_SEED = {"train": 0, "validation": 1_000_000_000, "test": 2_000_000_000}
MAP_HEIGHT = 64
# Saliency estimator that a control is trained with; the control file names it.
ESTIMATOR = MULTICUE


def scene_of(split: str, index: int) -> Scene:
    """Make scene number `index` of a split."""
    return random_scene(SPLIT_FIRST_SEED[split] + index)


def random_view(scene: Scene, rng: np.random.Generator) -> View:
    """Draw a view 60 to 120 degrees wide: four in five look roughly at a performer, the others anywhere."""
    fov_deg = float(np.clip(rng.normal(90.0, 12.0), 60.0, 120.0))
    if rng.random() < 0.2:
        return View(float(rng.uniform(-180, 180)), float(rng.uniform(-15, 15)), fov_deg)
    target = scene.performers[int(rng.integers(len(scene.performers)))]
    yaw = target.yaw_at(2.0) + rng.uniform(-25, 25)
    return View(
        (yaw + 180.0) % 360.0 - 180.0, float(np.clip(target.pitch_deg + rng.uniform(-15, 15), -45, 45)), fov_deg
    )


def random_track(scene: Scene, rng: np.random.Generator, num_frames: int) -> ViewTrack:
    """Draw a track: three in four stand still, the others pan at up to 15 degrees per second."""
    view = random_view(scene, rng)
    if rng.random() < 0.75:
        return ViewTrack.still(view, num_frames)
    rate = rng.uniform(-15, 15) / 8.0
    yaws = (view.yaw_deg + rate * (np.arange(num_frames) - num_frames / 2) + 180.0) % 360.0 - 180.0
    return ViewTrack(tuple(View(float(y), view.pitch_deg, view.fov_deg) for y in yaws))


def frame_choice(rng: np.random.Generator, num_frames: int, spec: ClipSpec) -> np.ndarray:
    """Choose the frames that an example keeps: all, or evenly spaced ones from a random start."""
    stride = spec.num_frames // num_frames
    return int(rng.integers(stride)) + stride * np.arange(num_frames)


@dataclass(frozen=True)
class Example:
    """Hold a clip with its truth.

    Args:
        frames: `[T, 3, s, s]`, the true picture of the view.
        waveform: `[N]`, the true sound of the view.
        maps: `[T, 2, H, W]`, saliency and min-max BASD.
        track: view of each kept frame.
        caption: the short caption.
    """

    frames: Tensor
    waveform: Tensor
    maps: Tensor
    track: ViewTrack
    caption: str


def staging(split: str, index: int, num_frames: int, spec: ClipSpec) -> tuple[Scene, ViewTrack, np.ndarray]:
    """Return (scene, track of the whole clip, kept frames) of an example."""
    rng = np.random.default_rng([SPLIT_FIRST_SEED[split] + index, 1])
    scene = scene_of(split, index)
    return scene, random_track(scene, rng, spec.num_frames), frame_choice(rng, num_frames, spec)


def make_example(
    split: str, index: int, *, num_frames: int, spec: ClipSpec, size: int = 64,
    with_picture: bool = True, with_sound: bool = True, estimated: bool = False,
) -> Example:  # fmt: skip
    """Render example `index` of a split; equal arguments give equal examples.

    Args:
        with_picture, with_sound: False leaves the picture black, or the sound silent.
        estimated: estimate saliency from the rendered panorama, as for users, instead of taking the scene's truth.
    """
    scene, full, kept = staging(split, index, num_frames, spec)
    track = full.at(kept)
    times = [float(t) for t in kept / spec.fps]
    frames = torch.zeros(num_frames, 3, size, size)
    if with_picture:
        rays = [view_directions(v.yaw_deg, v.pitch_deg, v.fov_deg, size) for v in track.views]
        frames = torch.stack([scene.render(r, t) for r, t in zip(rays, times, strict=True)])
    if estimated:
        saliency = _estimated_saliency(scene, kept, spec)
    else:
        saliency = torch.stack([scene.saliency_at(erp_directions(MAP_HEIGHT), t) for t in times])
    basd = basd_maps(track, height=MAP_HEIGHT, normalization="minmax").maps
    waveform = scene.view_sound(full, spec).waveform[0] if with_sound else torch.zeros(spec.num_samples)
    return Example(frames, waveform, torch.stack([saliency, basd], dim=1), track, scene.caption().short)


def _estimated_saliency(scene: Scene, kept: np.ndarray, spec: ClipSpec) -> Tensor:
    """Estimate saliency `[T, H, W]` of frames `kept`; a single frame gets a neighbour, to estimate motion."""
    shown = kept if len(kept) > 1 else np.array([kept[0], kept[0] + 1])
    panorama = torch.stack([scene.render(erp_directions(2 * MAP_HEIGHT), float(t)) for t in shown / spec.fps])
    heard = sound_intensity(scene.foa(spec), spec.fps, spec.num_frames + 1)
    assert heard is not None, "scenes sound in Ambisonics"
    maps = predict_saliency(panorama, ESTIMATOR, fps=spec.fps, heard=heard[shown]).maps[: len(kept)]
    return torch.nn.functional.interpolate(maps[:, None], (MAP_HEIGHT, 2 * MAP_HEIGHT), mode="area")[:, 0]


def rays_of(views: Tensor, grid: int) -> Tensor:
    """Compute directions `[B, T, grid, grid, 3]` of views `[B, T, 3]` (degrees)."""
    flat = [view_directions(float(y), float(p), float(f), grid) for y, p, f in views.flatten(0, 1)]
    return torch.stack(flat).view(*views.shape[:2], grid, grid, 3)
