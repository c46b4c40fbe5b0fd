"""Train the transformer by flow matching: latents of a sound, first of any, then of a video's.

The objective is the published one: t = sigmoid(normal), x_t = (1 - t) x + t noise, the target is noise - x, and one
view in five is left out. The first trainings see no pictures; docs/training.md says how parts are masked, and why.

Shape legend: B clips, Z latent channels, R latent rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from con360.errors import InputError
from con360.media.files import atomic_path
from con360.metrics.directions import direction_errors
from con360.models.flow_transformer import FlowTransformer
from con360.models.omniaudio import OmniAudio, PanoramaUse
from con360.models.oobleck import Oobleck
from con360.models.picture_features import PictureEmbedders
from con360.records import Sound
from con360.sounding.generate import FieldSettings, generated_blocks
from con360.sounding.picture_encoder import PictureFeatures
from con360.weights.omniaudio import EMBEDDERS, TRANSFORMER
from train.job import OneNetwork, generator_of
from train.monitor import Monitor
from train.omniaudio.cache import FieldCache, stacked
from train.omniaudio.settings import RATES_HZ, SECONDS, TRANSFORMERS, Branches, FlowConfig, Size

BETAS = (0.9, 0.98)
# Rows of a masked span, as the published helper has them whatever it is asked for.
SPAN_ROWS = 10
# Settings of the sounds that a validation makes.
LOOK_STEPS, LOOK_CFG = 12, 2.0


def new_model(codec: Oobleck, features: int, panorama: PanoramaUse, size: Size = "small") -> OmniAudio:
    """Make a model whose fresh transformer predicts nothing.

    Args:
        features: numbers that the picture encoder makes of a picture.
    """
    config = TRANSFORMERS[size]
    model = OmniAudio(
        FlowTransformer(config), PictureEmbedders(features, config.width), codec, RATES_HZ[size], SECONDS[size],
        panorama, size,
    )  # fmt: skip
    torch.nn.init.zeros_(model.transformer.transformer.project_out.weight)
    return model


def networks_of(model: OmniAudio) -> dict[str, nn.Module]:
    """The networks that the flow trains, by their prefix in files."""
    return {TRANSFORMER: model.transformer, EMBEDDERS: model.embedders}


def save_flow(model: OmniAudio, path: Path) -> None:
    """Write transformer and embedders."""
    state = {prefix + name: t for prefix, n in networks_of(model).items() for name, t in n.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(state, temporary, metadata={"format": "pt"})


def load_flow(model: OmniAudio, path: Path) -> None:
    """Read what `save_flow` wrote.

    Raises:
        InputError: no such file, or of other networks.
    """
    if not path.is_file():
        raise InputError(f"there is no transformer {path}; run its stage first, or name another file.")
    state = load_file(path)
    for prefix, network in networks_of(model).items():
        own = {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
        try:
            network.load_state_dict(own)
        except RuntimeError as error:
            raise InputError(f"{path} holds other networks than this run trains; choose its size.") from error


def seen_by(clip: FieldCache, branches: Branches) -> FieldCache:
    """Set the features of pictures that a model does not see to zeros."""
    panorama, view = (torch.zeros_like(half) for half in (clip.panorama, clip.view))
    unseen = {"panorama": panorama} if branches in ("view", "none") else {}
    return replace(clip, **unseen, **({} if "view" in branches else {"view": view}))


def close_unseen(model: OmniAudio, branches: Branches) -> None:
    """Let the pictures that a model does not see have no influence, in training and in use."""
    embedders = model.embedders.conditioners
    for name, closed in (("video_fov", "view" not in branches), ("video_360", branches in ("view", "none"))):
        if closed:
            torch.nn.init.zeros_(embedders[name].embedder[0].weight)


def guidance(config: FlowConfig) -> float | None:
    """Guidance of a validation's sounds; None where it has nothing to strengthen: the panorama's token stays."""
    sees = "view" in config.branches or (config.panorama == "per_frame" and config.branches != "none")
    return LOOK_CFG if sees else None


class FlowErrors(NamedTuple):
    """Mean squared error of the velocity where it is learned, `[B]`."""

    velocity: Tensor


@dataclass(frozen=True)
class FlowDraws:
    """Hold the random draws of a batch.

    Args:
        drawn, noise: standard normal, `[B, Z, R]`: for the latents, and to flow from.
        t: times in (0, 1), `[B]`.
        keep_view: 1 if kept, `[B]`.
        masked: 1 where the velocity is learned; other rows stand clean in the input, `[B, R]`.
    """

    drawn: Tensor
    noise: Tensor
    t: Tensor
    keep_view: Tensor
    masked: Tensor

    def to(self, device: torch.device) -> FlowDraws:
        return FlowDraws(*(value.to(device) for value in vars(self).values()))


class FlowNet(nn.Module):
    """Transformer and embedders, and their error.

    Args:
        sees: pictures are given.
    """

    def __init__(self, model: OmniAudio, sees: bool) -> None:
        super().__init__()
        self.model, self.sees = model, sees
        self.transformer, self.embedders = model.transformer, model.embedders

    def forward(self, batch: FieldCache, draws: FlowDraws, sees: bool = True) -> FlowErrors:
        x = batch.mean + batch.std * draws.drawn
        target, masked = draws.noise - x, draws.masked[:, None]
        noised = x + masked * draws.t[:, None, None] * target
        time = self.transformer.embed_times("audio", draws.t, x)
        features = self._features(batch, draws) if self.sees and sees else self._nothing(x)
        off = (self.transformer.velocity(noised, time, features) - target).square() * masked
        return FlowErrors(off.flatten(1).sum(1) / (masked.flatten(1).sum(1) * x.shape[1]))

    def _features(self, batch: FieldCache, draws: FlowDraws) -> Tensor:
        given, without = self.model.batch_features(batch.panorama, batch.view, batch.mean.shape[-1])
        return torch.where(draws.keep_view[:, None, None] > 0, given, without)

    def _nothing(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x), 1 + x.shape[-1], self.transformer.config.width)


class FlowJob(OneNetwork):
    """Train a model's transformer (`train.job.Job`)."""

    def __init__(self, config: FlowConfig, model: OmniAudio) -> None:
        self.config, self.model = config, model
        self.net = FlowNet(model, config.train == "video")

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.trained().values()), "betas": BETAS}]

    def collate(self, samples: Sequence[FieldCache]) -> FieldCache:
        return seen_by(stacked(samples), self.config.branches)

    def draw(self, batch: FieldCache, numbers: Sequence[int], stream: int, step: int) -> FlowDraws:
        shape = tuple(batch.mean.shape[1:])
        rows = [self._draw(generator_of(self.config.seed, stream, n), shape) for n in numbers]
        return FlowDraws(*(torch.stack(column) for column in zip(*rows, strict=True)))

    def _draw(self, g: torch.Generator, shape: tuple[int, ...]) -> tuple[Tensor, ...]:
        config = self.config
        drawn, noise = torch.randn(shape, generator=g), torch.randn(shape, generator=g)
        t = torch.sigmoid(torch.randn((), generator=g))
        keep = (torch.rand((), generator=g) >= config.drop_view).float()
        masked = torch.ones(shape[-1])
        if config.train != "video" and torch.rand((), generator=g) < config.shown:
            masked = random_spans(shape[-1], config.least_masked, g)
        return drawn, noise, t, keep, masked

    def places(self, draws: FlowDraws) -> Tensor:
        return draws.t

    def bare(self, batch: FieldCache, draws: FlowDraws) -> FlowErrors:
        """Errors without pictures."""
        return self.net(batch, draws, sees=False)

    def look(self, samples: Sequence[FieldCache], monitor: Monitor, step: int) -> dict[str, float]:
        """Median angular error in degrees of sounds made for held-out pictures, beside the codec's own sounds."""
        if self.config.train != "video":
            return {}
        clips, cfg = [seen_by(clip, self.config.branches) for clip in samples], guidance(self.config)
        made = [made_sound(self.model, clip, seed, cfg) for seed, clip in enumerate(clips)]
        true = [self._true(sample) for sample in samples]
        errors = [direction_errors(a, b).angular for a, b in zip(made, true, strict=True)]
        return {"angular error": float(np.degrees(np.median(errors)))}

    @torch.no_grad()
    def _true(self, sample: FieldCache) -> Sound:
        codec = self.model.codec
        latents = sample.mean.float()
        return Sound(torch.cat(list(codec.decode_tiles([latents])), dim=1), codec.sample_rate_hz, "ambix")


def made_sound(model: OmniAudio, clip: FieldCache, seed: int, cfg: float | None) -> Sound:
    """Generate the sound of a clip from its pictures' features."""
    pictures = PictureFeatures(clip.panorama.float(), clip.view.float())
    seconds = clip.mean.shape[-1] * model.codec.seconds_per_row
    blocks = generated_blocks(model, pictures, seconds, FieldSettings(steps=LOOK_STEPS, cfg=cfg, seed=seed))
    return Sound(torch.cat(list(blocks), dim=1), model.sample_rate_hz, "ambix")


def random_spans(rows: int, least: float, g: torch.Generator) -> Tensor:
    """Mask spans of a clip's rows, `[R]` of 1 (masked) and 0, at least one span.

    As many spans are drawn as would mask a share from `least` to 1 if none overlapped.
    """
    share = least + (1 - least) * float(torch.rand((), generator=g))
    count = max(1, int(share * rows / SPAN_ROWS))
    starts = torch.randint(max(1, rows - SPAN_ROWS + 1), (count,), generator=g)
    places = torch.arange(rows)
    inside = (places >= starts[:, None]) & (places < starts[:, None] + SPAN_ROWS)
    return inside.any(0).float()
