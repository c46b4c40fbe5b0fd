"""Steer a clip while it is sampled: terms that change the clean estimate, or the latents after a move.

A step is estimate, steer, move. Published guidance acts in either place: on the clean estimate before the move, or on
the moved latents after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..records import AV


@dataclass(frozen=True)
class Step:
    """One sampling step, as terms see it.

    Args:
        index, total: the step, counted from 0, and how many there are.
        x: latents before the move, `[B, ...]` per modality, float32.
        x0: their clean estimates; None where a modality has none yet.
        moved: latents after the move; absent until then.
        active: modalities that are denoised in this step.
    """

    index: int
    total: int
    x: AV
    x0: AV
    moved: AV = AV()
    active: tuple[str, ...] = ()


class Term:
    """One term of steering; a subclass overrides one method or both.

    Gradients are off when a method is called; `gradient` turns them on. Halves of modalities that are not `active` are
    ignored.
    """

    def on_estimate(self, step: Step) -> AV:
        """Change the clean estimates before the move."""
        return step.x0

    def on_latents(self, step: Step) -> AV:
        """Change the latents after the move."""
        return step.moved


def gradient(loss: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """Gradient of a scalar of a tensor, through whatever networks `loss` calls.

    Weights loaded under inference mode cannot be differentiated through: load them outside of it.
    """
    return value_and_gradient(loss, at)[1]


def value_and_gradient(loss: Callable[[Tensor], Tensor], at: Tensor) -> tuple[float, Tensor]:
    """A scalar of a tensor, and its gradient as `gradient` has it."""
    with torch.enable_grad():
        point = at.detach().requires_grad_(True)
        value = loss(point)
        (found,) = torch.autograd.grad(value, point)
    return float(value.detach()), found


def steered_estimates(terms: Sequence[Term], step: Step) -> AV:
    for term in terms:
        step = replace(step, x0=term.on_estimate(step))
    return step.x0


def steered_latents(terms: Sequence[Term], step: Step) -> AV:
    for term in terms:
        step = replace(step, moved=term.on_latents(step))
    return step.moved
