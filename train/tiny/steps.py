"""Compute the losses of the joint stages: one function per stage, each over one batch.

Each `*_step` returns (losses, figures to report), both by name. Training minimises the sum of the losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from con360.geometry.erp import sample_erp
from con360.protocols import Film
from con360.records import MODALITIES
from train.examples import rays_of
from train.losses import (
    Dropout,
    drop_maps,
    drop_when,
    joint_loss,
    keep_mask,
    mask_film,
    picture_loss,
    random_timesteps,
    sound_loss,
)
from train.tiny.cache import CacheBatch
from train.tiny.model import SIDES, SPEC, VIEW_GRID, TinyModel
from train.tiny.readers import KnownFeatures, PerformerReader, QueryTeacher, VoiceReader

# If all frames start from the same noise, few clips suffice to learn that frames show the same things.
SHARED_NOISE = 1.0
DROPOUT = Dropout()
# Share of single frames trained from pure noise, where only caption and maps say what to draw.
BLANK = 0.3
READ_GRID = 8

Losses = dict[str, Tensor]


def seen_saliency(batch: CacheBatch, rays: Tensor) -> Tensor:
    """Weigh each latent pixel, `[B, T, h, w]`: 1, and up to 5 in salient regions."""
    B, T = rays.shape[:2]
    saliency = sample_erp(batch.maps[:, :, :1].flatten(0, 1), rays.flatten(0, 1))
    return 1 + 4 * saliency.view(B, T, *saliency.shape[-2:])


def captioned(model: TinyModel, batch: CacheBatch, g: torch.Generator) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Return text for (picture, sound), some captions dropped for guidance, and a mask `[B]`: 1 if kept."""
    keep = keep_mask(DROPOUT.text, len(batch.captions), g)
    return model.encode_text([c if k else "" for c, k in zip(batch.captions, keep, strict=True)]), keep


def conditioned(
    model: TinyModel,
    batch: CacheBatch,
    g: torch.Generator,
    fps: float,
    grid: int | None = 16,
    known: KnownFeatures | None = None,
    sound: bool = True,
) -> tuple[tuple[Tensor, Tensor], Film]:
    """Return text and modulation of a batch for latents `grid` pixels wide, with some conditions dropped.

    Args:
        grid: None leaves the picture's sites out.
        known: cached features of a frozen map encoder.
        sound: False leaves the sound's sites out.
    """
    text, keep_text = captioned(model, batch, g)
    keep_control = keep_mask(DROPOUT.control, len(batch.captions), g)
    picture = None if grid is None else (batch.maps.shape[1], grid, grid)
    shapes = model.unet.site_shapes(picture, tuple(batch.latents_a.shape[2:]) if sound else None)
    maps, rays = drop_maps(batch.maps, DROPOUT, g), None if grid is None else rays_of(batch.views, VIEW_GRID)
    when, keep_when = drop_when(batch.when, g)
    film = model.control(
        maps, rays, shapes, fps=fps, audio_seconds=SPEC.latent_seconds_a,
        features=known.of(maps, batch.indices) if known else None,
        # What maps contradict and no track tells cannot be learned.
        when=torch.where(batch.unaware[:, None, None] > 0, batch.when, when),
        keep_when=keep_when.maximum(batch.unaware),
    )  # fmt: skip
    return text, mask_film(film, keep_text * keep_control)


def picture_step(
    model: TinyModel,
    batch: CacheBatch,
    scheduler: Any,
    g: torch.Generator,
    reader: PerformerReader,
    teacher: QueryTeacher | None,
) -> tuple[Losses, Losses]:
    """Train single frames at all noise levels; without `teacher`, queries that were taught before stay free."""
    text, film = conditioned(model, batch, g, fps=SPEC.fps, sound=False)
    rays = rays_of(batch.views, batch.latents_v.shape[-1])
    weight = seen_saliency(batch, rays)
    t = random_timesteps(len(batch.captions), scheduler, g, lean=1.5, blank=BLANK)
    loss = picture_loss(model.unet, scheduler, batch.latents_v, text[0], film, g, weight, t)
    blank = t == scheduler.config.num_train_timesteps - 1
    report = {"colour": reader.share_right(batch, blank)}
    losses = {"picture": loss, "reading": 0.3 * reader.loss(batch, (t / 1000.0) ** 4)}
    return losses if teacher is None else losses | {"query": 0.1 * teacher.loss(rays, film)}, report


def read_step(
    model: TinyModel,
    batch: CacheBatch,
    scheduler: Any,
    g: torch.Generator,
    reader: PerformerReader,
    teacher: QueryTeacher | None,
) -> tuple[Losses, Losses]:
    """Train single frames of half the size from pure noise."""
    text, film = conditioned(model, batch, g, fps=SPEC.fps, grid=READ_GRID, sound=False)
    small = nn.functional.avg_pool3d(batch.latents_v, (1, 2, 2))
    rays = rays_of(batch.views, READ_GRID)
    weight = seen_saliency(batch, rays)
    count = len(batch.captions)
    t = torch.full((count,), scheduler.config.num_train_timesteps - 1)
    loss = picture_loss(model.unet, scheduler, small, text[0], film, g, weight, t)
    report = {"colour": reader.share_right(batch, torch.ones(count, dtype=torch.bool))}
    losses = {"picture": 0.3 * loss, "reading": reader.loss(batch, torch.ones(count))}
    return losses if teacher is None else losses | {"query": teacher.loss(rays, film)}, report


