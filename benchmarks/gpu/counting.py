"""Count what a GPU would hold and compute: bytes alive and FLOP of a call on the meta device, which computes nothing.

Counted are the storages that PyTorch's operators make. Not counted are the work space inside a kernel, the allocator's
fragments and the driver. Attention is fused, as on a GPU, so its matrix is never whole.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

# What autocast computes in half precision, and what in float32.
HALVED, WHOLE = ("linear", "conv1d", "conv2d", "conv3d"), ("layer_norm", "group_norm")


@dataclass(frozen=True)
class Counted:
    """Greatest number of bytes alive at once beyond the networks, and the FLOP of the call."""

    peak_bytes: int
    flop: int


def count(run: Callable[[], object], networks: Iterable[nn.Module]) -> Counted:
    """Count a call over networks on the meta device."""
    alive = Alive(tensor for network in networks for tensor in (*network.parameters(), *network.buffers()))
    with _fused_attention(alive), alive:
        run()
    return Counted(alive.peak, alive.flop)


class Alive(TorchDispatchMode):
    """Follow the storages that operators make; those of `given` tensors weigh nothing."""

    def __init__(self, given: Iterable[Tensor]) -> None:
        super().__init__()
        self.bytes = {tensor.untyped_storage()._cdata: 0 for tensor in given}
        self.now = self.peak = self.flop = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        flop_of = flop_registry.get(func._overloadpacket)
        if flop_of is not None:
            self.flop += flop_of(*args, **(kwargs or {}), out_val=out)
        for tensor in tree_leaves(out):
            # Numbers and other tensors of the processor cost a GPU nothing.
            if isinstance(tensor, Tensor) and tensor.device.type == "meta":
                self._see(tensor.untyped_storage())
        return out

    def _see(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self.bytes:
            self.bytes[key] = storage.nbytes()
            self.now += self.bytes[key]
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.now -= self.bytes.pop(key)


@contextmanager
def as_autocast() -> Iterator[None]:
    """Compute as autocast to bfloat16 does; the real one does not know the meta device."""
    with ExitStack() as stack:
        for name in HALVED:
            stack.enter_context(mock.patch.object(F, name, _in(torch.bfloat16, getattr(F, name))))
        for name in WHOLE:
            stack.enter_context(mock.patch.object(F, name, _in(torch.float32, getattr(F, name))))
        yield


def _in(dtype: torch.dtype, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def cast(value: Any) -> Any:
        return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value

    return lambda *args, **named: function(*map(cast, args), **{name: cast(value) for name, value in named.items()})


@contextmanager
def _fused_attention(alive: Alive) -> Iterator[None]:
    def attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
        products = 2 * query.shape[:-1].numel() * key.shape[-2] * (query.shape[-1] + value.shape[-1])
        return _Attention.apply(query, key, value, alive, products)

    with mock.patch.object(F, "scaled_dot_product_attention", attention):
        yield


class _Attention(torch.autograd.Function):
    """Fused attention's results and what it keeps for its gradients, which compute the product once more."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, alive: Alive, products: int) -> Tensor:
        out = query.new_empty(*query.shape[:-1], value.shape[-1])
        ctx.save_for_backward(query, key, value, out)
        ctx.alive, ctx.products = alive, products
        alive.flop += products
        return out

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Any, ...]:
        ctx.alive.flop += ctx.products * 5 // 2
        return (*(torch.empty_like(tensor) for tensor in ctx.saved_tensors[:3]), None, None)
