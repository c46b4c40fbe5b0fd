"""The joint stages of the tiny bundle: denoisers, connectors and control, trained together.

    python -m train.tiny.codecs --out runs/tiny                       # autoencoders and vocoder
    python -m train.tiny.text --out runs/tiny                         # text encoders
    python -m train.tiny.joint read    --out runs/tiny --minutes 8
    python -m train.tiny.joint picture --out runs/tiny --minutes 30
    python -m train.tiny.joint listen  --out runs/tiny --minutes 20
    python -m train.tiny.joint sound   --out runs/tiny --minutes 25
    python -m train.tiny.joint clip    --out runs/tiny --minutes 30
    python -m train.tiny.joint export  --out runs/tiny --bundle con360/bundle
    # The baseline to compare with: the same networks, trained on without maps.
    python -m train.tiny.joint sound   --out runs/baseline --start runs/tiny --minutes 45 --baseline
    python -m train.tiny.joint clip    --out runs/baseline --start runs/tiny --minutes 30 --rate 4e-4 --baseline
    python -m train.tiny.joint export  --out runs/baseline --start runs/tiny --bundle runs/baseline/bundle --baseline

Each stage goes on from the last checkpoint in `--out` and leaves a new one. `read` trains single frames of half the
size from pure noise, where only caption and maps can say what to draw: the binding of words to directions is learned
there at a third of the cost. `picture` trains single frames. `listen` is to the sound what `read` is to the picture:
from pure noise, where only caption and maps can say which voice is how loud when. `sound` trains the audio side, `clip`
trains 32 frames with sound, motion modules, connectors and everything else together.

The map features are resampled into the view and everything is trained together: with a frozen base and few steps
control stays weak (method notes: 0.09 of true views matched, against 0.53 trained jointly).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from con360.geometry.erp import sample_erp
from con360.media.files import atomic_path
from con360.models.codecs import log_mel
from con360.protocols import Film
from train.examples import ESTIMATOR, rays_of
from train.losses import (
    Dropout,
    drop_maps,
    joint_loss,
    keep_mask,
    mask_film,
    picture_loss,
    random_timesteps,
    sound_loss,
)
from train.tiny.cache import Batch, Cache, batches, build_cache, heard_voices, seen_performers
from train.tiny.networks import (
    make_scheduler,
)
from train.tiny.readers import KnownFeatures, PerformerReader, QueryTeacher, VoiceReader

from .model import SPEC, VIEW_GRID, TinyModel

# Frames that start from the same noise show the same things: coherence that few clips are enough to learn.
SHARED_NOISE = 1.0
DROPOUT = Dropout()
# Share of single frames trained from pure noise, where nothing but caption and maps can tell what to draw.
BLANK = 0.3
READ_GRID = 8
# Names, sizes and batch sizes of the caches that the stages read.
CACHES = {
    "picture": dict(count=12_000, first=0, num_frames=1),
    # All frames: the maps pulse with the voices.
    "sound": dict(count=2000, first=100_000, num_frames=32, estimate_every=8),
    "clip": dict(count=400, first=200_000, num_frames=32),
}


@dataclass
class Average:
    """Exponential moving average of parameters, warmed up so that early noise leaves quickly."""

    shadow: dict[str, Tensor]
    updates: int = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.updates += 1
        decay = min(0.999, (1 + self.updates) / (20 + self.updates))
        names, current = zip(*model.state_dict().items(), strict=True)
        floats = [i for i, t in enumerate(current) if t.is_floating_point()]
        torch._foreach_lerp_([self.shadow[names[i]] for i in floats], [current[i] for i in floats], 1 - decay)


def load_codecs(out: Path):
    from diffusers import AutoencoderKL

    vae_v = AutoencoderKL.from_pretrained(out / "vae_v").eval().requires_grad_(False)
    vae_a = (
        AutoencoderKL.from_pretrained(out / "vae_a").eval().requires_grad_(False) if (out / "vae_a").is_dir() else None
    )
    return vae_v, vae_a


def open_cache(out: Path, name: str) -> Cache:
    """The cache of a stage, built on first use."""
    vae_v, vae_a = load_codecs(out)

    @torch.no_grad()
    def encode_v(frames: Tensor) -> Tensor:
        return vae_v.encode(frames * 2 - 1).latent_dist.mode() * vae_v.config.scaling_factor

    @torch.no_grad()
    def encode_a(waveform: Tensor) -> Tensor:
        latents = vae_a.encode(log_mel(waveform)[:, None]).latent_dist.mode() * vae_a.config.scaling_factor
        return nn.functional.pad(latents, (0, 0, 0, SPEC.num_latent_rows_padded - latents.shape[2]))

    path = out / "cache" / f"{name}.safetensors"
    # Single frames are trained before the sound's autoencoder exists, and need no sound; the sound needs no picture.
    encoders = (None if name == "sound" else encode_v, None if name == "picture" else encode_a)
    return build_cache(path, *encoders, split="train", spec=SPEC, **CACHES[name])


def seen_saliency(batch: Batch, rays: Tensor) -> Tensor:
    """Weight of each latent pixel, `[B, T, h, w]`: 1, and up to 5 where the view shows something salient."""
    B, T = rays.shape[:2]
    saliency = sample_erp(batch.maps[:, :, :1].flatten(0, 1), rays.flatten(0, 1))
    return 1 + 4 * saliency.view(B, T, *saliency.shape[-2:])


def captioned(model: TinyModel, batch: Batch, g: torch.Generator) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Text for (picture, sound), some captions dropped for guidance, and which were kept: `[B]` of 0 and 1."""
    keep = keep_mask(DROPOUT.text, len(batch.captions), g)
    return model.encode_text([c if k else "" for c, k in zip(batch.captions, keep, strict=True)]), keep


