"""Train the tiny bundle's denoisers, connectors and control together, in stages.

    python -m train.tiny.codecs --out runs/tiny                       # autoencoders
    python -m train.tiny.vocoder --out runs/tiny --minutes 20
    python -m train.tiny.text --out runs/tiny                         # text encoders
    python -m train.tiny.joint read    --out runs/tiny --minutes 8
    python -m train.tiny.joint picture --out runs/tiny --minutes 30
    python -m train.tiny.joint listen  --out runs/tiny --minutes 20
    python -m train.tiny.joint sound   --out runs/tiny --minutes 25
    python -m train.tiny.joint clip    --out runs/tiny --minutes 30
    python -m train.tiny.joint export  --out runs/tiny --bundle con360/bundle
    # The baseline to compare with: the same networks, trained further without maps.
    python -m train.tiny.joint sound   --out runs/baseline --start runs/tiny --minutes 45 --baseline
    python -m train.tiny.joint clip    --out runs/baseline --start runs/tiny --minutes 30 --rate 4e-4 --baseline
    python -m train.tiny.joint export  --out runs/baseline --start runs/tiny --bundle runs/baseline/bundle --baseline

Each stage continues from the last checkpoint in `--out` and writes a new one:
    read     single frames of half the size, from pure noise. Only caption and maps say what to draw, so the network
             learns to bind words to directions, at a third of the cost.
    picture  single frames at all noise levels.
    listen   sounds from pure noise. Only caption and maps say which voice is how loud, and when.
    sound    the audio side at all noise levels.
    clip     32 frames with sound; everything is trained, with motion modules and connectors.

Map features are resampled into the view. Base and control are trained together, because with a frozen base and few
steps the control stays weak (method notes: 0.09 of true views matched, against 0.53 trained jointly).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from con360.media.files import atomic_path
from con360.sound.mels import log_mel
from train.examples import ESTIMATOR
from train.tiny.cache import Cache, CacheBatch, batches, build_cache, heard_voices, seen_performers
from train.tiny.model import SPEC, TinyModel
from train.tiny.networks import make_scheduler
from train.tiny.readers import KnownFeatures, PerformerReader, QueryTeacher, VoiceReader
from train.tiny.steps import (
    READ_GRID,
    Losses,
    baseline_sound_step,
    baseline_step,
    clip_step,
    listen_step,
    picture_step,
    read_step,
    sound_step,
)

CHECKPOINT = "checkpoint.pt"
SAVE_EVERY_S = 240
# Names and sizes of the caches that the stages read.
CACHES: dict[str, dict[str, int]] = {
    "picture": dict(count=12_000, first=0, num_frames=1),
    # Keep all frames: the maps pulse with the voices.
    "sound": dict(count=2000, first=100_000, num_frames=32, estimate_every=8),
    "clip": dict(count=400, first=200_000, num_frames=32),
}


@dataclass
class Average:
    """Keep an exponential moving average of parameters; a low decay at the start forgets the first weights soon."""

    shadow: dict[str, Tensor]
    updates: int = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.updates += 1
        decay = min(0.999, (1 + self.updates) / (20 + self.updates))
        names, current = zip(*model.state_dict().items(), strict=True)
        floats = [i for i, t in enumerate(current) if t.is_floating_point()]
        torch._foreach_lerp_([self.shadow[names[i]] for i in floats], [current[i] for i in floats], 1 - decay)


def load_codecs(out: Path) -> tuple[Any, Any]:
    """Load the autoencoders of picture and sound; the sound's is None if it is not trained yet."""
    from diffusers import AutoencoderKL

    vae_v = AutoencoderKL.from_pretrained(out / "vae_v").eval().requires_grad_(False)
    vae_a = (
        AutoencoderKL.from_pretrained(out / "vae_a").eval().requires_grad_(False) if (out / "vae_a").is_dir() else None
    )
    return vae_v, vae_a


