"""Train an encoder of captions, pictures and sounds: pairs first, then their volume.

Shape legend: B clips, T frames, R rows, D vector.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from con360.control.directions import words_of
from con360.metrics.retrieval import ranks, recall
from con360.models.meaning_network import NO_WORD, UNKNOWN_WORD, MeaningNetwork
from con360.scenes import DIRECTION_WORDS
from train.job import OneNetwork, generator_of
from train.meaning.losses import pair_loss, volume_loss
from train.meaning.scenes import Clip
from train.meaning.settings import MeaningRunConfig
from train.monitor import Monitor

FRAMES_PER_S, ROWS_PER_S, SECONDS, ROW_MULTIPLE = 8, 25, 4, 8
# Seconds that a step reads of its clips, one of these by chance; short ones cost less.
PARTS_S = (2, 2, 2, 3, 4)
# Temperatures start here and never fall below the least.
TEMPERATURE, LEAST_TEMPERATURE = 0.07, 0.02
_DIRECTION = re.compile("|".join(sorted((f" {words}" for words in DIRECTION_WORDS), key=len, reverse=True)))


@dataclass(frozen=True)
class Batch:
    """Hold clips for one step: latents `[B, 4, T, h, w]` and `[B, 8, R, 16]`, and captions."""

    picture: Tensor
    sound: Tensor
    captions: tuple[str, ...]

    def to(self, device: torch.device) -> Batch:
        return replace(self, picture=self.picture.to(device), sound=self.sound.to(device))


@dataclass(frozen=True)
class Drawn:
    """Hold what is random in one step.

    Args:
        words: captions as numbers `[B, L]`. noise_v, noise_a: added to the latents, of their shapes.
        push: how far each clip's latents are pushed from its caption, `[B]`.
        first_s, seconds: the part of the clips that is read. with_volume: the volume has joined.
    """

    words: Tensor
    noise_v: Tensor
    noise_a: Tensor
    push: Tensor
    first_s: int
    seconds: int
    with_volume: bool

    def to(self, device: torch.device) -> Drawn:
        moved = {name: getattr(self, name).to(device) for name in ("words", "noise_v", "noise_a", "push")}
        return replace(self, **moved)


class MeaningErrors(NamedTuple):
    """Errors of each clip, `[B]`."""

    text_sound: Tensor
    text_picture: Tensor
    picture_sound: Tensor
    volume: Tensor


class MeaningNet(nn.Module):
    """The network with its errors, and the temperatures that belong to them."""

    def __init__(self, network: MeaningNetwork, config: MeaningRunConfig) -> None:
        super().__init__()
        self.network, self.config = network, config
        self.temperatures = nn.Parameter(torch.full((4,), math.log(TEMPERATURE)))

    def forward(self, batch: Batch, draws: Drawn) -> MeaningErrors:
        if not torch.is_grad_enabled() or not draws.push.any():
            return self.errors(batch, draws)
        pushed, still = self.pushed(batch, draws)
        return self.errors(batch, pushed)._replace(picture_sound=still.picture_sound)

    def pushed(self, batch: Batch, draws: Drawn) -> tuple[Drawn, MeaningErrors]:
        """Push the latents away from their caption, every value equally far as a guide moves them.

        An encoder that was trained without can be guided along slopes that no other encoder sees. What picture and
        sound share is small beside a push, so they are compared as they are.

        Returns:
            Draws with the pushes, and the errors without.
        """
        moved = [noise.expand_as(x).detach().requires_grad_() for noise, x in
                 ((draws.noise_v, batch.picture), (draws.noise_a, batch.sound))]  # fmt: skip
        errors = self.errors(batch, replace(draws, noise_v=moved[0], noise_a=moved[1]))
        from_text = errors.text_sound + errors.text_picture + errors.volume
        slopes = torch.autograd.grad(from_text.sum(), moved, retain_graph=True)
        noise_v, noise_a = (
            noise.detach() + draws.push.view(-1, *[1] * (noise.ndim - 1)) * slope.sign()
            for noise, slope in zip(moved, slopes, strict=True)
        )
        return replace(draws, noise_v=noise_v, noise_a=noise_a), errors

    def errors(self, batch: Batch, draws: Drawn) -> MeaningErrors:
        t, v, a = self.read(batch, draws)
        ta, tv, va, of_volume = self.temperatures.exp().clamp_min(LEAST_TEMPERATURE)
        weight = self.config.pairs_weight if draws.with_volume else 1.0
        text_sound, text_picture, picture_sound = (
            weight * pair_loss(x, y, tau) for x, y, tau in ((t, a, ta), (t, v, tv), (v, a, va))
        )
        volume = torch.zeros_like(text_sound)
        if draws.with_volume:
            volume = volume_loss(t, v, a, temperature=of_volume, one_sided=self.config.one_sided).to(volume)
        return MeaningErrors(text_sound, text_picture, picture_sound, volume)

    def read(self, batch: Batch, draws: Drawn) -> tuple[Tensor, Tensor, Tensor]:
        """Vectors `[B, D]` of captions, pictures and sounds."""
        picture, sound = cut(batch.picture + draws.noise_v, batch.sound + draws.noise_a, draws.first_s, draws.seconds)
        return self.network.text(draws.words), self.network.picture(picture), self.network.sound(sound)


def cut(picture: Tensor, sound: Tensor, first_s: int, seconds: int) -> tuple[Tensor, Tensor]:
    """Cut latents to a part; the sound's rows are padded as a codec pads them."""
    frames, rows = (slice(first_s * n, (first_s + seconds) * n) for n in (FRAMES_PER_S, ROWS_PER_S))
    sound = sound[:, :, rows]
    padding = -sound.shape[2] % ROW_MULTIPLE
    return picture[:, :, frames], nn.functional.pad(sound, (0, 0, 0, padding))


