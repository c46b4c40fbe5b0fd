"""Winograd convolutions: direct convolution's results, filters that follow the weights, and layers left alone."""

from __future__ import annotations

import copy
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from tiny_model import make_tiny_joint_model
from torch import nn

from con360.models.cpu import winograd
from con360.models.cpu.winograd import WinogradConv2d, by_winograd, winograd_conv2d


@pytest.fixture
def every_layer_pays():
    with mock.patch.multiple(winograd, MIN_CHANNELS=1, MIN_WINDOWS=1):
        yield


def layer(seed: int = 0, channels: int = 8, out_channels: int = 12, **options) -> nn.Conv2d:
    torch.manual_seed(seed)
    return nn.Conv2d(channels, out_channels, 3, padding=1, **options).eval()


def swapped(conv: nn.Conv2d) -> WinogradConv2d:
    holder = nn.ModuleList([copy.deepcopy(conv)])
    by_winograd(holder)
    assert type(holder[0]) is WinogradConv2d
    return holder[0]


@pytest.mark.parametrize("size", [(4, 4), (16, 16), (1, 1), (5, 7), (2, 33), (25, 4)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("windows", [1, 3, 256])
@pytest.mark.parametrize("filters", [1, 5, 12])
@torch.no_grad()
def test_numbers_are_those_of_the_direct_way(size, bias, windows, filters):
    conv = layer(bias=bias)
    x = torch.randn(5, 8, *size, generator=torch.Generator().manual_seed(1))
    with mock.patch.multiple(winograd, WINDOWS=windows, FILTER_BYTES=filters * 36 * 8 * 4):
        out = winograd_conv2d(x, conv.weight, conv.bias)
    assert out.shape == (5, 12, *size)
    assert (out - conv(x)).abs().max() < 5e-6


@pytest.mark.parametrize("channels_last", [True, False])
@torch.no_grad()
def test_rounding_stays_near_the_direct_ways_at_a_published_width(channels_last):
    conv = layer(channels=320, out_channels=320)
    x = torch.randn(4, 320, 16, 16, generator=torch.Generator().manual_seed(1))
    exact = F.conv2d(x.double(), conv.weight.double(), conv.bias.double(), padding=1)
    with mock.patch.object(winograd, "winograd_conv2d", wraps=winograd_conv2d) as called:
        found = swapped(conv)(x.contiguous(memory_format=torch.channels_last) if channels_last else x)
    called.assert_called_once()
    rms = (found - exact).square().mean().sqrt() / exact.std()
    direct = (conv(x) - exact).square().mean().sqrt() / exact.std()
    assert direct < rms < 3e-6


@torch.no_grad()
def test_a_copy_computes_with_its_own_weights_and_names_stay(every_layer_pays):
    x = torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    conv = swapped(layer())
    before, twin = conv(x), copy.deepcopy(conv)
    twin.weight.zero_()
    assert torch.equal(conv(x), before)
    assert torch.equal(twin(x), conv.bias.view(1, -1, 1, 1).expand(1, 12, 8, 8))
    assert list(conv.state_dict()) == ["weight", "bias"]


def test_gradients_bf16_and_small_layers_go_the_direct_way():
    big, narrow = swapped(layer(channels=256, out_channels=256)), swapped(layer())
    x, y = torch.randn(4, 256, 16, 16), torch.randn(4, 8, 16, 16)
    with mock.patch.object(winograd, "winograd_conv2d", side_effect=AssertionError("not here")):
        big(x).sum().backward()
        with torch.no_grad():
            narrow(y)
            big(x[..., :8])
            with torch.autocast("cpu", torch.bfloat16):
                big(x)
            big.bfloat16()(x.bfloat16())


def test_other_convolutions_stay_the_librarys():
    others = [
        nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3, padding=1, stride=2), nn.Conv2d(8, 8, 5, padding=2),
        nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 3, padding=1, dilation=2),
        nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular"),
    ]  # fmt: skip
    holder = nn.ModuleList(others)
    by_winograd(holder)
    assert {type(module) for module in holder} == {nn.Conv2d}


@torch.no_grad()
def test_a_joint_model_gives_the_same_numbers(every_layer_pays):
    model = make_tiny_joint_model(2)
    unet = model.unet
    found = [m for m in unet.modules() if isinstance(m, WinogradConv2d)]
    assert len(found) > 20
    x_v = torch.randn(1, 4, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    temb = torch.randn(2, unet.unet_v.time_embedding.linear_2.out_features)
    block = unet.unet_v.down_blocks[0].resnets[0]
    h = unet.unet_v.conv_in(x_v[0].transpose(0, 1))
    ours = block(h, temb)
    with mock.patch.object(WinogradConv2d, "_pays", return_value=False):
        theirs = block(unet.unet_v.conv_in(x_v[0].transpose(0, 1)), temb)
    assert not torch.equal(ours, theirs)
    assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()
