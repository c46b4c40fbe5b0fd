"""Define the runs that make networks which tell when a picture sounds; none ships."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from con360.choices import VoiceFollows
from train.config import RunConfig, _option


@dataclass(frozen=True)
class EnvelopeConfig(RunConfig):
    """Describe a training of the network that tells an envelope from a region's motion."""

    out: Path = _option(Path("runs/when/envelope.safetensors"), "weights to write")
    voice_follows: VoiceFollows = _option("none", "what tells which voice a performer has")
    pool: int = _option(100, "number of scenes to train on, all regions of each")
    width: int = _option(48, "features inside the network")
    jitter: float = _option(0.05, "deviation by which a region's measures are scaled, as chance")

    minutes: float = _option(6, "training time; used if neither steps nor epochs are given")
    batch_size: int = _option(32, "regions per step (--batch)")
    learning_rate: float = _option(2e-3, "peak learning rate (--rate)")
    rate_floor: float = _option(0.02, "cosine: share of the peak rate that is left at the end")
    warmup: int = _option(50, "steps over which the learning rate rises")
    weight_decay: float = _option(1e-2, "weight decay of AdamW")
    ema_decay: float = _option(0.99, "decay of the weights' moving average, which is saved; 0: save the last weights")
    held_out: int = _option(48, "number of unseen scenes for validation losses")
    num_samples: int = _option(160, "regions per validation of envelopes")
    log_every: int = _option(50, "steps between lines in log.jsonl and TensorBoard")

    def above_zero(self) -> list[str]:
        return ["pool", "width", *super().above_zero()]
