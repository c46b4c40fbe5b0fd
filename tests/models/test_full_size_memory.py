"""Memory of the full-size weights, from their shapes: at low memory the largest stage, the video's, decides."""

from __future__ import annotations

import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
from published_svg import connector_config, read_json
from test_published_keys import _connector_settings

from con360.models.connectors import Connectors
from con360.models.dual_unet import DualUNet

BYTES_BF16 = 2


def test_weights_of_each_stage_that_low_memory_loads_alone():
    """Count weights alone; activations come on top."""
    configs = dict(read_json("svg_full_report.json")["configs"])
    configs["connector"] = {**_connector_settings(configs), "connector_in_type": "additive"}
    with torch.device("meta"):
        base = UNet2DConditionModel(**configs["unet_v_2d"])
        unet_v = UNetMotionModel.from_unet2d(base, MotionAdapter(**configs["motion_adapter"]), load_weights=False)
        unet = DualUNet(unet_v, UNet2DConditionModel(**configs["unet_a"]), Connectors(connector_config(configs)))
    weight = {" ".join(group) or "cross": _gigabytes(*unet.parts(group)) for group in ((), *unet.groups)}
    assert {name: round(gb, 2) for name, gb in weight.items()} == {"cross": 0.24, "video": 3.07, "audio": 1.08}
    # Every weight belongs to one stage.
    assert round(_gigabytes(unet), 3) == round(sum(weight.values()), 3) == 4.393


def _gigabytes(*modules: torch.nn.Module) -> float:
    return sum(p.numel() for module in modules for p in module.parameters()) * BYTES_BF16 / 1e9
