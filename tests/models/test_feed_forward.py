"""Feed-forward layers by rows: the library's results and gradients, and copies with weights of their own."""

from __future__ import annotations

import copy
from unittest import mock

import pytest
import torch
from diffusers.models.attention import FeedForward
from tiny_model import make_tiny_joint_model
from torch import nn

from con360.models.cpu import feed_forward
from con360.models.cpu.feed_forward import GatedFeedForward, by_rows


def library_layer(**options) -> FeedForward:
    torch.manual_seed(0)
    return FeedForward(24, activation_fn="geglu", **options).eval()


def swapped(layer: FeedForward) -> FeedForward:
    holder = nn.ModuleList([copy.deepcopy(layer)])
    by_rows(holder)
    return holder[0]


@pytest.mark.parametrize("shape", [(3, 7, 24), (1, 1, 24), (2, 4, 8, 24), (5, 24)])
@pytest.mark.parametrize("rows", [1, 4, 21, 1024])
@torch.no_grad()
def test_rows_give_what_the_library_gives(shape, rows):
    layer, x = library_layer(), torch.randn(shape, generator=torch.Generator().manual_seed(1))
    with mock.patch.object(feed_forward, "ROWS", rows):
        ours = swapped(layer)(x)
    assert ours.shape == x.shape
    assert (ours - layer(x)).abs().max() < 1e-6


@torch.no_grad()
def test_the_inner_layer_gets_a_limited_number_of_rows():
    layer, seen = GatedFeedForward(8, 16), []
    layer.expand.register_forward_hook(lambda module, args, out: seen.append(len(args[0])))
    out = layer(torch.randn(3, 1000, 8))
    assert out.shape == (3, 1000, 16)
    assert sum(seen) == 3000 and max(seen) == feed_forward.ROWS


def test_gradients_are_the_librarys():
    layer = library_layer()
    ours, x = swapped(layer), torch.randn(2, 9, 24, generator=torch.Generator().manual_seed(2))
    with mock.patch.object(feed_forward, "ROWS", 4):
        for module in (layer, ours):
            module(x).square().sum().backward()
    for (name, wanted), found in zip(layer.named_parameters(), ours.parameters(), strict=True):
        assert torch.allclose(found.grad, wanted.grad, atol=1e-6), name


def test_a_copy_computes_with_its_own_weights_and_names_stay():
    ours = swapped(library_layer())
    twin = copy.deepcopy(ours)
    with torch.no_grad():
        twin.net[2].bias.add_(1.0)
        x = torch.randn(4, 24)
        assert torch.allclose(twin(x), ours(x) + 1.0, atol=1e-6)
    assert list(twin.state_dict()) == list(library_layer().state_dict())


def test_layers_of_another_kind_stay_the_librarys():
    others = [FeedForward(8, activation_fn="gelu"), library_layer(dropout=0.1), library_layer(final_dropout=True)]
    holder = nn.ModuleList(others)
    by_rows(holder)
    assert [type(layer) for layer in holder] == [FeedForward] * 3


def test_every_feed_forward_of_a_joint_model_goes_by_rows():
    unet = make_tiny_joint_model(2).unet
    found = [type(m) for u in (unet.unet_v, unet.unet_a) for m in u.modules() if isinstance(m, FeedForward)]
    assert found and FeedForward not in found
