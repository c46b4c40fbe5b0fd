"""Compute GEGLU feed-forward layers, on a processor a thousand tokens at a time.

A transformer's feed-forward is eight times as wide inside as outside. On a processor, fresh memory of that size costs
as much time as the products. Tokens do not see each other here, so they are computed in groups that fit the cache. A
GPU is faster with all tokens at once.

Shape legend: n tokens, C width.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

# Measured from 64 to 1280 wide: fewer rows slow the products of wide layers, more leave the cache.
ROWS = 1024

Layer = Callable[[Tensor], Tensor]


def gated_feed_forward(x: Tensor, expand: Layer, project: Layer) -> Tensor:
    """Compute `project(value * gelu(gate))`, where value and gate are the halves of `expand(x)`.

    Args:
        x: `[..., C]`.
        expand: to value and gate, concatenated.
        project: to the output's width.
    """
    rows_nC = rearrange(x, "... c -> (...) c")
    if torch.is_grad_enabled() or x.device.type != "cpu" or len(rows_nC) <= ROWS:
        return _gated(x, expand, project)
    out = None
    for start in range(0, len(rows_nC), ROWS):
        part = _gated(rows_nC[start : start + ROWS], expand, project)
        out = part.new_empty(len(rows_nC), part.shape[-1]) if out is None else out
        out[start : start + ROWS] = part
    assert out is not None
    return out.view(*x.shape[:-1], -1)


def _gated(x: Tensor, expand: Layer, project: Layer) -> Tensor:
    value, gate = expand(x).chunk(2, dim=-1)
    return project(value * F.gelu(gate))


class GatedFeedForward(nn.Module):
    """GEGLU and a projection: `[..., width]` to `[..., out_width]`, four times as wide inside."""

    def __init__(self, width: int, out_width: int) -> None:
        super().__init__()
        self.expand = nn.Linear(width, 8 * width)
        self.project = nn.Linear(4 * width, out_width)

    def forward(self, x: Tensor) -> Tensor:
        return gated_feed_forward(x, self.expand, self.project)


def by_rows(unet: nn.Module) -> None:
    """Let a diffusers U-Net's feed-forward layers compute by `gated_feed_forward`; weights and names stay."""
    from diffusers.models.activations import GEGLU
    from diffusers.models.attention import FeedForward

    for module in unet.modules():
        if type(module) is not FeedForward or not isinstance(module.net[0], GEGLU) or len(module.net) != 3:
            continue
        if not any(layer.p for layer in module.net if isinstance(layer, nn.Dropout)):
            module.__class__ = _library_feed_forward_by_rows()


@cache
def _library_feed_forward_by_rows() -> type[nn.Module]:
    from diffusers.models.attention import FeedForward

    class FeedForwardByRows(FeedForward):
        """diffusers' own layer; instances change class, so that their copies compute by rows as well."""

        def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            return gated_feed_forward(hidden_states, self.net[0].proj, self.net[2])

    return FeedForwardByRows
