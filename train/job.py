"""Name what the loop asks of the networks that it trains: one job per kind of model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from train.monitor import Monitor

# RNG streams: draws of one number differ between training and validation.
TRAINING, VALIDATION = 0, 1


class Job(Protocol):
    """Hold the networks of a run, and know how they read samples.

    Attributes:
        net: all of them in one module, so that Accelerate can wrap it. `net(batch, draws)` returns a named tuple of
            errors `[B]`, which add up to the loss.
    """

    net: nn.Module

    def trained(self) -> dict[str, nn.Parameter]:
        """Weights that learn, by name."""

    def groups(self) -> list[dict[str, Any]]:
        """The same as AdamW's parameter groups; `scale` multiplies the learning rate."""

    def learning(self, step: int) -> Iterable[nn.Parameter]:
        """Weights that learn in one step: the others keep still in it."""

    def collate(self, samples: Sequence[Any]) -> Any:
        """Stack samples as one batch with a method `to`."""

    def draw(self, batch: Any, numbers: Sequence[int], stream: int, step: int) -> Any:
        """Draw what is random by the samples' numbers in the run; the result has a method `to`."""

    def places(self, draws: Any) -> Tensor | None:
        """Places `[B]` on the noise schedule, 0 is clean and 1 the end; None where there is none."""

    def bare(self, batch: Any, draws: Any) -> Any:
        """Errors without the condition whose worth the run reports."""

    def look(self, samples: Sequence[Any], monitor: Monitor, step: int) -> dict[str, float]:
        """Show what the networks make for held-out samples; return further figures."""


class OneNetwork:
    """A job's part that says what learns: all of `net`, in every step."""

    net: nn.Module

    def trained(self) -> dict[str, nn.Parameter]:
        return dict(self.net.named_parameters())

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.trained().values())}]

    def learning(self, step: int) -> Iterable[nn.Parameter]:
        return self.trained().values()


def generator_of(seed: int, stream: int, number: int) -> torch.Generator:
    """Make the generator of one sample of a run: independent of processes, batch size and resuming."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence([seed, stream, number]).generate_state(1)[0]))
