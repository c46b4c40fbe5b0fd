"""Views to field: sounds of views around procedural scenes, joined again; directions of their voices beside the truth.

Each voice has a band of its own. Its direction is that of the band's intensity over half a second; errors are weighed
by the energy of W there. Levels compare W's band with the scene's own; the vector is intensity over W's energy, 1 long
for one plane wave.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from con360.geometry.sphere import angle_between_deg, directions
from con360.placing.views import field_of_views, views_around
from con360.records import Sound, View
from con360.scenes import VOICES, Performer, Scene, random_scene, voice_waveform
from con360.sound.ambisonics import encode
from con360.sound.views import view_sound
from con360.timing import ClipSpec

from .row import Row

# Seeds that no training scene has.
FIRST_SEED = 2_000_000_000
SCENES, QUICK_SCENES = 64, 8
SPEC = ClipSpec()
WINDOW_S = 0.5
# Sounds of views are made thus: of a scene and its views.
Maker = Callable[[Scene, Sequence[View], np.random.Generator], list[Sound]]


# Sounds of views ------------------------------------------------------------------------------------------------------


def by_microphone(scene: Scene, views: Sequence[View], rng: np.random.Generator) -> list[Sound]:
    """Hear as the project's sound of a view does: all voices, those behind 6 dB quieter."""
    whole = _truth(scene)
    return [view_sound(whole, view, SPEC.fps) for view in views]


def of_picture(scene: Scene, views: Sequence[View], rng: np.random.Generator) -> list[Sound]:
    """Hear the voices in each view's picture alone, with one waveform in all views that show them."""
    return _of_picture(scene, views, lambda: 0.0)


def of_picture_anew(scene: Scene, views: Sequence[View], rng: np.random.Generator) -> list[Sound]:
    """Hear the same with new partials in each view, as from a generator that runs once per view; rhythms stay."""
    return _of_picture(scene, views, lambda: rng.uniform(20.0, 60.0))


