"""The recorded tiny networks, rebuilt from configurations and names (golden/published.json, golden/filler.py)."""

from __future__ import annotations

import json
from functools import cache

import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
from golden import filler
from golden.store import published, relative_error
from safetensors.torch import load_file
from shared_data import fixture_path

from con360.models.connector_config import ConnectorConfig, SideConfig
from con360.models.connectors import Connectors
from con360.models.dual_unet import DualUNet
from con360.weights.connector_names import from_published_state, to_published_state

__all__ = ["relative_error"]


def read_json(name: str) -> dict:
    """Read a file of the full recorded outputs; skip the test without it."""
    return json.loads(fixture_path(name).read_text())


@cache
def tensors(name: str) -> dict[str, torch.Tensor]:
    """Load the full recorded tensors of a file; skip the test without it."""
    return load_file(fixture_path(name))


def connector_config(values: dict) -> ConnectorConfig:
    """Build the connector configuration from a recorded network's settings."""
    unet_a, unet_v, connector = values["unet_a"], values["unet_v_2d"], values["connector"]
    mult, blocks = tuple(connector["channel_mult_connector"]), tuple(connector["num_blocks_connector"])
    sides = {
        name: SideConfig(tuple(unet["block_out_channels"]), unet["in_channels"], channel_mult=mult, num_blocks=blocks)
        for name, unet in (("video", unet_v), ("audio", unet_a))
    }
    kind, channel = connector["connector_in_type"], connector["connector_channel"]
    return ConnectorConfig(**sides, kind=kind, connector_channel=channel)


def fill_by_name(module: torch.nn.Module, prefix: str) -> torch.nn.Module:
    return filler.fill_module(module, prefix)


def published_connector_state(kind: str) -> dict[str, torch.Tensor]:
    """Return the recorded network's `unet_svg` state dict under its published names."""
    with torch.device("meta"):
        connectors = Connectors(connector_config(published()["networks"][f"tiny_{kind}"]))
    return {name: filler.fill(f"unet_svg.{name}", t.shape) for name, t in to_published_state(connectors).items()}


def build_unets(values: dict, *, load_weights: bool = True) -> tuple[UNetMotionModel, UNet2DConditionModel]:
    """Build the (video, audio) U-Nets of recorded settings."""
    unet_a = UNet2DConditionModel(**values["unet_a"])
    adapter, flat = MotionAdapter(**values["motion_adapter"]), UNet2DConditionModel(**values["unet_v_2d"])
    return UNetMotionModel.from_unet2d(flat, adapter, load_weights=load_weights), unet_a


@cache
def base_unets() -> tuple[UNetMotionModel, UNet2DConditionModel]:
    unet_v, unet_a = build_unets(published()["networks"]["tiny_additive"])
    return fill_by_name(unet_v, "unet_v."), fill_by_name(unet_a, "unet_a.")


@cache
def full_size_on_meta(kind: str) -> DualUNet:
    """Build the full-size network on the meta device: shapes, no weights."""
    configs = published()["networks"]["full"]
    connector = {"connector_in_type": kind, "connector_channel": 1280,
                 "channel_mult_connector": [2, 4], "num_blocks_connector": [1, 1]}  # fmt: skip
    with torch.device("meta"):
        return DualUNet(
            *build_unets(configs, load_weights=False), Connectors(connector_config({**configs, "connector": connector}))
        )


@cache
def tiny_dual_unet(kind: str) -> DualUNet:
    config = connector_config(published()["networks"][f"tiny_{kind}"])
    connectors = Connectors(config)
    connectors.load_state_dict(from_published_state(config, published_connector_state(kind)), strict=True)
    return DualUNet(*base_unets(), connectors.eval().requires_grad_(False))
