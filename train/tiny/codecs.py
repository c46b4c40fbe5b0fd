"""Train the tiny bundle's autoencoders of picture and sound on procedural scenes.

    python -m train.tiny.codecs --out runs/tiny --only vae_v

Each part is saved by diffusers (`vae_v/`, `vae_a/`), so it loads like a public one. `train.tiny.vocoder` comes after.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from con360.geometry.perspective import view_directions
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


TRAINERS = {
    "vae_v": (train_vae_v, dict(steps=2600, batch=8, pool=6000)),
    "vae_a": (train_vae_a, dict(steps=1400, batch=4, pool=800)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="bundle folder; parts are written into it")
    parser.add_argument("--only", choices=list(TRAINERS), action="append", help="train this part alone (repeatable)")
    parser.add_argument("--steps", type=int, help="override the number of steps")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for name in args.only or TRAINERS:
        trainer, settings = TRAINERS[name]
        settings = {**settings, **({"steps": args.steps} if args.steps else {})}
        trainer(seed=args.seed, **settings).save_pretrained(args.out / name)


if __name__ == "__main__":
    main()
