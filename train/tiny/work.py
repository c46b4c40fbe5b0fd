"""Put a joint stage together: its examples, its losses and what learns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from con360.errors import InputError
from con360.models.codecs import encode_frames, encode_mel
from con360.records import MODALITIES
from con360.sound.mels import log_mel
from train.examples import Shares
from train.tiny.cache import Cache, CacheBatch, CacheSettings, batches, build_cache, heard_voices, seen_performers
from train.tiny.model import SIDES, SPEC, TinyModel
from train.tiny.readers import KnownFeatures, PerformerReader, QueryTeacher, VoiceReader
from train.tiny.steps import (
    READ_GRID,
    Losses,
    baseline_picture_step,
    baseline_sound_step,
    baseline_step,
    clip_step,
    listen_step,
    picture_step,
    read_step,
    sound_step,
)

STAGES = ("read", "picture", "listen", "sound", "clip")
# Half of the scenes turn with no performer near the view's edge; entry and exit are learned at the edge.
SEEN = Shares(edges=0.4, follows=0.15)
CACHES = {
    "picture": CacheSettings(0, 10_000, 1, with_sound=False, shares=SEEN),
    # Keep all frames: the maps pulse with the voices.
    "sound": CacheSettings(
        100_000, 2600, 32, estimate_every=4, with_picture=False, shares=Shares(follows=0.15, struck=0.4, unaware=0.5)
    ),
    "clip": CacheSettings(200_000, 1000, 32, shares=replace(SEEN, struck=0.3, unaware=0.3)),
}
# Cache and batch of each stage.
_EXAMPLES = {
    "read": ("picture", 64), "picture": ("picture", 24), "listen": ("sound", 6), "sound": ("sound", 6),
    "clip": ("clip", 2),
}  # fmt: skip

Step = Callable[..., tuple[Losses, Losses]]


@dataclass(frozen=True)
class Places:
    """Name the folders of a run.

    Args:
        out: receives checkpoints. start: an earlier `out`, or a model folder, to go on from.
        codecs: holds `vae_v`, `vae_a` and `vocoder`. cache: encoded examples; runs may share it.
    """

    out: Path
    start: Path
    codecs: Path
    cache: Path


@dataclass(frozen=True)
class Work:
    """Hold what a stage's loop needs: losses of a batch, batches without end, and heads to train with the networks."""

    losses: Step
    stream: Iterator[CacheBatch]
    readers: Sequence[nn.Module]


def load_codecs(folder: Path) -> tuple[Any, Any]:
    """Load the autoencoders of picture and sound.

    Raises:
        InputError: one is not there.
    """
    from diffusers import AutoencoderKL

    for name in ("vae_v", "vae_a"):
        if not (folder / name).is_dir():
            raise InputError(
                f"there is no {name} in {folder}; give --codecs a model folder, or train.tiny.codecs' own."
            )
    return tuple(
        AutoencoderKL.from_pretrained(folder / name, torch_dtype=torch.float32).eval().requires_grad_(False)
        for name in ("vae_v", "vae_a")
    )


def open_cache(places: Places, name: str, settings: CacheSettings | None = None) -> Cache:
    """Open a cache of `CACHES`, or one of these settings; build what is missing."""
    vae_v, vae_a = load_codecs(places.codecs)

    @torch.no_grad()
    def encode_v(frames: Tensor) -> Tensor:
        return encode_frames(vae_v, frames).transpose(0, 1)

    @torch.no_grad()
    def encode_a(waveform: Tensor) -> Tensor:
        return encode_mel(vae_a, log_mel(waveform), SPEC.num_latent_rows_padded)

    return build_cache(places.cache / name, encode_v, encode_a, settings or CACHES[name], (vae_v, vae_a), SPEC)


def work_of(
    stage: str, model: TinyModel, places: Places, g: torch.Generator, *, sides: Sequence[str], baseline: bool = False,
    settings: CacheSettings | None = None,
) -> Work:  # fmt: skip
    """Put a stage together.

    Args:
        sides: keys of `SIDES` that learn. baseline: without maps. settings: of the cache, in place of the stage's own.
    """
    name, size = _EXAMPLES[stage]
    chosen = settings or CACHES[name]
    size = min(size, chosen.count)
    stream = batches(open_cache(places, name, chosen), size, g)
    if baseline:
        modalities = [m for m, side in zip(MODALITIES, SIDES, strict=True) if side in sides]
        steps = {"picture": baseline_picture_step, "sound": baseline_sound_step}
        return Work(steps.get(stage, partial(baseline_step, sides=modalities)), stream, [])
    if stage == "clip":
        reader = _reader(model, chosen) if "picture" in sides else None
        voices = _voice_reader(model, chosen) if "sound" in sides else None
        step = partial(clip_step, reader=reader, voices=voices)
        return Work(step, stream, [r for r in (reader, voices) if r is not None])
    if stage in ("listen", "sound"):
        voices = _voice_reader(model, chosen)
        known = KnownFeatures(model.control.encoder)
        return Work(
            partial(listen_step if stage == "listen" else sound_step, reader=voices, known=known), stream, [voices]
        )
    taught = places.start / "text.pt"
    # A model folder's queries were taught when it was made.
    teacher = (
        QueryTeacher(model.unet.unet_v, torch.load(taught, weights_only=True)["reader"]) if taught.is_file() else None
    )
    reader = _reader(model, chosen, READ_GRID if stage == "read" else 16)
    step = partial(read_step if stage == "read" else picture_step, reader=reader, teacher=teacher)
    return Work(step, stream, [reader])


def _reader(model: TinyModel, settings: CacheSettings, grid: int = 16) -> PerformerReader:
    labels = [seen_performers(settings, i, spec=SPEC, grid=grid) for i in settings.numbers]
    return PerformerReader(model.unet.unet_v, torch.stack(labels))


def _voice_reader(model: TinyModel, settings: CacheSettings) -> VoiceReader:
    rows, seconds = SPEC.num_latent_rows_padded, SPEC.latent_seconds_a / SPEC.num_latent_rows_padded
    levels = [heard_voices(settings, i, rows=rows, row_seconds=seconds, spec=SPEC) for i in settings.numbers]
    return VoiceReader(model.unet.unet_a, torch.stack(levels))
