"""Assemble the built-in model's parts for training: codecs, text encoder, U-Nets and control."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from con360.control import ControlConfig, ControlModule, load_control
from con360.models.connector_config import MODALITIES, ConnectorConfig
from con360.models.connectors import Connectors
from con360.models.dual_unet import DualUNet
from con360.models.text import encode_sentences, encode_tokens
from con360.timing import ClipSpec
from con360.weights.find import control_file
from con360.weights.load import load_joint_model
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
# Points beyond the view's edge: 22 degrees of a view of 90, somewhat more than a performer's radius.
VIEW_MARGIN = 4
# Mel frames of a row: 40 ms at the input, twice as many at each level below.
TIME_FOLDS = {"audio.input": 4, "audio.up.1": 8, "audio.up.0": 16, "audio.down.2": 32, "audio.down.3": 32}
# Weights of one side. It hears the other through the other's encoder alone, so each side can be trained by itself.
SIDES = {
    "picture": (
        "unet.unet_v.", "unet.connectors.sites.video", "unet.connectors.encoders.audio.",
        "control.heads.video", "control.near",
    ),
    "sound": (
        "unet.unet_a.", "unet.connectors.sites.audio", "unet.connectors.encoders.video.",
        "control.heads.audio", "control.when.",
    ),
}  # fmt: skip
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

    def start_from_folder(self, folder: Path) -> None:
        """Load a model folder's networks and its control; what the control lacks keeps its zero-initialised heads."""
        found = load_joint_model(folder)
        self.tokenizer = found.tokenizer_v
        self.unet.load_state_dict(found.unet.state_dict())
        self.text_v.load_state_dict(found.text_encoder_v.state_dict())
        self.text_a.load_state_dict(found.text_encoder_a.state_dict())
        path = control_file(None, folder)
        if path is not None:
            self.control.load_state_dict({**self.control.state_dict(), **load_control(path).module.state_dict()})

    def train_sides(self, sides: Iterable[str], encoder: bool = False, motion: bool = True) -> None:
        """Choose what learns; the rest is frozen.

        Trained together at these batch sizes, the sound's gradients make the picture worse.

        Args:
            sides: keys of `SIDES`. encoder: the map encoder too, which both sides read. motion: False freezes the
                motion modules, which single frames would spoil.
        """
        mine = tuple(start for side in sides for start in SIDES[side]) + (("control.encoder.",) if encoder else ())
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.startswith(mine) and (motion or "motion_modules" not in name))

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
        geometry="view", view_grid=VIEW_GRID, directions_at_sites=True, audio_sectors=AUDIO_SECTORS, sound="omni",
        fov_range_deg=(60.0, 120.0), view_margin=VIEW_MARGIN, time_folds=TIME_FOLDS,
    )  # fmt: skip
