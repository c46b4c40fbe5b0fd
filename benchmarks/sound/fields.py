"""Direction fields: real and procedural Ambisonics, analysed and made again from W alone.

Each octave of each clip, 125 Hz to 8 kHz, is compared with the recording: azimuth of the intensity (where it is at
least 0.1 of W's energy), level in ten sectors (cardioids to eight azimuths, up and down) and energy of the dipoles.
Trivial: the whole clip straight ahead, and one direction, that of its intensity.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from con360.media.reader import read_sound
from con360.metrics.sectors import sector_errors_db
from con360.records import Sound
from con360.scenes import VOICES, random_scene
from con360.sound.fields import analyse, synthesise, synthesise_blocks

from .row import Row

ROOT = Path(__file__).resolve().parent.parent.parent
OCTAVES_HZ = tuple(125.0 * 2**k for k in range(7))
FIRST_SEED = 2_000_000_000
# Weaker intensity has no direction to be compared.
LEAST_INTENSITY = 0.1
Remake = Callable[[Sound], Tensor]
Edges = list[tuple[float, float]]


class Seen(NamedTuple):
    """Figures of a sound's bands: `[bands]`."""

    azimuth_deg: Tensor
    intensity: Tensor
    dipoles: Tensor


class Errors(NamedTuple):
    """Absolute differences between a recording and what was made of it, at most 60 dB."""

    azimuth_deg: Tensor
    sector_db: Tensor
    dipoles_db: Tensor


def rows(quick: bool) -> list[Row]:
    return [*_real_rows(quick), *_scene_rows(4 if quick else 64), *_noise_rows(10 if quick else 60), _speed(quick)]


def again(sound: Sound) -> Tensor:
    return synthesise(Sound(sound.waveform[:1], sound.sample_rate_hz), analyse(sound)).waveform


def ahead(sound: Sound) -> Tensor:
    return sound.waveform[:1] * torch.tensor([1.0, 0.0, 0.0, 1.0])[:, None]


def one_direction(sound: Sound) -> Tensor:
    intensity = (sound.waveform[:1] * sound.waveform[1:4]).mean(1)
    return sound.waveform[:1] * torch.cat((torch.ones(1), torch.nn.functional.normalize(intensity, dim=0)))[:, None]


def _real_rows(quick: bool) -> list[Row]:
    clips = [sound for _, sound in real_clips()][: 3 if quick else None]
    if not clips:
        return [Row("field of real FOA, analysed and made again", "azimuth 2°", "no clip in data/video_unlicensed")]
    edges = [(centre / math.sqrt(2), centre * math.sqrt(2)) for centre in OCTAVES_HZ]

    def errors(remake: Remake) -> Errors:
        return _joined([compare(clip.waveform, remake(clip), clip.sample_rate_hz, edges) for clip in clips])

    made = [errors(remake) for remake in (again, ahead, one_direction)]
    azimuth = [e.azimuth_deg.median().item() for e in made]
    sector, dipoles = [e.sector_db.mean().item() for e in made], [e.dipoles_db.mean().item() for e in made]
    what = f"real FOA, {len(clips)} clips, octaves"
    return [
        Row(f"{what}: azimuth, median", "2°", _beside(azimuth, "°"), azimuth[0] <= 2),
        Row(f"{what}: sector level, mean", "0.6 dB", _beside(sector, " dB"), sector[0] <= 0.6),
        Row(f"{what}: dipole energy, mean", "0.3 dB", _beside(dipoles, " dB"), dipoles[0] <= 0.3),
        Row(f"{what}: dipole energy, median", "", f"{made[0].dipoles_db.median():.2f} dB"),
    ]


def _beside(figures: list[float], unit: str) -> str:
    ours, front, one = (f"{figure:.2f}{unit}" for figure in figures)
    return f"{ours} (straight ahead {front}, one direction a clip {one})"


def real_clips() -> Iterator[tuple[str, Sound]]:
    """Recorded first-order Ambisonics of the shared data, all at 48 kHz."""
    shared = Path(os.environ.get("CON360_TEST_DATA") or ROOT.parent / "shared")
    for path in sorted((shared / "data" / "video_unlicensed").glob("sph360_*")):
        yield path.name, read_sound(path, ambisonics="ambix")[0]


