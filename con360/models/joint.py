"""Hold all networks of one joint model, and the shapes that follow from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ..errors import InputError
from ..timing import ClipSpec
from .codecs import spatial_stride
from .dual_unet import DualUNet

DEFAULT_PICTURE_SIZE = 256


@dataclass(frozen=True)
class JointModel:
    """Everything that turns two captions' worth of text and noise into a sounding clip.

    Args:
        unet: the two U-Nets with their connectors.
        vae_v, vae_a: diffusers' AutoencoderKL for frames and for log-mels.
        vocoder: SpeechT5HifiGan.
        tokenizer_v, text_encoder_v: CLIP.
        tokenizer_a, text_encoder_a: CLAP with projection.
        scheduler_v, scheduler_a: DDIMScheduler; the sampler reads their configurations.
        folder: where it was read from, empty for a model made in memory.
        name: for people and for control files.
        metadata: what the folder says about itself (`_con360` in model_index.json, or the manifest). `draws` is what a
            model that knows one kind of picture draws, whatever it is asked for.
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
    def device(self) -> torch.device:
        return self.unet.unet_v.device

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.unet_v.dtype

    @property
    def picture_size_px(self) -> int:
        """Side of the square picture: what the folder says, else the U-Net's own size up to the published 256."""
        native = self.unet.unet_v.config.sample_size * spatial_stride(self.vae_v)
        return int(self.metadata.get("picture_size_px") or min(DEFAULT_PICTURE_SIZE, native))

    def clip_spec(self, seconds: float, fps: float = 8.0) -> ClipSpec:
        """Lengths of a clip made by this model.

        Raises:
            InputError: more frames than the motion modules know positions for.
        """
        halvings = sum(getattr(block, "downsamplers", None) is not None for block in self.unet.unet_a.down_blocks)
        spec = ClipSpec(seconds, fps, latent_stride_a=spatial_stride(self.vae_a), latent_multiple_a=2**halvings)
        longest = _longest(self.unet.unet_v.config.motion_max_seq_length)
        if spec.num_frames > longest:
            raise InputError(
                f"{seconds:g} s are {spec.num_frames} frames and this model's motion modules take {longest}; ask for "
                f"{longest / fps:g} s or less."
            )
        return spec

    def latent_shape_v(self, spec: ClipSpec) -> tuple[int, int, int, int]:
        """(channels, T, h, w)."""
        side = self.picture_size_px // spatial_stride(self.vae_v)
        return self.unet.unet_v.config.in_channels, spec.num_frames, side, side

    def latent_shape_a(self, spec: ClipSpec) -> tuple[int, int, int]:
        """(channels, padded rows, frequencies)."""
        bands = self.vocoder.config.model_in_dim // spatial_stride(self.vae_a)
        return self.unet.unet_a.config.in_channels, spec.num_latent_rows_padded, bands

    def site_shapes(self, spec: ClipSpec) -> dict[str, tuple[int, ...]]:
        """Shapes of the features at the FiLM sites for a clip."""
        return self.unet.site_shapes(self.latent_shape_v(spec)[1:], self.latent_shape_a(spec)[1:])


def _longest(positions: int | tuple[int, ...]) -> int:
    return positions if isinstance(positions, int) else min(positions)
