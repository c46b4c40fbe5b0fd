"""The recorded tiny networks, rebuilt from their configurations, names and shapes (see the fixtures' README)."""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from types import ModuleType

import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
from safetensors.torch import load_file
from shared_data import fixture_path

from con360.models.connectors import ConnectorConfig, Connectors, SideConfig, from_published_state
from con360.models.dual_unet import DualUNet


@cache
def filler() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fixture_fill", fixture_path("fill.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_json(name: str) -> dict:
    return json.loads(fixture_path(name).read_text())


@cache
def tensors(name: str) -> dict[str, torch.Tensor]:
    return load_file(fixture_path(name))


def connector_config(values: dict) -> ConnectorConfig:
    """From a recorded `svg_*_config.json`."""
    unet_a, unet_v, connector = values["unet_a"], values["unet_v_2d"], values["connector"]
    mult, blocks = tuple(connector["channel_mult_connector"]), tuple(connector["num_blocks_connector"])
    sides = {
        name: SideConfig(tuple(unet["block_out_channels"]), unet["in_channels"], channel_mult=mult, num_blocks=blocks)
        for name, unet in (("video", unet_v), ("audio", unet_a))
    }
    kind, channel = connector["connector_in_type"], connector["connector_channel"]
    return ConnectorConfig(**sides, kind=kind, connector_channel=channel)


def fill_by_name(module: torch.nn.Module, prefix: str) -> torch.nn.Module:
    return filler().fill_module(module, prefix).eval().requires_grad_(False)


def published_connector_state(kind: str) -> dict[str, torch.Tensor]:
    """The recorded network's `unet_svg` state dict under its published names."""
    keys = read_json(f"svg_tiny_{kind}_keys.json")["unet_svg"]
    return {name: torch.from_numpy(filler().fill("unet_svg." + name, shape)) for name, shape, *_ in keys}


@cache
def base_unets() -> tuple[UNetMotionModel, UNet2DConditionModel]:
    values = read_json("svg_tiny_additive_config.json")
    unet_a = UNet2DConditionModel(**values["unet_a"])
    adapter = MotionAdapter(**values["motion_adapter"])
    unet_v = UNetMotionModel.from_unet2d(UNet2DConditionModel(**values["unet_v_2d"]), adapter)
    return fill_by_name(unet_v, "unet_v."), fill_by_name(unet_a, "unet_a.")


@cache
def tiny_dual_unet(kind: str) -> DualUNet:
    config = connector_config(read_json(f"svg_tiny_{kind}_config.json"))
    connectors = Connectors(config)
    connectors.load_state_dict(from_published_state(config, published_connector_state(kind)), strict=True)
    return DualUNet(*base_unets(), connectors.eval().requires_grad_(False))


def relative_error(got: torch.Tensor, wanted: torch.Tensor) -> float:
    assert got.shape == wanted.shape, (got.shape, wanted.shape)
    return float((got.float() - wanted).abs().max() / wanted.abs().max())


def case_inputs(case: str) -> dict[str, torch.Tensor]:
    """Tensors of a recorded case, by their names within it."""
    recorded = tensors("svg_tiny_additive.safetensors")
    return {k.removeprefix(f"{case}/"): t for k, t in recorded.items() if k.startswith(f"{case}/")}


def run_case(model: DualUNet, case: str) -> dict[str, torch.Tensor]:
    """One recorded input set through the joint forward."""
    x = case_inputs(case)
    half_a, half_v = x["x_audio"].shape[1], x["x_video"].shape[1]
    cross = model.encode_cross(
        x["xcon_video"][:, :half_v],
        x["xcon_audio"][:, :half_a],
        x.get("tcon_video", x["t_video"]),
        x.get("tcon_audio", x["t_audio"]),
        x["xcon_video"][:, half_v:],
        x["xcon_audio"][:, half_a:],
    )
    names = ("x_video", "x_audio", "t_video", "t_audio", "context", "class_labels")
    out_v, out_a = model(*(x[name] for name in names), cross)
    heard = {"h_con_into_video": cross.into_video, "h_con_into_audio": cross.into_audio}
    return {"out_video": out_v, "out_audio": out_a, **heard}
