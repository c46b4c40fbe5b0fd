"""Define the runs that make a model of Ambisonics; defaults are the built-in model's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from con360.choices import VoiceFollows
from con360.errors import InputError
from con360.models.flow_transformer import FlowTransformerConfig
from con360.models.omniaudio import PanoramaUse
from con360.models.oobleck import OobleckConfig
from train.config import PROCEDURAL, RunConfig, _option

Size = Literal["small", "full"]
# Rate in Hz and length in seconds of what a model of each size learns from.
RATES_HZ: dict[Size, int] = {"small": 16000, "full": 44100}
SECONDS: dict[Size, float] = {"small": 4.0, "full": 10.0}
HOP = 640
SHORTEST_CROP_S = 0.25
CODECS: dict[Size, OobleckConfig] = {
    "small": OobleckConfig(
        channels=4, width=96, multipliers=(1, 1), strides=(1, 1), latent_channels=64, stem_hop=HOP, stem_width=96
    ),
    "full": OobleckConfig(),
}
TRANSFORMERS: dict[Size, FlowTransformerConfig] = {
    "small": FlowTransformerConfig(CODECS["small"].latent_channels, width=192, heads=3, depth=6),
    "full": FlowTransformerConfig(),
}
# Features of a picture: the small encoder's, MetaCLIP ViT-H/14's.
FEATURES: dict[Size, int] = {"small": 96, "full": 1024}
Branches = Literal["erp+view", "eac+view", "view", "eac", "erp", "none"]
_DATA = "procedural, or a folder "


@dataclass(frozen=True)
class PicturesConfig(RunConfig):
    """Describe a training of the small picture encoder."""

    out: Path = _option(Path("runs/omniaudio/pictures.safetensors"), "weights to write")
    minutes: float = _option(10, "training time; used if neither steps nor epochs are given")
    batch_size: int = _option(48, "pictures per step (--batch)")
    learning_rate: float = _option(2e-3, "peak learning rate (--rate)")
    rate_floor: float = _option(0.02, "cosine: share of the peak rate that is left at the end")
    warmup: int = _option(1, "steps over which the learning rate rises")
    weight_decay: float = _option(1e-3, "weight decay of AdamW")
    clip_norm: float = _option(1e6, "gradients are scaled down to this norm")
    ema_decay: float = _option(0.0, "decay of the weights' moving average, which is saved; 0: save the last weights")
    held_out: int = _option(192, "number of unseen pictures for validation losses")
    sample_every: int = _option(500, "steps between validations; 0: none")
    num_samples: int = _option(192, "pictures per validation of places and shapes")
    pool: int = _option(4000, "number of scenes to train on, one picture each")

    def above_zero(self) -> list[str]:
        return ["pool", *super().above_zero()]


@dataclass(frozen=True)
class CodecConfig(RunConfig):
    """Describe a training of the autoencoder of Ambisonics."""

    out: Path = _option(Path("runs/omniaudio/codec.safetensors"), "weights to write")
    init: Path | None = _option(None, "codec to start from")
    stereo: Path | None = _option(
        None, "autoencoder of stereo to start from; its weights become those of four channels"
    )
    train: Literal["all", "decoder"] = _option("all", "what learns; decoder keeps the latents as they are")
    size: Size = _option("small", "small (16 kHz) or full (44.1 kHz, OmniAudio's)")
    data: str = _option(PROCEDURAL, _DATA + "of files with sound, each turned into Ambisonics")
    pool: int = _option(400, "procedural: number of scenes to train on")
    crop_s: float = _option(1.0, "length of the pieces of sound")

    minutes: float = _option(30, "training time; used if neither steps nor epochs are given")
    batch_size: int = _option(8, "clips per process and forward pass (--batch)")
    learning_rate: float = _option(1e-3, "peak learning rate (--rate)")
    rate_floor: float = _option(0.02, "cosine: share of the peak rate that is left at the end")
    warmup: int = _option(100, "steps over which the learning rate rises")
    weight_decay: float = _option(1e-4, "weight decay of AdamW")
    ema_decay: float = _option(0.0, "decay of the weights' moving average, which is saved; 0: save the last weights")
    held_out: int = _option(24, "number of unseen clips for validation losses")
    num_samples: int = _option(24, "clips per validation of directions and levels")

    beams: bool = _option(
        True, "compare spectra of W with each dipole too; no: of the four channels alone, as published"
    )
    wave_weight: float = _option(1.0, "weight of the waveforms' distance; 0, as published: none")
    intensity_weight: float = _option(2.0, "weight of the intensities' distance; 0, as published: none")
    kl_weight: float = _option(1e-4, "weight of the latents' divergence")
    critic_weight: float = _option(0.0, "weight of a discriminator's verdict; 0: none learns")
    likeness_weight: float = _option(5.0, "weight of the distance of the discriminator's features")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.crop_s >= SHORTEST_CROP_S:
            raise InputError(f"crop_s is {self.crop_s}; wanted {SHORTEST_CROP_S} or more: intensities are of quarters.")

    def above_zero(self) -> list[str]:
        return ["pool", *super().above_zero()]

    @property
    def leaves_gradients_out(self) -> bool:
        # Codec and discriminator learn in turns.
        return self.critic_weight > 0


@dataclass(frozen=True)
class FlowConfig(RunConfig):
    """Describe a training of the transformer by flow matching."""

    out: Path = _option(Path("runs/omniaudio/flow.safetensors"), "weights to write")
    init: Path | None = _option(None, "transformer to start from, of an earlier stage")
    train: Literal["coarse", "fine", "video"] = _option(
        "video",
        "coarse: masked, on mono and stereo turned into Ambisonics; fine: masked, on Ambisonics; video: with pictures",
    )
    codec: Path = _option(Path("runs/omniaudio/codec.safetensors"), "codec whose latents are learned")
    pictures: Path = _option(Path("runs/omniaudio/pictures.safetensors"), "procedural: small picture encoder")
    size: Size = _option("small", "small or full (OmniAudio's)")
    panorama: PanoramaUse = _option("per_frame", "panorama's features: maximum over the pictures, or one a picture")
    branches: Branches = _option("erp+view", "pictures that are seen; eac: an equi-angular cubemap")
    data: str = _option(PROCEDURAL, _DATA + "of prepared shards (video, fine) or of files with sound (coarse)")
    voice_follows: VoiceFollows = _option("colour", "procedural: what tells which voice a performer has")
    pool: int = _option(4000, "procedural: number of scenes to train on")

    drop_view: float = _option(0.2, "share of clips without the view's pictures; the panorama is never left out")
    shown: float = _option(0.1, "coarse, fine: share of clips of which parts are shown (p_cond); else all is masked")
    least_masked: float = _option(0.7, "coarse, fine: smallest share of a shown clip that is masked")

    minutes: float = _option(60, "training time; used if neither steps nor epochs are given")
    batch_size: int = _option(32, "clips per process and forward pass (--batch)")
    learning_rate: float = _option(1e-3, "peak learning rate (--rate)")
    rate_floor: float = _option(0.02, "cosine: share of the peak rate that is left at the end")
    warmup: int = _option(200, "steps over which the learning rate rises")
    ema_decay: float = _option(0.998, "decay of the weights' moving average, which is saved; 0: save the last weights")
    held_out: int = _option(32, "number of unseen clips for validation losses")
    num_samples: int = _option(12, "clips per validation of directions")
    log_every: int = _option(50, "steps between lines in log.jsonl and TensorBoard")

    def above_zero(self) -> list[str]:
        return ["pool", *super().above_zero()]

    def shares(self) -> list[str]:
        return ["shown", "least_masked", *super().shares()]

    @property
    def leaves_gradients_out(self) -> bool:
        # Before pictures are seen, their layers keep still.
        return self.train != "video" or self.panorama == "per_frame"
