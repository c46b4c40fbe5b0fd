"""The inputs of the recorded runs, made again from their names."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from .filler import normal, wave
from .store import published

# Per case: batch, video (frames, rows, columns), audio (rows, frequencies), text tokens, and the timesteps that the
# recording script chose: (video, audio, connectors' video, connectors' audio). case0 has none for the connectors;
# case2's are single numbers, its two halves are equal but for the text, as under guidance.
CASES = {
    "case0": (1, (8, 16, 16), (32, 16), 7, ([500], [500], None, None)),
    "case1": (2, (12, 16, 24), (40, 16), 5, ([990, 5], [731, 42], [250, 999], [3, 600])),
    "case2": (2, (16, 16, 16), (24, 16), 7, (845, 881, 845, 881)),
    "case3": (2, (5, 8, 16), (24, 8), 3, ([208, 954], [311, 977], [450, 88], [17, 702])),
}
VIDEO_CHANNELS, AUDIO_CHANNELS, TEXT_V, TEXT_A = 4, 8, 48, 40


@cache
def case_inputs(case: str) -> dict[str, Tensor]:
    """Tensors of a recorded joint forward, by their names within the case."""
    batch, size_v, size_a, tokens, times = CASES[case]
    x: dict[str, Tensor] = {
        "class_labels": F.normalize(normal(f"{case}/class_labels", batch, TEXT_A), dim=-1),
        "context": normal(f"{case}/context", batch, tokens, TEXT_V),
    }
    for name, t in zip(("t_video", "t_audio", "tcon_video", "tcon_audio"), times, strict=True):
        if t is not None:
            x[name] = torch.tensor(t)
    for m, channels, size in (("video", VIDEO_CHANNELS, size_v), ("audio", AUDIO_CHANNELS, size_a)):
        own = 1 if case == "case2" else batch
        noisy = normal(f"{case}/x_{m}", own, channels, *size)
        if case == "case0":
            con = torch.cat([noisy, torch.zeros_like(noisy)], dim=1)
        elif case == "case2":
            con = torch.cat([noisy, normal(f"{case}/pred_{m}", own, channels, *size)], dim=1)
        else:
            con = normal(f"{case}/xcon_{m}", own, 2 * channels, *size)
        repeats = (batch // own, *(1,) * (noisy.ndim - 1))
        x[f"x_{m}"], x[f"xcon_{m}"] = noisy.repeat(repeats), con.repeat(repeats)
    return x


@cache
def pipeline_inputs() -> dict[str, Tensor]:
    return {
        "embeds_a": F.normalize(normal("pipe/embeds_a", 4, TEXT_A), dim=-1),
        "embeds_v": normal("pipe/embeds_v", 4, 7, TEXT_V),
        "latents_a": normal("pipe/latents_a", 2, AUDIO_CHANNELS, 32, 16),
        "latents_v": normal("pipe/latents_v", 2, VIDEO_CHANNELS, 8, 16, 16),
        "vae_a/enc_in": normal("vae_a/enc_in", 1, 1, 48, 64),
        "vae_v/enc_in": normal("vae_v/enc_in", 2, 3, 32, 64),
    }


@cache
def training_inputs() -> dict[str, Tensor]:
    """Inputs of the training step; the noisy latents follow from it (`runs_svg.training_step`)."""
    size_v, size_a = (2, VIDEO_CHANNELS, 8, 16, 16), (2, AUDIO_CHANNELS, 20, 16)
    return {
        "class_labels": F.normalize(normal("train/class_labels", 2, TEXT_A), dim=-1),
        "context": normal("train/context", 2, 7, TEXT_V),
        "latents_video": normal("train/latents_v", *size_v), "latents_audio": normal("train/latents_a", *size_a),
        "noise_video": normal("train/noise_v", *size_v), "noise_audio": normal("train/noise_a", *size_a),
    }  # fmt: skip


@cache
def scheduler_inputs(modality: str) -> dict[str, Tensor]:
    size, steps = (2, 4, 6, 5), range(10)
    return {
        "start": normal(f"sched/{modality}/x", *size),
        "eps": torch.stack([normal(f"sched/{modality}/eps{i}", *size) for i in steps]),
        "variance_noise": torch.stack([normal(f"sched/{modality}/var{i}", *size) for i in steps]),
        "add_noise/x": normal(f"sched/{modality}/an_x", 4, 3, 2),
        "add_noise/noise": normal(f"sched/{modality}/an_n", 4, 3, 2),
        "add_noise/t": torch.tensor([0, 1, 250, 999]),
    }


@cache
def sounds() -> dict[str, Tensor]:
    one = wave("mel/wave1", 16000)
    # The second of the pair is the first, reversed and quieter.
    return {"wave4": wave("mel/wave4", 64000), "wave1_b2": torch.stack([one, 0.2 * one.flip(0)])}


@cache
def vocoder_statistics() -> dict[str, Tensor]:
    bands = published()["vocoder"]["model_in_dim"]
    return {"mean": normal("vocoder.mean", bands), "scale": 1.5 + 0.1 * normal("vocoder.scale", bands)}
