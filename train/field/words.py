"""Teach a direction head to read, before it looks and listens: captions alone, which need no rendering.

Where the sound tells all, words would not be learned. Sound that keeps no phase needs them.

Shape legend: B captions, K bands, C azimuth columns, L words.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from con360.control.directions import words_of
from con360.scenes import Scene, random_scene
from con360.sound.bands import BANDS
from train.examples import SPLIT_FIRST_SEED
from train.field.draws import lobes_of, padded
from train.field.scenes import bands_of
from train.field.scenes import words_of as caption_of

# Scenes of the training split that no rendered scene has.
FIRST_SCENE = 500_000
BATCH, RATE = 48, 3e-3
SHUFFLED = 0.3


def learn_words(
    reading: nn.Module, vocabulary: tuple[str, ...], steps: int, seed: int, say: Callable[[str], None]
) -> None:
    """Train the part of a head that reads: each voice's bands lie where the caption says."""
    optimiser = torch.optim.AdamW(reading.parameters(), lr=RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.1)
    rng = np.random.default_rng([seed, 41])
    for step in range(steps):
        first = SPLIT_FIRST_SEED["train"] + FIRST_SCENE + step * BATCH
        loss = _loss(reading, vocabulary, [random_scene(first + i) for i in range(BATCH)], rng)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(reading.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 0 or step == steps - 1:
            say(f"words: step {step + 1} of {steps}, loss {loss.item():.3f}")


def _loss(reading: nn.Module, vocabulary: tuple[str, ...], scenes: list[Scene], rng: np.random.Generator) -> Tensor:
    captions = [caption_of(scene, rng, shuffled=rng.random() < SHUFFLED) for scene in scenes]
    words = torch.stack([padded(words_of(caption, vocabulary)) for caption in captions])
    said = reading(words.to(next(reading.parameters()).device)).log_softmax(-1)
    wanted = torch.stack([_wanted(scene) for scene in scenes]).to(said)
    return -(wanted * said).sum() / wanted.sum()


def _wanted(scene: Scene) -> Tensor:
    """Distribution over the columns `[K, C]` of each band that a voice occupies; zeros for the others."""
    yaws = torch.tensor([float(p.yaw_at(2.0)) for p in scene.performers])
    bands = torch.stack([bands_of(p) for p in scene.performers]).float()
    assert bands.shape[1] == BANDS
    return torch.einsum("vk,vc->kc", bands, lobes_of(yaws))
