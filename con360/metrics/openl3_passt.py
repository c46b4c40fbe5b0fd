"""Compare sounds by published networks that the user has: OpenL3 (Frechet distance) and PaSST (KL divergence).

Convention: both hear W alone. The published figures do not say how four channels became what the networks hear. OpenL3
hears W as both of two channels, which doubles the distance of one. W's peak is set to -1 dB of full scale before.

Source: stable-audio-metrics (Evans et al., arXiv 2402.04825), whose settings OmniAudio's figures have.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..records import Sound
from ..sound.levels import resample, to_mono
from .figure import Definition
from .torchscript import load_torchscript

PEAK = 10 ** (-1 / 20)
# OpenL3 hears seconds of 48 kHz, half a second apart; before that the sound passes 44.1 kHz.
BAND_HZ, OPENL3_HZ, OPENL3_HOP_S = 44100, 48000, 0.5
# PaSST hears 10 s of 32 kHz, 5 s apart. A last window with less than 1.5 s of sound is left out.
PASST_HZ, PASST_S, PASST_HOP_S, PASST_LEAST_S = 32000, 10, 5, 1.5
AUDIOSET_CLASSES = 527
EPS = 1e-6
# Windows that a network hears at once.
BATCH = 16

FD = Definition(
    "FD", "Frechet distance of OpenL3 (env, mel256, 512) of W as two channels, 44.1 kHz, hop 0.5 s, all windows of all "
    "clips", "OmniAudio, stable-audio-metrics",
)  # fmt: skip
KL = Definition(
    "KL", "KL(generated || reference + 1e-6) of PaSST's 527 classes of W, mean logits of windows, softmax",
    "OmniAudio, stable-audio-metrics", unit="nats",
)  # fmt: skip


def load_openl3(path: str | Path, device: str = "cpu") -> Callable[[Sound], np.ndarray]:
    """Load OpenL3 (env, mel256, 512 numbers) from a local TorchScript file, which maps `[N, 48000]` to `[N, 512]`.

    TorchScript is a program: use a file that you trust. Nothing is downloaded.

    Returns:
        A function from a sound to embeddings of its windows, `[windows, 1024]`.

    Raises:
        InputError: no file, or one that is no TorchScript; from the function, another shape of embeddings.
    """
    network = load_torchscript(path, "OpenL3 as TorchScript", device)

    def embed(sound: Sound) -> np.ndarray:
        found = _heard(network, openl3_windows(sound), device, None, Path(path).name)
        return np.concatenate((found, found), axis=1)

    return embed


def load_passt(path: str | Path, device: str = "cpu") -> Callable[[Sound], np.ndarray]:
    """Load PaSST from a local TorchScript file, which maps `[N, 320000]` at 32 kHz to logits `[N, 527]`.

    Returns:
        A function from a sound to the probabilities of its classes, `[527]`.

    Raises:
        InputError: as `load_openl3`.
    """
    network = load_torchscript(path, "PaSST as TorchScript", device)

    def classify(sound: Sound) -> np.ndarray:
        logits = _heard(network, passt_windows(sound), device, AUDIOSET_CLASSES, Path(path).name)
        return torch.from_numpy(logits).mean(0).softmax(0).numpy()

    return classify


def passt_divergence(generated: np.ndarray, reference: np.ndarray) -> float:
    """Compute KL(generated || reference + 1e-6) of probabilities `[K]`, in nats, as published."""
    made, true = (np.asarray(x, dtype=np.float64) for x in (generated, reference))
    terms = made * (np.log(np.maximum(made, 1e-300)) - np.log(true + EPS))
    return float(terms[made > 0].sum())


def openl3_windows(sound: Sound) -> Tensor:
    """Cut W into windows of a second, the first centred on the start: `[N, 48000]`."""
    w = resample(resample(_peaked(sound), BAND_HZ), OPENL3_HZ).waveform[0]
    hop = round(OPENL3_HOP_S * OPENL3_HZ)
    centred = F.pad(w, (OPENL3_HZ // 2, 0))
    count = 1 + max(0, -(-(len(centred) - OPENL3_HZ) // hop))
    return F.pad(centred, (0, (count - 1) * hop + OPENL3_HZ - len(centred))).unfold(0, OPENL3_HZ, hop)


def passt_windows(sound: Sound) -> Tensor:
    """Cut W into windows of ten seconds: `[N, 320000]`."""
    w = resample(_peaked(sound), PASST_HZ).waveform[0]
    size, hop = PASST_S * PASST_HZ, PASST_HOP_S * PASST_HZ
    parts = [w[start : start + size] for start in range(0, max(hop, len(w) - hop), hop)]
    kept = [part for part in parts if len(part) > PASST_LEAST_S * PASST_HZ] or parts[:1]
    return torch.stack([F.pad(part, (0, size - len(part))) for part in kept])


def _peaked(sound: Sound) -> Sound:
    w = to_mono(sound)
    peak = float(w.waveform.abs().max()) if w.waveform.numel() else 0.0
    if not peak > 0:
        raise InputError("the sound is silent or empty: published networks have no answer for it. Leave the clip out.")
    return Sound(w.waveform * (PEAK / peak), w.sample_rate_hz)


@torch.no_grad()
def _heard(network: torch.jit.ScriptModule, windows: Tensor, device: str, width: int | None, name: str) -> np.ndarray:
    found = [network(part.to(device)) for part in windows.split(BATCH)]
    for part, answer in zip(windows.split(BATCH), found, strict=True):
        if not isinstance(answer, Tensor) or answer.dim() != 2 or len(answer) != len(part):
            shape = list(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
            raise InputError(f"the network in {name} gives {shape} for {len(part)} windows; wanted one row a window.")
        if width is not None and answer.shape[1] != width:
            raise InputError(f"the network in {name} gives {answer.shape[1]} classes; wanted {width}.")
    return torch.cat(found).float().cpu().numpy()
