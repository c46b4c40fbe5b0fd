"""Small models of Ambisonics, and clips for them that nothing renders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from con360.models.flow_transformer import FlowTransformer, FlowTransformerConfig
from con360.models.omniaudio import OmniAudio
from con360.models.oobleck import Oobleck, OobleckConfig
from con360.models.picture_features import PictureEmbedders
from train.devices import OneProcess
from train.loop import Loop
from train.omniaudio.cache import FieldCache
from train.omniaudio.codec import CodecJob
from train.omniaudio.flow import FlowJob
from train.omniaudio.pictures import Moment, PicturesJob
from train.omniaudio.settings import CodecConfig, FlowConfig, PicturesConfig

RATE_HZ, SAMPLES, ROWS, FEATURES = 16000, 8000, 25, 8
CODEC = OobleckConfig(
    channels=4, width=16, multipliers=(1,), strides=(1,), latent_channels=8, stem_hop=160, stem_width=16
)
QUICK: dict[str, Any] = dict(
    steps=4, batch_size=2, warmup=1, log_every=1, checkpoint_every=0, held_out=2, num_samples=1, sample_every=0
)


class Listed:
    """Serve samples of a list."""

    reads_ahead = False

    def __init__(self, samples: list[Any]) -> None:
        self.samples = samples
        self.groups = [range(i, i + 1) for i in range(len(samples))]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        return self.samples[index]


def tone(number: int) -> Tensor:
    """Half a second of a tone from one direction, `[4, SAMPLES]`."""
    g = torch.Generator().manual_seed(number)
    wave = 0.3 * torch.sin(2 * torch.pi * (200 + 100 * number) * torch.arange(SAMPLES) / RATE_HZ)
    way = torch.nn.functional.normalize(torch.randn(3, generator=g), dim=0)
    return torch.cat((torch.ones(1), way))[:, None] * wave


def clip(number: int) -> FieldCache:
    """Random features of 8 pictures and random latents of 25 rows."""
    g = torch.Generator().manual_seed(number)
    panorama, view = (torch.randn(8, FEATURES, generator=g) for _ in range(2))
    return FieldCache(panorama, view, torch.randn(8, ROWS, generator=g), torch.full((8, ROWS), 0.1))


def moment(number: int) -> Moment:
    g = torch.Generator().manual_seed(number)
    panorama, view = (torch.randint(-40, 40, (3, 56, 56), generator=g).char() for _ in range(2))
    facts = torch.rand(6, 5, generator=g)
    facts[:, 0] = (facts[:, 0] > 0.3).float()
    return Moment(panorama, view, facts, facts, torch.randint(0, 3, (6,), generator=g))


def make_model(panorama: Any = "per_frame") -> OmniAudio:
    """Make a tiny model; the same weights each time."""
    torch.manual_seed(1)
    config = FlowTransformerConfig(8, width=32, heads=1, depth=2)
    return OmniAudio(
        FlowTransformer(config), PictureEmbedders(FEATURES, 32), Oobleck(CODEC).eval(), RATE_HZ, 4.0, panorama, "tiny"
    )


def make_codec_loop(folder: Path, on_step: Any = None, **settings: Any) -> Loop:
    config = CodecConfig(**{**QUICK, "out": folder / "codec.safetensors", "crop_s": 0.25, **settings})
    torch.manual_seed(config.seed)
    job = CodecJob(config, Oobleck(CODEC))
    return Loop(config, job, *_sources(tone), OneProcess(), lambda text: None, on_step)


def make_flow_loop(folder: Path, on_step: Any = None, **settings: Any) -> Loop:
    config = FlowConfig(**{**QUICK, "out": folder / "flow.safetensors", **settings})
    job = FlowJob(config, make_model(config.panorama))
    return Loop(config, job, *_sources(clip), OneProcess(), lambda text: None, on_step)


def make_pictures_loop(folder: Path, on_step: Any = None, **settings: Any) -> Loop:
    config = PicturesConfig(**{**QUICK, "out": folder / "pictures.safetensors", **settings})
    torch.manual_seed(config.seed)
    return Loop(config, PicturesJob(config), *_sources(moment), OneProcess(), lambda text: None, on_step)


def _sources(make: Any) -> tuple[Listed, Listed]:
    return Listed([make(i) for i in range(5)]), Listed([make(100 + i) for i in range(2)])
