"""Measure sounds: distances, levels, classes, directions, and CLAP.

Every function takes `Sound` records and mixes them to mono at 16 kHz where the metric is defined there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..records import Envelope, Sound
from ..sound.envelopes import HOP, WINDOW, check_envelope, envelope_of
from ..sound.intensity import heard_angles_deg
from ..sound.levels import resample, to_mono
from ..sound.mels import SAMPLE_RATE_HZ, log_mel
from .figure import Definition

# Quieter than this, in decibels of full scale, is silence in the distances below.
SILENCE_DB = -60.0
CLAP_RATE_HZ = 48000

SOUND = Definition(
    "sound distance",
    f"mean over 64 mel bands of |difference of the clip's mean level|, levels below {SILENCE_DB:g} dB count as that; "
    "which voices sound, and how loud, whenever it is",
    "ours",
    unit="dB",
)
SOUND_OVER_TIME = Definition(
    "log-mel distance",
    f"mean |difference| of log-mels in time and frequency, levels below {SILENCE_DB:g} dB count as that; pulses must "
    "come at the same time",
    "ours",
    unit="dB",
)
ENERGY = Definition(
    "E-L1", f"mean |RMS - RMS'|, window {WINDOW}, hop {HOP} at 16 kHz, ends mirrored", "Video-Foley", unit="amplitude"
)


def mono_16k(sound: Sound) -> Tensor:
    """Mix to a mono waveform `[N]` at 16 kHz."""
    return resample(to_mono(sound), SAMPLE_RATE_HZ).waveform[0]


def energy_l1(generated: Sound, target: Sound) -> float:
    """Compute E-L1, the mean absolute difference of the envelopes.

    Convention: silence's own E-L1, the mean of the target's envelope, belongs beside it: the figure follows the level.

    Args:
        generated, target: of equal length to within a window; the longer one's end is left out.
    """
    a, b = (envelope_of(sound).values for sound in (generated, target))
    frames = min(len(a), len(b))
    return float((a[:frames] - b[:frames]).abs().mean())


def energy_l1_to(sound: Sound, asked: Envelope) -> tuple[float, float]:
    """Compute E-L1 of a sound to an envelope, where that is meant, and the same of silence.

    Args:
        asked: at the rate of `envelope_of`; the longer one's end is left out.

    Raises:
        InputError: an envelope that is nowhere meant, or that cannot be used.
    """
    wanted, meant = check_envelope(asked).values, asked.present
    came = envelope_of(sound).values
    frames = min(len(came), len(wanted))
    there = torch.ones(frames, dtype=torch.bool) if meant is None else meant[:frames] > 0.5
    if not there.any():
        raise InputError("the envelope is free everywhere, so nothing can be compared with it; draw a level.")
    came, wanted = came[:frames][there], wanted[:frames][there]
    return float((came - wanted).abs().mean()), float(wanted.mean())


def mel_levels_db(sound: Sound) -> Tensor:
    """Compute the log-mel in decibels `[S, 64]`, not below `SILENCE_DB`."""
    return (log_mel(mono_16k(sound)[None])[0] * (20.0 / math.log(10.0))).clamp_min(SILENCE_DB)


def sound_distance(generated: Sound, target: Sound) -> float:
    """Average the difference of mean levels over mel bands, in decibels (`SOUND`)."""
    a, b = (_mean_level_db(s) for s in (generated, target))
    return float((a - b).abs().mean())


def _mean_level_db(sound: Sound) -> Tensor:
    power = (2.0 * log_mel(mono_16k(sound)[None])[0]).exp().mean(0)
    return (10.0 * power.log10()).clamp_min(SILENCE_DB)


def log_mel_distance(generated: Sound, target: Sound) -> float:
    """Average the difference of log-mels over time and frequency, in decibels (`SOUND_OVER_TIME`)."""
    a, b = mel_levels_db(generated), mel_levels_db(target)
    frames = min(len(a), len(b))
    return float((a[:frames] - b[:frames]).abs().mean())


def band_level_db(sound: Sound, band_hz: tuple[float, float], floor_db: float = -120.0) -> float:
    """Measure the mean power within a band, in decibels of full scale (a sine of amplitude 1 has -3.0)."""
    waveform = mono_16k(sound).double()
    power = torch.fft.rfft(waveform).abs().square() * 2 / len(waveform) ** 2
    hz = torch.fft.rfftfreq(len(waveform), 1 / SAMPLE_RATE_HZ)
    total = float(power[(hz >= band_hz[0]) & (hz <= band_hz[1])].sum())
    return max(10 * math.log10(total), floor_db) if total > 0 else floor_db


# Classes --------------------------------------------------------------------------------------------------------------


def band_classes(sound: Sound, bands_hz: Sequence[tuple[float, float]]) -> np.ndarray:
    """Classify without weights: each band's share of the energy in all bands, `[K]`, sum 1."""
    power = np.array([10 ** (band_level_db(sound, band) / 10) for band in bands_hz])
    return power / power.sum()


