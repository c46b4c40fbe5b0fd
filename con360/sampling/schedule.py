"""DDIM as pure functions over a noise schedule.

Symbols, from variable to paper: `alpha` is the cumulative product of DDIM's alpha_t; `prediction` is the network's
output, noise or velocity; `x0` is f_theta(x_t, t); `eta` scales sigma_t.

Source: DDIM (arXiv 2010.02502) equations 12 and 16; v-prediction (arXiv 2202.00512); trailing spacing and zero
terminal SNR (arXiv 2305.08891); timestep adjustment as the published joint sampler does it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from ..errors import InputError


@dataclass(frozen=True)
class NoiseSchedule:
    """Facts of a scheduler that sampling needs.

    Args:
        alphas_cumprod: `[num_train_timesteps]` float32; the last may be 0 (zero terminal SNR).
        final_alpha: the alpha that the last step arrives at.
        prediction_type: `epsilon` or `v_prediction`.
        spacing: `leading`, `linspace` or `trailing`.
        steps_offset: added to `leading` timesteps.
        clip_range: x0 estimates are clamped to plus and minus this; None leaves them.
    """

    alphas_cumprod: Tensor
    final_alpha: float
    prediction_type: str
    spacing: str
    steps_offset: int = 0
    clip_range: float | None = None

    def __post_init__(self) -> None:
        if self.prediction_type not in ("epsilon", "v_prediction"):
            raise InputError(
                f"prediction type {self.prediction_type!r} is not supported; wanted epsilon or v_prediction."
            )
        if self.spacing not in ("leading", "linspace", "trailing"):
            raise InputError(f"timestep spacing {self.spacing!r} is not known; wanted leading, linspace or trailing.")
        if self.prediction_type == "epsilon" and self.alphas_cumprod[-1] <= 0:
            raise InputError(
                "a schedule with zero terminal SNR cannot start from a noise prediction; wanted v_prediction."
            )

    @property
    def num_train_timesteps(self) -> int:
        return len(self.alphas_cumprod)

    @staticmethod
    def of(scheduler: Any) -> NoiseSchedule:
        """From diffusers' DDIMScheduler: its configuration and the betas that follow from it."""
        config: Mapping[str, Any] = scheduler.config
        if config.get("thresholding"):
            raise InputError(
                "the scheduler asks for dynamic thresholding, which latent models do not use; turn it off."
            )
        return NoiseSchedule(
            scheduler.alphas_cumprod.float(),
            float(scheduler.final_alpha_cumprod),
            config["prediction_type"],
            config["timestep_spacing"],
            config["steps_offset"],
            config["clip_sample_range"] if config["clip_sample"] else None,
        )

    def alpha_pairs(self, timesteps: tuple[int, ...]) -> list[tuple[float, float]]:
        """(alpha at a step, alpha at the next one) along the given timesteps."""
        alphas = [float(self.alphas_cumprod[t]) for t in timesteps] + [self.final_alpha]
        return list(zip(alphas, alphas[1:], strict=False))


def ddim_timesteps(schedule: NoiseSchedule, steps: int, exponent: float | None = None) -> tuple[int, ...]:
    """Timesteps from noise to picture.

    Args:
        schedule: for its spacing and length.
        steps: how many.
        exponent: timestep adjustment, t' = round((t / 1000)^exponent * 1000); None leaves them.

    Raises:
        InputError: fewer than one step, or more than the schedule has.
    """
    count = schedule.num_train_timesteps
    if not 1 <= steps <= count:
        raise InputError(f"{steps} sampling steps were asked for; wanted 1 to {count}.")
    index = np.arange(steps)
    if schedule.spacing == "linspace":
        t = np.linspace(0, count - 1, steps).round()[::-1].astype(np.int64)
    elif schedule.spacing == "leading":
        t = index[::-1] * (count // steps) + schedule.steps_offset
    else:
        t = np.round(count - index * (count / steps)).astype(np.int64) - 1
    if exponent is not None:
        # In float32 as published: a few timesteps round differently in float64. The power alone is taken in float64
        # and rounded then, since the last bit of numpy's float32 power depends on its version and on the processor.
        share = t.astype(np.float32) / np.float32(count)
        power = np.power(share.astype(np.float64), np.float64(np.float32(exponent))).astype(np.float32)
        t = np.round(power * np.float32(count))
    return tuple(int(v) for v in np.clip(t, 0, count - 1))


def adjustment_exponents(gamma: float | None) -> tuple[float | None, float | None]:
    """(video, audio) exponents: sqrt(gamma) and its inverse. Above 1 the picture settles before the sound does."""
    return (None, None) if gamma is None else (math.sqrt(gamma), 1 / math.sqrt(gamma))


def estimate_x0(prediction: Tensor, x_t: Tensor, alpha: float | Tensor, prediction_type: str) -> Tensor:
    """The clean sample that a prediction implies; `alpha` is a number or broadcasts over the batch."""
    if prediction_type == "v_prediction":
        return alpha**0.5 * x_t - (1 - alpha) ** 0.5 * prediction
    return (x_t - (1 - alpha) ** 0.5 * prediction) / alpha**0.5


def clean_estimate(schedule: NoiseSchedule, prediction: Tensor, x_t: Tensor, alpha: float) -> Tensor:
    """`estimate_x0` with the schedule's prediction type and clamp."""
    x0 = estimate_x0(prediction, x_t, alpha, schedule.prediction_type)
    return x0 if schedule.clip_range is None else x0.clamp(-schedule.clip_range, schedule.clip_range)


def ddim_move(
    x_t: Tensor, x0: Tensor, alpha: float, alpha_next: float, *, eta: float = 0.0, noise: Tensor | None = None
) -> Tensor:
    """One DDIM step from a clean estimate.

    Args:
        x_t, x0: latents and their clean estimate, of one shape.
        alpha, alpha_next: from `alpha_pairs`; alpha may be 0 for v-prediction.
        eta: 0 is deterministic, 1 is ancestral.
        noise: standard normal, needed when eta is above 0.
    """
    # Always from x0, as published: it makes the direction agree with a clamped estimate.
    epsilon = (x_t - alpha**0.5 * x0) / (1 - alpha) ** 0.5
    sigma = eta * ((1 - alpha_next) / (1 - alpha) * (1 - alpha / alpha_next)) ** 0.5
    x_next = alpha_next**0.5 * x0 + (1 - alpha_next - sigma**2) ** 0.5 * epsilon
    return x_next if eta == 0 else x_next + sigma * noise
