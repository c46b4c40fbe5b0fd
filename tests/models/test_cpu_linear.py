"""Linear layers by oneDNN give what PyTorch's own give, and step aside where they do not fit."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from con360.models.cpu import linear
from con360.models.cpu.linear import Linear, quicken

needs_onednn = pytest.mark.skipif(not linear._at_hand(), reason="needs PyTorch with oneDNN on x86")


def layer_and_input(bias: bool = True) -> tuple[Linear, torch.Tensor]:
    torch.manual_seed(0)
    return Linear(48, 96, bias=bias), torch.randn(2, 33, 48)


@pytest.mark.parametrize("bias", [True, False])
def test_the_same_products(bias):
    layer, x = layer_and_input(bias)
    with torch.no_grad():
        for given in (x, x[0], x[:, ::2], x.mT.contiguous().mT, x[:0], x[0, 0]):
            wanted = F.linear(given, layer.weight, layer.bias)
            torch.testing.assert_close(layer(given), wanted, rtol=1e-5, atol=1e-5)


@needs_onednn
def test_onednn_computes_them_on_a_processor_without_gradients():
    layer, x = layer_and_input()
    with mock.patch.object(F, "linear", side_effect=AssertionError("MKL was asked")), torch.no_grad():
        layer(x)
        with pytest.raises(AssertionError, match="MKL"):
            layer.double()(x.double())


def test_gradients_and_other_precisions_go_the_usual_way():
    layer, x = layer_and_input()
    layer(x).sum().backward()
    assert layer.weight.grad is not None
    with torch.no_grad():
        assert layer.bfloat16()(x.bfloat16()).dtype == torch.bfloat16
        assert layer.to("meta")(x.to("meta")).shape == (2, 33, 96)


def test_without_onednn_it_is_the_usual_layer():
    layer, x = layer_and_input()
    with mock.patch.object(linear, "_at_hand", return_value=False), torch.no_grad():
        assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))


def test_plain_layers_of_a_network_are_quickened_and_others_stay():
    class Special(nn.Linear):
        pass

    network = nn.Sequential(nn.Linear(4, 4), Special(4, 4), nn.Sequential(nn.Linear(4, 2)))
    names = list(network.state_dict())
    assert quicken(network) is network
    assert [type(m) for m in network.modules() if isinstance(m, nn.Linear)] == [Linear, Special, Linear]
    assert list(network.state_dict()) == names
