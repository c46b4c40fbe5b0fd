"""Text keys and values computed once per text; embedded timesteps; weights that visit a device."""

from __future__ import annotations

import pytest
import torch
from tiny_model import make_tiny_joint_model
from torch import nn

from con360.models.dual_unet import time_embedding
from con360.models.text_attention import TextAttention, TextMemory, share_text
from con360.residency import resident


@pytest.fixture(scope="module")
def unet():
    return make_tiny_joint_model(2).unet


def text_layers(unet_v: nn.Module) -> list[nn.Module]:
    found = [m for m in unet_v.modules() if isinstance(getattr(m, "processor", None), TextAttention)]
    assert len(found) == 3 + 3 * 2 + 1  # three down blocks of one layer, three up blocks of two, the middle
    return found


def inputs(B: int = 2):
    g = torch.Generator().manual_seed(1)
    return torch.randn(B, 4, 3, 8, 8, generator=g), torch.randn(B, 12, 16, generator=g)


@torch.no_grad()
def test_each_clips_frames_read_their_own_text(unet):
    x, text = inputs()
    ours = unet.forward_video(x, 300, text, use_connectors=False)
    library = unet.unet_v(x, 300, text.repeat_interleave(3, dim=0)).sample
    assert (ours - library).abs().max() < 1e-5
    swapped = unet.forward_video(x, 300, text.flip(0), use_connectors=False)
    assert (swapped - library).abs().max() > 1e-3


@torch.no_grad()
def test_keys_and_values_are_computed_once_per_text(unet):
    x, text = inputs()
    counts: list[int] = []
    layers = text_layers(unet.unet_v)
    handles = [layer.to_k.register_forward_hook(lambda *_: counts.append(1)) for layer in layers]
    memory = TextMemory(text)
    first = unet.forward_video(x, 300, memory)
    assert len(counts) == len(layers)
    assert torch.equal(unet.forward_video(x, 300, memory), first) and len(counts) == len(layers)
    assert torch.equal(unet.forward_video(x, 300, text), first) and len(counts) == 2 * len(layers)
    for handle in handles:
        handle.remove()


def test_gradients_reach_text_and_projections_each_time():
    unet = make_tiny_joint_model(2).unet.requires_grad_(True)
    x, text = inputs(1)
    memory, key = TextMemory(text.requires_grad_(True)), text_layers(unet.unet_v)[0].to_k.weight
    for _ in range(2):
        unet.forward_video(x, 300, memory).square().sum().backward()
        assert text.grad.abs().sum() > 0 and key.grad.abs().sum() > 0
        text.grad = key.grad = None


def test_sharing_twice_changes_nothing_and_odd_layers_are_refused(unet):
    layer = text_layers(unet.unet_v)[0]
    processor = layer.processor
    share_text(unet.unet_v)
    assert layer.processor is processor
    odd = make_tiny_joint_model(2).unet.unet_v
    strange = text_layers(odd)[0]
    strange.set_processor(processor.library)
    strange.residual_connection = True
    with pytest.raises(ValueError, match="not supported"):
        share_text(odd)


@torch.no_grad()
def test_embedded_timesteps_stand_for_timesteps(unet):
    (x, text), x_a = inputs(), torch.randn(2, 8, 16, 16, generator=torch.Generator().manual_seed(2))
    one = torch.zeros(1)
    t_v, t_a = (time_embedding(u, torch.tensor([700, 20]), one.expand(2)) for u in (unet.unet_v, unet.unet_a))
    for given, wanted in (((t_v[:1], t_a[1:]), (700, 20)), ((t_v, t_a), (torch.tensor([700, 20]),) * 2)):
        a, b = unet.encode_cross(x, x_a, *given), unet.encode_cross(x, x_a, *wanted)
        assert all(torch.allclose(p, q, atol=1e-6) for p, q in zip(a, b, strict=True))
        assert torch.allclose(unet.forward_video(x, given[0], text), unet.forward_video(x, wanted[0], text), atol=1e-5)


def test_visiting_weights_go_home_untouched():
    network = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).eval()
    weight, kept = network[0].weight, network[0].weight.detach().clone()
    with pytest.raises(RuntimeError, match="stop"), resident("meta", network):
        assert {t.device.type for t in (*network.parameters(), *network.buffers())} == {"meta"}
        assert network(torch.zeros(2, 3, device="meta")).device.type == "meta"
        raise RuntimeError("stop")
    assert network[0].weight is weight and torch.equal(weight, kept)
    with resident("cpu", network):
        weight.data.fill_(2.0)  # already there: not a copy
    assert (weight == 2.0).all()