def sound_step(
    model: TinyModel, batch: CacheBatch, scheduler: Any, g: torch.Generator, reader: VoiceReader, known: KnownFeatures
) -> tuple[Losses, Losses]:
    """Train sounds at all noise levels."""
    text, film = conditioned(model, batch, g, fps=SPEC.fps, grid=None, known=known)
    t = random_timesteps(len(batch.captions), scheduler, g, lean=1.2, blank=0.5 * BLANK)
    loss = sound_loss(model.unet, scheduler, batch.latents_a, text[1], film, g, t)
    reading, error = reader.loss(batch, (t / 1000.0) ** 4)
    blank = t == scheduler.config.num_train_timesteps - 1
    return {"sound": loss, "reading": 0.3 * reading}, {"levels": error[blank].mean()}


def listen_step(
    model: TinyModel, batch: CacheBatch, scheduler: Any, g: torch.Generator, reader: VoiceReader, known: KnownFeatures
) -> tuple[Losses, Losses]:
    """Train sounds from pure noise."""
    text, film = conditioned(model, batch, g, fps=SPEC.fps, grid=None, known=known)
    t = torch.full((len(batch.captions),), scheduler.config.num_train_timesteps - 1)
    loss = sound_loss(model.unet, scheduler, batch.latents_a, text[1], film, g, t)
    reading, _ = reader.loss(batch, torch.ones(len(batch.captions)))
    return {"sound": 0.3 * loss, "reading": reading}, {}


def baseline_step(
    model: TinyModel, batch: CacheBatch, scheduler: Any, g: torch.Generator, sides: Sequence[str] = MODALITIES
) -> tuple[Losses, Losses]:
    """Train as `clip_step`, without maps and without the readers that need places."""
    text, _ = captioned(model, batch, g)
    latents = (batch.latents_v, batch.latents_a)
    weight = seen_saliency(batch, rays_of(batch.views, batch.latents_v.shape[-1]))
    losses = joint_loss(
        model.unet, (scheduler, scheduler), latents, text, None, DROPOUT, g, weight, SHARED_NOISE, sides
    )
    return {side: loss for side, loss in zip(SIDES, losses, strict=True) if loss is not None}, {}


def baseline_picture_step(
    model: TinyModel, batch: CacheBatch, scheduler: Any, g: torch.Generator
) -> tuple[Losses, Losses]:
    """Train as `picture_step`, from the caption alone."""
    text, _ = captioned(model, batch, g)
    weight = seen_saliency(batch, rays_of(batch.views, batch.latents_v.shape[-1]))
    t = random_timesteps(len(batch.captions), scheduler, g, lean=1.5, blank=BLANK)
    return {"picture": picture_loss(model.unet, scheduler, batch.latents_v, text[0], None, g, weight, t)}, {}


def baseline_sound_step(
    model: TinyModel, batch: CacheBatch, scheduler: Any, g: torch.Generator
) -> tuple[Losses, Losses]:
    """Train as `sound_step`, from the caption alone."""
    text, _ = captioned(model, batch, g)
    t = random_timesteps(len(batch.captions), scheduler, g, lean=1.2, blank=0.5 * BLANK)
    return {"sound": sound_loss(model.unet, scheduler, batch.latents_a, text[1], None, g, t)}, {}


def clip_step(
    model: TinyModel,
    batch: CacheBatch,
    scheduler: Any,
    g: torch.Generator,
    reader: PerformerReader | None,
    voices: VoiceReader | None,
) -> tuple[Losses, Losses]:
    """Train whole clips: the picture where it has a `reader`, the sound where it has one of `voices`."""
    text, film = conditioned(model, batch, g, fps=SPEC.fps)
    latents = (batch.latents_v, batch.latents_a)
    weight = seen_saliency(batch, rays_of(batch.views, batch.latents_v.shape[-1]))
    sides = [m for m, read in zip(MODALITIES, (reader, voices), strict=True) if read is not None]
    picture, sound = joint_loss(
        model.unet, (scheduler, scheduler), latents, text, film, DROPOUT, g, weight, SHARED_NOISE, sides
    )
    losses: Losses = {}
    if reader is not None and picture is not None:
        reading = reader.loss(batch, torch.ones(batch.maps.shape[0] * batch.maps.shape[1]))
        losses |= {"picture": picture, "reading": 0.1 * reading}
    if voices is not None and sound is not None:
        losses |= {"sound": sound, "voices": 0.05 * voices.loss(batch, torch.ones(len(batch.captions)))[0]}
    return losses, {}
