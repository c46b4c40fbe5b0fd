"""Define the runs that make an encoder of captions, pictures and sounds, and a judge of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from con360.choices import BUILT_IN_MODEL
from train.config import RunConfig, _option

# Halves of the training scenes; nothing else that is trained draws from them.
ENCODERS_SCENES, JUDGES_SCENES = 300_000, 350_000


@dataclass(frozen=True)
class MeaningRunConfig(RunConfig):
    """Describe a training of the encoder that ships with the built-in model."""

    out: Path = _option(
        Path("runs/meaning/meaning.safetensors"),
        "weights to write; checkpoints and logs go into the folder of that name without suffix",
    )
    scenes: Path | None = _option(None, "folder of encoded scenes (beside out)")
    base: str = _option(BUILT_IN_MODEL, "model name or folder whose latents are read")
    first: int = _option(ENCODERS_SCENES, "number of the first scene to train on")
    pool: int = _option(3000, "number of scenes to train on")
    width: int = _option(128, "channels inside the networks")
    size: int = _option(128, "length of the vectors")

    steps: int | None = _option(1000, "optimiser steps")
    batch_size: int = _option(64, "clips per step (--batch): each is told from all others")
    learning_rate: float = _option(2e-3, "peak learning rate (--rate)")
    rate_floor: float = _option(0.02, "cosine: share of the peak rate that is left at the end")
    warmup: int = _option(50, "steps over which the learning rate rises")
    weight_decay: float = _option(2e-2, "weight decay of AdamW")
    ema_decay: float = _option(0.99, "decay of the weights' moving average, which is saved; 0: save the last weights")
    held_out: int = _option(100, "number of unseen clips for validation losses")
    num_samples: int = _option(100, "unseen clips per validation of recalls")
    log_every: int = _option(20, "steps between lines in log.jsonl and TensorBoard")
    checkpoint_every: int = _option(100, "steps between checkpoints; 0: only the last")

    pairs_steps: int = _option(700, "steps that contrast the three pairs alone, before the volume joins")
    pairs_weight: float = _option(1.0, "weight of the pairs beside the volume")
    one_sided: bool = _option(False, "volume: hold the other side of each direction, as the published training does")
    noise: float = _option(0.5, "most noise on latents, over their spread; half of the clips have none")
    push: float = _option(
        0.1, "farthest that latents are pushed from their caption, each value equally; by chance less"
    )
    shuffle: float = _option(0.3, "share of the captions with phrases in another order")
    drop_directions: float = _option(0.3, "share of the captions without direction words")
    drop_words: float = _option(0.02, "share of the words that are unknown")

    def above_zero(self) -> list[str]:
        return ["pool", "width", "size", *super().above_zero()]

    def shares(self) -> list[str]:
        return ["shuffle", "push", *super().shares()]


@dataclass(frozen=True)
class JudgeRunConfig(MeaningRunConfig):
    """Describe a training of the judge: another architecture, other scenes, pairs alone."""

    out: Path = _option(Path("runs/meaning/judge.safetensors"), "weights to write")
    first: int = _option(JUDGES_SCENES, "number of the first scene to train on")
    pool: int = _option(2000, "number of scenes to train on")
    width: int = _option(96, "channels inside the networks")
    size: int = _option(96, "length of the vectors")
    steps: int | None = _option(900, "optimiser steps")
    seed: int = _option(1, "seed of weights, order and noise")
    push: float = _option(
        0.0, "farthest that latents are pushed from their caption, each value equally; by chance less"
    )
    pairs_steps: int = _option(1_000_000, "steps that contrast the three pairs alone, before the volume joins")
