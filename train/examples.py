"""Render training examples from procedural scenes, each from a seed.

Each split has its own range of seeds, so no two splits share a scene.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from con360.choices import MULTICUE, VoiceFollows
from con360.control.time_channels import MEL_RATE_HZ, channels_of
from con360.geometry.erp import erp_directions
from con360.geometry.perspective import view_directions
from con360.records import OnsetTrack, Sound, TimeTrack, View, ViewTrack
from con360.saliency.heard import sound_intensity
from con360.saliency.predict import predict_saliency
from con360.scenes import Scene, random_scene
from con360.sound.envelopes import envelope_of
from con360.sound.onsets import find_onsets
from con360.timing import ClipSpec
from con360.viewpoint.basd import basd_maps

SPLIT_FIRST_SEED = {"train": 0, "validation": 1_000_000_000, "test": 2_000_000_000}
MAP_HEIGHT = 64
# Saliency estimator that a control is trained with; the control file names it.
ESTIMATOR = MULTICUE


@dataclass(frozen=True)
class Shares:
    """Say how much of a training set is of a kind that scenes and views by themselves rarely are.

    Args:
        edges: views with a performer across their edge.
        follows: scenes whose voices follow colours, and as many whose voices follow shapes.
        struck: scenes whose performers sound at drawn times instead of in their voices' rhythms.
        unaware: of the struck ones, those whose picture and maps keep the voices' rhythms: only a time track knows.
    """

    edges: float = 0.0
    follows: float = 0.0
    struck: float = 0.0
    unaware: float = 0.0


PLAIN = Shares()


def scene_of(split: str, index: int, voice_follows: VoiceFollows = "none") -> Scene:
    """Make scene number `index` of a split."""
    return random_scene(SPLIT_FIRST_SEED[split] + index, voice_follows)


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


def at_edge(view: View, scene: Scene, rng: np.random.Generator) -> View:
    """Turn a view until one of its sides passes within 25 degrees of a performer's centre."""
    target = scene.performers[int(rng.integers(len(scene.performers)))]
    yaw = target.yaw_at(2.0) + rng.choice([-1, 1]) * 0.5 * view.fov_deg + rng.uniform(-25, 25)
    return replace(view, yaw_deg=(yaw + 180.0) % 360.0 - 180.0, pitch_deg=float(np.clip(target.pitch_deg, -45, 45)))


def random_track(scene: Scene, rng: np.random.Generator, num_frames: int, edge: bool = False) -> ViewTrack:
    """Draw a track: three in four stand still, the others pan at up to 15 degrees per second."""
    view = random_view(scene, rng)
    if edge:
        view = at_edge(view, scene, rng)
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
        when: `[4, S]`, the sound's own time channels; zeros without sound.
        unaware: only `when` knows the sound's times; the maps show others.
    """

    frames: Tensor
    waveform: Tensor
    maps: Tensor
    track: ViewTrack
    caption: str
    when: Tensor
    unaware: bool


@dataclass(frozen=True)
class Staging:
    """Hold what an example is rendered from.

    Args:
        seen: the scene of picture and maps. heard: that of the sound, the same in all but when performers sound.
        track: views of the whole clip. kept: the frames that the example keeps.
    """

    seen: Scene
    heard: Scene
    track: ViewTrack
    kept: np.ndarray


def staging(split: str, index: int, num_frames: int, spec: ClipSpec, shares: Shares = PLAIN) -> Staging:
    """Draw what an example is rendered from."""
    seed = SPLIT_FIRST_SEED[split] + index
    rng = np.random.default_rng([seed, 1])
    # Draws of their own, so that a share of 0 changes nothing.
    edge, follows, struck, unaware = np.random.default_rng([seed, 4]).random(4)
    kinds: tuple[VoiceFollows, ...] = ("colour", "shape", "none")
    scene = scene_of(split, index, kinds[min(int(follows / shares.follows), 2)] if shares.follows else "none")
    track = random_track(scene, rng, spec.num_frames, edge < shares.edges)
    heard = strike(scene, np.random.default_rng([seed, 5]), spec.seconds) if struck < shares.struck else scene
    seen = scene if unaware < shares.unaware else heard
    return Staging(seen, heard, track, frame_choice(rng, num_frames, spec))


def strike(scene: Scene, rng: np.random.Generator, seconds: float) -> Scene:
    """Let a scene's performers sound at two to eight drawn times at least 0.2 s apart, most of them at each."""
    count = min(int(rng.integers(2, 9)), int(seconds / 0.4))
    slack = rng.dirichlet(np.ones(count + 1)) * (seconds - 0.2 * count)
    times = np.cumsum(slack[:count] + 0.2) - 0.2
    strengths = rng.uniform(0.4, 1.0, count) if rng.random() < 0.5 else np.ones(count)
    takes = rng.random((len(scene.performers), count)) < 0.8
    # Each time has its performer, and each performer its time.
    takes[rng.integers(len(takes), size=count), np.arange(count)] = True
    takes[np.arange(len(takes)), rng.integers(count, size=len(takes))] = True
    return replace(
        scene,
        performers=tuple(
            replace(p, strikes=tuple((float(times[i]), float(strengths[i])) for i in np.flatnonzero(row)))
            for p, row in zip(scene.performers, takes, strict=True)
        ),
    )


def strikes_of(scene: Scene) -> OnsetTrack | None:
    """Times at which a scene's performers are struck; None where they keep their voices' rhythms."""
    strikes = sorted({strike for p in scene.performers for strike in p.strikes})
    if not strikes:
        return None
    return OnsetTrack(tuple(time for time, _ in strikes), tuple(strength for _, strength in strikes))


def make_example(
    split: str, index: int, *, num_frames: int, spec: ClipSpec, size: int = 64,
    with_picture: bool = True, with_sound: bool = True, estimated: bool = False,
    sound: Literal["view", "omni"] = "view", shares: Shares = PLAIN,
) -> Example:  # fmt: skip
    """Render example `index` of a split; equal arguments give equal examples.

    Args:
        with_picture, with_sound: False leaves the picture black, or the sound silent.
        estimated: estimate saliency from the rendered panorama, as for users, instead of taking the scene's truth.
        sound: of the view, or the scene's W.
    """
    staged = staging(split, index, num_frames, spec, shares)
    scene, full, kept = staged.seen, staged.track, staged.kept
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
    unaware = with_sound and staged.heard != scene
    waveform, when = _heard(staged, sound, spec) if with_sound else (torch.zeros(spec.num_samples), _no_track(spec))
    return Example(frames, waveform, torch.stack([saliency, basd], dim=1), track, scene.caption().short, when, unaware)


def _heard(staged: Staging, sound: Literal["view", "omni"], spec: ClipSpec) -> tuple[Tensor, Tensor]:
    """The true sound `[N]` and its own time channels `[4, S]`."""
    scene = staged.heard
    made = scene.view_sound(staged.track, spec)
    if sound == "omni":
        made = Sound(scene.foa(spec).waveform[:1], spec.sample_rate_hz)
    onsets = strikes_of(scene) or find_onsets(made)
    return made.waveform[0], channels_of(TimeTrack(onsets, envelope_of(made)), _mel_frames(spec))


def _mel_frames(spec: ClipSpec) -> int:
    return round(spec.seconds * MEL_RATE_HZ)


def _no_track(spec: ClipSpec) -> Tensor:
    return torch.zeros(4, _mel_frames(spec))


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