def class_divergence(target: np.ndarray, generated: np.ndarray, eps: float = 1e-6) -> float:
    """Compute KL(target || generated) of class probabilities `[K]`, in nats, both floored at `eps`."""
    p, q = (np.maximum(np.asarray(x, dtype=float), eps) for x in (target, generated))
    p, q = p / p.sum(), q / q.sum()
    return float((p * np.log(p / q)).sum())


def inception_score(probabilities: np.ndarray, eps: float = 1e-16) -> float:
    """Compute exp of the mean KL of each clip's classes `[N, K]` to their mean: 1 (all alike) to K (certain and even).

    Source: Inception score (arXiv 1606.03498).
    """
    p = np.asarray(probabilities, dtype=float)
    mean = p.mean(0, keepdims=True)
    return float(np.exp((p * (np.log(p + eps) - np.log(mean + eps))).sum(1).mean()))


def load_classifier(folder: str | Path, device: str = "cpu") -> Callable[[Sound], np.ndarray]:
    """Load a local audio classifier in transformers' layout (AST on AudioSet, say): a function to probabilities `[K]`.

    Raises:
        InputError: the folder is missing or holds no audio classifier.
    """
    model, extractor = _load_transformers(folder, "AutoModelForAudioClassification")
    model.to(device)

    @torch.no_grad()
    def classify(sound: Sound) -> np.ndarray:
        rate = extractor.sampling_rate
        inputs = extractor(resample(to_mono(sound), rate).waveform[0].numpy(), sampling_rate=rate, return_tensors="pt")
        return model(**inputs.to(device)).logits[0].softmax(-1).cpu().numpy()

    return classify


# CLAP -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clap:
    """LAION-CLAP from a local folder: unit-norm embeddings of sounds and of sentences."""

    model: Any
    extractor: Any
    tokenizer: Any
    name: str

    @torch.no_grad()
    def of_sound(self, sound: Sound) -> Tensor:
        """Embed a sound, mixed to mono at 48 kHz: `[D]`, unit norm."""
        waveform = resample(to_mono(sound), CLAP_RATE_HZ).waveform[0].numpy()
        inputs = self.extractor(waveform, sampling_rate=CLAP_RATE_HZ, return_tensors="pt")
        return F.normalize(_vector(self.model.get_audio_features(**inputs)).float(), dim=-1)

    @torch.no_grad()
    def of_text(self, caption: str) -> Tensor:
        """Embed a sentence: `[D]`, unit norm."""
        inputs = self.tokenizer([caption], padding=True, truncation=True, return_tensors="pt")
        return F.normalize(_vector(self.model.get_text_features(**inputs)).float(), dim=-1)

    def score(self, sound: Sound, caption: str) -> float:
        """Compute the CLAP score, the cosine of sound and sentence."""
        return float(self.of_sound(sound) @ self.of_text(caption))


def load_clap(folder: str | Path) -> Clap:
    """Load CLAP (`laion/clap-htsat-unfused`, say) from a local folder; nothing is downloaded.

    Raises:
        InputError: the folder is missing or holds no CLAP model.
    """
    from transformers import AutoTokenizer

    model, extractor = _load_transformers(folder, "ClapModel", "ClapFeatureExtractor")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the tokenizers library raises bare Exception
        raise InputError(f"{folder} holds no readable tokenizer ({str(error).splitlines()[0][:160]}).") from error
    return Clap(model, extractor, tokenizer, Path(folder).resolve().name)


def _vector(features: Any) -> Tensor:
    # transformers 5 wraps what version 4 returned bare.
    return (features if isinstance(features, Tensor) else features.pooler_output)[0]


def _load_transformers(folder: str | Path, model_class: str, extractor_class: str = "AutoFeatureExtractor") -> Any:
    import transformers

    if not Path(folder).expanduser().is_dir():
        raise InputError(f"there is no folder {folder}; give a local {model_class} in transformers' layout.")
    try:
        # Safetensors alone: nothing is unpickled.
        model = getattr(transformers, model_class).from_pretrained(folder, local_files_only=True, use_safetensors=True)
        extractor = getattr(transformers, extractor_class).from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0][:160]
        raise InputError(f"{folder} cannot be read as {model_class} ({reason}); it needs safetensors.") from error
    return model.eval().requires_grad_(False), extractor


# Directions -----------------------------------------------------------------------------------------------------------


def foa_angles_deg(sound: Sound) -> tuple[float, float]:
    """Find the direction of an Ambisonic sound's mean intensity: (yaw, pitch) in degrees, yaw right-positive.

    Source: OmniAudio (arXiv 2504.14906): theta = atan2(Iy, Ix), phi = atan2(Iz, hypot(Ix, Iy)).
    """
    yaw, pitch, _ = heard_angles_deg(sound)
    return float(yaw), float(pitch)


def codec_sound_embedding(latents: Tensor) -> Tensor:
    """Embed a sound from its VAE latents, for Frechet distances without CLAP.

    Args:
        latents: `[C, R, F]`, rows of sound alone (no padding), F at least 4.

    Returns:
        `[8 C]`: mean and spread over time of each channel in four bands.
    """
    bands = F.adaptive_avg_pool2d(latents, (latents.shape[1], 4))
    return torch.cat((bands.mean(1).flatten(), bands.std(1).flatten()))
