"""Train the tiny bundle's vocoder on procedural voices, for as long as asked.

    python -m train.tiny.vocoder --out runs/tiny --minutes 20

It needs the mel autoencoder (`vae_a/`), whose mels it learns to read beside true ones. A killed run goes on from its
last checkpoint when the same command is typed again; the minutes already used count.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from con360.media.files import atomic_path
from con360.models.codecs import encode_mel, mel_between_ends
from con360.models.spectrum_vocoder import MEL_MEAN, MEL_SPREAD, SpectrumVocoder, SpectrumVocoderConfig
from con360.scenes import VOICES, voice_waveform
from con360.sound.mels import MEL_BANDS, MEL_FLOOR, MEL_HOP, log_mel, mel_filters
from con360.timing import ClipSpec
from con360.weights.save import save_vocoder

# Pieces of sound with both their ends: the mels' folded ends are learned as they will be given.
PIECE, PIECES = ClipSpec(1.6), 2000
# Share of true mels; the others went through the autoencoder.
TRUE_MELS = 0.25
# Share of coded mels whose latents were disturbed, and the most they are (latents have unit variance): a denoiser's
# latents are not exact.
DISTURBED, DISTURBANCE = 0.4, 0.4
# Logarithms of the least and largest gain of a piece: the loudest scenes lie well inside.
GAINS = (-0.3, 0.7)
BATCH, PEAK_RATE, WARM_STEPS, SAVE_EVERY_S = 4, 2e-3, 100, 300.0
SIZES = (256, 640, 2048)
# From a mel band's level to that of a spectrum's bin, roughly, in nats.
START_LEVEL = 3.0
# RMS below which a moment is silent, samples of an end (50 ms), and the most that a true power counts over a made one.
SOFTEST, END, MOST = 3e-3, 5 * MEL_HOP, 30.0
CHECKPOINT = "vocoder.pt"


# Data -----------------------------------------------------------------------------------------------------------------


def render_piece(seed: int) -> np.ndarray:
    """Render one to four voices at levels and moments of their own: `[N]`.

    Half of the voices start anew at random moments, as drawn ones do, and half get louder or softer, as in a view that
    turns. Loud and soft ones stand beside each other.
    """
    rng = np.random.default_rng([seed, 5])
    time_s = np.arange(PIECE.num_samples) / PIECE.sample_rate_hz
    names = rng.permutation(list(VOICES))[: int(rng.integers(1, 5))]
    wave = np.zeros(PIECE.num_samples)
    for name in names:
        level = 10 ** rng.uniform(-1.0, 0.0)
        gain = level * np.linspace(1.0, rng.uniform(0.5, 1.0), PIECE.num_samples) if rng.random() < 0.5 else level
        wave += gain * voice_waveform(str(name), time_s, _phases(rng, time_s))
    return wave


def _phases(rng: np.random.Generator, time_s: np.ndarray) -> np.ndarray:
    """Phase of a voice at each moment: one, or up to three after each other."""
    starts = np.sort(rng.uniform(0, time_s[-1], int(rng.integers(0, 3)) if rng.random() < 0.5 else 0))
    return rng.random(len(starts) + 1)[np.searchsorted(starts, time_s)]


def open_pieces(path: Path, vae_a: nn.Module, count: int) -> dict[str, Tensor]:
    """Read the pieces, or make them: `waves [P, N]` int16 and `coded [P, S, M]`, their mels through the autoencoder."""
    if path.is_file():
        return load_file(path)
    made: dict[str, list[Tensor]] = {"waves": [], "coded": []}
    for seed in range(count):
        wave = torch.from_numpy(render_piece(seed)).float()[None]
        made["waves"].append((wave[0] * 32767).round().clamp(-32768, 32767).short())
        made["coded"].append(_coded_mel(vae_a, wave, seed)[0].half())
    path.parent.mkdir(parents=True, exist_ok=True)
    pieces = {name: torch.stack(rows) for name, rows in made.items()}
    with atomic_path(path) as temporary:
        save_file(pieces, temporary)
    return pieces


@torch.no_grad()
def _coded_mel(vae_a: nn.Module, wave: Tensor, seed: int) -> Tensor:
    g, latents = torch.Generator().manual_seed(seed), encode_mel(vae_a, log_mel(wave))
    if torch.rand((), generator=g) < DISTURBED:
        latents = latents + DISTURBANCE * torch.rand((), generator=g) * torch.randn(latents.shape, generator=g)
    return mel_between_ends(vae_a, latents, PIECE)


def batches(pieces: dict[str, Tensor], g: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (mels `[B, S, M]`, waves `[B, N]`) without end, each piece at a gain of its own."""
    while True:
        rows = torch.randint(len(pieces["waves"]), (BATCH,), generator=g)
        gain = (torch.rand(BATCH, 1, generator=g) * (GAINS[1] - GAINS[0]) + GAINS[0]).exp()
        waves = gain * pieces["waves"][rows].float() / 32767
        coded = (pieces["coded"][rows].float() + gain.log()[:, None]).clamp_min(math.log(MEL_FLOOR))
        true = torch.rand(BATCH, 1, 1, generator=g) < TRUE_MELS
        yield torch.where(true, log_mel(waves), coded), waves


