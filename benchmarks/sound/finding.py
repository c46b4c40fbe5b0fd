"""Measure "find the place": procedural scenes, the built-in model's sound for them, and real Ambisonic clips.

Scenes are re-placed from W alone, by the picture's estimated saliency; their truth only judges. A band belongs to a
voice that has nine tenths of its energy and puts a hundredth of its own into it. A band that stays diffuse counts as
straight ahead. What is slow, movement and generated sound, is kept in `$CON360_BENCHMARK_CACHE`, by default a folder of
the system's temporary one; delete it after a change of what it holds.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from con360.control import LoadedControl
from con360.door import load_model, make_conditions
from con360.media.files import atomic_path
from con360.media.info import probe
from con360.media.reader import PanoramaStream, read_sound
from con360.metrics.figure import bootstrap_interval
from con360.models.joint import JointModel
from con360.pipeline import default_settings, generate
from con360.placing.finding import Found, find_places, find_rhythms, most_moving
from con360.placing.movement import PICTURE_HEIGHT, Movement, movement_of_clip, movement_of_stream
from con360.records import DirectionField, Sound
from con360.saliency.predict import clip_saliency
from con360.scenes import VOICES, Performer, Scene, random_scene, voice_waveform
from con360.sound.ambisonics import harmonics
from con360.sound.band_powers import RATE_HZ, band_powers
from con360.sound.fields import ROW_S, analyse
from con360.timing import ClipSpec
from con360.viewpoint.choose import viewpoints

from .row import Row

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("CON360_BENCHMARK_CACHE") or Path(tempfile.gettempdir()) / "con360-benchmark")
SHARED = Path(os.environ.get("CON360_TEST_DATA") or ROOT.parent / "shared")
# Confidences and loudness were set on scenes 3e9 to 3e9 + 23.
FIRST_SEED, SCENES, QUICK_SCENES = 2_000_000_000, 64, 4
STEPS = 12
ROWS_AT_ONCE = round(ROW_S * RATE_HZ)
SPEC = ClipSpec()


def rows(quick: bool) -> list[Row]:
    """Measure all rows; `quick` takes 4 scenes, 1 generated sound and 2 clips."""
    torch.set_num_threads(1)
    seeds = range(FIRST_SEED, FIRST_SEED + (QUICK_SCENES if quick else SCENES))
    return [*scene_rows(seeds), *hidden_rows(seeds), *generated_rows(seeds[:1] if quick else seeds), *real_rows(quick)]


# Scenes ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Band:
    """A band of a voice: degrees to its place as found, straight ahead, and to a place of another scene."""

    voice: str
    seed: int
    found: float
    ahead: float
    other: float
    placed: bool


def scene_rows(seeds: Sequence[int]) -> list[Row]:
    fast, slow = ([band for seed in seeds for band in judged(seed, fps)] for fps in (15.0, 8.0))
    within = {voice: share(b.found < 20 for b in fast if b.voice == voice) for voice in VOICES}
    each = ", ".join(f"{voice} {part:.0%}" for voice, part in within.items())
    aliased = ", ".join(f"{voice} {share(b.found < 20 for b in slow if b.voice == voice):.0%}" for voice in VOICES)
    what = f"W of {len(seeds)} scenes placed by synchrony"
    noisy = [band for seed in seeds for band in judged(seed, 15.0, noisy=True)]
    return [
        _within(f"{what}, 15 fps: {len(fast)} source bands within 20 degrees", fast, 20, 0.95),
        _within("the same within 10 degrees", fast, 10, 0.85),
        Row("the same, each voice within 20 degrees", "every voice 90 %", each, min(within.values()) >= 0.9),
        Row("the same, placed at a wrong region", "", _wrong(fast)),
        _within("the same in pink noise as loud as W, within 20 degrees", noisy, 20, None),
        Row("the same, placed at a wrong region", "", _wrong(noisy)),
        _within("without noise at 8 fps, within 20 degrees", slow, 20, 0.8),
        Row("the same, each voice (4 Hz cannot be seen at 8 fps)", "", aliased),
    ]


def _within(what: str, bands: Sequence[Band], degrees: float, bar: float | None) -> Row:
    found, ahead, other = (share(getattr(b, name) < degrees for b in bands) for name in ("found", "ahead", "other"))
    text = f"{found:.1%} (straight ahead {ahead:.0%}, another scene's places {other:.0%}); {_voices(bands, degrees)}"
    return Row(what, f"{bar:.0%}" if bar else "", text, None if bar is None else found >= bar)


def _wrong(bands: Sequence[Band]) -> str:
    return f"{share(b.placed and b.found >= 20 for b in bands):.1%}"


def _voices(bands: Sequence[Band], degrees: float) -> str:
    """Count voices of which at least half of the bands are right."""
    right: dict[tuple[int, str], list[bool]] = {}
    for band in bands:
        right.setdefault((band.seed, band.voice), []).append(band.found < degrees)
    return f"{share(share(answers) >= 0.5 for answers in right.values()):.0%} of {len(right)} voices"


def hidden_rows(seeds: Sequence[int]) -> list[Row]:
    """Leave one shape of each scene out of the picture, and ask what its voice does."""
    by_synchrony, by_rhythm = ([hidden(seed, find) for seed in seeds] for find in (find_places, find_rhythms))
    return [
        Row("voices without a shape: bands placed", "at most 5 %", _counted(by_synchrony),
            share(sum(by_synchrony, [])) <= 0.05),
        Row("the same by rhythm alone", "", _counted(by_rhythm)),
    ]  # fmt: skip


def _counted(voices: Sequence[list[bool]]) -> str:
    bands = sum(voices, [])
    return f"{share(bands):.1%} of {len(bands)} bands, in {sum(map(any, voices))} of {len(voices)} voices"


def judged(seed: int, fps: float, noisy: bool = False) -> list[Band]:
    """Place a scene's W, with noise as loud where asked for, and judge each band of each voice."""
    scene = random_scene(seed)
    w = _w(scene)
    if noisy:
        w = replace(w, waveform=w.waveform + _pink(w.waveform, seed))
    return _judged(seed, find_places(movement(scene, f"{seed}", fps), w).field)


