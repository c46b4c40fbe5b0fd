"""The recorded dual U-Net: what golden/test_published.py, which compares its values, leaves out."""

from __future__ import annotations

import pytest
import torch
from golden.inputs import case_inputs
from golden.runs_svg import single_modalities
from published_svg import base_unets, published_connector_state, relative_error, tiny_dual_unet

from con360.weights.connector_names import to_published_state


@torch.no_grad()
def test_a_modality_alone_is_what_diffusers_computes():
    """Bypass the connectors and compare with diffusers, and diffusers with the record.

    Our text is projected once for all frames, so last bits may differ from diffusers' on several threads.
    """
    x, alone = case_inputs("case1"), single_modalities()
    unet_v, unet_a = base_unets()
    model = tiny_dual_unet("additive")
    unused = model.forward_video(x["x_video"], x["t_video"], x["context"], use_connectors=False)
    text = x["context"].repeat_interleave(x["x_video"].shape[2], dim=0)
    plain_v = unet_v(x["x_video"], x["t_video"], text).sample
    plain_a = unet_a(x["x_audio"], x["t_audio"], None, class_labels=x["class_labels"]).sample
    torch.testing.assert_close(unused, plain_v, rtol=0, atol=2e-5)
    torch.testing.assert_close(plain_v, alone["svg_tiny_additive/case1/single_video"], rtol=0, atol=2e-5)
    torch.testing.assert_close(plain_a, alone["svg_tiny_additive/case1/single_audio"], rtol=0, atol=2e-5)


@pytest.mark.parametrize("kind", ["additive", "attn"])
def test_published_names_round_trip(kind):
    published = published_connector_state(kind)
    again = to_published_state(tiny_dual_unet(kind).connectors)
    assert again.keys() == published.keys()
    assert {k: t.shape for k, t in again.items()} == {k: t.shape for k, t in published.items()}
    assert all(torch.equal(again[k], published[k]) for k in published)


@pytest.mark.parametrize("kind", ["additive", pytest.param("attn", marks=pytest.mark.slow)])
def test_guidance_halves_share_cross_features(kind):
    """Cross features of batch 1 used twice equal those of the doubled batch."""
    model = tiny_dual_unet(kind)
    x = case_inputs("case0")
    text_v, text_a = torch.cat([x["context"], -x["context"]]), torch.cat([x["class_labels"], -x["class_labels"]])
    x_v, x_a = (torch.cat([x[k]] * 2) for k in ("x_video", "x_audio"))
    with torch.no_grad():
        once = model.encode_cross(x["x_video"], x["x_audio"], 500, 500)
        twice = model.encode_cross(x_v, x_a, 500, 500)
        a = model(x_v, x_a, 500, 500, text_v, text_a, once)
        b = model(x_v, x_a, 500, 500, text_v, text_a, twice)
    for got, wanted in zip(a, b, strict=True):
        assert relative_error(got, wanted) < 1e-5
