"""Follow one modality through the sampling steps."""

from __future__ import annotations

from torch import Tensor

from ..errors import InputError
from ..protocols import Denoiser, Schedule
from .settings import SAID, SamplerSettings


class Side:
    """One modality on its way.

    Args:
        modality: `video` or `audio`.
        noise: `[B, ...]` float32, on the computing device.
        known: clean latents, needed where the modality does not begin in noise.
    """

    def __init__(
        self, modality: str, denoiser: Denoiser, schedule: Schedule, exponent: float | None, settings: SamplerSettings,
        noise: Tensor, known: Tensor | None,
    ) -> None:  # fmt: skip
        self.begin, name = settings.begins(modality), SAID.get(modality)
        timesteps = schedule.timesteps(settings.steps, exponent)
        self.solver = schedule.solver(settings.sampler, timesteps, settings.eta)
        # The last row is timestep 0, at which a given modality stands.
        self.times = denoiser.embed_times(modality, noise.new_tensor([*timesteps, 0]), noise)
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
            self.start = schedule.noised(self.x0, noise, timesteps[self.begin])

    def time(self, step: int) -> Tensor:
        """The embedded timestep at a step, `[1, E]`; what is given is at timestep 0 until it begins."""
        return self.times[step : step + 1] if step >= self.begin else self.times[-1:]

    def arrive(self, step: int) -> bool:
        """Be ready for a step; True where this modality is denoised in it."""
        if step == self.begin:
            self.x = self.start
        return step >= self.begin

    def estimate(self, step: int, prediction: Tensor) -> None:
        """Take the clean estimate that a prediction implies."""
        self.x0 = self.solver.estimate(step, prediction, self.x)

    def move(self, step: int, noise: Tensor | None) -> None:
        """Go on to the next timestep."""
        assert self.x0 is not None
        self.x = self.solver.move(step, self.x, self.x0, noise)
