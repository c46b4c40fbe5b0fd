"""Train the small picture encoder: from a panorama or a front view it must tell each colour's place and size.

python -m train.omniaudio.pictures --out runs/omniaudio --minutes 10
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from con360.geometry.erp import erp_directions
from con360.media.files import atomic_path
from con360.scenes import COLOURS, SHAPES, Scene
from con360.sounding.pictures import clip_pixels, front_view, squared
from con360.sounding.small_encoder import SmallEncoder, shrunk
from train.omniaudio.scenes import moving_scene

HEIGHT = 112
# Truth about each colour: seen, sine and cosine of yaw, pitch, radius, and which shape.
FACTS = 5


def frame_of(scene: Scene, time_s: float, rays: Tensor) -> np.ndarray:
    """A panorama `[H, W, 3]` uint8."""
    return (scene.render(rays, time_s) * 255).round().byte().permute(1, 2, 0).numpy()


def pictures_of(frame: np.ndarray) -> tuple[Tensor, Tensor]:
    """Pixels of the panorama and of the front view, as the encoder reads them."""
    return clip_pixels(squared(frame)), clip_pixels(front_view(frame))


def truth(scene: Scene, time_s: float) -> tuple[Tensor, Tensor]:
    """Facts `[6, FACTS]` and shapes `[6]` (-1: not there) of each colour."""
    facts, shapes = torch.zeros(len(COLOURS), FACTS), torch.full((len(COLOURS),), -1)
    for p in scene.performers:
        i, yaw = list(COLOURS).index(p.colour), np.radians(p.yaw_at(time_s))
        facts[i] = torch.tensor([1.0, np.sin(yaw), np.cos(yaw), p.pitch_deg / 45, p.radius_at(time_s) / 20])
        shapes[i] = SHAPES.index(p.shape)
    return facts, shapes


def example(seed: int, rays: Tensor) -> tuple[Tensor, ...]:
    rng = np.random.default_rng([seed, 7])
    scene, time_s = moving_scene(seed, "none"), float(rng.uniform(0, 4))
    panorama, view = pictures_of(frame_of(scene, time_s, rays))
    facts, shapes = truth(scene, time_s)
    # The front view sees what is within 70 degrees of the front.
    ahead = facts * ((facts[:, 2:3] > np.cos(np.radians(65))) & (facts[:, :1] > 0))
    small = [(shrunk(one) * 20).round().char() for one in (panorama, view)]
    return *small, facts, ahead, shapes


def train(out: Path, minutes: float, count: int, seed: int) -> SmallEncoder:
    torch.manual_seed(seed)
    rays = erp_directions(HEIGHT)
    columns = [torch.stack(c) for c in zip(*(example(seed + i, rays) for i in range(count)), strict=True)]
    print("rendered", count, flush=True)
    encoder = SmallEncoder()
    heads = nn.ModuleList([nn.Linear(encoder.width, len(COLOURS) * (FACTS + len(SHAPES))) for _ in range(2)])
    parameters = [*encoder.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=1e-3)
    started, step, shown, kept = time.time(), 0, 0.0, count - 200
    while (share := (time.time() - started) / 60 / minutes) < 1:
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * share)))
        rows = torch.randint(kept, (48,))
        loss, _ = _loss(encoder, heads, [c[rows] for c in columns])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        step += 1
        if time.time() - shown > 60:
            shown = time.time()
            with torch.no_grad():
                _, facts = _loss(encoder.eval(), heads, [c[kept:] for c in columns])
            encoder.train()
            print(f"{(shown - started) / 60:.1f} min step {step} loss {loss.item():.4f}", facts, flush=True)
            _save(encoder, out)
    _save(encoder, out)
    return encoder


def _save(encoder: SmallEncoder, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with atomic_path(out / "pictures.safetensors") as temporary:
        save_file(encoder.state_dict(), temporary)


def _loss(encoder: SmallEncoder, heads: nn.ModuleList, batch: list[Tensor]) -> tuple[Tensor, dict[str, float]]:
    panorama, view, facts, ahead, shapes = batch
    total, report = torch.zeros(()), {}
    for name, pixels, wanted, head in (("panorama", panorama, facts, heads[0]), ("view", view, ahead, heads[1])):
        features = encoder(pixels.float() / 20)
        # Features of unit size: the flow reads them as they are.
        made = head(features).unflatten(1, (len(COLOURS), -1))
        seen = wanted[..., :1]
        total = total + F.binary_cross_entropy_with_logits(made[..., :1], seen)
        total = total + 4 * ((made[..., 1:FACTS] - wanted[..., 1:]) ** 2 * seen).sum() / seen.sum().clamp_min(1) / 4
        there = (wanted[..., 0] > 0) & (shapes >= 0)
        total = total + 0.05 * F.cross_entropy(made[..., FACTS:][there], shapes[there])
        total = total + 0.01 * (features.square().mean() - 1).square()
        made_yaw, true_yaw = (torch.atan2(x[..., 1], x[..., 2])[there] for x in (made, wanted))
        off = torch.rad2deg((made_yaw - true_yaw + torch.pi).remainder(2 * torch.pi) - torch.pi).abs()
        report[f"{name} yaw"] = round(off.median().item(), 1)
        report[f"{name} shape"] = round((made[..., FACTS:][there].argmax(-1) == shapes[there]).float().mean().item(), 2)
    return total, report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    train(args.out, args.minutes, args.count, args.seed)


if __name__ == "__main__":
    main()
