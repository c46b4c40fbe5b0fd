"""3x3 convolutions by Winograd's minimal filtering, where a processor computes them in float32.

Four by four outputs of a 3x3 convolution cost 144 products the direct way and 36 this way: windows of six by six inputs
and the filters are carried to 36 points, multiplied there, and carried back. cuDNN chooses such algorithms by itself;
PyTorch's processor library never does, and a third of a joint step is such convolutions.

The points are 0, 3/4, -3/4, 3/2, -3/2 and infinity. With the textbook's 0, 1, -1, 2, -2 rounding errors are three
times as large; these come within four times of the direct way's (about 1e-6 of the output's scale).

Shape legend: N frames, C channels read, O channels made, P windows of a group of frames.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (arXiv 1509.09308), F(4x4, 3x3); Barabasz
et al. (arXiv 1803.10986) for what the choice of points does to rounding.
"""

from __future__ import annotations

import weakref
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

# Outputs along a side that one window makes, and inputs that it reads.
MADE, READ = 4, 6
# Narrower layers spend what they win on carrying windows to the points and back (measured at 64 to 2560 channels).
MIN_CHANNELS = 256
# Filters at the points take four times their memory. Layers of small frames have by far the largest filters: at the
# published size they would add 5 GB for a sixth of the convolutions' products; those of larger frames add 1 GB.
MIN_PIXELS = 256
# Windows at once: more leave the cache, fewer read the filters too often.
WINDOWS = 256

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
    """To the points `[36, 36]`, filters to the points `[36, 9]`, back from them `[16, 36]`: both axes at once."""
    with torch.inference_mode(False):
        to_points, filters, back = (
            torch.kron(m, m).float() for m in (torch.tensor(t, dtype=torch.float64) for t in (_INPUT, _FILTER, _OUTPUT))
        )
    return to_points, filters, back


def filters_at_points(weight: Tensor) -> Tensor:
    """Filters `[O, C, 3, 3]` as `winograd_conv2d` wants them: `[36, C, O]`."""
    out_channels, channels = weight.shape[:2]
    return (_transforms()[1] @ weight.permute(2, 3, 1, 0).reshape(9, -1)).view(-1, channels, out_channels)


def winograd_conv2d(x_NChw: Tensor, filters_36CO: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """A 3x3 convolution of stride 1 with a border of one zero.

    Args:
        x_NChw: float32 on the processor.
        filters_36CO: from `filters_at_points`.
        bias_O: added to the outputs.

    Returns:
        `[N, O, h, w]`, channels last in memory.
    """
    to_points, _, back = _transforms()
    N, C, h, w = x_NChw.shape
    O = filters_36CO.shape[2]  # noqa: E741 (the legend's name)
    rows, columns = -(-h // MADE), -(-w // MADE)
    at_once = max(1, WINDOWS // (rows * columns))
    bordered = x_NChw.new_zeros(min(N, at_once), MADE * rows + 2, MADE * columns + 2, C)
    out = x_NChw.new_empty(N, MADE * rows, MADE * columns, O)
    for start in range(0, N, at_once):
        frames = x_NChw[start : start + at_once].permute(0, 2, 3, 1)
        n = len(frames)
        bordered[:n, 1 : h + 1, 1 : w + 1] = frames
        windows = bordered[:n].unfold(1, READ, MADE).unfold(2, READ, MADE).permute(4, 5, 0, 1, 2, 3)
        points_36PC = (to_points @ windows.reshape(READ * READ, -1)).view(READ * READ, -1, C)
        products = torch.bmm(points_36PC, filters_36CO).view(READ * READ, -1)
        made = (back @ products).view(MADE, MADE, n, rows, columns, O).permute(2, 3, 0, 4, 1, 5)
        here = out[start : start + n].view(n, rows, MADE, columns, MADE, O)
        here.copy_(made) if bias_O is None else torch.add(made, bias_O, out=here)
    return out[:, :h, :w].permute(0, 3, 1, 2)


class WinogradConv2d(nn.Conv2d):
    """PyTorch's 3x3 layer with its own weights, computed by `winograd_conv2d` where that pays.

    Filters at the points are kept until the weights change. They are no part of the state, nor of copies.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self._pays(input):
            return super().forward(input)
        return winograd_conv2d(input, self._filters(), self.bias)

    def _pays(self, x: Tensor) -> bool:
        return (
            x.ndim == 4
            and x.device.type == "cpu"
            and x.dtype == self.weight.dtype == torch.float32
            # Weights that train are written to in ways that leave no trace (moving averages).
            and not (torch.is_grad_enabled() or self.weight.requires_grad)
            and not torch.is_autocast_enabled("cpu")
            and min(self.in_channels, self.out_channels) >= MIN_CHANNELS
            and x.shape[-2] * x.shape[-1] >= MIN_PIXELS
        )

    def _filters(self) -> Tensor:
        # Tensors made in inference mode have no version; they change by being loaded or moved, and those are below.
        version = None if self.weight.is_inference() else self.weight._version
        weight, state, filters = self.__dict__.get("_kept", (lambda: None, None, None))
        if weight() is not self.weight or state != (self.weight.data_ptr(), version):
            state, filters = (self.weight.data_ptr(), version), filters_at_points(self.weight)
            self.__dict__["_kept"] = (weakref.ref(self.weight), state, filters)
        return filters

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        self.__dict__.pop("_kept", None)
        return super()._apply(*args, **kwargs)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.__dict__.pop("_kept", None)
        super()._load_from_state_dict(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_kept"}


def by_winograd(model: nn.Module) -> None:
    """Let a model's 3x3 convolutions of stride 1 compute as `WinogradConv2d` does; weights and names stay."""
    for module in model.modules():
        # A subclass has a forward of its own.
        if type(module) is nn.Conv2d and _is_plain(module):
            module.__class__ = WinogradConv2d


def _is_plain(layer: nn.Conv2d) -> bool:
    shape = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups, layer.padding_mode)
    return shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros")