# Losses ---------------------------------------------------------------------------------------------------------------


def spectral_loss(a: Tensor, b: Tensor) -> Tensor:
    """Compute the distance of `[B, N]` waveforms over spectra of three sizes: logarithms of magnitudes, and complex.

    Beside a loud voice, a missing soft one changes the waveform little but is clearly heard. So all bins that sound
    count alike, once more than silent ones. A distance of magnitudes relative to the target's would weigh the softer
    of two guesses more: all voices came back 1 to 2 dB too soft.
    """
    total = a.new_zeros(())
    for n_fft in SIZES:
        window, silent = torch.hann_window(n_fft, device=a.device), n_fft * 6e-4
        A, B = (torch.stft(x, n_fft, n_fft // 4, window=window, return_complex=True) for x in (a, b))
        level = B.abs()
        ratio = ((A.abs() + silent / 50) / (level + silent / 50)).log().abs()
        sounds = (level > silent).float()
        # While the phase is not learned yet, silence would minimise a complex distance; magnitudes weigh more.
        error = (ratio + 0.5 * (A - B).abs() / level.clamp_min(silent)) * sounds
        total = total + ratio.mean() + error.sum() / sounds.sum().clamp_min(1)
    return total / len(SIZES)


def moment_loss(a: Tensor, b: Tensor) -> Tensor:
    """Compute the error of waveforms and levels per 10 ms, and of powers per 50 ms; the ends count four times.

    A level that is uncertain, as at the ends of coded mels, is guessed by its median, which is too soft on average. The
    Itakura-Saito distance of powers is least at their mean.
    """
    error, made, level = (_power(x, MEL_HOP).sqrt() for x in (a - b, a, b))
    ratio = ((made + SOFTEST) / (level + SOFTEST)).log().abs()
    short = (0.5 * error / (level + SOFTEST) + ratio) * _ends_first(error.shape[1], 5)
    true_over_made = ((_power(b, END) + SOFTEST**2) / (_power(a, END) + SOFTEST**2)).clamp_max(MOST)
    long = (true_over_made - true_over_made.log() - 1) * _ends_first(true_over_made.shape[1], 1)
    return short.mean() + long.mean()


def _power(x: Tensor, length: int) -> Tensor:
    """Mean power of every `length` samples of `[B, N]`; what is left at the end does not count."""
    whole = x.shape[1] // length * length
    return x[:, :whole].unflatten(1, (-1, length)).square().mean(-1) + 1e-9


def _ends_first(count: int, ends: int) -> Tensor:
    weight = torch.ones(count)
    weight[:ends] = weight[-ends:] = 4.0
    return weight


# Training -------------------------------------------------------------------------------------------------------------


def make_vocoder(config: SpectrumVocoderConfig | None = None) -> SpectrumVocoder:
    """Build it so that its magnitudes start at the mels' own level, between the peaks of two bands each."""
    vocoder = SpectrumVocoder(config or SpectrumVocoderConfig())
    bins = torch.linspace(0, 1, vocoder.skip.out_features)
    filters = mel_filters()
    peaks = filters.argmax(dim=0) / (len(filters) - 1)
    right = torch.searchsorted(peaks, bins).clamp(1, MEL_BANDS - 1)
    share = ((bins - peaks[right - 1]) / (peaks[right] - peaks[right - 1])).clamp(0, 1)
    rows = torch.arange(len(bins))
    with torch.no_grad():
        vocoder.skip.weight.zero_()
        vocoder.skip.weight[rows, right - 1] = MEL_SPREAD * (1 - share)
        vocoder.skip.weight[rows, right] = MEL_SPREAD * share
        vocoder.head.weight.mul_(0.1)
        vocoder.head.bias[: len(bins)] = MEL_MEAN + START_LEVEL
    return vocoder


@dataclass
class Run:
    """A vocoder in training and everything that a checkpoint holds."""

    vocoder: SpectrumVocoder
    average: SpectrumVocoder
    optimiser: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0

    def state(self) -> dict[str, Any]:
        return {
            "vocoder": self.vocoder.state_dict(), "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(), "step": self.step, "seconds": self.seconds,
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        self.vocoder.load_state_dict(state["vocoder"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds = state["step"], state["seconds"]

    @torch.no_grad()
    def follow(self) -> None:
        """Move the average towards the weights; at first it forgets soon."""
        decay = min(0.999, (1 + self.step) / (20 + self.step))
        pairs = zip(self.average.parameters(), self.vocoder.parameters(), strict=True)
        for mean, weight in pairs:
            mean.lerp_(weight, 1 - decay)


def new_run(config: SpectrumVocoderConfig | None = None) -> Run:
    vocoder = make_vocoder(config)
    average = SpectrumVocoder(vocoder.config)
    average.load_state_dict(vocoder.state_dict())
    return Run(vocoder, average, torch.optim.AdamW(vocoder.parameters(), PEAK_RATE, (0.9, 0.99), weight_decay=1e-4))


def train(
    run: Run, stream: Iterator[tuple[Tensor, Tensor]], minutes: float, out: Path, rate: float = PEAK_RATE
) -> None:
    """Train until the minutes of this process's computing are used, those of earlier runs included."""
    saved, clock, running = time.monotonic(), time.process_time(), 0.0
    while run.seconds < 60 * minutes:
        _set_rate(run, run.seconds / (60 * minutes), rate)
        loss = training_step(run, *next(stream))
        running = loss if not running else 0.98 * running + 0.02 * loss
        if run.step % 50 == 0:
            print(f"vocoder step {run.step} loss {running:.4f} {run.seconds:.0f} s", flush=True)
        now = time.process_time()
        run.seconds, clock = run.seconds + now - clock, now
        if time.monotonic() - saved > SAVE_EVERY_S:
            _save(run, out)
            saved = time.monotonic()
    _save(run, out)


def _set_rate(run: Run, used: float, peak: float) -> None:
    """Set the learning rate: a short rise, then a cosine to zero over the minutes."""
    rate = peak * min(1.0, (run.step + 1) / WARM_STEPS) * 0.5 * (1 + math.cos(math.pi * used))
    for group in run.optimiser.param_groups:
        group["lr"] = rate


def training_step(run: Run, mels: Tensor, waves: Tensor) -> float:
    """Learn from one batch; return its loss."""
    with torch.autocast("cpu", torch.bfloat16):
        features = run.vocoder.features(mels)
    # Phases need more digits.
    made = run.vocoder.sound(mels, features.float())
    loss = spectral_loss(made, waves) + moment_loss(made, waves)
    run.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(run.vocoder.parameters(), 1.0)
    run.optimiser.step()
    run.step += 1
    run.follow()
    return loss.item()


def _save(run: Run, out: Path) -> None:
    with atomic_path(out / CHECKPOINT) as temporary:
        torch.save(run.state(), temporary)
    save_vocoder(run.average, out / "vocoder")


def main() -> None:
    from diffusers import AutoencoderKL

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/tiny"), help="vocoder/ is written into it")
    parser.add_argument("--codecs", type=Path, help="folder that holds vae_a/; OUT by default")
    parser.add_argument("--minutes", type=float, default=20.0, help="of one core")
    parser.add_argument("--rate", type=float, default=PEAK_RATE, help="peak learning rate")
    parser.add_argument("--pieces", type=int, default=PIECES, help="pieces of sound to learn from")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    vae_a = (
        AutoencoderKL.from_pretrained((args.codecs or args.out) / "vae_a", torch_dtype=torch.float32)
        .eval()
        .requires_grad_(False)
    )
    pieces = open_pieces(args.out / "cache" / "vocoder.safetensors", vae_a, args.pieces)
    torch.manual_seed(args.seed)
    run = new_run()
    if (args.out / CHECKPOINT).is_file():
        run.restore(torch.load(args.out / CHECKPOINT, weights_only=True))
    train(run, batches(pieces, torch.Generator().manual_seed(args.seed + run.step)), args.minutes, args.out, args.rate)


if __name__ == "__main__":
    main()
