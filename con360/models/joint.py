"""Hold the networks of one dual U-Net model, and what follows from their configurations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ..errors import InputError
from ..protocols import Inputs
from ..records import AV, Conditions
from ..sampling.solvers import DiffusionSchedule
from ..timing import MAX_SECONDS, ClipSpec
from .codecs import FrameCodec, MelCodec, sound_ends, spatial_stride
from .dual_unet import DualUNet
from .system import AVSystem
from .text import encode_captions

DEFAULT_PICTURE_SIZE = 256


@dataclass(frozen=True)
class JointModel(AVSystem):
    """All networks of one dual U-Net model.

    Args:
        unet: the two U-Nets with their connectors.
        vae_v, vae_a: diffusers' AutoencoderKL for frames and for log-mels.
        vocoder: SpeechT5HifiGan or SpectrumVocoder.
        tokenizer_v, text_encoder_v: CLIP.
        tokenizer_a, text_encoder_a: CLAP with projection.
        scheduler_v, scheduler_a: DDIMScheduler; the sampler reads their configurations.
        folder: where it was read from, empty for a model made in memory.
        name: for people and for control files.
        metadata: what the folder says about itself (`_con360` in model_index.json, or the manifest). `draws` is what a
            model that knows one kind of picture draws, whatever it is asked for; `sound_ends` is for `MelCodec`.
        notices: sentences for people about what this combination of parts does.
    """

    unet: DualUNet
    vae_v: nn.Module
    vae_a: nn.Module
    vocoder: nn.Module
    tokenizer_v: Any
    text_encoder_v: nn.Module
    tokenizer_a: Any
    text_encoder_a: nn.Module
    scheduler_v: Any
    scheduler_a: Any
    folder: str = ""
    name: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    @property
    def denoiser(self) -> DualUNet:
        return self.unet

    @property
    def schedules(self) -> AV:
        return AV(DiffusionSchedule(self.scheduler_v), DiffusionSchedule(self.scheduler_a))

    @property
    def codecs(self) -> AV:
        return AV(
            FrameCodec(self.vae_v, self.picture_size_px, self.fps),
            MelCodec(self.vae_a, self.vocoder, ends=sound_ends(self.metadata)),
        )

    @property
    def fps(self) -> float:
        """Frames per second: what the folder says, else the published rate."""
        return float(self.metadata.get("fps") or ClipSpec.fps)

    def encoders(self) -> list[nn.Module]:
        return [self.text_encoder_v, self.text_encoder_a]

    def backbones(self) -> list[nn.Module]:
        return [self.unet.unet_v, self.unet.unet_a]

    @torch.no_grad()
    def encode(self, conditions: Conditions, negative: str = "") -> Inputs:
        text = encode_captions(self, [negative, conditions.caption.short])
        pair = AV(text.text_v, text.text_a)
        return Inputs(pair.map(lambda t: t[1:]), pair.map(lambda t: t[:1]), notices=text.notices)

    @property
    def picture_size_px(self) -> int:
        """Side of the square picture: what the folder says, else the U-Net's own size up to the published 256."""
        native = self.unet.unet_v.config.sample_size * spatial_stride(self.vae_v)
        return int(self.metadata.get("picture_size_px") or min(DEFAULT_PICTURE_SIZE, native))

    def clip_spec(self, seconds: float, fps: float | None = None) -> ClipSpec:
        """Lengths of a clip made by this model.

        Args:
            seconds: duration; the folder's `longest_s` or 4 s is the most.
            fps: another rate than the model's own.

        Raises:
            InputError: a duration out of range, or more frames than the motion modules know positions for.
        """
        halvings = sum(getattr(block, "downsamplers", None) is not None for block in self.unet.unet_a.down_blocks)
        fps = self.fps if fps is None else fps
        spec = ClipSpec(
            seconds, fps, int(self.vocoder.config.sampling_rate), latent_stride_a=spatial_stride(self.vae_a),
            latent_multiple_a=2**halvings, longest_s=float(self.metadata.get("longest_s") or MAX_SECONDS),
        )  # fmt: skip
        longest = _longest(self.unet.unet_v.config.motion_max_seq_length)
        if spec.num_frames > longest:
            raise InputError(
                f"{seconds:g} s are {spec.num_frames} frames and this model's motion modules take {longest}; ask for "
                f"{longest / fps:g} s or less."
            )
        return spec

    def site_shapes(self, spec: ClipSpec) -> dict[str, tuple[int, ...]]:
        """Shapes of the features at the FiLM sites for a clip."""
        shapes = self.latent_shapes(spec)
        return self.unet.site_shapes(shapes.video[1:], shapes.audio[1:])


def _longest(positions: int | tuple[int, ...]) -> int:
    return positions if isinstance(positions, int) else min(positions)
