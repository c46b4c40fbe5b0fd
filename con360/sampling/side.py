"""Follow one modality through the sampling steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..choices import HOLDS
from ..errors import InputError
from ..models.dual_unet import time_embedding
from ..models.residency import resident
from .schedule import NoiseSchedule, ddim_timesteps
from .settings import SamplerSettings
from .solvers import make_solver


class Side:
    """One modality on its way.

    Args:
        m: 0 is picture, 1 is sound.
        noise: `[B, ...]`, on the computing device.
        known: clean latents, needed where the modality does not begin in noise.
    """

    def __init__(
        self, m: int, scheduler: Any, unet: torch.nn.Module, exponent: float | None, settings: SamplerSettings,
        noise: Tensor, known: Tensor | None,
    ) -> None:  # fmt: skip
        self.begin, name = settings.begins(m), HOLDS[m]
        schedule = NoiseSchedule.of(scheduler)
        timesteps = ddim_timesteps(schedule, settings.steps, exponent)
        self.solver = make_solver(settings.sampler, scheduler, schedule, timesteps, settings.eta)
        self.times = _embedded_times(unet, timesteps, noise)
        self.x = self.start = noise
        self.x0: Tensor | None = None
        if self.begin == 0:
            return
        if known is None:
            what = "hold it" if self.begin == settings.steps else "start from it with a strength below 1"
            raise InputError(f"there is no {name} to {what}; give one.")
        if known.shape[1:] != noise.shape[1:]:
            raise InputError(
                f"the given {name} has latents of shape {tuple(known.shape[1:])}; wanted {tuple(noise.shape[1:])}."
            )
        self.x = self.x0 = known.float().to(noise.device).expand_as(noise)
        if self.begin < settings.steps:
            alpha = float(schedule.alphas_cumprod[timesteps[self.begin]])
            self.start = alpha**0.5 * self.x0 + (1 - alpha) ** 0.5 * noise

    def time(self, step: int) -> Tensor:
        """The embedded timestep at a step, `[1, E]`; what is given is at timestep 0 until it begins."""
        return self.times[step : step + 1] if step >= self.begin else self.times[-1:]

    def arrive(self, step: int) -> bool:
        """Be ready for a step; whether this modality is denoised in it."""
        if step == self.begin:
            self.x = self.start
        return step >= self.begin

    def advance(self, step: int, prediction: Tensor, fresh: Tensor | None) -> None:
        self.x, self.x0 = self.solver.step(step, prediction, self.x, fresh)


def _embedded_times(unet: torch.nn.Module, timesteps: tuple[int, ...], like: Tensor) -> Tensor:
    """`[steps + 1, E]`: every step's timestep as the U-Net embeds it, and timestep 0 at the end."""
    steps = torch.tensor([*timesteps, 0], device=like.device)
    with resident(like.device, unet.time_embedding):
        return time_embedding(unet, steps, like.new_zeros(len(steps), dtype=unet.dtype))
