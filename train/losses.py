"""The training objective: noise or velocity, predicted by both U-Nets at one shared timestep.

Source: SVG baseline (arXiv 2409.17550) for the shared timestep, the independent connector timestep and the x0
self-conditioning; its released code differs in places that are known bugs and are not copied (prompt dropout that never
happens at batch size 1, a first pass that embeds the wrong timestep).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from con360.control.film import Film
from con360.models.dual_unet import DualUNet
from con360.sampling.joint import video_noise
from con360.sampling.schedule import estimate_x0


@dataclass(frozen=True)
class Dropout:
    """What is dropped, per sample, so that guidance has something to compare with.

    Args:
        text: caption and control together: the unconditional half.
        control: control alone, the caption stays.
        saliency, basd: one map alone, as zeros.
        x0: the previous estimate in the connectors' input, per modality.
    """

    text: float = 0.1
    control: float = 0.05
    saliency: float = 0.07
    basd: float = 0.07
    x0: float = 0.5


def keep_mask(probability_of_drop: float, count: int, generator: torch.Generator) -> Tensor:
    """`[count]` of 0 and 1; drawn per sample, so that it also drops at batch size 1."""
    return (torch.rand(count, generator=generator) >= probability_of_drop).float()


def mask_film(film: Film, keep: Tensor) -> Film:
    """Modulation of the samples that keep it; zeros, the identity, for the others."""

    def scaled(t: Tensor) -> Tensor:
        return t * keep.to(t).view(-1, *(1,) * (t.ndim - 1))

    return {site: (scaled(scale), scaled(shift)) for site, (scale, shift) in film.items()}


def drop_maps(maps: Tensor, dropout: Dropout, generator: torch.Generator) -> Tensor:
    """`[B, T, 2, H, W]` with saliency or BASD zeroed in some samples."""
    count = maps.shape[0]
    keep = torch.stack(
        [keep_mask(dropout.saliency, count, generator), keep_mask(dropout.basd, count, generator)], dim=1
    )
    return maps * keep.to(maps).view(count, 1, 2, 1, 1)


def random_timesteps(count: int, scheduler, generator: torch.Generator, lean: float = 1.0) -> Tensor:
    """`[count]` timesteps, uniform by default; a lean above 1 draws noisier ones more often.

    What a caption or a map decides (which colour, where) is settled at high noise; at low noise it can be seen.
    """
    total = scheduler.config.num_train_timesteps
    return (torch.rand(count, generator=generator) ** (1 / lean) * total).long().clamp_max(total - 1)


def target_of(scheduler, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """What the network should predict at timestep t, by the scheduler's own prediction type."""
    kind = scheduler.config.prediction_type
    if kind == "epsilon":
        return noise
    if kind == "v_prediction":
        return scheduler.get_velocity(x0, noise, t)
    raise ValueError(f"prediction type {kind!r} is not supported; wanted 'epsilon' or 'v_prediction'")


def estimate_clean(scheduler, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """The clean latents that predictions imply, each sample at its own timestep `t [B]`."""
    alpha = scheduler.alphas_cumprod.to(x_t)[t].view(-1, *(1,) * (x_t.ndim - 1))
    return estimate_x0(prediction, x_t, alpha, scheduler.config.prediction_type)


def squared_error(prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean squared error, weighted where a weight is given: `[B, T, h, w]` over `[B, C, T, h, w]`.

    A weight does not move the optimum, which is the conditional mean at every pixel; it spends the gradient where a
    picture is hard: performers cover a few percent of it, and an unweighted loss is mostly about the sky.
    """
    error = (prediction - target).square()
    if weight is None:
        return error.mean()
    weight = weight[:, None].expand_as(error)
    return (error * weight).sum() / weight.sum()


def picture_loss(
    unet: DualUNet, scheduler, x0_v: Tensor, text_v: Tensor, film: Film | None, g: torch.Generator,
    weight: Tensor | None = None, lean: float = 1.0,
) -> Tensor:  # fmt: skip
    """Squared error of the video U-Net alone; it hears no sound."""
    t = random_timesteps(x0_v.shape[0], scheduler, g, lean)
    noise = torch.randn(x0_v.shape, generator=g)
    prediction = unet.forward_video(scheduler.add_noise(x0_v, noise, t), t, text_v, film=film)
    return squared_error(prediction, target_of(scheduler, x0_v, noise, t), weight)


def sound_loss(
    unet: DualUNet, scheduler, x0_a: Tensor, text_a: Tensor, film: Film | None, g: torch.Generator
) -> Tensor:
    """Mean squared error of the audio U-Net alone; it sees no picture."""
    t = random_timesteps(x0_a.shape[0], scheduler, g)
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
) -> tuple[Tensor, Tensor]:
    """(video loss, audio loss) of one joint step.

    Args:
        schedulers, x0, text: (video, audio) pairs; latents `[B, 4, T, h, w]` and `[B, 8, R, F]`.
        film: modulation of all sites, already masked.
        weight_v: `[B, T, h, w]`, see `squared_error`.
        shared_noise: see `SamplerSettings`.
    """
    count = x0[0].shape[0]
    t = random_timesteps(count, schedulers[0], g)
    # The connectors listen to their own copy of the signal, noised on its own: sampling asks them for any pairing.
    t_con = tuple(random_timesteps(count, s, g) for s in schedulers)
    noise = _noise_pair(x0, shared_noise, g)
    x_t = tuple(s.add_noise(x, n, t) for s, x, n in zip(schedulers, x0, noise, strict=True))
    noise_con = _noise_pair(x0, shared_noise, g)
    x_con = tuple(s.add_noise(x, n, tc) for s, x, n, tc in zip(schedulers, x0, noise_con, t_con, strict=True))
    estimate = _previous_estimate(unet, schedulers, x_con, t_con, text, film, dropout, g)
    cross = unet.encode_cross(*x_con, *t_con, *estimate)
    out = unet(*x_t, t, t, *text, cross, film)
    targets = tuple(target_of(s, x, n, t) for s, x, n in zip(schedulers, x0, noise, strict=True))
    return squared_error(out[0], targets[0], weight_v), F.mse_loss(out[1], targets[1])


def _noise_pair(x0: tuple[Tensor, Tensor], shared: float, g: torch.Generator) -> tuple[Tensor, Tensor]:
    return video_noise(tuple(x0[0].shape), g, shared), torch.randn(x0[1].shape, generator=g)


def _previous_estimate(unet, schedulers, x_con, t_con, text, film, dropout, g) -> tuple[Tensor | None, Tensor | None]:
    """The x0 estimates that a previous step would have left, some dropped; computed only when any is kept."""
    count = x_con[0].shape[0]
    keep = tuple(keep_mask(dropout.x0, count, g) for _ in x_con)
    if not any(bool(k.any()) for k in keep):
        return None, None
    with torch.no_grad():
        cross = unet.encode_cross(*x_con, *t_con)
        out = unet(*x_con, *t_con, *text, cross, film)
        estimates = (estimate_clean(s, o, x, tc) for s, o, x, tc in zip(schedulers, out, x_con, t_con, strict=True))
        return tuple(e * k.view(-1, *(1,) * (e.ndim - 1)) for e, k in zip(estimates, keep, strict=True))
