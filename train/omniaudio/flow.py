"""Train the small model's transformer by flow matching: latents of a scene's sound from features of its pictures.

    python -m train.omniaudio.flow --out runs/omniaudio --minutes 60

The objective is the published one: t = sigmoid(normal), x_t = (1 - t) x + t noise, the target is noise - x, and one
view in five is left out.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from con360.choices import VoiceFollows
from con360.media.files import atomic_path
from con360.metrics.directions import direction_errors
from con360.models.flow_transformer import FlowTransformer, FlowTransformerConfig
from con360.models.omniaudio import OmniAudio, PanoramaUse
from con360.models.oobleck import Oobleck
from con360.models.picture_features import PictureEmbedders
from con360.records import Sound
from con360.sounding.generate import FieldSettings, generated_blocks
from con360.sounding.picture_encoder import PictureFeatures
from con360.sounding.small_encoder import SmallEncoder
from con360.timing import ClipSpec
from train.examples import SPLIT_FIRST_SEED
from train.omniaudio.cache import FieldCache, build, features_of
from train.omniaudio.codec import CONFIG, RATE_HZ
from train.omniaudio.scenes import moving_scene

SECONDS = 4.0
WIDTH, HEADS, DEPTH = 192, 3, 6
DROPPED = 0.2


def parts_of(out: Path) -> tuple[SmallEncoder, Oobleck]:
    encoder, codec = SmallEncoder(), Oobleck(CONFIG)
    encoder.load_state_dict(load_file(out / "pictures.safetensors"))
    codec.load_state_dict(load_file(out / "codec.safetensors"))
    return encoder.eval().requires_grad_(False), codec.eval().requires_grad_(False)


def new_model(codec: Oobleck, features: int, panorama: PanoramaUse) -> OmniAudio:
    config = FlowTransformerConfig(CONFIG.latent_channels, WIDTH, HEADS, DEPTH)
    model = OmniAudio(
        FlowTransformer(config), PictureEmbedders(features, WIDTH), codec, RATE_HZ, SECONDS, panorama, "small"
    )
    # A fresh network predicts nothing.
    torch.nn.init.zeros_(model.transformer.transformer.project_out.weight)
    return model


def loss_of(model: OmniAudio, batch: FieldCache, g: torch.Generator) -> Tensor:
    x = batch.mean.float() + batch.std.float() * torch.randn(batch.mean.shape, generator=g)
    noise = torch.randn(x.shape, generator=g)
    t = torch.sigmoid(torch.randn(len(x), generator=g))
    given, without = model.batch_features(batch.panorama.float(), batch.view.float(), x.shape[-1])
    dropped = torch.rand(len(x), 1, 1, generator=g) < DROPPED
    features = torch.where(dropped, without, given)
    network = model.transformer
    time_embedding = network.embed_times("audio", t, x)
    velocity = network.velocity(x + t[:, None, None] * (noise - x), time_embedding, features)
    return (velocity - (noise - x)).square().mean()


def take(cache: FieldCache, rows: Tensor) -> FieldCache:
    return FieldCache(cache.panorama[rows], cache.view[rows], cache.mean[rows], cache.std[rows])


@torch.no_grad()
def judge(
    model: OmniAudio, encoder: SmallEncoder, voice_follows: VoiceFollows, count: int, rate: float | None = None
) -> float:
    """Median angular error in degrees of unseen scenes' sound."""
    errors = []
    for i in range(count):
        scene = moving_scene(SPLIT_FIRST_SEED["validation"] + i, voice_follows, rate=rate)
        pictures = PictureFeatures(*features_of(scene, encoder))
        made = torch.cat(list(generated_blocks(model, pictures, SECONDS, FieldSettings(steps=12, cfg=2.0, seed=i))), 1)
        true = scene.foa(ClipSpec()).waveform
        errors.append(direction_errors(Sound(made, RATE_HZ, "ambix"), Sound(true, RATE_HZ, "ambix")).angular)
    return float(np.degrees(np.median(errors)))


def train(
    out: Path, name: str, panorama: PanoramaUse, voice_follows: VoiceFollows, minutes: float, count: int, seed: int
) -> None:
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    encoder, codec = parts_of(out)
    cache = build(out / f"cache-{voice_follows}.safetensors", encoder, codec, voice_follows, "train", count)
    model = new_model(codec, encoder.width, panorama)
    networks: dict[str, torch.nn.Module] = {"model.model.": model.transformer, "conditioner.": model.embedders}
    parameters = [p for n in networks.values() for p in n.parameters()]
    average = [p.detach().clone() for p in parameters]
    optimiser = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=1e-2, betas=(0.9, 0.98))
    started, step, shown, running = time.time(), 0, time.time(), 1.0
    while (share := (time.time() - started) / 60 / minutes) < 1:
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * min(1.0, (step + 1) / 200) * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * share)))
        loss = loss_of(model, take(cache, torch.randint(len(cache), (32,), generator=g)), g)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        step += 1
        torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - min(0.998, step / (step + 10)))
        running += 0.02 * (loss.item() - running)
        if time.time() - shown > 300:
            shown = time.time()
            current = [p.detach().clone() for p in parameters]
            _set(parameters, average)
            facts = {
                "still": judge(model, encoder, voice_follows, 12, 0.0),
                "30": judge(model, encoder, voice_follows, 12, 30.0),
            }
            _save(networks, out / f"{name}.safetensors")
            _set(parameters, current)
            print(f"{name} {(shown - started) / 60:.1f} min step {step} loss {running:.4f}", facts, flush=True)
    _set(parameters, average)
    _save(networks, out / f"{name}.safetensors")
    print("end", name, step, {r: judge(model, encoder, voice_follows, 48, r) for r in (0.0, 30.0)}, flush=True)


@torch.no_grad()
def _set(parameters: list[Tensor], values: list[Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)


def _save(networks: dict[str, torch.nn.Module], path: Path) -> None:
    state = {prefix + k: v for prefix, n in networks.items() for k, v in n.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(state, temporary, metadata={"format": "pt"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--name", default="flow")
    parser.add_argument("--panorama", default="per_frame")
    parser.add_argument("--voice-follows", default="colour")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    train(args.out, args.name, args.panorama, args.voice_follows, args.minutes, args.count, args.seed)


if __name__ == "__main__":
    main()
