"""Attend to text; compute once per text whatever depends on the text alone.

Shape legend: B clips, T frames, N = B * T, n positions of a frame, L text tokens, D text width, C channels.

All frames of a clip read the same text at every step. diffusers repeats the text and projects it to keys and values
for every frame and step. Here a text keeps its projections, and a clip's frames attend to them together.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class TextMemory:
    """A text with its keys and values, given in place of diffusers' `encoder_hidden_states`.

    Keys and values are kept per layer as long as this object lives, unless gradients are wanted: checkpointed blocks
    run twice, and the second run needs its own graph.

    Args:
        tokens_BLD: `[B, L, D]`.
    """

    def __init__(self, tokens_BLD: Tensor) -> None:
        self.tokens = tokens_BLD
        self._kept: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def keys_and_values(self, attn: nn.Module) -> tuple[Tensor, Tensor]:
        """Project the text for one layer: `[B, heads, L, C / heads]` each."""
        if attn in self._kept:
            return self._kept[attn]
        pair = _heads(attn, attn.to_k(self.tokens)), _heads(attn, attn.to_v(self.tokens))
        if not torch.is_grad_enabled():
            self._kept[attn] = pair
        return pair


class TextAttention:
    """diffusers' processor for a layer that may get a `TextMemory`; other calls go to the library's processor."""

    def __init__(self, library: Any) -> None:
        self.library = library

    def __call__(
        self, attn: nn.Module, hidden_states: Tensor, encoder_hidden_states: Any = None, *args: Any, **kwargs: Any
    ) -> Tensor:
        if not isinstance(encoder_hidden_states, TextMemory):
            return self.library(attn, hidden_states, encoder_hidden_states, *args, **kwargs)
        key, value = encoder_hidden_states.keys_and_values(attn)
        B, n = key.shape[0], hidden_states.shape[1]
        # Queries do not see each other: all frames of a clip are one row of queries.
        query = rearrange(attn.to_q(hidden_states), "(b t) n (heads c) -> b heads (t n) c", b=B, heads=attn.heads)
        out = F.scaled_dot_product_attention(query, key, value)
        return attn.to_out[1](attn.to_out[0](rearrange(out, "b heads (t n) c -> (b t) n (heads c)", n=n)))


def _heads(attn: nn.Module, x: Tensor) -> Tensor:
    return rearrange(x, "b l (heads c) -> b heads l c", heads=attn.heads)


def share_text(unet: nn.Module) -> None:
    """Let a diffusers U-Net's cross-attention layers take a `TextMemory`; tensors work as before.

    Raises:
        ValueError: a layer has extras (norms of its own, a residual) that the published U-Nets do not have.
    """
    for name, module in unet.named_modules():
        if not getattr(module, "is_cross_attention", False) or isinstance(module.processor, TextAttention):
            continue
        extras = (module.group_norm, module.spatial_norm, module.norm_cross, module.norm_q, module.norm_k)
        plain = not module.residual_connection and module.rescale_output_factor == 1
        if not plain or any(extra is not None for extra in extras):
            raise ValueError(f"the cross-attention layer {name} has norms or a residual of its own; not supported")
        module.set_processor(TextAttention(module.processor))
