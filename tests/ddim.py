"""Take one whole DDIM step, estimate and move, to compare with the recorded samples."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from con360.sampling.schedule import NoiseSchedule, clean_estimate, ddim_move


def ddim_step(
    schedule: NoiseSchedule, prediction: Tensor, x_t: Tensor, alpha: float, alpha_next: float, **options: Any
) -> tuple[Tensor, Tensor]:
    """Return (x at the next timestep, x0 estimate)."""
    x0 = clean_estimate(schedule, prediction, x_t, alpha)
    return ddim_move(x_t, x0, alpha, alpha_next, **options), x0
