"""Keep part of a clip as it is known while the rest is sampled."""

from __future__ import annotations

import torch
from torch import Tensor

from ..records import AV
from .steer import Step, Term


class Kept(Term):
    """Put the known clip where nothing is made anew, at every step.

    A move reads the clean estimate and the noise that it implies. With the known latents as estimate, what is kept
    therefore stays at the level of noise of each step and arrives clean. Make it the last term.

    Args:
        known: clean latents per modality, `[1, ...]`.
        anew: True where a modality is made anew; booleans that broadcast over its latents.
    """

    def __init__(self, known: AV, anew: AV) -> None:
        self.known, self.anew = known, anew

    def on_estimate(self, step: Step) -> AV:
        return self._with_known(step.x0)

    def on_latents(self, step: Step) -> AV:
        # A schedule may end just short of clean.
        return self._with_known(step.moved) if step.index == step.total - 1 else step.moved

    def _with_known(self, made: AV) -> AV:
        def one(anew: Tensor, ours: Tensor, known: Tensor) -> Tensor:
            return torch.where(anew.to(ours.device), ours, known.to(ours))

        put = self.anew.map(one, made, self.known)
        return AV.of({m: made.get(m) if put.get(m) is None else put.get(m) for m in made.present()})