class MeaningJob(OneNetwork):
    """Train the network (`train.job.Job`)."""

    def __init__(self, config: MeaningRunConfig, network: MeaningNetwork) -> None:
        self.config, self.net = config, MeaningNet(network, config)

    def collate(self, samples: Sequence[Clip]) -> Batch:
        picture, sound = (torch.stack([getattr(s, name) for s in samples]).float() for name in ("picture", "sound"))
        return Batch(picture, sound, tuple(s.caption for s in samples))

    def draw(self, batch: Batch, numbers: Sequence[int], stream: int, step: int) -> Drawn:
        generators = [generator_of(self.config.seed, stream, number) for number in numbers]
        words = [self._words(*pair) for pair in zip(batch.captions, generators, strict=True)]
        noise_v, noise_a = (
            torch.stack([self._noise(one, g) for one, g in zip(latents, generators, strict=True)])
            for latents in (batch.picture, batch.sound)
        )
        seconds = PARTS_S[int(torch.randint(len(PARTS_S), (), generator=generators[0]))]
        first = int(torch.randint(SECONDS - seconds + 1, (), generator=generators[0]))
        push = self.config.push * torch.stack([torch.rand((), generator=g) for g in generators])
        return Drawn(_padded(words), noise_v, noise_a, push, first, seconds, step >= self.config.pairs_steps)

    def _noise(self, latents: Tensor, generator: torch.Generator) -> Tensor:
        scale = self.config.noise * (2 * torch.rand((), generator=generator) - 1).clamp_min(0)
        return scale * torch.randn(latents.shape, generator=generator)

    def _words(self, caption: str, generator: torch.Generator) -> Tensor:
        config, chance = self.config, torch.rand(2, generator=generator)
        if chance[0] < config.shuffle:
            caption = shuffled(caption, generator)
        if chance[1] < config.drop_directions:
            caption = _DIRECTION.sub("", caption)
        words = words_of(caption, self.net.network.config.words)
        words[torch.rand(len(words), generator=generator) < config.drop_words] = UNKNOWN_WORD
        return words

    def places(self, draws: Drawn) -> None:
        """There is no noise schedule."""

    def bare(self, batch: Batch, draws: Drawn) -> MeaningErrors:
        """The same with each caption at another clip: what chance gives."""
        return self.net(batch, replace(draws, words=draws.words.roll(1, 0)))

    @torch.no_grad()
    def look(self, samples: Sequence[Clip], monitor: Monitor, step: int) -> dict[str, float]:
        """Compute R@1 of unseen clips in all directions, and the mean cosines of true clips."""
        batch = self.collate(samples)
        noise = torch.zeros(())
        words = _padded([words_of(c, self.net.network.config.words) for c in batch.captions])
        draws = Drawn(words, noise, noise, noise, 0, SECONDS, False)
        device = self.net.temperatures.device
        t, v, a = self.net.read(batch.to(device), draws.to(device))
        own = torch.eye(len(t), dtype=torch.bool, device=device)
        figures = {
            f"cosine {n}": (x * y).sum(1).mean().item() for n, x, y in (("ta", t, a), ("tv", t, v), ("va", v, a))
        }
        for name, x, y in (("t to a", t, a), ("t to v", t, v), ("v to a", v, a), ("a to v", a, v)):
            figures[f"R@1 {name}"] = recall(ranks(x @ y.T, own), 1).mean().item()
        return figures


def shuffled(caption: str, generator: torch.Generator) -> str:
    """Put a caption's phrases in another order; what they stand under and over stays last."""
    *phrases, last = caption.split(", ")
    order = torch.randperm(len(phrases), generator=generator).tolist()
    return ", ".join((*(phrases[i] for i in order), last))


def _padded(words: Sequence[Tensor]) -> Tensor:
    return nn.utils.rnn.pad_sequence(list(words), batch_first=True, padding_value=NO_WORD)
