"""Keep parts of a model on the computing device only while they compute, for when memory is short."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def resident(device: torch.device | str, *modules: nn.Module) -> Iterator[None]:
    """Bring networks to `device` inside the block and back after it.

    Copies of the weights visit, cost one transfer and are dropped; nothing is written back. Networks that are there
    already cost nothing. Use it for inference alone: optimisers would not know the copies.
    """
    device, homes = torch.device(device), []
    copies: dict[int, Tensor] = {}
    try:
        for store, name, tensor in _tensors(modules):
            if tensor.device != device:
                homes.append((store, name, tensor))
                store[name] = copies.setdefault(id(tensor), _copy(tensor, device))
        yield
    finally:
        for store, name, tensor in homes:
            store[name] = tensor


def _tensors(modules: tuple[nn.Module, ...]) -> list[tuple[dict[str, Tensor | None], str, Tensor]]:
    """List every weight and buffer with the place that holds it."""
    inner = [module for top in modules for module in top.modules()]
    stores = [store for module in inner for store in (module._parameters, module._buffers)]
    return [(store, name, t) for store in stores for name, t in store.items() if t is not None]


def _copy(tensor: Tensor, device: torch.device) -> Tensor:
    moved = tensor.detach().to(device)
    return nn.Parameter(moved, requires_grad=False) if isinstance(tensor, nn.Parameter) else moved