def open_cache(out: Path, name: str) -> Cache:
    """Open a stage's cache; build it on first use."""
    vae_v, vae_a = load_codecs(out)

    @torch.no_grad()
    def encode_v(frames: Tensor) -> Tensor:
        return vae_v.encode(frames * 2 - 1).latent_dist.mode() * vae_v.config.scaling_factor

    @torch.no_grad()
    def encode_a(waveform: Tensor) -> Tensor:
        latents = vae_a.encode(log_mel(waveform)[:, None]).latent_dist.mode() * vae_a.config.scaling_factor
        return nn.functional.pad(latents, (0, 0, 0, SPEC.num_latent_rows_padded - latents.shape[2]))

    path = out / "cache" / f"{name}.safetensors"
    # Single-frame stages need no sound (its autoencoder may not exist yet); sound stages need no picture.
    with_v, with_a = name != "sound", name != "picture"
    return build_cache(
        path, encode_v if with_v else None, encode_a if with_a else None, split="train", spec=SPEC, **CACHES[name]
    )


def _reader(model: TinyModel, name: str, grid: int = 16) -> PerformerReader:
    settings = CACHES[name]
    rows = range(settings["first"], settings["first"] + settings["count"])
    labels = [seen_performers("train", i, num_frames=settings["num_frames"], spec=SPEC, grid=grid) for i in rows]
    return PerformerReader(model.unet.unet_v, torch.stack(labels))


def _voice_reader(model: TinyModel, name: str) -> VoiceReader:
    first, count = CACHES[name]["first"], CACHES[name]["count"]
    rows, seconds = SPEC.num_latent_rows_padded, SPEC.latent_seconds_a / SPEC.num_latent_rows_padded
    levels = [heard_voices("train", i, rows=rows, row_seconds=seconds, spec=SPEC) for i in range(first, first + count)]
    return VoiceReader(model.unet.unet_a, torch.stack(levels))


Step = Callable[..., tuple[Losses, Losses]]


def _work_of(
    stage: str, model: TinyModel, data: Path, g: torch.Generator, baseline: bool
) -> tuple[Step, Iterator[CacheBatch], list[nn.Module]]:
    """Return a stage's losses, its batches, and the readers to train with it."""
    if baseline and stage == "sound":
        return baseline_sound_step, batches(open_cache(data, "sound"), 6, g), []
    if baseline:
        return baseline_step, batches(open_cache(data, "clip"), 2, g), []
    if stage == "clip":
        reader, voices = _reader(model, "clip"), _voice_reader(model, "clip")
        step = partial(clip_step, reader=reader, voices=voices)
        return step, batches(open_cache(data, "clip"), 2, g), [reader, voices]
    if stage in ("listen", "sound"):
        voices = _voice_reader(model, "sound")
        known = KnownFeatures(model.control.encoder)
        step = partial(listen_step if stage == "listen" else sound_step, reader=voices, known=known)
        return step, batches(open_cache(data, "sound"), 6, g), [voices]
    teacher = QueryTeacher(model.unet.unet_v, torch.load(data / "text.pt", weights_only=True)["reader"])
    reader = _reader(model, "picture", READ_GRID if stage == "read" else 16)
    step = partial(read_step if stage == "read" else picture_step, reader=reader, teacher=teacher)
    return step, batches(open_cache(data, "picture"), 64 if stage == "read" else 24, g), [reader]


