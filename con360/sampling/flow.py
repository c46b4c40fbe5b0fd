"""Straight flows from noise to clip, followed by Euler steps.

Convention: x = (1 - t) x0 + t noise, and a network predicts the velocity noise - x0. Time 1 is noise.

Source: rectified flow (arXiv 2209.03003), as OmniAudio (arXiv 2504.14906) samples it.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class EulerSolver:
    """Follow the velocity from time to time (`protocols.Solver`); `times` ends before the clean clip."""

    times: tuple[float, ...]

    def estimate(self, index: int, prediction: Tensor, x: Tensor) -> Tensor:
        return x - self.times[index] * prediction

    def move(self, index: int, x: Tensor, x0: Tensor, noise: Tensor | None) -> Tensor:
        after = self.times[index + 1] if index + 1 < len(self.times) else 0.0
        return x0 + (after / self.times[index]) * (x - x0)


@dataclass(frozen=True)
class FlowSchedule:
    """Equal steps of time (`protocols.Schedule`).

    Args:
        start: time of the first step; below 1 the noise is what a start was taken to.
    """

    start: float = 1.0

    def timesteps(self, steps: int, exponent: float | None = None) -> tuple[float, ...]:
        """Times from `start` down; an exponent above 1 settles earlier."""
        return tuple(self.start * (1 - i / steps) ** (exponent or 1.0) for i in range(steps))

    def solver(self, name: str, timesteps: tuple[float, ...], eta: float) -> EulerSolver:
        return EulerSolver(timesteps)

    def noised(self, x0: Tensor, noise: Tensor, timestep: float) -> Tensor:
        return (1 - timestep) * x0 + timestep * noise
