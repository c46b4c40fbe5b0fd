"""The dual U-Net against recorded outputs of the published code."""

from __future__ import annotations

import copy

import pytest
import torch
from published_svg import (
    base_unets,
    case_inputs,
    published_connector_state,
    read_json,
    relative_error,
    run_case,
    tensors,
    tiny_dual_unet,
)

from con360.models.connectors import to_published_state
from con360.models.dual_unet import DualUNet

TOLERANCE = 1e-4


@pytest.mark.parametrize("kind", ["additive", "attn"])
@pytest.mark.parametrize("case", ["case0", pytest.param("case1", marks=pytest.mark.slow), "case2", "case3"])
def test_joint_forward_matches_published(kind, case):
    recorded = tensors(f"svg_tiny_{kind}.safetensors")
    with torch.no_grad():
        got = run_case(tiny_dual_unet(kind), case)
    for name in ("out_video", "out_audio"):
        error = relative_error(got[name], recorded[f"{case}/{name}"])
        print(f"{kind} {case} {name}: {error:.1e}")
        assert error < TOLERANCE, name


def _watch(model: DualUNet, kind: str) -> dict[str, torch.Tensor]:
    """Hooks that note intermediates under their recorded names."""
    seen: dict[str, torch.Tensor] = {}

    def note(name, transform=lambda x: x, take_input=False):
        def hook(module, args, output):
            seen[name] = transform(args[0] if take_input else output)

        return hook

    for modality, frames in (("video", 5), ("audio", 1)):
        stages = model.connectors.encoders[modality].stages
        for j, stage in enumerate(stages):
            stage.register_forward_hook(note(f"connector_out_{modality}.{j}", lambda x, T=frames: _unfold(x, T)))
        for d, direction in enumerate(("down", "up")):
            for j in (2, 3) if direction == "down" else (0, 1):
                connector, name = model.connectors.at(f"{modality}.{direction}.{j}"), f"connector_in_{modality}.{d}.{j}"
                fold = (lambda x: x) if kind == "attn" else (lambda x, T=frames: _unfold(x, T))
                connector.register_forward_hook(note(name, fold))
                _watch_block(connector.block, name, kind, note)
    return seen


def _watch_block(block, name, kind, note):
    if kind == "additive":
        channels_first = lambda x: x.movedim(-1, 1) if x.shape[1] > 1 else x.movedim(-1, 1)[:, :, 0]  # noqa: E731
        block.norm2.register_forward_hook(note(f"{name}:after_attn_c", channels_first, take_input=True))
        block.attend_self.register_forward_hook(note(f"{name}:attn_s"))
    else:
        block.attend_self.register_forward_hook(note(f"{name}:attn1"))
        block.attend_cross.register_forward_hook(note(f"{name}:attn2"))


def _unfold(x, T):
    return x if T == 1 else x.unflatten(0, (-1, T)).transpose(1, 2)


@pytest.mark.parametrize("kind", ["additive", "attn"])
def test_intermediates_match_published(kind):
    model = copy.deepcopy(tiny_dual_unet(kind))  # hooks must not outlive this test
    seen = _watch(model, kind)
    with torch.no_grad():
        cross = run_case(model, "case3")
    for name in ("h_con_into_video", "h_con_into_audio"):
        seen[name] = cross[name].unsqueeze(-1) if kind == "additive" else cross[name].unsqueeze(1)
    if kind == "attn":
        seen["h_con_into_video"] = seen["h_con_into_video"].repeat_interleave(5, dim=0)
    stored = tensors(f"svg_tiny_{kind}.safetensors")
    recorded = {k.removeprefix("case3/mid/"): v for k, v in stored.items() if "/mid/" in k}
    assert len(recorded) >= 26
    errors = {name: relative_error(seen[name], wanted) for name, wanted in recorded.items()}
    print(f"{kind}: worst intermediate {max(errors.values()):.1e} of {len(errors)}")
    assert max(errors.values()) < TOLERANCE, sorted(errors.items(), key=lambda e: -e[1])[:3]


def test_single_modality_matches_published_and_diffusers():
    x = case_inputs("case1")
    unet_v, unet_a = base_unets()
    model = tiny_dual_unet("additive")
    with torch.no_grad():
        video = model.forward_video(x["x_video"], x["t_video"], x["context"], use_connectors=False)
        audio = model.forward_audio(x["x_audio"], x["t_audio"], x["class_labels"], use_connectors=False)
        text = x["context"].repeat_interleave(x["x_video"].shape[2], dim=0)
        plain_v = unet_v(x["x_video"], x["t_video"], text).sample
        plain_a = unet_a(x["x_audio"], x["t_audio"], None, class_labels=x["class_labels"]).sample
    assert relative_error(video, x["single_video"]) < TOLERANCE
    assert relative_error(audio, x["single_audio"]) < TOLERANCE
    assert torch.equal(video, plain_v)
    assert torch.equal(audio, plain_a)


@pytest.mark.parametrize("kind", ["additive", "attn"])
def test_published_names_round_trip(kind):
    published = published_connector_state(kind)
    again = to_published_state(tiny_dual_unet(kind).connectors)
    assert again.keys() == published.keys()
    shapes = {name: shape for name, shape, *_ in read_json(f"svg_tiny_{kind}_keys.json")["unet_svg"]}
    assert {k: list(t.shape) for k, t in again.items()} == shapes
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
