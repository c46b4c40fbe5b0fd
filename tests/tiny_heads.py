"""Build small direction heads."""

from __future__ import annotations

from pathlib import Path

import torch

from con360.control import FieldConfig, FieldHead, add_head
from con360.control.field_file import save_head
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


def write_hearing_control(models: Path) -> str:
    """Give the tiny control a head: write `con360_control/hearing.safetensors` beside it; return its name."""
    folder, head = models / "con360_control", models / "head.safetensors"
    save_head(head, seeing_head(), {})
    add_head(folder / "random.safetensors", head, folder / "hearing.safetensors")
    return "hearing.safetensors"
