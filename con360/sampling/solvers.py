"""Move a latent from one timestep to the next: estimate the clean sample, then step from it.

A solver serves one modality of one clip: it knows the timesteps and, where its method is a multistep one, what it saw
before. Between estimate and move the estimate may be steered (`steer`), so a move reads nothing but the estimate.

Source: DDIM (arXiv 2010.02502); DPM-Solver++ (arXiv 2211.01095), second order multistep, as diffusers implements it.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..errors import InputError
from ..protocols import Solver
from .schedule import NoiseSchedule, clean_estimate, ddim_move, ddim_timesteps


class DdimSolver:
    """DDIM along the given timesteps."""

    def __init__(self, schedule: NoiseSchedule, timesteps: tuple[int, ...], eta: float) -> None:
        self.schedule, self.alphas, self.eta = schedule, schedule.alpha_pairs(timesteps), eta

    def estimate(self, index: int, prediction: Tensor, x: Tensor) -> Tensor:
        return clean_estimate(self.schedule, prediction, x, self.alphas[index][0])

    def move(self, index: int, x: Tensor, x0: Tensor, noise: Tensor | None) -> Tensor:
        return ddim_move(x, x0, *self.alphas[index], eta=self.eta, noise=noise)


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

    def estimate(self, index: int, prediction: Tensor, x: Tensor) -> Tensor:
        return clean_estimate(self.schedule, prediction, x, self.alphas[index][0])

    def move(self, index: int, x: Tensor, x0: Tensor, noise: Tensor | None) -> Tensor:
        del noise  # deterministic
        if not self._begun:
            self.library.set_timesteps(timesteps=list(self.timesteps[index:]))
            self.library.set_begin_index(0)
            self._begun = True
        return self.library.step(x0, self.timesteps[index], x).prev_sample


def make_solver(name: str, scheduler: Any, schedule: NoiseSchedule, timesteps: tuple[int, ...], eta: float) -> Solver:
    """A solver by its name in `choices.SAMPLERS`."""
    if name == "ddim":
        return DdimSolver(schedule, timesteps, eta)
    return DpmSolver(scheduler, schedule, timesteps)


class DiffusionSchedule:
    """The schedule of a diffusion model, from diffusers' DDIMScheduler.

    Raises:
        InputError: the scheduler asks for what latent models do not use.
    """

    def __init__(self, scheduler: Any) -> None:
        self.scheduler, self.numbers = scheduler, NoiseSchedule.of(scheduler)

    def timesteps(self, steps: int, exponent: float | None = None) -> tuple[int, ...]:
        return ddim_timesteps(self.numbers, steps, exponent)

    def solver(self, name: str, timesteps: tuple[int, ...], eta: float) -> Solver:
        return make_solver(name, self.scheduler, self.numbers, timesteps, eta)

    def noised(self, x0: Tensor, noise: Tensor, timestep: int) -> Tensor:
        alpha = float(self.numbers.alphas_cumprod[timestep])
        return alpha**0.5 * x0 + (1 - alpha) ** 0.5 * noise
