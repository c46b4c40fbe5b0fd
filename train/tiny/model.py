"""Assemble the built-in model's parts for training: codecs, text encoder, U-Nets and control."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from con360.control import ControlConfig, ControlModule
from con360.models.connector_config import MODALITIES, ConnectorConfig
from con360.models.connectors import Connectors
from con360.models.dual_unet import DualUNet
from con360.models.text import encode_sentences, encode_tokens
from con360.timing import ClipSpec
from train.tiny.networks import (
    make_text_encoder_a,
    make_text_encoder_v,
    make_tokenizer,
    make_unet_a,
    make_unet_v,
)
from train.tiny.text import adopt_keys

SPEC = ClipSpec()
VIEW_GRID = 16
# One sector per direction word of the captions (con360.scenes.DIRECTION_WORDS).
AUDIO_SECTORS = 8


class TinyModel(nn.Module):
    """Hold every network that the joint stages train."""

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer = make_tokenizer()
        unet_v, unet_a = make_unet_v(), make_unet_a()
        config = ConnectorConfig.for_unets(unet_v, unet_a, channel_mult=(1, 1), connector_channel=64)
        # Heads 32 wide: at the published width of 8 a step takes several times as long, for the same number of weights.
        sides: dict[str, Any] = {m: replace(config.side(m), attention_head_dim=32) for m in MODALITIES}
        config = replace(config, **sides)
        connectors = Connectors(config)
        self.unet = DualUNet(unet_v, unet_a, connectors)
        self.text_v, self.text_a = make_text_encoder_v(self.tokenizer), make_text_encoder_a(self.tokenizer)
        shapes = self.unet.site_shapes((1, 16, 16), (SPEC.num_latent_rows_padded, 16))
        self.control = ControlModule(control_config({site: shape[0] for site, shape in shapes.items()}))
        _wake(connectors)
        # As with public models, the text encoders are pretrained and frozen; the denoisers learn to read them.
        self.text_v.requires_grad_(False)
        self.text_a.requires_grad_(False)

    def start_from_text(self, text: dict) -> None:
        """Load the text stage's encoders, and start the picture's cross-attention from its keys and values."""
        self.text_v.load_state_dict(text["text_v"])
        self.text_a.load_state_dict(text["text_a"])
        adopt_keys(self.unet.unet_v, text["reader"])

    def train_sound_only(self) -> None:
        """Train the sound's U-Net, connectors and heads; freeze the picture and the map encoder.

        Trained together at these batch sizes, the sound's gradients make the picture worse.
        """
        mine = ("unet.unet_a.", "unet.connectors.sites.audio", "control.heads.audio")
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.startswith(mine))

    def encode_text(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        """Encode captions: `[B, L, D]` for the picture, unit-norm `[B, D]` for the sound."""
        return encode_tokens(self.tokenizer, self.text_v, captions), encode_sentences(
            self.tokenizer, self.text_a, captions
        )


def _wake(connectors: Connectors) -> None:
    # Zero output projections together with zero FiLM would give FiLM no gradient. A base trained from scratch has
    # nothing learned yet that a zero start would protect.
    for name, parameter in connectors.named_parameters():
        if name.endswith("proj_out.weight"):
            nn.init.normal_(parameter, std=0.02)


def control_config(site_channels: dict[str, int]) -> ControlConfig:
    return ControlConfig(
        site_channels, map_height=64, widths=(24, 48, 96), strides=(2, 2, 2), hidden=96, with_directions=True,
        geometry="view", view_grid=VIEW_GRID, directions_at_sites=True, audio_sectors=AUDIO_SECTORS, sound="view",
        fov_range_deg=(60.0, 120.0),
    )  # fmt: skip
