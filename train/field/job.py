"""Train a direction head (`train.job.Job`).

Shape legend: B clips, R rows of 40 ms, K bands, C azimuth columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from con360.control.field_head import FieldHead, Told
from con360.scenes import Scene
from train.field.cache import Rendered
from train.field.draws import Drawn, as_read, azimuth_errors_deg, caption_of, draw, padded, stacked, words_of
from train.field.scenes import field_scene
from train.field.settings import FieldRunConfig
from train.job import OneNetwork
from train.monitor import Monitor

VECTOR_WEIGHT, WORDS_WEIGHT = 2.0, 0.5


class Scenes:
    """Read scenes with what was rendered of them by number."""

    reads_ahead = False

    def __init__(self, split: str, rendered: Rendered) -> None:
        self.split, self.rendered = split, rendered
        self.groups: Sequence[range] = [range(i, i + 1) for i in range(len(rendered))]

    def __len__(self) -> int:
        return len(self.rendered)

    def __getitem__(self, index: int) -> tuple[Scene, Rendered]:
        return field_scene(self.split, index), self.rendered.at(index)


@dataclass(frozen=True)
class Batch:
    """Hold scenes; `Drawn` has what the network reads."""

    samples: tuple[tuple[Scene, Rendered], ...]

    def to(self, device: torch.device) -> Batch:
        return self


class FieldErrors(NamedTuple):
    """Errors of each clip, `[B]` each; their means add up to the loss."""

    columns: Tensor
    vectors: Tensor
    words: Tensor


class FieldNet(nn.Module):
    """The head and its errors."""

    def __init__(self, head: FieldHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, batch: Batch, draws: Drawn) -> FieldErrors:
        logits, directions = self.head(draws.told)
        logarithms = logits.log_softmax(-1)
        columns = -(draws.lobes * logarithms).sum(-1)
        vectors = torch.einsum("brkc,brcd->brkd", logarithms.exp(), directions)
        off = (vectors - draws.vectors).square().sum(-1)
        errors = (columns, VECTOR_WEIGHT * off, WORDS_WEIGHT * self._of_words(draws))
        whole = draws.weights.sum((1, 2))
        return FieldErrors(*((error * draws.weights).sum((1, 2)) / whole for error in errors))

    def _of_words(self, draws: Drawn) -> Tensor:
        """Errors `[B, R, K]` of what the caption says by itself.

        Where the sound tells all, words would not be learned, and sound that keeps no phase needs them.
        """
        said = self.head.reading(draws.words).log_softmax(-1)
        return -torch.einsum("brkc,bkc->brk", draws.lobes, said) * draws.directed[:, None, None]


class FieldJob(OneNetwork):
    """Train the head."""

    def __init__(self, config: FieldRunConfig, head: FieldHead) -> None:
        self.config, self.net = config, FieldNet(head)

    def collate(self, samples: Sequence[tuple[Scene, Rendered]]) -> Batch:
        return Batch(tuple(samples))

    def draw(self, batch: Batch, numbers: Sequence[int], stream: int, step: int) -> Drawn:
        """Draw each clip anew; without its sound for `bare`."""
        chances = (np.random.default_rng([self.config.seed, stream, number]) for number in numbers)
        vocabulary = self.net.head.config.words
        pairs = zip(batch.samples, chances, strict=True)
        return stacked([draw(*sample, rng, self.config, vocabulary) for sample, rng in pairs])

    def places(self, draws: Drawn) -> None:
        """There is no noise schedule."""

    def bare(self, batch: Batch, draws: Drawn) -> FieldErrors:
        """The same without the sound."""
        return self.net(batch, replace(draws, powers_db=torch.full_like(draws.powers_db, -200.0)))

    @torch.no_grad()
    def look(self, samples: Sequence[tuple[Scene, Rendered]], monitor: Monitor, step: int) -> dict[str, float]:
        """Share of voices within 20 degrees: estimated maps, with the caption and without its direction words."""
        figures: dict[str, float] = {}
        for name, told in (("caption", True), ("no directions", False)):
            errors = torch.cat([self._errors(*sample, told) for sample in samples])
            figures |= {f"{name} within 20": (errors <= 20).float().mean().item()}
            figures |= {f"{name} median": errors.median().item()}
        return figures

    def _errors(self, scene: Scene, rendered: Rendered, told: bool) -> Tensor:
        powers = rendered.powers_db.float()
        heard = 10 * (10 ** (powers / 10)).sum(0).log10()
        caption = caption_of(scene, np.random.default_rng(0), told=told, shuffled=not told)
        words = padded(words_of(caption, self.net.head.config.words))
        maps = as_read(rendered.estimated, rendered.colours, len(heard))
        device = self.net.head.prior.device
        vectors = self.net.head.vectors(Told(*(t[None].to(device) for t in (maps, words, heard))))[0].cpu()
        return azimuth_errors_deg(vectors, powers, rendered.yaws_deg)[: len(scene.performers)]
