"""How a latent moves from one timestep to the next, given the network's prediction.

A solver serves one modality of one clip: it knows the timesteps and, where its method is a multistep one, what it saw
before. Estimating x0 is the same for all, `schedule.estimate_x0`.

Source: DDIM (arXiv 2010.02502); DPM-Solver++ (arXiv 2211.01095), second order multistep, as diffusers implements it.
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from ..errors import InputError
from .schedule import NoiseSchedule, ddim_step, estimate_x0


class Solver(Protocol):
    """What the sampler asks of a method."""

    def step(self, index: int, prediction: Tensor, x: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """(x at the next timestep, x0 estimate) from the prediction at `timesteps[index]`."""


class DdimSolver:
    """DDIM along the given timesteps."""

    def __init__(self, schedule: NoiseSchedule, timesteps: tuple[int, ...], eta: float) -> None:
        self.schedule, self.alphas, self.eta = schedule, schedule.alpha_pairs(timesteps), eta

    def step(self, index: int, prediction: Tensor, x: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        return ddim_step(self.schedule, prediction, x, *self.alphas[index], eta=self.eta, noise=noise)


class DpmSolver:
    """DPM-Solver++ (2M) of diffusers, over the model's own noise schedule and the sampler's timesteps.

    The x0 estimate is ours, so that clamping and zero terminal SNR are handled as everywhere else, and the library is
    told that the network predicts the sample. It replaces an alpha of 0 by 2^-24, whose logarithm is finite.

    Args:
        scheduler: the model's DDIMScheduler, whose betas are taken over.
        schedule: the same as numbers.
        timesteps: all of them; stepping may begin at any.

    Raises:
        InputError: two timesteps are equal: the method divides by the distance between them.
    """

    def __init__(self, scheduler: Any, schedule: NoiseSchedule, timesteps: tuple[int, ...]) -> None:
        from diffusers import DPMSolverMultistepScheduler

        if len(set(timesteps)) < len(timesteps):
            raise InputError(
                f"gamma brings two of {len(timesteps)} steps to the same timestep, which dpm++ cannot cross; "
                f"take fewer steps, a gamma nearer to 1, or ddim."
            )
        self.schedule, self.timesteps, self.alphas = schedule, timesteps, schedule.alpha_pairs(timesteps)
        self.library = DPMSolverMultistepScheduler.from_config(
            scheduler.config, algorithm_type="dpmsolver++", solver_order=2, prediction_type="sample",
            final_sigmas_type="zero" if schedule.final_alpha == 1 else "sigma_min",
        )  # fmt: skip
        self._begun = False

    def step(self, index: int, prediction: Tensor, x: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        del noise  # deterministic
        if not self._begun:
            self.library.set_timesteps(timesteps=list(self.timesteps[index:]))
            self.library.set_begin_index(0)
            self._begun = True
        x0 = estimate_x0(prediction, x, self.alphas[index][0], self.schedule.prediction_type)
        if self.schedule.clip_range is not None:
            x0 = x0.clamp(-self.schedule.clip_range, self.schedule.clip_range)
        return self.library.step(x0, self.timesteps[index], x).prev_sample, x0


def make_solver(name: str, scheduler: Any, schedule: NoiseSchedule, timesteps: tuple[int, ...], eta: float) -> Solver:
    """A solver by its name in `choices.SAMPLERS`."""
    if name == "ddim":
        return DdimSolver(schedule, timesteps, eta)
    return DpmSolver(scheduler, schedule, timesteps)