def _pink(like: Tensor, seed: int) -> Tensor:
    """Make noise of falling power, 3 dB an octave from 5 Hz on, as loud as a sound `[1, N]`."""
    white = torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))
    spectrum = torch.fft.rfft(white)
    pink = torch.fft.irfft(spectrum / torch.arange(spectrum.shape[1]).clamp_min(20).sqrt(), like.shape[1])
    return pink * (like.norm() / pink.norm())


def _judged(seed: int, field: DirectionField) -> list[Band]:
    scene, other = random_scene(seed), random_scene(seed + 1).performers
    times_s = (np.arange(len(field.vectors)) + 0.5) * ROW_S
    ahead = torch.tensor((0.0, 0.0, 1.0)).expand(len(times_s), 3)
    bands = []
    for number, (performer, own) in enumerate(source_bands(scene)):
        place, elsewhere = _place(performer, times_s), _place(other[number % len(other)], times_s)
        for band in own:
            found = field.vectors[:, band]
            placed = bool(found.norm(dim=-1).median() > 0)
            bands.append(Band(
                performer.voice, seed, _apart(_or_ahead(found), place), _apart(ahead, place), _apart(elsewhere, place),
                placed,
            ))  # fmt: skip
    return bands


def hidden(seed: int, find: Callable[[list[Movement], Sound], Found]) -> list[bool]:
    """Hide one performer; tell of each band of its voice whether it was placed."""
    scene = random_scene(seed)
    index = seed % len(scene.performers)
    windows = movement(scene.without(index), f"{seed}-without-{index}", 15.0)
    field = find(windows, _w(scene)).field
    return [bool(field.vectors[:, band].norm(dim=-1).median() > 0) for band in source_bands(scene)[index][1]]


def movement(scene: Scene, name: str, fps: float) -> list[Movement]:
    """Watch a scene's picture, without its sound."""
    return kept_movement(f"{name}-{fps:g}", lambda: _watched(scene, fps))[0]


def _watched(scene: Scene, fps: float) -> list[Movement]:
    clip = replace(scene.panorama(PICTURE_HEIGHT, ClipSpec(fps=fps)), sound=None)
    return list(movement_of_clip(clip))


