"""Describe the connectors' shape, and read it from published configurations.

Source: SVG baseline (arXiv 2409.17550), `unet_svg/config.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from ..errors import InputError

SITES = (
    "video.down.2", "video.down.3", "video.up.0", "video.up.1",
    "audio.down.2", "audio.down.3", "audio.up.0", "audio.up.1",
)  # fmt: skip
# Behind a U-Net's first convolution: no connector, the finest places in which a control can act.
INPUTS = ("video.input", "audio.input")
MODALITIES = ("video", "audio")
# Levels with connectors, in the notation of published folders; the same levels as in SITES.
WITH_CONNECTOR = (False, False, True, True)


@dataclass(frozen=True)
class SideConfig:
    """One modality's share of the connectors; the first four mirror its U-Net.

    Args:
        block_out_channels: widths of the U-Net's levels.
        in_channels: channels of the latent.
        time_embedding_dim: E; None is the U-Nets' own rule, four times the first width.
        attention_head_dim: WIDTH of a connector's attention heads. Inside diffusers the same published number, 8,
            is the COUNT of heads; the weights depend on both readings.
        channel_mult: widths of the encoder's levels, in units of the U-Net's first width.
        num_blocks: residual blocks per encoder level.
    """

    block_out_channels: tuple[int, ...]
    in_channels: int
    time_embedding_dim: int | None = None
    attention_head_dim: int = 8
    channel_mult: tuple[int, ...] = (2, 4)
    num_blocks: tuple[int, ...] = (1, 1)

    @property
    def time_dim(self) -> int:
        return self.time_embedding_dim or 4 * self.block_out_channels[0]


@dataclass(frozen=True)
class ConnectorConfig:
    """Options that decide the connectors' shape.

    Args:
        video, audio: the two sides.
        kind: `additive` (CMC-PE) or `attn`.
        connector_channel: D, width of the signal between the modalities.
        reads_x0: the encoders see the previous x0 estimate beside the noisy latent (published `x_pred`).
    """

    video: SideConfig
    audio: SideConfig
    kind: Literal["additive", "attn"] = "additive"
    connector_channel: int = 1280
    reads_x0: bool = True

    def __post_init__(self) -> None:
        if self.kind not in ("additive", "attn"):
            raise InputError(f"connectors of type {self.kind!r} are not known; wanted 'additive' or 'attn'.")
        for name in MODALITIES:
            _check_side(name, self.side(name))

    def side(self, modality: str) -> SideConfig:
        return self.video if modality == "video" else self.audio

    @staticmethod
    def for_unets(
        unet_v: nn.Module, unet_a: nn.Module, *, channel_mult: tuple[int, ...] = (2, 4), **options: Any
    ) -> ConnectorConfig:
        """Make the configuration that fits two U-Nets.

        Args:
            unet_v, unet_a: diffusers' UNetMotionModel and UNet2DConditionModel.
            channel_mult: encoder widths of both sides; (1, 1) is the smallest.
            options: further fields of `ConnectorConfig`.
        """
        sides: dict[str, Any] = {}
        for name, unet in (("video", unet_v), ("audio", unet_a)):
            widths, channels = tuple(unet.config.block_out_channels), unet.config.in_channels
            sides[name] = SideConfig(widths, channels, channel_mult=channel_mult, num_blocks=(1,) * len(channel_mult))
        return ConnectorConfig(sides["video"], sides["audio"], **options)

    @staticmethod
    def from_published(values: Mapping[str, Any]) -> ConnectorConfig:
        """Read `unet_svg/config.json`; absent entries take the published code's defaults.

        Raises:
            InputError: an entry is missing or asks for something that no published folder has.
        """
        connector = {m: values.get(f"connector_{m}_config") or {} for m in MODALITIES}
        shared = {k: {c.get(k, default) for c in connector.values()} for k, default in _SHARED_DEFAULTS.items()}
        for key, found in shared.items():
            if len(found) > 1:
                raise InputError(f"unet_svg/config.json names two values for {key}, {sorted(found)}; sides must agree.")
        for name, config in connector.items():
            if tuple(config.get("with_connector", WITH_CONNECTOR)) != WITH_CONNECTOR:
                raise InputError(
                    f"unet_svg/config.json puts {name} connectors elsewhere than at the last two levels; not supported."
                )
        sides = {m: _side_from_published(m, values.get(f"unet_{m}_config") or {}, connector[m]) for m in MODALITIES}
        return ConnectorConfig(
            sides["video"],
            sides["audio"],
            kind=shared["connector_in_type"].pop(),
            connector_channel=shared["connector_channel"].pop(),
            reads_x0=shared["connector_out_input"].pop() == "x_pred",
        )

    def to_published(self) -> dict[str, Any]:
        """Return the contents of `unet_svg/config.json`."""
        values: dict[str, Any] = {"_class_name": "UNetModelSVG"}
        for name in MODALITIES:
            side = self.side(name)
            values[f"unet_{name}_config"] = {
                "block_out_channels": list(side.block_out_channels),
                "in_channels": side.in_channels,
                "time_embedding_dim": side.time_embedding_dim,
                "attention_head_dim": side.attention_head_dim,
            }
            values[f"connector_{name}_config"] = {
                "connector_in_type": self.kind,
                "connector_channel": self.connector_channel,
                "connector_out_input": "x_pred" if self.reads_x0 else "x_cur",
                "with_connector": list(WITH_CONNECTOR),
                "channel_mult_connector": list(side.channel_mult),
                "num_blocks_connector": list(side.num_blocks),
            }
        return values


_SHARED_DEFAULTS = {"connector_in_type": "attn", "connector_channel": 1280, "connector_out_input": "x_pred"}


def _side_from_published(name: str, unet: Mapping[str, Any], connector: Mapping[str, Any]) -> SideConfig:
    missing = [key for key in ("block_out_channels", "in_channels") if key not in unet]
    if missing:
        raise InputError(f"unet_svg/config.json lacks {missing[0]} in unet_{name}_config; take the whole folder.")
    mult = tuple(connector.get("channel_mult_connector", (2, 4)))
    return SideConfig(
        tuple(unet["block_out_channels"]),
        unet["in_channels"],
        unet.get("time_embedding_dim"),
        # Newer diffusers drops the entry from the motion U-Net's configuration; it was 8 in every published one.
        unet.get("attention_head_dim") or 8,
        mult,
        tuple(connector.get("num_blocks_connector", (1,) * len(mult))),
    )


def _check_side(name: str, side: SideConfig) -> None:
    widths, head = side.block_out_channels, side.attention_head_dim
    if len(widths) != len(WITH_CONNECTOR):
        raise InputError(f"the {name} U-Net has {len(widths)} levels; connectors want {len(WITH_CONNECTOR)}.")
    if len(side.channel_mult) != len(side.num_blocks):
        raise InputError(
            f"the {name} encoder names {len(side.channel_mult)} widths, {len(side.num_blocks)} block counts."
        )
    if widths[0] % 64:
        # The encoder normalises half of it in 32 groups.
        raise InputError(f"the {name} U-Net's first width is {widths[0]}; connectors want a multiple of 64.")
    for width in widths[2:]:
        if width % 32 or width % head:
            raise InputError(f"the {name} U-Net's width {width} must divide by 32 and by the head width {head}.")
