"""Train the small sound autoencoder of Ambisonics on procedural scenes.

    python -m train.omniaudio.codec --out runs/omniaudio --minutes 30

The published recipe, in small: per-channel STFT distances at a quarter of the weight each, and the KL divergence. Two
things are ours. A magnitude of one channel cannot tell left from right, so beams of W with each dipole are compared as
well, and so are the waveforms. There is no discriminator: scenes are sums of tones, which nothing has to make sharper.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from con360.media.files import atomic_path
from con360.metrics.directions import direction_errors
from con360.models.oobleck import NormedConv1d, Oobleck, OobleckConfig, Residual, SnakeBeta, kl_divergence
from con360.records import Sound
from con360.scenes import VOICES, voice_waveform
from con360.timing import ClipSpec
from train.examples import scene_of

RATE_HZ, HOP = 16000, 640
CONFIG = OobleckConfig(
    channels=4, width=96, multipliers=(1, 1), strides=(1, 1), latent_channels=64, stem_hop=HOP, stem_width=96
)
SIZES = (256, 1024, 4096)
KL_WEIGHT = 1e-4


def scene_sounds(split: str, count: int, first: int = 0) -> Tensor:
    """Render Ambisonics of scenes, `[count, 4, 64000]` half precision."""
    spec = ClipSpec()
    return torch.stack([scene_of(split, first + i).foa(spec).waveform.half() for i in range(count)])


def turned(foa: Tensor, yaw_deg: Tensor, mirror: Tensor) -> Tensor:
    """Turn Ambisonics `[B, 4, N]` about the vertical by an angle a clip, and swap left and right of some."""
    cos, sin = (f(torch.deg2rad(yaw_deg))[:, None] for f in (torch.cos, torch.sin))
    w, y, z, x = foa.unbind(1)
    left = torch.where(mirror[:, None], -y, y)
    return torch.stack((w, left * cos + x * sin, z, x * cos - left * sin), dim=1)


def crops(pool: Tensor, batch: int, samples: int, g: torch.Generator) -> Tensor:
    """Cut random pieces out of random scenes, turned, mirrored and scaled: `[batch, 4, samples]`."""
    rows = torch.randint(len(pool), (batch,), generator=g)
    # At whole frames, as in use: there the voices' partials have the same phase in every frame.
    starts = HOP * torch.randint((pool.shape[-1] - samples) // HOP + 1, (batch,), generator=g)
    cut = torch.stack([pool[r, :, s : s + samples] for r, s in zip(rows, starts, strict=True)]).float()
    level = 10 ** (-torch.rand(batch, 1, 1, generator=g) * 0.5)
    return level * turned(cut, 360 * torch.rand(batch, generator=g), torch.rand(batch, generator=g) < 0.5)


def start_basis(model: Oobleck, pool: Tensor) -> None:
    """Start the stem's basis from the principal components of frames of single voices."""
    assert model.stem is not None
    frames = []
    for voice in VOICES:
        for phase in np.linspace(0, 1, 8, endpoint=False):
            wave = torch.from_numpy(voice_waveform(voice, np.arange(4 * RATE_HZ) / RATE_HZ, phase)).float()
            frames.append(wave.unfold(0, 2 * HOP, HOP))
    windowed = torch.cat(frames) * model.stem.window
    _, _, components = torch.linalg.svd(windowed, full_matrices=False)
    with torch.no_grad():
        model.stem.basis.copy_(components[: CONFIG.stem_width])


@torch.no_grad()
def start_linear(model: Oobleck, sounds: Tensor) -> None:
    """Start as the best linear autoencoder of single frames: every layer passes its input on or projects it.

    From random weights the same network needs an hour for what this has at once.
    """
    assert model.stem is not None
    frames = model.stem.split(sounds).transpose(1, 2).flatten(0, 1)
    _, scales, axes = torch.linalg.svd(frames, full_matrices=False)
    width, kept = CONFIG.width, CONFIG.latent_channels
    # Latents of unit size; the layers between keep the larger half of the components as they are.
    unit = scales[:width, None] / len(frames) ** 0.5
    for module in model.modules():
        if isinstance(module, SnakeBeta):
            module.alpha.fill_(-3.0)
        elif isinstance(module, NormedConv1d) and module.weight_v.shape[:2] == (width, width):
            _pass_on(module, torch.eye(width))
    for module in model.modules():
        if isinstance(module, Residual):
            module.layers[-1].weight_g.mul_(0.05)
    _pass_on(model.encoder.layers[0], axes[:width] / unit)
    _pass_on(model.encoder.layers[-1], torch.cat((torch.eye(kept, width), torch.zeros(kept, width))))
    _pass_on(model.decoder.layers[0], torch.eye(width, kept))
    _pass_on(model.decoder.layers[-1], (axes[:width] / unit * unit.square()).T)