def source_bands(scene: Scene) -> list[tuple[Performer, list[int]]]:
    """List the bands of each voice, as the module's text says."""
    times_s = np.arange(SPEC.num_samples) / SPEC.sample_rate_hz
    waves = [p.level * voice_waveform(p.voice, times_s, p.phase) for p in scene.performers]
    energy = torch.stack([_powers(torch.from_numpy(wave).float()[None]).sum(0) for wave in waves])
    own = (energy > 0.9 * energy.sum(0)) & (energy > 0.01 * energy.sum(1, keepdim=True))
    return [(p, torch.nonzero(mine).flatten().tolist()) for p, mine in zip(scene.performers, own, strict=True)]


def _place(performer: Performer, times_s: np.ndarray) -> Tensor:
    """Directions along Y, Z, X: `[R, 3]`."""
    yaw = torch.from_numpy(np.broadcast_to(performer.yaw_at(times_s), times_s.shape).copy())
    return harmonics(yaw, torch.full_like(yaw, performer.pitch_deg), 1)[:, 1:].float()


def _or_ahead(vectors: Tensor) -> Tensor:
    """Directions `[..., 3]`, straight ahead where there is none."""
    none = vectors.norm(dim=-1, keepdim=True) == 0
    return torch.where(none, torch.tensor((0.0, 0.0, 1.0)), F.normalize(vectors, dim=-1))


def _apart(found: Tensor, true: Tensor) -> float:
    return float(torch.rad2deg((found * true).sum(-1).clamp(-1, 1).acos()).median())


def _w(scene: Scene) -> Sound:
    return Sound(scene.foa(SPEC).waveform[:1], SPEC.sample_rate_hz)


def _powers(mono: Tensor, rate_hz: int = SPEC.sample_rate_hz) -> Tensor:
    return torch.cat(list(band_powers([mono], rate_hz)))


# Generated sound ------------------------------------------------------------------------------------------------------


def generated_rows(seeds: Sequence[int]) -> list[Row]:
    """Place what the built-in model makes of a scene; its pulses keep no phase against the picture."""
    ruled: dict[str, list[Band]] = {"rhythm": [], "rhythm at 8 fps": [], "synchrony": []}
    for seed in seeds:
        sound, (fast, slow) = generated(seed), (movement(random_scene(seed), f"{seed}", fps) for fps in (15.0, 8.0))
        ruled["rhythm"] += _judged(seed, find_rhythms(fast, sound).field)
        ruled["rhythm at 8 fps"] += _judged(seed, find_rhythms(slow, sound).field)
        ruled["synchrony"] += _judged(seed, find_places(fast, sound).field)
    what = f"the built-in model's sound for {len(seeds)} scenes, {STEPS} steps"
    each = ", ".join(f"{v} {share(b.found < 20 for b in ruled['rhythm'] if b.voice == v):.0%}" for v in VOICES)
    return [
        _within(f"{what}, by rhythm: source bands within 20 degrees", ruled["rhythm"], 20, None),
        Row("the same, each voice", "", each),
        Row("the same, placed at a wrong region", "", _wrong(ruled["rhythm"])),
        _within("the same by rhythm at 8 fps", ruled["rhythm at 8 fps"], 20, None),
        _within("the same by synchrony", ruled["synchrony"], 20, None),
    ]


def generated(seed: int) -> Sound:
    """Generate a scene's most salient view; its sound."""

    def make() -> dict[str, Tensor]:
        model, control = _model()
        scene, spec = random_scene(seed), model.clip_spec(4.0)
        clip = replace(scene.panorama(PICTURE_HEIGHT, spec), sound=None)
        view = viewpoints(clip_saliency(clip), spec.fps)[0]
        conditions = make_conditions(clip, view, control, caption=scene.caption())
        made = generate(model, control, conditions, default_settings(model, seed=seed % 1000, steps=STEPS))
        return {"waveform": made.sound.waveform}

    return Sound(kept(f"generated-{seed}", make)["waveform"], SPEC.sample_rate_hz)


@cache
def _model() -> tuple[JointModel, LoadedControl | None]:
    return load_model(device="cpu")


# Real clips -----------------------------------------------------------------------------------------------------------