def conditioned(
    model: TinyModel,
    batch: Batch,
    g: torch.Generator,
    fps: float,
    grid: int | None = 16,
    known: KnownFeatures | None = None,
) -> tuple[tuple[Tensor, Tensor], Film]:
    """Text and modulation of a batch for latents `grid` pixels wide, with everything dropped that guidance needs.

    Args:
        grid: None leaves the picture's sites out.
        known: features of a frozen encoder.
    """
    text, keep_text = captioned(model, batch, g)
    keep_control = keep_mask(DROPOUT.control, len(batch.captions), g)
    picture = None if grid is None else (batch.maps.shape[1], grid, grid)
    shapes = model.unet.site_shapes(picture, tuple(batch.latents_a.shape[2:]))
    maps, rays = drop_maps(batch.maps, DROPOUT, g), None if grid is None else rays_of(batch.views, VIEW_GRID)
    film = model.control(
        maps, rays, shapes, fps=fps, audio_seconds=SPEC.latent_seconds_a,
        features=known.of(maps, batch.indices) if known else None,
    )  # fmt: skip
    return text, mask_film(film, keep_text * keep_control)


Losses = dict[str, Tensor]


def picture_step(
    model: TinyModel, batch: Batch, scheduler, g: torch.Generator, reader: PerformerReader, teacher: QueryTeacher
) -> tuple[Losses, Losses]:
    """(losses, figures to report) of single frames."""
    text, film = conditioned(model, batch, g, fps=SPEC.fps)
    rays = rays_of(batch.views, batch.latents_v.shape[-1])
    weight = seen_saliency(batch, rays)
    t = random_timesteps(len(batch.captions), scheduler, g, lean=1.5, blank=BLANK)
    loss = picture_loss(model.unet, scheduler, batch.latents_v, text[0], film, g, weight, t)
    blank = t == scheduler.config.num_train_timesteps - 1
    report = {"colour": reader.share_right(batch, blank)}
    reading, query = reader.loss(batch, (t / 1000.0) ** 4), teacher.loss(rays, film)
    return {"picture": loss, "reading": 0.3 * reading, "query": 0.1 * query}, report


def read_step(
    model: TinyModel, batch: Batch, scheduler, g: torch.Generator, reader: PerformerReader, teacher: QueryTeacher
) -> tuple[Losses, Losses]:
    """Single frames of half the size from pure noise: (losses, figures to report)."""
    text, film = conditioned(model, batch, g, fps=SPEC.fps, grid=READ_GRID)
    small = nn.functional.avg_pool3d(batch.latents_v, (1, 2, 2))
    rays = rays_of(batch.views, READ_GRID)
    weight = seen_saliency(batch, rays)
    count = len(batch.captions)
    t = torch.full((count,), scheduler.config.num_train_timesteps - 1)
    loss = picture_loss(model.unet, scheduler, small, text[0], film, g, weight, t)
    report = {"colour": reader.share_right(batch, torch.ones(count, dtype=torch.bool))}
    reading, query = reader.loss(batch, torch.ones(count)), teacher.loss(rays, film)
    return {"picture": 0.3 * loss, "reading": reading, "query": query}, report