def _pass_on(layer: NormedConv1d, matrix: Tensor) -> None:
    """Make a layer the product with a matrix `[out, in]`, beside a little noise in the other taps."""
    weight = 0.002 * torch.randn_like(layer.weight_v)
    middle = layer.padding if not layer.transposed else layer.weight_v.shape[-1] // 2
    weight[..., middle // layer.dilation] += matrix.T if layer.transposed else matrix
    layer.weight_v.copy_(weight)
    layer.weight_g.copy_(weight.flatten(1).norm(dim=1)[:, None, None])


def beams(foa: Tensor) -> Tensor:
    """The channels, and W with each dipole added and taken away: `[B, 10, N]`."""
    w, dipoles = foa[:, :1], foa[:, 1:]
    return torch.cat((foa, (w + dipoles) / 2, (w - dipoles) / 2), dim=1)


def spectral_distance(made: Tensor, true: Tensor) -> Tensor:
    """Compare magnitudes of beams at several window sizes: relative, and as logarithms."""
    total = made.new_zeros(())
    for size in SIZES:
        window = torch.hann_window(size)
        a, b = (
            torch.stft(x.flatten(0, 1), size, size // 4, window=window, return_complex=True).abs() for x in (made, true)
        )
        total = total + (a - b).norm() / b.norm().clamp_min(1e-6)
        floor = 1e-3 * size**0.5
        total = total + ((a + floor).log() - (b + floor).log()).abs().mean()
    return total / len(SIZES)


def intensity_distance(made: Tensor, true: Tensor) -> Tensor:
    """Compare the products of W and the dipoles over quarters of a second, beside the energy of W."""
    a, b = (F.avg_pool1d(x[:, :1] * x[:, 1:], RATE_HZ // 4) for x in (made, true))
    energy = F.avg_pool1d(true[:, :1].square(), RATE_HZ // 4)
    return ((a - b).abs() / (energy + 0.1 * energy.mean(-1, keepdim=True)).clamp_min(1e-7)).mean()


def loss_of(model: Oobleck, true: Tensor, g: torch.Generator) -> tuple[Tensor, dict[str, float]]:
    mean, std = model.moments(true)
    made = model.decode(mean + std * torch.randn(mean.shape, generator=g))
    spectra = spectral_distance(beams(made), beams(true))
    wave = (made - true).flatten(1).norm(dim=1) / true.flatten(1).norm(dim=1).clamp_min(1e-3)
    kl = kl_divergence(mean, std)
    turned_by = intensity_distance(made, true)
    loss = spectra + wave.mean() + 2 * turned_by + KL_WEIGHT * kl
    parts = {"spectra": spectra, "wave": wave.mean(), "intensity": turned_by, "kl": kl}
    return loss, {name: value.item() for name, value in parts.items()}


@torch.no_grad()
def judge(model: Oobleck, sounds: Tensor) -> dict[str, float]:
    """Angular error in degrees (median, 90th percentile) and W's log-mel distance, over scenes."""
    from con360.metrics.audio import log_mel_distance

    angles, mels = [], []
    for true in sounds.float():
        made = model.decode(model.moments(true[None])[0])[0]
        a, b = Sound(made, RATE_HZ, "ambix"), Sound(true, RATE_HZ, "ambix")
        angles.append(np.degrees(direction_errors(a, b).angular))
        mels.append(log_mel_distance(Sound(made[:1], RATE_HZ), Sound(true[:1], RATE_HZ)))
    return {
        "median": float(np.median(angles)),
        "p90": float(np.quantile(angles, 0.9)),
        "log_mel_db": float(np.mean(mels)),
    }


def train(out: Path, minutes: float, pool_size: int, batch: int, rate: float, seed: int) -> Oobleck:
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    pool, held = scene_sounds("train", pool_size), scene_sounds("validation", 24)
    model = Oobleck(CONFIG)
    if (out / "codec.safetensors").is_file():
        model.load_state_dict(load_file(out / "codec.safetensors"))
    else:
        start_basis(model, pool)
        start_linear(model, crops(pool, min(400, len(pool)), RATE_HZ, g))
        # Nearly without noise at first: the latents must carry something before they are made simple.
        torch.nn.init.constant_(model.encoder.layers[-1].bias[CONFIG.latent_channels :], -4.0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.8, 0.99), weight_decay=1e-4)
    started, step, shown = time.time(), 0, 0.0
    while (share := (time.time() - started) / 60 / minutes) < 1:
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * share)))
        loss, parts = loss_of(model, crops(pool, batch, RATE_HZ, g), g)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step += 1
        if time.time() - shown > 60:
            shown = time.time()
            facts = judge(model.eval(), held)
            model.train()
            print(
                f"{(shown - started) / 60:.1f} min step {step}",
                {k: round(v, 3) for k, v in (parts | facts).items()},
                flush=True,
            )
            out.mkdir(parents=True, exist_ok=True)
            with atomic_path(out / "codec.safetensors") as temporary:
                save_file(model.state_dict(), temporary)
    with atomic_path(out / "codec.safetensors") as temporary:
        save_file(model.state_dict(), temporary)
    print("end", step, judge(model.eval(), scene_sounds("test", 64)))
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--pool", type=int, default=400)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    train(args.out, args.minutes, args.pool, args.batch, args.rate, args.seed)


if __name__ == "__main__":
    main()