def real_rows(quick: bool) -> list[Row]:
    """Place W of real Ambisonic clips; errors of azimuth against what their own dipoles say."""
    paths = sorted((SHARED / "data" / "video_unlicensed").glob("sph360_*.webm"))[: 2 if quick else None]
    if not paths:
        return [Row("real Ambisonic clips", "", "none at hand: $CON360_TEST_DATA has no data/video_unlicensed")]
    clips = [real(path) for path in paths]
    errors = np.array([clip.errors for clip in clips])
    mean, median = errors.mean(0), np.median(errors, 0)
    figures = [f"median {a:.0f}, mean {b:.1f} degrees" for a, b in zip(median, mean, strict=True)]
    names = f"{len(paths)} real Ambisonic clips"
    placed = ", ".join(f"{clip.share:.0%}" for clip in clips)
    return [
        Row(f"{names}: azimuth, straight ahead", "", figures[0]),
        Row("the same, placed by synchrony", "at most 1 degree worse", f"{figures[1]}; {_gain(errors, 1)}",
            bool(mean[1] <= mean[0] + 1)),
        Row("the same, most moving region", "", f"{figures[2]}; {_gain(errors, 2)}"),
        Row("the same, energy placed by synchrony", "", placed),
        Row("watching these pictures, core seconds a second, at most", "1",
            f"{max(clip.cost for clip in clips):.2f}", max(clip.cost for clip in clips) <= 1),
    ]  # fmt: skip


def _gain(errors: np.ndarray, column: int) -> str:
    gain = errors[:, column] - errors[:, 0]
    interval = bootstrap_interval(gain)
    bounds = "" if interval is None else f" [{interval[0]:+.1f}, {interval[1]:+.1f}]"
    return f"minus straight ahead {gain.mean():+.1f}{bounds}, 95 % by video"


@dataclass(frozen=True)
class Real:
    """One clip's figures.

    Args:
        errors: of azimuth in degrees, straight ahead, by synchrony and at the most moving region.
        share: share of energy that synchrony placed. cost: core seconds a second of watching.
    """

    errors: tuple[float, float, float]
    share: float
    cost: float


def real(path: Path) -> Real:
    windows, cost = kept_movement(path.stem, lambda: list(movement_of_stream(PanoramaStream(probe(path)))))
    sound, _ = read_sound(path)
    w = Sound(sound.waveform[:1], sound.sample_rate_hz)
    true = analyse(sound).vectors
    # Loud rows and bands count as their energy, vague directions as their length.
    powers = _powers(w.waveform, w.sample_rate_hz)
    energy = F.pad(powers, (0, 0, 0, -len(powers) % ROWS_AT_ONCE)).unflatten(0, (-1, ROWS_AT_ONCE)).sum(1)
    weight = energy[: len(true)] * true[..., [0, 2]].norm(dim=-1)
    found = find_places(windows, w)

    def error(vectors: Tensor) -> float:
        return _azimuth_error(vectors, true, weight)

    errors = error(torch.zeros_like(true)), error(found.field.vectors), error(most_moving(windows, w).field.vectors)
    return Real(errors, found.share, cost / sound.duration_s)


def _azimuth_error(vectors: Tensor, true: Tensor, weight: Tensor) -> float:
    found, wanted = (torch.atan2(v[..., 0], v[..., 2]) for v in (_or_ahead(vectors), true))
    apart = torch.rad2deg((found - wanted + torch.pi) % (2 * torch.pi) - torch.pi).abs()
    return float((apart * weight).sum() / weight.sum())


# Kept results ---------------------------------------------------------------------------------------------------------


def kept_movement(name: str, make: Callable[[], list[Movement]]) -> tuple[list[Movement], float]:
    """Make movement and measure its core seconds, or read both again."""

    def made() -> dict[str, Tensor]:
        began = time.process_time()
        windows = make()
        found = {"cost": torch.tensor(time.process_time() - began), "count": torch.tensor(len(windows))}
        for number, window in enumerate(windows):
            for key in Movement.__dataclass_fields__:
                found[f"{number}.{key}"] = torch.as_tensor(getattr(window, key))
        return found

    found = kept(f"movement-{name}", made)
    windows = []
    for number in range(int(found["count"])):
        start_s, fps, *tensors = (found[f"{number}.{key}"] for key in Movement.__dataclass_fields__)
        windows.append(Movement(float(start_s), float(fps), *tensors))
    return windows, float(found["cost"])


def kept(name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Make tensors, or read those that were made before."""
    path = CACHE / f"{name}.pt"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            torch.save(make(), temporary)
    return torch.load(path, weights_only=True)


def share(answers: Iterable[bool]) -> float:
    """Share of yes; 0 of none."""
    known = list(answers)
    return sum(known) / max(1, len(known))