def sound_step(
    model: TinyModel, batch: Batch, scheduler, g: torch.Generator, reader: VoiceReader, known: KnownFeatures
) -> tuple[Losses, Losses]:
    text, film = conditioned(model, batch, g, fps=SPEC.fps, grid=None, known=known)
    t = random_timesteps(len(batch.captions), scheduler, g, lean=1.2, blank=0.5 * BLANK)
    loss = sound_loss(model.unet, scheduler, batch.latents_a, text[1], film, g, t)
    reading, error = reader.loss(batch, (t / 1000.0) ** 4)
    blank = t == scheduler.config.num_train_timesteps - 1
    return {"sound": loss, "reading": 0.3 * reading}, {"levels": error[blank].mean()}


def listen_step(
    model: TinyModel, batch: Batch, scheduler, g: torch.Generator, reader: VoiceReader, known: KnownFeatures
) -> tuple[Losses, Losses]:
    """Sounds from pure noise alone: (losses, figures to report)."""
    text, film = conditioned(model, batch, g, fps=SPEC.fps, grid=None, known=known)
    t = torch.full((len(batch.captions),), scheduler.config.num_train_timesteps - 1)
    loss = sound_loss(model.unet, scheduler, batch.latents_a, text[1], film, g, t)
    reading, _ = reader.loss(batch, torch.ones(len(batch.captions)))
    return {"sound": 0.3 * loss, "reading": reading}, {}


def baseline_step(model: TinyModel, batch: Batch, scheduler, g: torch.Generator) -> tuple[Losses, Losses]:
    """As `clip_step`, from the caption alone: no map reaches the networks, and nothing asks them for places."""
    text, _ = captioned(model, batch, g)
    latents = (batch.latents_v, batch.latents_a)
    weight = seen_saliency(batch, rays_of(batch.views, batch.latents_v.shape[-1]))
    losses = joint_loss(model.unet, (scheduler, scheduler), latents, text, None, DROPOUT, g, weight, SHARED_NOISE)
    return {"picture": losses[0], "sound": losses[1]}, {}


def baseline_sound_step(model: TinyModel, batch: Batch, scheduler, g: torch.Generator) -> tuple[Losses, Losses]:
    """As `sound_step`, from the caption alone."""
    text, _ = captioned(model, batch, g)
    t = random_timesteps(len(batch.captions), scheduler, g, lean=1.2, blank=0.5 * BLANK)
    return {"sound": sound_loss(model.unet, scheduler, batch.latents_a, text[1], None, g, t)}, {}


def clip_step(
    model: TinyModel, batch: Batch, scheduler, g: torch.Generator, reader: PerformerReader, voices: VoiceReader
) -> tuple[Losses, Losses]:
    text, film = conditioned(model, batch, g, fps=SPEC.fps)
    latents = (batch.latents_v, batch.latents_a)
    weight = seen_saliency(batch, rays_of(batch.views, batch.latents_v.shape[-1]))
    losses = joint_loss(model.unet, (scheduler, scheduler), latents, text, film, DROPOUT, g, weight, SHARED_NOISE)
    reading = reader.loss(batch, torch.ones(batch.maps.shape[0] * batch.maps.shape[1]))
    heard, _ = voices.loss(batch, torch.ones(len(batch.captions)))
    return {"picture": losses[0], "sound": losses[1], "reading": 0.1 * reading, "voices": 0.05 * heard}, {}


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


