"""Our mel, vocoder and autoencoders over the recorded inputs: each function gives {recorded name: our tensor}."""

from __future__ import annotations

from functools import cache

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from con360.models.codecs import decode_frames, decode_mel, encode_frames, encode_mel, vocode
from con360.sound.mels import MEL_N_FFT, log_mel, mel_filters

from .filler import fill_module
from .inputs import pipeline_inputs, sounds, vocoder_statistics
from .runs_svg import trajectory
from .store import published

Tensors = dict[str, Tensor]


def recorded_vae(name: str) -> AutoencoderKL:
    return fill_module(AutoencoderKL(**published()["pipeline"][name]), f"{name}.")


def recorded_vocoder(**changes) -> SpeechT5HifiGan:
    return fill_module(SpeechT5HifiGan(SpeechT5HifiGanConfig(**{**published()["vocoder"], **changes})), "vocoder.")


@cache
def mels() -> Tensors:
    x = sounds()
    return {
        "mel_vocoder/mel4": log_mel(x["wave4"][None]),
        "mel_vocoder/mel1_b2": log_mel(x["wave1_b2"]),
        "mel_vocoder/mel_filters": mel_filters(),
        "mel_vocoder/window": torch.hann_window(MEL_N_FFT),
    }


@cache
@torch.no_grad()
def vocoded() -> Tensors:
    mel = mels()["mel_vocoder/mel1_b2"]
    normalising = recorded_vocoder(normalize_before=True)
    for name, value in vocoder_statistics().items():
        getattr(normalising, name).copy_(value)
    return {
        "mel_vocoder/vocoder/out": vocode(recorded_vocoder(), mel, 16032),
        "mel_vocoder/vocoder/out_normalize_before": vocode(normalising, mel, 16032),
    }


@cache
@torch.no_grad()
def decoded() -> Tensors:
    """From our own last latents of the recorded run to pixels and sound."""
    last = {m: trajectory("gamma_1.5")[f"pipeline_tiny/gamma_1.5/{m}/latents"][-1] for m in ("video", "audio")}
    mel = decode_mel(recorded_vae("vae_a"), last["audio"])
    frames = decode_frames(recorded_vae("vae_v"), last["video"])
    results = {
        "mel": mel[:, None],
        "waveform": vocode(recorded_vocoder(), mel, 16000),
        "video_rgb_stride4": frames[..., ::4, ::4].permute(0, 1, 3, 4, 2),
    }
    return {f"pipeline_tiny/gamma_1.5/{name}": value for name, value in results.items()}


@cache
@torch.no_grad()
def encoded() -> Tensors:
    """Means of the encoders through our doors, logarithms of variances from the autoencoders themselves."""
    x, results = pipeline_inputs(), {}
    for name in ("vae_v", "vae_a"):
        vae, given = recorded_vae(name), x[f"{name}/enc_in"]
        audio = name == "vae_a"
        latents = encode_mel(vae, given[:, 0]) if audio else encode_frames(vae, (given + 1) / 2).transpose(0, 1)
        mean, log_variance = latents / vae.config.scaling_factor, vae.encode(given).latent_dist.logvar
        results[f"pipeline_tiny/{name}/enc_moments"] = torch.cat([mean, log_variance], dim=1)
    return results
