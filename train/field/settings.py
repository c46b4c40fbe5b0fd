"""Define the run that makes a direction head."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from train.config import RunConfig, _option


@dataclass(frozen=True)
class FieldRunConfig(RunConfig):
    """Describe a training of a direction head."""

    out: Path = _option(
        Path("runs/field/head.safetensors"),
        "head to write; checkpoints, logs and rendered scenes go into the folder of that name without suffix",
    )
    control: Path | None = _option(None, "control file; a copy of it that carries the head is written beside out")
    scenes: Path | None = _option(None, "folder of rendered scenes (beside out)")
    minutes: float = _option(15, "training time; used if neither steps nor epochs are given")
    batch_size: int = _option(8, "clips per step (--batch)")
    learning_rate: float = _option(3e-3, "peak learning rate (--rate)")
    rate_floor: float = _option(0.02, "cosine: share of the peak rate that is left at the end")
    warmup: int = _option(30, "steps over which the learning rate rises")
    ema_decay: float = _option(0.99, "decay of the weights' moving average, which is saved; 0: save the last weights")
    held_out: int = _option(20, "number of unseen scenes for validation losses")
    num_samples: int = _option(20, "unseen scenes per validation of directions")
    pool: int = _option(320, "number of scenes to train on; each is turned, mirrored and played otherwise")

    estimated: float = _option(0.5, "share of the clips that have estimated saliency")
    roll: float = _option(0.75, "share of the clips whose voices are rolled in time")
    shuffle: float = _option(0.3, "share of the captions with phrases in another order")
    drop_directions: float = _option(0.35, "share of the captions without direction words")
    drop_words: float = _option(0.03, "share of the words that are unknown")
    drop_caption: float = _option(0.1, "share of the clips without caption")
    drop_sound: float = _option(0.2, "share of the clips with silence for their sound")
    drop_maps: float = _option(0.05, "share of the clips with flat saliency")
    drop_colours: float = _option(0.35, "share of the clips without the map of colours")

    def above_zero(self) -> list[str]:
        return ["pool", *super().above_zero()]

    def shares(self) -> list[str]:
        return ["estimated", "roll", "shuffle", *super().shares()]
