"""Train the tiny bundle's codecs (two autoencoders, a vocoder) on procedural scenes.

    python -m train.tiny.codecs --out runs/tiny --only vae_v

Each part is saved by diffusers or transformers (`vae_v/`, `vae_a/`, `vocoder/`), so it loads like a public one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from con360.geometry.perspective import view_directions
from con360.scenes import VOICES, voice_waveform
from con360.sound.mels import log_mel
from con360.timing import ClipSpec
from train.examples import SPLIT_FIRST_SEED, random_track, random_view, scene_of

SIZE = 64


def make_vae_v() -> nn.Module:
    """Build the picture autoencoder: 64x64 RGB to 4x16x16 latents (f4)."""
    from diffusers import AutoencoderKL

    blocks = 3
    return AutoencoderKL(
        3, 3, ("DownEncoderBlock2D",) * blocks, ("UpDecoderBlock2D",) * blocks, (32, 64, 64),
        layers_per_block=1, latent_channels=4, norm_num_groups=8, sample_size=SIZE,
    )  # fmt: skip


def make_vae_a() -> nn.Module:
    """Build the sound autoencoder: log-mel `[1, T, 64]` to 8 channels at 1/4 time and bands, as in AudioLDM."""
    from diffusers import AutoencoderKL

    blocks = 3
    vae = AutoencoderKL(
        1, 1, ("DownEncoderBlock2D",) * blocks, ("UpDecoderBlock2D",) * blocks, (16, 32, 48),
        layers_per_block=1, latent_channels=8, norm_num_groups=8, sample_size=64,
    )  # fmt: skip
    # Log-mels are about -7 +- 4: start the decoder there to save training the offset.
    with torch.no_grad():
        vae.decoder.conv_out.bias.fill_(-7.0)
        vae.decoder.conv_out.weight.mul_(4.0)
        vae.encoder.conv_in.weight.mul_(0.25)
    return vae


def make_vocoder() -> nn.Module:
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    config = SpeechT5HifiGanConfig(
        model_in_dim=64, sampling_rate=16000, upsample_initial_channel=128, upsample_rates=[5, 4, 4, 2],
        upsample_kernel_sizes=[11, 8, 8, 4], resblock_kernel_sizes=[3, 7], resblock_dilation_sizes=[[1, 3, 5]] * 2,
        normalize_before=False,
    )  # fmt: skip
    vocoder = SpeechT5HifiGan(config)
    with torch.no_grad():  # the same offset, on the way in
        vocoder.conv_pre.weight.mul_(0.3)
    return vocoder


def _vocoder_of(folder: Path) -> nn.Module:
    from transformers import SpeechT5HifiGan

    return SpeechT5HifiGan.from_pretrained(folder).train()


def render_frames(count: int, first: int = 0) -> Tensor:
    """Render one random view of each of `count` training scenes: `[count, 3, 64, 64]` uint8."""
    frames = torch.empty(count, 3, SIZE, SIZE, dtype=torch.uint8)
    for i in range(count):
        rng = np.random.default_rng([SPLIT_FIRST_SEED["train"] + first + i, 2])
        scene = scene_of("train", first + i)
        view = random_view(scene, rng)
        rays = view_directions(view.yaw_deg, view.pitch_deg, view.fov_deg, SIZE)
        frames[i] = (scene.render(rays, float(rng.uniform(0, 4))) * 255).round().byte()
    return frames


def render_sounds(count: int, first: int = 0) -> Tensor:
    """Render the view sound of `count` training scenes: `[count, 64000]`."""
    spec = ClipSpec()
    sounds = []
    for i in range(count):
        rng = np.random.default_rng([SPLIT_FIRST_SEED["train"] + first + i, 3])
        scene = scene_of("train", first + i)
        sounds.append(scene.view_sound(random_track(scene, rng, spec.num_frames), spec).waveform[0])
    return torch.stack(sounds)


def _optimise(parameters, steps: int, learning_rate: float, loss_of_step: Callable[[int], Tensor], name: str) -> None:
    optimiser = torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.99), weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps, pct_start=0.05)
    started, running = time.time(), 0.0
    for step in range(steps):
        loss = loss_of_step(step)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        running = loss.item() if step == 0 else 0.98 * running + 0.02 * loss.item()
        if step % 50 == 0 or step == steps - 1:
            print(f"{name} step {step}/{steps} loss {running:.5f} {time.time() - started:.0f} s", flush=True)


def _set_scaling(vae: nn.Module, batches: list[Tensor]) -> None:
    """Store the factor that brings latents to unit variance."""
    with torch.no_grad():
        latents = torch.cat([vae.encode(batch).latent_dist.mode() for batch in batches])
    vae.register_to_config(scaling_factor=round(float(1.0 / latents.std()), 4))


def train_vae_v(steps: int, batch: int, pool: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    frames, vae = render_frames(pool), make_vae_v()
    parameters = list(vae.parameters())

    def loss_of_step(step: int) -> Tensor:
        x = frames[torch.randint(len(frames), (batch,))].float() / 127.5 - 1
        posterior = vae.encode(x).latent_dist
        error = (vae.decode(posterior.sample()).sample - x).abs()
        # Shapes cover little of a picture: count the pixels with the largest error twice.
        hard = error.flatten(1).topk(error[0].numel() // 8, dim=1).values.mean()
        return error.mean() + 0.25 * hard + 2e-5 * posterior.kl().mean() / 1024 * 16

    _optimise(parameters, steps, 2e-3, loss_of_step, "vae_v")
    _set_scaling(vae, [frames[i : i + 64].float() / 127.5 - 1 for i in range(0, 256, 64)])
    return vae


def train_vae_a(steps: int, batch: int, pool: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    mels, vae = _mel_pool(pool), make_vae_a()
    parameters = list(vae.parameters())

    def loss_of_step(step: int) -> Tensor:
        x = _crops(mels, batch, 128)[0][:, None]
        posterior = vae.encode(x).latent_dist
        error = (vae.decode(posterior.sample()).sample - x).abs()
        return error.mean() + 2e-4 * posterior.kl().mean() / posterior.mean[0].numel()

    _optimise(parameters, steps, 2e-3, loss_of_step, "vae_a")
    _set_scaling(vae, [mels[i : i + 16, None] for i in range(0, 64, 16)])
    return vae


def _mel_pool(pool: int) -> Tensor:
    return torch.cat([log_mel(chunk) for chunk in render_sounds(pool).split(64)])


def _crops(mels: Tensor, batch: int, length: int) -> tuple[Tensor, list[tuple[int, int]]]:
    rows = torch.randint(len(mels), (batch,)).tolist()
    starts = torch.randint(mels.shape[1] - length + 1, (batch,)).tolist()
    places = list(zip(rows, starts, strict=True))
    return torch.stack([mels[r, s : s + length] for r, s in places]), places


def spectral_loss(a: Tensor, b: Tensor) -> Tensor:
    """Compute the multi-resolution STFT distance of `[B, N]` waveforms: spectral convergence and log magnitude."""
    total = a.new_zeros(())
    for n_fft in (256, 512, 1024, 2048):
        window = torch.hann_window(n_fft, device=a.device)
        A, B = (torch.stft(x, n_fft, n_fft // 4, window=window, return_complex=True).abs() for x in (a, b))
        total = total + (A - B).norm() / B.norm().clamp_min(1e-3)
        total = total + ((A + 1e-3).log() - (B + 1e-3).log()).abs().mean()
    return total / 4


def relative_loss(a: Tensor, b: Tensor) -> Tensor:
    """Compute the STFT distance of `[B, N]` waveforms, relative to the target's magnitude in each non-silent bin.

    Beside a loud voice, a missing soft one changes the waveform little but is clearly heard. Magnitudes weigh most:
    while the phase is not learned yet, silence would minimise a complex distance.
    """
    window = torch.hann_window(512, device=a.device)
    A, B = (torch.stft(x, 512, 128, window=window, return_complex=True) for x in (a, b))
    level = B.abs()
    weight = (level > 0.3) / level.clamp_min(0.3)
    error = (A.abs() - level).abs() + 0.25 * (A - B).abs()
    return (error * weight).sum() / (weight > 0).sum().clamp_min(1)


def solo_voices(count: int) -> Tensor:
    """Render single voices, loud and soft: `[count, N]`. In a mixture the loudest voices dominate the error."""
    rng, spec = np.random.default_rng(7), ClipSpec()
    time_s = np.arange(spec.num_samples) / spec.sample_rate_hz
    names = list(VOICES)
    waves = [
        10 ** rng.uniform(-1.0, 0.0) * voice_waveform(names[i % len(names)], time_s, float(rng.random()))
        for i in range(count)
    ]
    return torch.from_numpy(np.stack(waves)).float()


def train_vocoder(steps: int, batch: int, pool: int, seed: int, start: Path | None = None) -> nn.Module:
    torch.manual_seed(seed)
    sounds = torch.cat([render_sounds(pool), solo_voices(pool // 2)])
    vocoder = _vocoder_of(start) if start else make_vocoder()
    mels = torch.cat([log_mel(chunk) for chunk in sounds.split(64)])
    parameters = list(vocoder.parameters())
    length = 48

    def loss_of_step(step: int) -> Tensor:
        mel, places = _crops(mels, batch, length)
        target = torch.stack([sounds[r, s * 160 : (s + length) * 160] for r, s in places])
        made = vocoder(mel)[:, : length * 160]
        # Scenes have fixed phases, so waveforms can be compared directly.
        return spectral_loss(made, target) + 5.0 * F.l1_loss(made, target) + 2.0 * relative_loss(made, target)

    _optimise(parameters, steps, 2e-3, loss_of_step, "vocoder")
    return vocoder


TRAINERS = {
    "vae_v": (train_vae_v, dict(steps=2600, batch=8, pool=6000)),
    "vae_a": (train_vae_a, dict(steps=1400, batch=4, pool=800)),
    "vocoder": (train_vocoder, dict(steps=2000, batch=6, pool=500)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="bundle folder; parts are written into it")
    parser.add_argument("--only", choices=list(TRAINERS), action="append", help="train this part alone (repeatable)")
    parser.add_argument("--steps", type=int, help="override the number of steps")
    parser.add_argument("--start", type=Path, help="vocoder folder to go on from")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for name in args.only or TRAINERS:
        trainer, settings = TRAINERS[name]
        settings = {**settings, **({"steps": args.steps} if args.steps else {})}
        if args.start and name == "vocoder":
            settings["start"] = args.start
        trainer(seed=args.seed, **settings).save_pretrained(args.out / name)


if __name__ == "__main__":
    main()
