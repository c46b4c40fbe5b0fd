"""Map encoder: maps of the panorama to features per frame.

Shape legend: B clips, T frames, H W map rows and columns, C channels, h w feature rows and columns.

Source: paper section 2.2 (2D convolutions, then an LSTM). Widths and strides are not published; ours are in
`ControlConfig`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..geometry.erp import erp_directions


class ErpConv2d(nn.Conv2d):
    """3x3 convolution on a panorama: longitude wraps, latitude is padded with its border rows."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=3, stride=stride, padding=0)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = F.pad(x_BCHW, (1, 1, 0, 0), mode="circular")
        x_BCHW = F.pad(x_BCHW, (0, 0, 1, 1), mode="replicate")
        return super().forward(x_BCHW)


class MapEncoder(nn.Module):
    """Convolutions on each frame, then one LSTM shared by all locations.

    Args:
        map_channels: stacked maps per frame (saliency and BASD: 2).
        map_height: maps are area-resized to this many rows and twice as many columns.
        widths, strides: channels and stride of each convolution.
        hidden: LSTM size, the number of feature channels.
        with_directions: append each pixel's direction (x, y, z) to the maps. A convolution that wraps around the
            panorama cannot tell front from behind. Captions can, so features that meet a caption must as well.
    """

    def __init__(
        self,
        map_channels: int,
        map_height: int,
        widths: tuple[int, ...],
        strides: tuple[int, ...],
        hidden: int,
        with_directions: bool,
    ) -> None:
        super().__init__()
        if len(widths) != len(strides):
            raise ValueError(f"widths {widths} and strides {strides} must have the same length")
        self.map_size = (map_height, 2 * map_height)
        channels = (map_channels + (3 if with_directions else 0), *widths)
        self.convs = nn.ModuleList(ErpConv2d(a, b, s) for a, b, s in zip(channels, channels[1:], strides, strict=False))
        self.lstm = nn.LSTM(widths[-1], hidden, batch_first=True)
        directions = erp_directions(map_height).permute(2, 0, 1) if with_directions else torch.empty(0, *self.map_size)
        self.register_buffer("directions", directions.clone(), persistent=False)

    def forward(self, maps_BTCHW: Tensor) -> Tensor:
        """Encode maps `[B, T, C, H, W]` in [0, 1] as features `[B, T, hidden, h, w]`."""
        B, T = maps_BTCHW.shape[:2]
        x = rearrange(maps_BTCHW, "b t c h w -> (b t) c h w")
        if x.shape[-2:] != self.map_size:
            x = F.interpolate(x, self.map_size, mode="area")
        x = torch.cat([x, self.directions.to(x).expand(B * T, -1, -1, -1)], dim=1)
        for conv in self.convs:
            x = F.silu(conv(x))
        h, w = x.shape[2:]
        hidden, _ = self.lstm(rearrange(x, "(b t) c h w -> (b h w) t c", t=T))
        return rearrange(hidden, "(b h w) t c -> b t c h w", h=h, w=w)
