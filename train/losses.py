"""Compute the training objective: both U-Nets predict noise or velocity at one shared timestep.

Source: SVG baseline (arXiv 2409.17550) for the shared timestep, the independent connector timestep and the x0
self-conditioning. Two known bugs of its released code are not copied: prompt dropout that never happens at batch
size 1, and a first pass that embeds the wrong timestep.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from con360.control.config import SALIENCY_AND_BASD
from con360.control.time_channels import PRESENCE
from con360.models.dual_unet import DualUNet
from con360.protocols import Film
from con360.records import MODALITIES
from con360.sampling.joint import video_noise
from con360.sampling.schedule import estimate_x0


@dataclass(frozen=True)
class Dropout:
    """Hold the shares of samples whose conditions are dropped; guidance needs an unconditional model.

    Args:
        text: caption and control together (unconditional).
        control: control alone; the caption stays.
        alone: a single map or signal, replaced by zeros.
        x0: the previous estimate in the connectors' input, per modality.
        named: replaces `alone` for the maps and signals it names.
    """

    text: float = 0.1
    control: float = 0.05
    alone: float = 0.07
    x0: float = 0.5
    named: Mapping[str, float] = field(default_factory=dict)

    def of(self, name: str) -> float:
        """Probability that the named map or signal is dropped alone."""
        return self.named.get(name, self.alone)


def keep_mask(probability_of_drop: float, count: int, generator: torch.Generator) -> Tensor:
    """Draw `[count]` of 0 (drop) and 1, per sample, so that dropout also works at batch size 1."""
    return (torch.rand(count, generator=generator) >= probability_of_drop).float()


def mask_film(film: Film, keep: Tensor) -> Film:
    """Set the modulation of samples that drop it to zeros, the identity."""

    def scaled(t: Tensor) -> Tensor:
        return t * keep.to(t).view(-1, *(1,) * (t.ndim - 1))

    return {site: (scaled(scale), scaled(shift)) for site, (scale, shift) in film.items()}


def drop_maps(
    maps: Tensor, dropout: Dropout, generator: torch.Generator, channels: Sequence[str] = SALIENCY_AND_BASD
) -> Tensor:
    """Zero maps `[B, T, C, H, W]` at random, per sample and map, each with the probability of its name."""
    keep = torch.stack([keep_mask(dropout.of(name), maps.shape[0], generator) for name in channels], dim=1)
    return maps * keep.to(maps)[:, None, :, None, None]


def drop_when(
    when: Tensor, g: torch.Generator, channel: float = 0.3, whole: float = 0.2, part: float = 0.2
) -> tuple[Tensor, Tensor]:
    """Drop parts of time tracks `[B, 4, S]`: users draw onsets, an envelope, or both, and not everywhere.

    Args:
        channel: share of clips that lose the envelope, the impulses, the time since the last onset, each by itself.
        whole: share that loses all. part: share that loses a span of up to half of the clip.

    Returns:
        The tracks, and a mask `[B]`: 1 where something is left.
    """
    count, _, frames = when.shape
    kept = torch.stack([keep_mask(channel, count, g) for _ in range(PRESENCE)], dim=1)
    keep = keep_mask(whole, count, g) * kept.amax(dim=1)
    length = (torch.rand(count, generator=g) * frames / 2 * (1 - keep_mask(part, count, g)))[:, None]
    start = torch.rand(count, 1, generator=g) * (frames - length)
    at = torch.arange(frames)
    drawn = ((at < start) | (at >= start + length)).float()[:, None]
    return torch.cat([when[:, :PRESENCE] * kept[..., None], when[:, PRESENCE:]], dim=1) * drawn, keep


def random_timesteps(
    count: int, scheduler, generator: torch.Generator, lean: float = 1.0, blank: float = 0.0
) -> Tensor:
    """Draw `[count]` timesteps, uniform by default.

    At high noise only caption and maps decide colours and places; at low noise the input already shows them.

    Args:
        lean: above 1, noisier timesteps are drawn more often.
        blank: share of the last timestep; with zero terminal SNR it is pure noise.
    """
    total = scheduler.config.num_train_timesteps
    t = (torch.rand(count, generator=generator) ** (1 / lean) * total).long().clamp_max(total - 1)
    if blank:
        t[torch.rand(count, generator=generator) < blank] = total - 1
    return t


def target_of(scheduler, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Compute the network's target at timestep t, by the scheduler's prediction type."""
    kind = scheduler.config.prediction_type
    if kind == "epsilon":
        return noise
    if kind == "v_prediction":
        return scheduler.get_velocity(x0, noise, t)
    raise ValueError(f"prediction type {kind!r} is not supported; wanted 'epsilon' or 'v_prediction'")


