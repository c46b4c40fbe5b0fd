"""Every published weight has a place and none is invented: full size, on the meta device."""

from __future__ import annotations

import pytest
import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
from published_svg import connector_config, read_json

from con360.models.connectors import Connectors
from con360.weights.connector_names import published_to_ours, to_published_state


def shapes_of(state) -> dict[str, list[int]]:
    return {name: list(t.shape) for name, t in state.items()}


@pytest.mark.parametrize("kind", ["additive", "attn"])
def test_full_size_connectors_have_the_published_keys(kind):
    recorded = {name: shape for name, shape, *_ in read_json(f"svg_full_{kind}_keys.json")["unet_svg"]}
    configs = dict(read_json("svg_full_report.json")["configs"])
    configs["connector"] = {**_connector_settings(configs), "connector_in_type": kind}
    config = connector_config(configs)
    with torch.device("meta"):
        connectors = Connectors(config)
    assert shapes_of(to_published_state(connectors)) == recorded
    ours = {published_to_ours(config, name) for name in recorded}
    assert ours == set(connectors.state_dict()) and len(ours) == len(recorded)
    wanted = read_json("svg_full_report.json")[kind]["unet_svg"]["params"]
    assert sum(p.numel() for p in connectors.parameters()) == wanted


def _connector_settings(configs: dict) -> dict:
    found = configs.get("connector") or configs.get("connectors") or {}
    return {"connector_channel": 1280, "channel_mult_connector": [2, 4], "num_blocks_connector": [1, 1], **found}


def test_full_size_unets_have_the_published_keys():
    """diffusers' own names, as the folders store them."""
    recorded, configs = read_json("svg_full_base_keys.json"), read_json("svg_full_report.json")["configs"]
    with torch.device("meta"):
        unet_a = UNet2DConditionModel(**configs["unet_a"])
        adapter = MotionAdapter(**configs["motion_adapter"])
        unet_v = UNetMotionModel.from_unet2d(UNet2DConditionModel(**configs["unet_v_2d"]), adapter, load_weights=False)
    for name, unet in (("unet_a", unet_a), ("unet_v", unet_v)):
        assert shapes_of(unet.state_dict()) == {key: shape for key, shape, *_ in recorded[name]}, name
        assert (
            sum(p.numel() for p in unet.parameters()) == read_json("svg_full_report.json")["additive"][name]["params"]
        )
