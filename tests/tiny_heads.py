"""Build small direction heads."""

from __future__ import annotations

import torch

from con360.control import FieldConfig, FieldHead
from con360.scenes import caption_vocabulary

SMALL = FieldConfig(caption_vocabulary(), hidden=4, heads=2, width=8)


def random_head(seed: int = 0) -> FieldHead:
    torch.manual_seed(seed)
    return FieldHead(SMALL).eval().requires_grad_(False)


def seeing_head() -> FieldHead:
    """Return a head that hears and reads nothing: each band lies where saliency is."""
    head = random_head()
    for part in (head.weighing[2], head.standing_out):
        torch.nn.init.zeros_(part.weight)
        torch.nn.init.zeros_(part.bias)
    return head