def _scene_rows(count: int) -> list[Row]:
    found, front = [], []
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        scene = random_scene(seed)
        sound, edges = scene.foa(), [VOICES[p.voice].band_hz for p in scene.performers]
        found.append(compare(sound.waveform, again(sound), sound.sample_rate_hz, edges))
        front.append(compare(sound.waveform, ahead(sound), sound.sample_rate_hz, edges))
    ours, trivial = _joined(found), _joined(front)
    azimuth, level = ours.azimuth_deg.quantile(0.95).item(), ours.sector_db.quantile(0.95).item()
    ahead_deg, ahead_db = trivial.azimuth_deg.quantile(0.95).item(), trivial.sector_db.quantile(0.95).item()
    what = f"{count} scenes, {len(ours.azimuth_deg)} voices"
    return [
        Row(f"{what}: azimuth, p95", "0.5°", f"{azimuth:.3f}° (straight ahead {ahead_deg:.0f}°)", azimuth <= 0.5),
        Row(f"{what}: sector level, p95", "0.1 dB", f"{level:.3f} dB (straight ahead {ahead_db:.1f} dB)", level <= 0.1),
    ]


def compare(truth: Tensor, made: Tensor, rate_hz: int, edges: Edges) -> Errors:
    """Compare two sounds `[4, N]` band by band."""
    one, two = _seen(truth, rate_hz, edges), _seen(made, rate_hz, edges)
    turned = ((two.azimuth_deg - one.azimuth_deg + 180.0) % 360.0 - 180.0).abs()
    sounds = (Sound(waveform, rate_hz, "ambix") for waveform in (made, truth))
    return Errors(
        turned[one.intensity >= LEAST_INTENSITY],
        sector_errors_db(*sounds, edges),
        (_db(two.dipoles) - _db(one.dipoles)).abs().clamp_max(60.0),
    )


def _seen(waveform: Tensor, rate_hz: int, edges: Edges) -> Seen:
    spectrum = torch.fft.rfft(waveform[:4].double())
    frequency = torch.fft.rfftfreq(waveform.shape[1], 1 / rate_hz)
    found = []
    for low, high in edges:
        inside = (frequency >= low) & (frequency < high)
        w, dipoles = spectrum[:1, inside], spectrum[1:, inside]
        intensity = (w.conj() * dipoles).real.sum(1)
        omni = w.abs().square().sum()
        strength = intensity[[0, 2]].norm() / omni.clamp_min(1e-30)
        azimuth = torch.rad2deg(torch.atan2(intensity[0], intensity[2]))
        found.append((azimuth, strength, dipoles.abs().square().sum()))
    return Seen(*map(torch.stack, zip(*found, strict=True)))


def _joined(parts: list[Errors]) -> Errors:
    return Errors(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _db(energy: Tensor) -> Tensor:
    return 10 * energy.clamp_min(1e-20).log10()


def _noise_rows(seconds: int) -> list[Row]:
    found = []
    for rate_hz in (16000, 48000):
        for name, lean in (("diffuse", 0.0), ("half diffuse, half from one side", 1.0)):
            sound = _noise(rate_hz, seconds, lean)
            ratio = kurtosis(again(sound)[1:], rate_hz) / kurtosis(sound.waveform[1:], rate_hz)
            what = f"stationary noise, {name}, {rate_hz / 1000:g} kHz: kurtosis ratio of Y, Z, X"
            said = ", ".join(f"{value:.2f}" for value in ratio.tolist())
            found.append(Row(what, "0.9 to 1.1", said, bool(ratio.min() >= 0.9 and ratio.max() <= 1.1)))
    return found


def _noise(rate_hz: int, seconds: int, lean: float) -> Sound:
    waveform = torch.randn(4, rate_hz * seconds, generator=torch.Generator().manual_seed(9)) * 0.1
    waveform[1:] /= math.sqrt(3.0)
    waveform[1:] += lean * waveform[:1] * torch.tensor([0.5, 0.2, 0.2])[:, None]
    return Sound(waveform, rate_hz, "ambix")


def kurtosis(waveform: Tensor, rate_hz: int) -> Tensor:
    """Kurtosis of the energies of a spectrogram, each bin by its mean: 9 for Gaussian noise, more for musical noise.

    Source: Uemura et al., "Relationship between log-kurtosis ratio and degree of musical noise", 2009.
    """
    size = 1024 if rate_hz < 32000 else 2048
    frames = torch.stft(waveform, size, size // 2, window=torch.hann_window(size), return_complex=True)
    energy = frames.abs().square()[:, 4:-4, 4:-4]
    deviation = (energy / energy.mean(-1, keepdim=True) - 1.0).flatten(1)
    return deviation.pow(4).mean(1) / deviation.square().mean(1).square()


def _speed(quick: bool) -> Row:
    seconds, rate_hz = (20 if quick else 120), 48000
    field, second = analyse(_noise(rate_hz, 4, 0.0)), torch.randn(1, rate_hz)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    began = time.process_time()
    for _ in synthesise_blocks((second for _ in range(seconds)), rate_hz, field):
        pass
    factor = seconds / (time.process_time() - began)
    torch.set_num_threads(threads)
    return Row("synthesis with a residual, 48 kHz, one thread", "40x real time", f"{factor:.0f}x", factor >= 40)