def _streams(
    stage: str, model: TinyModel, data: Path, g: torch.Generator, baseline: bool
) -> tuple[list, list[nn.Module]]:
    """(step function, batches) pairs whose losses are summed in each step of a stage, and helpers trained with it."""
    if baseline and stage == "sound":
        return [(baseline_sound_step, batches(open_cache(data, "sound"), 6, g))], []
    if baseline:
        return [(baseline_step, batches(open_cache(data, "clip"), 2, g))], []
    if stage == "clip":
        reader, voices = _reader(model, "clip"), _voice_reader(model, "clip")
        step = partial(clip_step, reader=reader, voices=voices)
        return [(step, batches(open_cache(data, "clip"), 2, g))], [reader, voices]
    if stage in ("listen", "sound"):
        voices = _voice_reader(model, "sound")
        known = KnownFeatures(model.control.encoder)
        step = partial(listen_step if stage == "listen" else sound_step, reader=voices, known=known)
        return [(step, batches(open_cache(data, "sound"), 6, g))], [voices]
    teacher = QueryTeacher(model.unet.unet_v, torch.load(data / "text.pt", weights_only=True)["reader"])
    reader = _reader(model, "picture", READ_GRID if stage == "read" else 16)
    step = partial(read_step if stage == "read" else picture_step, reader=reader, teacher=teacher)
    return [(step, batches(open_cache(data, "picture"), 64 if stage == "read" else 24, g))], [reader]


def train_stage(
    stage: str, out: Path, start: Path, minutes: float, learning_rate: float, seed: int, steps: int | None,
    baseline: bool = False, keep_picture: bool = False,
) -> None:  # fmt: skip
    """Go on from `out`'s checkpoint, else `start`'s; text encoders, codecs and caches are `start`'s.

    Args:
        baseline: without maps. keep_picture: of clips, only the sound learns.
    """
    torch.manual_seed(seed)
    model, scheduler, g = TinyModel(), make_scheduler(), torch.Generator().manual_seed(seed)
    checkpoint = out / "checkpoint.pt"
    begin = next((path for path in (checkpoint, start / checkpoint.name) if path.is_file()), None)
    if begin is not None:
        model.load_state_dict(torch.load(begin, weights_only=True)["average"])
    else:
        model.start_from_text(torch.load(start / "text.pt", weights_only=True))
    average = Average({name: t.clone() for name, t in model.state_dict().items()})
    if stage in ("listen", "sound") or keep_picture:
        model.train_sound_only()
    if baseline:
        model.control.requires_grad_(False)
    streams, helpers = _streams(stage, model, start, g, baseline)
    parameters = [p for module in (model, *helpers) for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.99), weight_decay=1e-2)
    started, step, running = time.time(), 0, {}
    saved = started
    while True:
        fraction = step / steps if steps else (time.time() - started) / (60 * minutes)
        if fraction >= 1:
            break
        # A short rise, then a cosine to zero over the stage's share of time or steps.
        rate = (
            learning_rate * min(1.0, (step + 1) / 30) * 0.5 * (1 + torch.cos(torch.tensor(fraction * torch.pi)).item())
        )
        for group in optimiser.param_groups:
            group["lr"] = rate
        losses, figures = {}, {}
        for step_function, stream in streams:
            new, report = step_function(model, next(stream), scheduler, g)
            losses |= new
            figures |= report
        optimiser.zero_grad(set_to_none=True)
        sum(losses.values()).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        average.update(model)
        for name, value in (losses | figures).items():
            if value.isfinite():
                running[name] = 0.98 * running.get(name, value.item()) + 0.02 * value.item()
        if step % 25 == 0:
            text = " ".join(f"{name} {value:.4f}" for name, value in running.items())
            print(f"{stage} step {step} {text} rate {rate:.1e} {time.time() - started:.0f} s", flush=True)
        if time.time() - saved > 240:
            _save(checkpoint, average, stage, step)
            saved = time.time()
        step += 1
    _save(checkpoint, average, stage, step)
    print(f"{stage} done: {step} steps in {time.time() - started:.0f} s", flush=True)


def _save(path: Path, average: Average, stage: str, step: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        torch.save({"average": average.shadow, "stage": stage, "step": step, "saliency": ESTIMATOR}, temporary)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["cache", "read", "picture", "listen", "sound", "clip", "export"])
    parser.add_argument("--out", type=Path, default=Path("runs/tiny"))
    parser.add_argument("--start", type=Path, help="folder whose codecs, caches and last checkpoint to go on from")
    parser.add_argument("--baseline", action="store_true", help="sound, clip, export: the networks alone, without maps")
    parser.add_argument("--keep-picture", action="store_true", help="clip: only the sound learns, beside the picture")
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--steps", type=int, help="steps instead of minutes")
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bundle", type=Path, default=Path("con360/bundle"), help="where `export` writes")
    parser.add_argument("--only", help="which cache `cache` builds")
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
