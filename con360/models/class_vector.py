"""Add what an encoder of meaning knows to the vector that the sound's U-Net reads of its caption.

Shape legend: B clips, D vector, E class vector.

Source: conditioning on aligned vectors as FoleyGRAM does (arXiv 2510.05829), in its cheapest form; the layer is ours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Places of the vectors, in this order.
PLACES = ("text", "picture", "sound")


class ClassVector(nn.Module):
    """One linear layer of a caption's, a picture's and a sound's vector; zero at first, so that it changes nothing.

    Args:
        size: length D of the vectors. width: length E of the class vector.
    """

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.size, self.width = size, width
        self.linear = nn.Linear(len(PLACES) * size, width, bias=False)
        nn.init.zeros_(self.linear.weight)

    def forward(self, text: Tensor | None, picture: Tensor | None, sound: Tensor | None) -> Tensor:
        """Vectors `[B, D]` to `[B, E]`, which is added; one that is None is not known."""
        there = next(x for x in (text, picture, sound) if x is not None)
        return self.linear(torch.cat([torch.zeros_like(there) if x is None else x for x in (text, picture, sound)], 1))
