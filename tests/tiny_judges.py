"""Tiny networks in TorchScript that stand in for OpenL3 and PaSST."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from con360.metrics.openl3_passt import AUDIOSET_CLASSES

EMBEDDING = 8


class Levels(nn.Module):
    """Answer with the level of equal parts of a window."""

    def __init__(self, parts: int) -> None:
        super().__init__()
        self.parts = parts

    def forward(self, windows: Tensor) -> Tensor:
        size = windows.shape[1] // self.parts
        return windows[:, : size * self.parts].unflatten(1, (self.parts, size)).abs().mean(2)


def write_judges(folder: Path) -> Path:
    """Write `openl3.pt` and `passt.pt`."""
    for name, parts in (("openl3", EMBEDDING), ("passt", AUDIOSET_CLASSES)):
        torch.jit.script(Levels(parts)).save(str(folder / f"{name}.pt"))
    return folder