def train_stage(
    stage: str, out: Path, start: Path, minutes: float, learning_rate: float, seed: int, steps: int | None,
    baseline: bool = False, keep_picture: bool = False,
) -> None:  # fmt: skip
    """Train a stage from `out`'s checkpoint, else `start`'s; take text encoders, codecs and caches from `start`.

    `train.loop` trains a control over a finished base, with another average, rate schedule and batching. The stages
    that made the built-in model keep this loop.

    Args:
        steps: number of optimiser steps, instead of `minutes`.
        baseline: train without maps.
        keep_picture: stage `clip`: train only the sound.
    """
    torch.manual_seed(seed)
    model, scheduler, g = TinyModel(), make_scheduler(), torch.Generator().manual_seed(seed)
    _start_from(model, out, start)
    average = Average({name: t.clone() for name, t in model.state_dict().items()})
    if stage in ("listen", "sound") or keep_picture:
        model.train_sound_only()
    if baseline:
        model.control.requires_grad_(False)
    losses_of, stream, readers = _work_of(stage, model, start, g, baseline)
    parameters = [p for module in (model, *readers) for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.99), weight_decay=1e-2)
    running: dict[str, float] = {}
    started = saved = time.time()
    step = 0
    while (fraction := step / steps if steps else (time.time() - started) / (60 * minutes)) < 1:
        rate = _rate(learning_rate, step, fraction)
        for group in optimiser.param_groups:
            group["lr"] = rate
        losses, figures = losses_of(model, next(stream), scheduler, g)
        optimiser.zero_grad(set_to_none=True)
        sum(losses.values(), torch.zeros(())).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        average.update(model)
        _follow(running, losses | figures)
        if step % 25 == 0:
            text = " ".join(f"{name} {value:.4f}" for name, value in running.items())
            print(f"{stage} step {step} {text} rate {rate:.1e} {time.time() - started:.0f} s", flush=True)
        if time.time() - saved > SAVE_EVERY_S:
            _save(out / CHECKPOINT, average, stage, step)
            saved = time.time()
        step += 1
    _save(out / CHECKPOINT, average, stage, step)
    print(f"{stage} done: {step} steps in {time.time() - started:.0f} s", flush=True)


def _start_from(model: TinyModel, out: Path, start: Path) -> None:
    """Fill the model from the last checkpoint, or from the text stage if there is none."""
    begin = next((path for path in (out / CHECKPOINT, start / CHECKPOINT) if path.is_file()), None)
    if begin is not None:
        model.load_state_dict(torch.load(begin, weights_only=True)["average"])
    else:
        model.start_from_text(torch.load(start / "text.pt", weights_only=True))


def _rate(peak: float, step: int, fraction: float) -> float:
    """Compute the learning rate: a short rise, then a cosine to zero over the stage's time or steps."""
    return peak * min(1.0, (step + 1) / 30) * 0.5 * (1 + torch.cos(torch.tensor(fraction * torch.pi)).item())


def _follow(running: dict[str, float], values: Losses) -> None:
    """Move the running means towards new values; a figure without a value keeps its mean."""
    for name, value in values.items():
        if value.isfinite():
            running[name] = 0.98 * running.get(name, value.item()) + 0.02 * value.item()


def _save(path: Path, average: Average, stage: str, step: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        torch.save({"average": average.shadow, "stage": stage, "step": step, "saliency": ESTIMATOR}, temporary)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["cache", "read", "picture", "listen", "sound", "clip", "export"])
    parser.add_argument("--out", type=Path, default=Path("runs/tiny"))
    parser.add_argument("--start", type=Path, help="folder whose codecs, caches and last checkpoint to go on from")
    parser.add_argument("--baseline", action="store_true", help="sound, clip, export: train or export without maps")
    parser.add_argument("--keep-picture", action="store_true", help="clip: train only the sound")
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--steps", type=int, help="steps instead of minutes")
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bundle", type=Path, default=Path("con360/bundle"), help="where `export` writes")
    parser.add_argument("--only", help="name of the cache to build with the stage `cache`")
    args = parser.parse_args()
    start = args.start or args.out
    if args.baseline and args.stage not in ("sound", "clip", "export"):
        parser.error("--baseline belongs to the stages sound, clip and export")
    if args.stage == "cache":
        open_cache(args.out, args.only)
    elif args.stage == "export":
        from train.tiny.export import export_bundle

        export_bundle(args.out, start, args.bundle, baseline=args.baseline)
    else:
        train_stage(
            args.stage, args.out, start, args.minutes, args.rate, args.seed, args.steps, args.baseline,
            args.keep_picture,
        )  # fmt: skip


if __name__ == "__main__":
    main()
