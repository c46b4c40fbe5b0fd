"""Draw the clip that a head learns from: other words, other times, softer pulses, other directions.

Sound that a joint sampler makes keeps the rates of its maps but not their phase, pulses softer than truth and lies on a
floor of noise. A head that learned from true sound alone would look for a synchrony that such sound lacks.

Shape legend: B clips, V voices, R rows of 40 ms, K bands, C azimuth columns, M maps, H W map rows and columns.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from con360.control.directions import over_rows, words_of
from con360.control.field_head import COLUMNS, MAP_SIZE, Told
from con360.scenes import Scene
from con360.sound.bands import BANDS
from train.field.cache import Rendered
from train.field.scenes import turned
from train.field.scenes import words_of as caption_of
from train.field.settings import FieldRunConfig

FPS = 8.0
LOBE_DEG = 9.0
MOST_WORDS = 64
# Power of the weight that a band has in the loss, and powers below the loudest that count.
WEIGHT_POWER, RANGE_DB = 0.35, 60.0


@dataclass(frozen=True)
class Drawn:
    """Hold one clip; a batch has one more axis in front.

    Args:
        maps, words, powers_db: as in `Told`, without the batch.
        lobes: wanted distribution over the columns, `[R, K, C]`.
        vectors: wanted, `[R, K, 3]`. weights: of each band in the loss, `[R, K]`.
        directed: 1 where the caption names directions.
    """

    maps: Tensor
    words: Tensor
    powers_db: Tensor
    lobes: Tensor
    vectors: Tensor
    weights: Tensor
    directed: Tensor

    def to(self, device: torch.device) -> Drawn:
        return Drawn(*(getattr(self, f.name).to(device) for f in fields(self)))

    @property
    def told(self) -> Told:
        return Told(self.maps, self.words, self.powers_db)


def stacked(clips: list[Drawn]) -> Drawn:
    return Drawn(*(torch.stack([getattr(clip, f.name) for clip in clips]) for f in fields(Drawn)))


def draw(
    scene: Scene, rendered: Rendered, rng: np.random.Generator, config: FieldRunConfig, vocabulary: tuple[str, ...]
) -> Drawn:
    """Draw a clip of a scene."""
    scene, rendered = _looking_elsewhere(scene, rendered, rng)
    powers_db = _played_otherwise(rendered.powers_db.float(), rng, config)
    lobes, vectors, weights = targets(rendered, powers_db)
    maps = _maps(rendered, rng, config)
    heard = _with_floor(powers_db, rng)
    if rng.random() < config.drop_sound:
        heard = torch.full_like(heard, -200.0)
    caption, directed = _caption(scene, rng, config)
    words = padded(words_of(caption, vocabulary))
    words = torch.where(torch.from_numpy(rng.random(len(words)) < config.drop_words) & (words > 0), 1, words)
    return Drawn(maps, words, heard, lobes, vectors, weights, torch.tensor(float(directed)))


def padded(words: Tensor) -> Tensor:
    return F.pad(words[:MOST_WORDS], (0, max(0, MOST_WORDS - len(words))))


def _caption(scene: Scene, rng: np.random.Generator, config: FieldRunConfig) -> tuple[str, bool]:
    """A caption, and whether it names directions."""
    told, shuffled = rng.random() >= config.drop_directions, rng.random() < config.shuffle
    if rng.random() < config.drop_caption:
        return "", False
    return caption_of(scene, rng, told=told, shuffled=shuffled), told


def _looking_elsewhere(scene: Scene, rendered: Rendered, rng: np.random.Generator) -> tuple[Scene, Rendered]:
    """Turn scene and maps by whole columns of the maps, and mirror every second one."""
    if rng.random() < 0.5:
        performers = (replace(p, yaw_deg=-p.yaw_deg, yaw_rate_deg_s=-p.yaw_rate_deg_s) for p in scene.performers)
        scene = replace(scene, performers=tuple(performers))
        rendered = replace(rendered.with_maps(lambda maps: maps.flip(-1)), yaws_deg=-rendered.yaws_deg)
    columns = int(rng.integers(MAP_SIZE[1]))
    by_deg = columns * 360.0 / MAP_SIZE[1]
    yaws = (rendered.yaws_deg + by_deg + 180.0) % 360.0 - 180.0
    return turned(scene, by_deg), replace(rendered.with_maps(lambda maps: maps.roll(columns, -1)), yaws_deg=yaws)


def _maps(rendered: Rendered, rng: np.random.Generator, config: FieldRunConfig) -> Tensor:
    """Saliency, estimated in half of the clips, and colours, left out in some: `[R, M, H, W]`."""
    saliency = rendered.estimated if rng.random() < config.estimated else rendered.true
    saliency = torch.full_like(saliency, 255) if rng.random() < config.drop_maps else saliency
    colours = torch.zeros_like(saliency) if rng.random() < config.drop_colours else rendered.colours
    return as_read(saliency, colours, rendered.powers_db.shape[-2])


def as_read(saliency: Tensor, colours: Tensor, rows: int) -> Tensor:
    """Maps `[T, H, W]` uint8 as a head reads them: `[R, 2, H, W]`."""
    return torch.stack([over_rows(maps.float() / 255, rows, FPS) for maps in (saliency, colours)], 1)


def _played_otherwise(powers_db: Tensor, rng: np.random.Generator, config: FieldRunConfig) -> Tensor:
    """Roll each voice in time in most clips, and soften its pulses in half: `[V, R, K]`."""
    rolls, softer = rng.random() < config.roll, rng.random() < 0.5
    return torch.stack([_otherwise(voice, rng, rolls, softer) for voice in powers_db])


def _otherwise(voice: Tensor, rng: np.random.Generator, rolls: bool, softer: bool) -> Tensor:
    if rolls:
        voice = voice.roll(int(rng.integers(len(voice))), 0)
    if softer:
        power = 10 ** (voice / 10)
        blurred = F.avg_pool1d(F.pad(power.T[None], (2, 2), mode="replicate"), 5, stride=1)[0].T
        kept = float(rng.uniform(0.0, 0.8))
        voice = 10 * (kept * power + (1 - kept) * blurred + float(rng.uniform(0, 0.15)) * power.mean(0)).log10()
    return voice + float(rng.uniform(-3, 3))


def _with_floor(powers_db: Tensor, rng: np.random.Generator) -> Tensor:
    """Sum voices `[V, R, K]` and a floor of noise: `[R, K]` decibels."""
    power = (10 ** (powers_db / 10)).sum(0)
    floor = power.amax() * 10 ** (-float(rng.uniform(25, 70)) / 10)
    noise = torch.from_numpy(rng.exponential(1.0, (1, BANDS)) * rng.exponential(1.0, power.shape)).float()
    return 10 * (power + floor * noise).clamp_min(1e-12).log10()


def targets(rendered: Rendered, powers_db: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Lobes `[R, K, C]`, vectors `[R, K, 3]` and weights `[R, K]` of voices with these powers `[V, R, K]`."""
    power = 10 ** (powers_db / 10)
    energy = power.sum(0)
    shares = power / energy.clamp_min(1e-12)
    yaw, pitch = (
        torch.deg2rad(rendered.yaws_deg),
        torch.deg2rad(rendered.pitches_deg)[:, None].expand_as(rendered.yaws_deg),
    )
    units = torch.stack((-yaw.sin() * pitch.cos(), pitch.sin(), yaw.cos() * pitch.cos()), -1)
    columns_deg = ((torch.arange(COLUMNS) + 0.5) / COLUMNS * 2 - 1) * 180.0
    apart = (columns_deg - rendered.yaws_deg[..., None] + 180.0) % 360.0 - 180.0
    lobes = (-0.5 * (apart / LOBE_DEG) ** 2).softmax(-1)
    weights = (energy / energy.amax()).clamp_min(1e-12) ** WEIGHT_POWER
    weights = weights * (weights > 10 ** (-RANGE_DB / 10 * WEIGHT_POWER))
    return torch.einsum("vrk,vrc->rkc", shares, lobes), torch.einsum("vrk,vrd->rkd", shares, units), weights


def azimuth_errors_deg(vectors: Tensor, powers_db: Tensor, yaws_deg: Tensor) -> Tensor:
    """Angles between each voice's true yaw and where a field has it: `[V]`, 0 to 180; 90 where it has none.

    Args:
        vectors: `[R, K, 3]`. powers_db: of each voice alone, `[V, R, K]`: loud rows and bands count most.
        yaws_deg: `[V, R]`.
    """
    power = 10 ** (powers_db.float() / 10)
    across, ahead = torch.einsum("vrk,rkd->vrd", power, vectors)[..., [0, 2]].unbind(-1)
    yaw = torch.deg2rad(yaws_deg)
    # Turned so that the voice's own direction is ahead.
    left = across * yaw.cos() + ahead * yaw.sin()
    front = ahead * yaw.cos() - across * yaw.sin()
    return torch.rad2deg(torch.atan2(left.sum(-1).abs(), front.sum(-1)))
