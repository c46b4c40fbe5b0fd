"""Measure what the built-in model's vocoder makes of voices and scenes, from true mels and from coded ones."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from con360.models.codecs import MelCodec, vocode
from con360.records import Sound
from con360.scenes import VOICES, random_scene, voice_waveform
from con360.sound.mels import log_mel
from con360.timing import ClipSpec
from con360.weights.find import model_folder
from con360.weights.load import load_joint_model

from .row import Row

SPEC, SEED, LEVEL = ClipSpec(), 900_000, 0.8
# Frames of the envelope in which clicks at the mel's rate are sought, in samples: 2 ms.
ENVELOPE_HOP = 32


@torch.no_grad()
def rows(quick: bool) -> list[Row]:
    """Rows of the table: each voice alone, then scenes, then the time."""
    codec = load_joint_model(model_folder()).codecs.audio
    phases = (0.37,) if quick else (0.1, 0.37, 0.73)
    return [
        *[row for name in VOICES for row in _voice_rows(codec, name, phases)],
        *_scene_rows(codec, 4 if quick else 32),
        _time_row(codec),
    ]


def _voice_rows(codec: MelCodec, name: str, phases: tuple[float, ...]) -> list[Row]:
    time_s = np.arange(SPEC.num_samples) / SPEC.sample_rate_hz
    true = [torch.from_numpy(LEVEL * voice_waveform(name, time_s, phase)).float()[None] for phase in phases]
    made, coded = [_of_true_mel(codec, wave) for wave in true], [_of_coded_mel(codec, wave) for wave in true]
    levels = [
        _mean(_level_db(_band(wave, name), x) for wave, x in zip(waves, true, strict=True)) for waves in (made, coded)
    ]
    alike = [_mean(_alike(wave, x) for wave, x in zip(waves, true, strict=True)) for waves in (made, coded)]
    clicks, own = (_mean(_clicks_db(wave) for wave in waves) for waves in (made, true))
    return [
        Row(
            f"{name} alone, true mel through the vocoder: level", "within 3 dB",
            f"{levels[0]:+.1f} dB, correlation {alike[0]:.3f} (through the autoencoder too {levels[1]:+.1f} dB, "
            f"{alike[1]:.3f})", abs(levels[0]) <= 3,
        ),
        Row(f"{name} alone: pulses of 100 Hz in its envelope", "", f"{clicks:.0f} dB (the truth {own:.0f} dB)"),
    ]  # fmt: skip


def _scene_rows(codec: MelCodec, count: int) -> list[Row]:
    true = [random_scene(SEED + i).foa(SPEC).waveform[:1] for i in range(count)]
    found = []
    for name, make in (("true mel through the vocoder", _of_true_mel), ("and through the autoencoder", _of_coded_mel)):
        waves = [make(codec, wave) for wave in true]
        mels = [float((log_mel(wave) - log_mel(x)).abs().mean()) for wave, x in zip(waves, true, strict=True)]
        error = _mean(_level_db(wave - x, x) for wave, x in zip(waves, true, strict=True))
        silence = _mean(float((log_mel(torch.zeros_like(x)) - log_mel(x)).abs().mean()) for x in true)
        found.append(Row(
            f"{count} scenes, {name}: distance of log-mels", "",
            f"{_mean(mels):.3f} (silence {silence:.2f}); waveform's error {error:+.1f} dB of its power",
        ))  # fmt: skip
    return found


def _time_row(codec: MelCodec) -> Row:
    mel, took = torch.full((1, SPEC.num_mel, 64), -7.0), []
    for _ in range(8):
        began = time.process_time()
        vocode(codec.vocoder, mel, SPEC.num_samples)
        took.append(time.process_time() - began)
    return Row(
        f"time of the vocoder for {SPEC.seconds:g} s of sound", "", f"{1000 * min(took):.0f} ms of the processor"
    )


def _of_true_mel(codec: MelCodec, wave: Tensor) -> Tensor:
    return vocode(codec.vocoder, log_mel(wave), SPEC.num_samples)


def _of_coded_mel(codec: MelCodec, wave: Tensor) -> Tensor:
    return codec.decode(codec.encode(Sound(wave, SPEC.sample_rate_hz), SPEC)[0], SPEC).waveform


def _band(wave: Tensor, name: str) -> Tensor:
    low, high = VOICES[name].band_hz
    hz = torch.fft.rfftfreq(wave.shape[-1], 1 / SPEC.sample_rate_hz)
    return torch.fft.irfft(torch.fft.rfft(wave) * ((hz >= low) & (hz <= high)), wave.shape[-1])


def _clicks_db(wave: Tensor) -> float:
    """Strength of the line at 100 Hz, the mel's rate, in the envelope, beside the envelope's mean."""
    envelope = wave[0].unflatten(0, (-1, ENVELOPE_HOP)).square().mean(-1).sqrt()
    lines = torch.fft.rfft(envelope * torch.hann_window(len(envelope))).abs()
    middle = round(100 * SPEC.seconds)
    return 20 * math.log10(float(lines[middle - 2 : middle + 3].max() / lines[0]))


def _level_db(made: Tensor, true: Tensor) -> float:
    return 10 * math.log10(float(made.square().mean() / true.square().mean()))


def _alike(made: Tensor, true: Tensor) -> float:
    return float((made * true).sum() / (made.norm() * true.norm()))


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