def _of_picture(scene: Scene, views: Sequence[View], offset_hz: Callable[[], float]) -> list[Sound]:
    # Steps of 10 ms are finer than any picture.
    coarse = SPEC.sample_rate_hz // 100
    steps_s = np.arange(SPEC.num_samples // coarse + 1) / 100
    sounds = []
    for view in views:
        total = torch.zeros(SPEC.num_samples)
        for performer in scene.performers:
            yaw = torch.from_numpy(np.broadcast_to(performer.yaw_at(steps_s), steps_s.shape).copy())
            place = directions(yaw, torch.full_like(yaw, performer.pitch_deg))
            inside = angle_between_deg(place, directions(view.yaw_deg, view.pitch_deg).double()) < view.fov_deg / 2
            if inside.any():
                total += inside.repeat_interleave(coarse)[: len(total)] * _voice(performer, offset_hz())
        sounds.append(Sound(total[None], SPEC.sample_rate_hz))
    return sounds


@functools.lru_cache(maxsize=4)
def _truth(scene: Scene) -> Sound:
    return scene.foa(SPEC)


@functools.lru_cache(maxsize=4)
def _true_bands(scene: Scene) -> list[np.ndarray]:
    """W of each performer's band."""
    return [_band(_truth(scene), VOICES[performer.voice].band_hz)[0] for performer in scene.performers]


def _voice(performer: Performer, offset_hz: float) -> torch.Tensor:
    """A performer's waveform, all partials shifted up by `offset_hz`."""
    time_s = np.arange(SPEC.num_samples) / SPEC.sample_rate_hz
    return torch.from_numpy((_analytic(performer) * np.exp(2j * np.pi * offset_hz * time_s)).real).float()


@functools.lru_cache(maxsize=8)
def _analytic(performer: Performer) -> np.ndarray:
    from scipy.signal import hilbert

    time_s = np.arange(SPEC.num_samples) / SPEC.sample_rate_hz
    return hilbert(performer.level * voice_waveform(performer.voice, time_s, performer.phase))


# Measures -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Errors:
    """Errors of each voice: azimuth in degrees, straight ahead's, level in decibels, and length of the vector."""

    azimuth: np.ndarray
    ahead: np.ndarray
    level: np.ndarray
    length: np.ndarray

    def levels(self) -> str:
        return f"{np.median(self.level):+.1f} dB median, {np.percentile(abs(self.level), 95):.1f} dB p95"


def _of_scene(field: Sound, scene: Scene) -> list[tuple[float, float, float, float]]:
    return [_of_voice(field, scene, number) for number in range(len(scene.performers))]


def _of_voice(field: Sound, scene: Scene, number: int) -> tuple[float, float, float, float]:
    performer, true = scene.performers[number], _true_bands(scene)[number]
    w, y, _, x = _band(field, VOICES[performer.voice].band_hz)
    count = round(WINDOW_S * SPEC.sample_rate_hz)
    starts = range(0, len(w), count)
    energy = np.array([(w[i : i + count] ** 2).sum() for i in starts]) + 1e-12
    left = np.array([(w[i : i + count] * y[i : i + count]).sum() for i in starts])
    front = np.array([(w[i : i + count] * x[i : i + count]).sum() for i in starts])
    yaw = np.degrees(np.arctan2(-left, front))
    want = performer.yaw_at((np.array(starts) + count / 2) / SPEC.sample_rate_hz)
    share = energy / energy.sum()
    level_db = 10 * math.log10((w**2).sum() / (true**2).sum() + 1e-12)
    length = float(np.hypot(left, front).sum() / energy.sum())
    return float(share @ _apart(yaw, want)), float(share @ _apart(0 * yaw, want)), level_db, length


def _apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs((a - b + 180) % 360 - 180)


def _band(sound: Sound, band_hz: tuple[float, float]) -> np.ndarray:
    spectrum = np.fft.rfft(sound.waveform[:4].double().numpy())
    hz = np.fft.rfftfreq(sound.waveform.shape[1], 1 / sound.sample_rate_hz)
    spectrum[:, (hz < band_hz[0]) | (hz > band_hz[1])] = 0
    return np.fft.irfft(spectrum, n=sound.waveform.shape[1])


# Rows -----------------------------------------------------------------------------------------------------------------


def rows(quick: bool) -> list[Row]:
    """Measure each way to make sounds, with six and eight views."""
    scenes = [random_scene(FIRST_SEED + i) for i in range(QUICK_SCENES if quick else SCENES)]
    found = []
    for around in (6, 8):
        views, spacing = views_around(around), 360 / around
        found += _rows(scenes, views, by_microphone, "virtual microphones", 2.0)
        found += _rows(scenes, views, of_picture, "what each picture shows", spacing / 2)
        found += _rows(scenes, views, of_picture_anew, "what each picture shows, made anew for each", spacing / 2)
    return found


def _rows(scenes: Sequence[Scene], views: Sequence[View], make: Maker, how: str, most_deg: float) -> list[Row]:
    rng = np.random.default_rng(0)
    made, shuffled, summed = [], [], []
    for scene in scenes:
        sounds = make(scene, views, rng)
        mixed = [sounds[i] for i in _shuffled(len(views), rng)]
        made += _of_scene(field_of_views(sounds, views), scene)
        shuffled += _of_scene(field_of_views(mixed, views), scene)
        summed += _of_scene(_summed(sounds, views), scene)
    ours, wrong, plain = (Errors(*np.array(voices).T) for voices in (made, shuffled, summed))
    what = f"{len(scenes)} scenes, {len(made)} voices, {len(views)} views, {how}"
    p95 = float(np.percentile(ours.azimuth, 95))
    beside = f"straight ahead {np.median(ours.ahead):.0f}°, shuffled {np.median(wrong.azimuth):.0f}°"
    beside += f", without sharing {np.median(plain.azimuth):.1f}°"
    level = f"{ours.levels()}; vector {ours.length.mean():.2f} long"
    return [
        Row(f"views to field, azimuth: {what}", f"p95 {most_deg:g}°",
            f"median {np.median(ours.azimuth):.1f}°, p95 {p95:.1f}°; medians beside: {beside}", p95 <= most_deg),
        Row(
            f"views to field, level: {what}", "",
            f"{level}; without sharing {plain.levels()}; {plain.length.mean():.2f}",
        ),
    ]  # fmt: skip


def _shuffled(count: int, rng: np.random.Generator) -> np.ndarray:
    """An order in which nothing keeps its place."""
    while (order := rng.permutation(count))[order == np.arange(count)].size:
        pass
    return order


def _summed(sounds: Sequence[Sound], views: Sequence[View]) -> Sound:
    """Each sound encoded at its view, nothing shared."""
    parts = [encode(s.waveform[0], v.yaw_deg, v.pitch_deg) for s, v in zip(sounds, views, strict=True)]
    return Sound(torch.stack(parts).sum(0), sounds[0].sample_rate_hz, "ambix")
