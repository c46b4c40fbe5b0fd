"""Compute 3x3 convolutions by Winograd's minimal filtering, on a processor in float32.

A window of 4 x 4 outputs of a 3x3 convolution costs 144 products directly and 36 this way: transform 6 x 6 inputs and
the filters to 36 points, multiply there, transform back. cuDNN chooses such algorithms by itself; PyTorch's processor
library never does, and a third of a joint step is such convolutions.

The points are 0, 3/4, -3/4, 3/2, -3/2 and infinity. With the textbook's 0, 1, -1, 2, -2 the largest rounding error is
three times as large. At 320 channels the root mean square is 1.8e-6 of the output's spread, the direct way's 2.3e-7.

Shape legend: N frames, C channels read, O channels made, P windows of a group of frames.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (arXiv 1509.09308), F(4x4, 3x3); Barabasz
et al. (arXiv 1803.10986) for what the choice of points does to rounding.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from einops import rearrange
from torch import Tensor, nn

# Outputs along a side that one window makes, and inputs that it reads.
MADE, READ = 4, 6
# In narrower layers the transforms cost more than they save (measured at 64 to 2560 channels).
MIN_CHANNELS = 256
# With fewer windows the transform of the filters costs more than it saves.
MIN_WINDOWS = 64
# Windows at a time: more leave the cache, fewer read the filters too often.
WINDOWS = 256
# Transform at most this many bytes of filters at a time: at the points they take four times their memory.
FILTER_BYTES = 16 << 20

# Rows are points. Each point's factors multiply to one over the three; powers of two keep them near 1.
_INPUT = (
    (81 / 256, 0, -45 / 64, 0, 1 / 4, 0),
    (0, -27 / 128, -9 / 64, 3 / 8, 1 / 4, 0),
    (0, 27 / 128, -9 / 64, -3 / 8, 1 / 4, 0),
    (0, -27 / 128, -9 / 32, 3 / 32, 1 / 8, 0),
    (0, 27 / 128, -9 / 32, -3 / 32, 1 / 8, 0),
    (0, 81 / 256, 0, -45 / 64, 0, 1 / 4),
)
_FILTER = (
    (256 / 81, 0, 0),
    (1024 / 243, 512 / 81, 256 / 27),
    (1024 / 243, -512 / 81, 256 / 27),
    (-2048 / 243, -512 / 81, -128 / 27),
    (-2048 / 243, 512 / 81, -128 / 27),
    (0, 0, 4),
)
_OUTPUT = (
    (1, 1 / 8, 1 / 8, 1 / 2, 1 / 2, 0),
    (0, 3 / 16, -3 / 16, 3 / 8, -3 / 8, 0),
    (0, 9 / 32, 9 / 32, 9 / 32, 9 / 32, 0),
    (0, 27 / 64, -27 / 64, 27 / 128, -27 / 128, 1),
)


@cache
def _transforms() -> tuple[Tensor, Tensor, Tensor]:
    """Make the matrices inputs to points `[36, 36]`, filters to points `[36, 9]`, points to outputs `[16, 36]`."""
    exact = (torch.tensor(t, dtype=torch.float64) for t in (_INPUT, _FILTER, _OUTPUT))
    to_points, filters, back = (torch.kron(m, m).float() for m in exact)
    return to_points, filters, back


def winograd_conv2d(x_NChw: Tensor, weight: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """Convolve 3x3 with stride 1 and a border of one zero.

    Args:
        x_NChw: float32 on the processor.
        weight: `[O, C, 3, 3]`.
        bias_O: added to the outputs.

    Returns:
        `[N, O, h, w]`, channels last in memory.
    """
    to_points, _, back = _transforms()
    N, C, h, w = x_NChw.shape
    rows, columns = _windows(h, w)
    at_once = max(1, WINDOWS // (rows * columns))
    groups = weight.split(max(1, FILTER_BYTES // (READ * READ * C * weight.element_size())))
    whole = _at_points(weight) if len(groups) == 1 else None
    bordered = x_NChw.new_zeros(min(N, at_once), MADE * rows + 2, MADE * columns + 2, C)
    out = x_NChw.new_empty(N, MADE * rows, MADE * columns, len(weight))
    for start in range(0, N, at_once):
        frames = rearrange(x_NChw[start : start + at_once], "n c h w -> n h w c")
        n = len(frames)
        bordered[:n, 1 : h + 1, 1 : w + 1] = frames
        windows = bordered[:n].unfold(1, READ, MADE).unfold(2, READ, MADE)
        pixels = rearrange(windows, "n row column c y x -> (y x) (n row column c)")
        points_36PC = rearrange(to_points @ pixels, "point (p c) -> point p c", c=C)
        # Written to: it has to be a view.
        places = out[start : start + n].view(n, rows, MADE, columns, MADE, -1).split(len(groups[0]), dim=-1)
        for group, place in zip(groups, places, strict=True):
            filters_36OC = _at_points(group) if whole is None else whole
            products = rearrange(torch.bmm(points_36PC, filters_36OC.transpose(1, 2)), "point p o -> point (p o)")
            made = "(y x) (n row column o) -> n row y column x o"
            place.copy_(rearrange(back @ products, made, y=MADE, n=n, row=rows, column=columns))
    if bias_O is not None:
        out += bias_O
    return rearrange(out[:, :h, :w], "n h w o -> n o h w")


def _windows(h: int, w: int) -> tuple[int, int]:
    """Count the rows and columns of windows that cover a frame."""
    return -(-h // MADE), -(-w // MADE)


def _at_points(weight: Tensor) -> Tensor:
    """Transform filters `[O, C, 3, 3]` to the points: `[36, O, C]`."""
    filters = _transforms()[1] @ rearrange(weight, "o c y x -> (y x) (o c)")
    return rearrange(filters, "point (o c) -> point o c", c=weight.shape[1])


class WinogradConv2d(nn.Conv2d):
    """PyTorch's 3x3 layer, computed by `winograd_conv2d` where that is faster."""

    def forward(self, input: Tensor) -> Tensor:
        if not self._pays(input):
            return super().forward(input)
        return winograd_conv2d(input, self.weight, self.bias)

    def _pays(self, x: Tensor) -> bool:
        return (
            x.ndim == 4
            and x.device.type == "cpu"
            and x.dtype == self.weight.dtype == torch.float32
            and not torch.is_grad_enabled()
            and not torch.is_autocast_enabled("cpu")
            and min(self.in_channels, self.out_channels) >= MIN_CHANNELS
            and len(x) * math.prod(_windows(*x.shape[2:])) >= MIN_WINDOWS
        )


def by_winograd(model: nn.Module) -> None:
    """Turn a model's 3x3 convolutions of stride 1 into `WinogradConv2d`; weights and names stay."""
    for module in model.modules():
        # A subclass has a forward of its own.
        if type(module) is nn.Conv2d and _is_plain(module):
            module.__class__ = WinogradConv2d


def _is_plain(layer: nn.Conv2d) -> bool:
    shape = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups, layer.padding_mode)
    return shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros")