def estimate_clean(scheduler, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """Compute the clean latents that predictions imply, each sample at its own timestep `t [B]`."""
    alpha = scheduler.alphas_cumprod.to(x_t)[t].view(-1, *(1,) * (x_t.ndim - 1))
    return estimate_x0(prediction, x_t, alpha, scheduler.config.prediction_type)


def squared_error(prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Compute the mean squared error of `[B, C, T, h, w]`, with an optional weight `[B, T, h, w]`.

    The weight does not move the optimum, the conditional mean of each pixel. It directs the gradient to performers,
    which cover a few percent of a picture: without it the loss is mostly about the sky.
    """
    error = (prediction - target).square()
    if weight is None:
        return error.mean()
    weight = weight[:, None].expand_as(error)
    return (error * weight).sum() / weight.sum()


def picture_loss(
    unet: DualUNet, scheduler, x0_v: Tensor, text_v: Tensor, film: Film | None, g: torch.Generator,
    weight: Tensor | None = None, t: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Squared error of the video U-Net alone, at timesteps `t [B]` or uniform ones, without sound."""
    t = random_timesteps(x0_v.shape[0], scheduler, g) if t is None else t
    noise = torch.randn(x0_v.shape, generator=g)
    prediction = unet.forward_video(scheduler.add_noise(x0_v, noise, t), t, text_v, film=film)
    return squared_error(prediction, target_of(scheduler, x0_v, noise, t), weight)


def sound_loss(
    unet: DualUNet, scheduler, x0_a: Tensor, text_a: Tensor, film: Film | None, g: torch.Generator,
    t: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Mean squared error of the audio U-Net alone, at timesteps `t [B]` or uniform ones, without the picture."""
    t = random_timesteps(x0_a.shape[0], scheduler, g) if t is None else t
    noise = torch.randn(x0_a.shape, generator=g)
    prediction = unet.forward_audio(scheduler.add_noise(x0_a, noise, t), t, text_a, film=film)
    return F.mse_loss(prediction, target_of(scheduler, x0_a, noise, t))


def joint_loss(
    unet: DualUNet,
    schedulers: tuple,
    x0: tuple[Tensor, Tensor],
    text: tuple[Tensor, Tensor],
    film: Film | None,
    dropout: Dropout,
    g: torch.Generator,
    weight_v: Tensor | None = None,
    shared_noise: float = 0.0,
    sides: Sequence[str] = MODALITIES,
) -> tuple[Any, Any]:
    """Compute (video loss, audio loss) of one joint step; None for a side that is not among `sides`.

    Args:
        schedulers, x0, text: (video, audio) pairs; latents `[B, 4, T, h, w]` and `[B, 8, R, F]`.
        film: modulation of all sites, already masked.
        weight_v: `[B, T, h, w]`, see `squared_error`.
        shared_noise: see `SamplerSettings`.
    """
    draws = draw_joint(schedulers, x0, dropout, g, shared_noise)
    (video, audio), targets = joint_predictions(unet, schedulers, x0, text, film, draws, sides)
    return (
        None if video is None else squared_error(video, targets[0], weight_v),
        None if audio is None else F.mse_loss(audio, targets[1]),
    )


@dataclass(frozen=True)
class JointDraws:
    """Hold the random draws of a joint step, except for dropped conditions.

    Args:
        t: `[B]`, the timestep that both modalities share.
        t_con: per modality `[B]`, the connectors' timestep.
        noise, noise_con: per modality, shaped like its latents: noise of the signal, noise of the connectors' copy.
        keep_x0: per modality `[B]`, 1 if the previous estimate is kept.
    """

    t: Tensor
    t_con: tuple[Tensor, Tensor]
    noise: tuple[Tensor, Tensor]
    noise_con: tuple[Tensor, Tensor]
    keep_x0: tuple[Tensor, Tensor]

    def to(self, device: torch.device) -> JointDraws:
        pairs = (tuple(v.to(device) for v in p) for p in (self.t_con, self.noise, self.noise_con, self.keep_x0))
        return JointDraws(self.t.to(device), *pairs)

    @staticmethod
    def cat(parts: Sequence[JointDraws]) -> JointDraws:
        """Join the draws of several batches."""

        def pair(name: str) -> tuple[Tensor, Tensor]:
            first, second = zip(*(getattr(p, name) for p in parts), strict=True)
            return torch.cat(first), torch.cat(second)

        names = ("t_con", "noise", "noise_con", "keep_x0")
        return JointDraws(torch.cat([p.t for p in parts]), *(pair(name) for name in names))


def draw_joint(
    schedulers: tuple, x0: tuple[Tensor, Tensor], dropout: Dropout, g: torch.Generator, shared_noise: float = 0.0
) -> JointDraws:
    """Draw timesteps, noise and kept estimates of a joint step; only the shapes of `x0` are read."""
    count = x0[0].shape[0]
    t = random_timesteps(count, schedulers[0], g)
    # The connectors read their own copies, each at its own noise level: sampling can pair any two levels.
    t_con = tuple(random_timesteps(count, s, g) for s in schedulers)
    noise, noise_con = (_noise_pair(x0, shared_noise, g) for _ in range(2))
    return JointDraws(t, t_con, noise, noise_con, tuple(keep_mask(dropout.x0, count, g) for _ in schedulers))


def joint_predictions(
    unet: DualUNet,
    schedulers: tuple,
    x0: tuple[Tensor, Tensor],
    text: tuple[Tensor, Tensor],
    film: Film | None,
    draws: JointDraws,
    sides: Sequence[str] = MODALITIES,
) -> tuple[tuple[Any, Any], tuple[Tensor, Tensor]]:
    """Return ((video, audio) predictions, their targets) of one joint step; arguments as for `joint_loss`."""
    x_t = tuple(s.add_noise(x, n, draws.t) for s, x, n in zip(schedulers, x0, draws.noise, strict=True))
    noised = zip(schedulers, x0, draws.noise_con, draws.t_con, strict=True)
    x_con = tuple(s.add_noise(x, n, t) for s, x, n, t in noised)
    heard = [m for m in MODALITIES if any(side != m for side in sides)]
    estimate = _previous_estimate(unet, schedulers, x_con, draws, text, film, heard)
    said = _only(heard, x_con)
    cross = unet.encode_cross(said[0], said[1], *draws.t_con, *estimate)
    out = _predicted(unet, sides, x_t, (draws.t, draws.t), text, cross, film)
    targets = tuple(target_of(s, x, n, draws.t) for s, x, n in zip(schedulers, x0, draws.noise, strict=True))
    return out, targets


def _noise_pair(x0: tuple[Tensor, Tensor], shared: float, g: torch.Generator) -> tuple[Tensor, Tensor]:
    return video_noise(tuple(x0[0].shape), g, shared), torch.randn(x0[1].shape, generator=g)


def _only(sides: Sequence[str], pair: tuple) -> tuple[Any, ...]:
    """A (video, audio) pair with None in place of what is not among `sides`."""
    return tuple(value if m in sides else None for m, value in zip(MODALITIES, pair, strict=True))


def _predicted(unet: DualUNet, sides: Sequence[str], x: tuple, t: tuple, text: tuple, cross, film) -> tuple:
    """The U-Nets' predictions of `sides`."""
    forwards = zip(MODALITIES, (unet.forward_video, unet.forward_audio), x, t, text, strict=True)
    return tuple(
        forward(x_m, t_m, text_m, cross, film) if m in sides else None for m, forward, x_m, t_m, text_m in forwards
    )


def _previous_estimate(unet, schedulers, x_con, draws: JointDraws, text, film, heard: Sequence[str]) -> tuple[Any, ...]:
    """Estimate x0 as a previous step would, drop some; skip the computation if all are dropped.

    Args:
        heard: the modalities whose estimates a side that is trained reads.
    """
    if not any(bool(k.any()) for m, k in zip(MODALITIES, draws.keep_x0, strict=True) if m in heard):
        return None, None
    with torch.no_grad():
        told = [m for m in MODALITIES if any(other != m for other in heard)]
        said = _only(told, x_con)
        cross = unet.encode_cross(said[0], said[1], *draws.t_con)
        out = _predicted(unet, heard, x_con, draws.t_con, text, cross, film)
        known = zip(schedulers, out, x_con, draws.t_con, draws.keep_x0, strict=True)
        return tuple(
            None if o is None else estimate_clean(s, o, x, t) * k.view(-1, *(1,) * (x.ndim - 1))
            for s, o, x, t, k in known
        )
