"""Encode one modality for the other's connectors.

Source: SVG baseline (arXiv 2409.17550).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .connector_config import SideConfig

# The frame rate at which the published encoders were trained, fixed in their temporal positions.
FRAME_RATE_HZ = 8.0


class Pointwise(nn.Module):
    """A linear layer over the last axis whose weight keeps the shape of the published 1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int, kernel_dims: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, *(1,) * kernel_dims))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.flatten(1), self.bias)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """`[..., n, heads * c]` to `[..., heads, n, c]`."""
    return rearrange(x, "... n (heads c) -> ... heads n c", heads=heads)


def join_heads(x: Tensor) -> Tensor:
    """`[..., heads, n, c]` to `[..., n, heads * c]`."""
    return rearrange(x, "... heads n c -> ... n (heads c)")


class TimedResidual(nn.Module):
    """Residual block with a time embedding: `[N, C, h, w]` to `[N, C', h, w]`."""

    def __init__(self, in_channels: int, out_channels: int, time_dim: int) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(32, in_channels)
        self.conv_in = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time = nn.Linear(time_dim, out_channels)
        self.norm_out = nn.GroupNorm(32, out_channels)
        self.conv_out = _zeroed(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.skip = nn.Identity() if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x_NChw: Tensor, temb_NE: Tensor) -> Tensor:
        h = self.conv_in(F.silu(self.norm_in(x_NChw))) + self.time(F.silu(temb_NE))[:, :, None, None]
        return self.skip(x_NChw) + self.conv_out(F.silu(self.norm_out(h)))


def _zeroed(layer: nn.Module) -> nn.Module:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def _standardise(x: Tensor, dim: int) -> Tensor:
    """Bring `dim` to zero mean and unit variance; half precision has a higher floor, as in training."""
    floor = 1e-5 if x.dtype == torch.float32 else 1e-3
    # `torch.var_mean` takes fifteen times as long on a processor where `dim` is not the last; squares need float32.
    centred = x.float() - x.float().mean(dim=dim, keepdim=True)
    variance = centred.square().mean(dim=dim, keepdim=True)
    return (centred * variance.clamp_min(floor).rsqrt()).to(x.dtype)


class Gain(nn.Module):
    """A learned gain per channel, stored in the published shape."""

    def __init__(self, channels: int, kernel_dims: int = 0) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(channels, *(1,) * kernel_dims))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.g.flatten()


class RelativePositionBias(nn.Module):
    """Attention bias per head from the signed logarithm of the distance between frames: `[heads, T, T]`."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(1, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, heads)])

    def forward(self, num_frames: int) -> Tensor:
        frame = torch.arange(num_frames, device=self.layers[0].weight.device, dtype=torch.float32)
        offset = frame[:, None] - frame[None, :]
        x = (offset.sign() * offset.abs().log1p())[..., None].to(self.layers[0].weight.dtype)
        for layer in self.layers[:-1]:
            x = F.silu(layer(x))
        return rearrange(self.layers[-1](x), "query key heads -> heads query key")


class TemporalAttention(nn.Module):
    """Attention along time, eight heads of a quarter of the width each.

    Two quirks of the published weights: the norm works over TIME, not over channels, and positions are seconds at
    8 fps.
    """

    heads = 8

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = self.heads * (width // 4)
        self.gain = Gain(width)
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(width, 2 * inner, bias=False)
        self.to_out = _zeroed(nn.Linear(inner, width, bias=False))

    def forward(self, x_MTC: Tensor, bias: Tensor) -> Tensor:
        x = self.gain(_standardise(x_MTC + _frame_positions(x_MTC), dim=1))
        q, k, v = (split_heads(t, self.heads) for t in (self.to_q(x), *self.to_kv(x).chunk(2, dim=-1)))
        return self.to_out(join_heads(F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))))


def _frame_positions(x_MTC: Tensor) -> Tensor:
    """Encode each frame's time in seconds as sines and cosines: `[T, C]`."""
    T, C = x_MTC.shape[1:]
    half = C // 2
    where = {"device": x_MTC.device, "dtype": torch.float32}
    frequency = torch.exp(torch.arange(half, **where) * (-math.log(10000) / (half - 1)))
    angle = (torch.arange(T, **where) / FRAME_RATE_HZ)[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=-1).to(x_MTC.dtype)


class ShiftedFeedForward(nn.Module):
    """GEGLU feed-forward in which half of the hidden channels come from the frame before."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = int(width * 4 * 2 / 3)
        self.expand = Pointwise(width, 2 * inner, 3, bias=False)
        self.gain = Gain(inner, 3)
        self.project = Pointwise(inner, width, 3, bias=False)

    def forward(self, x_MTC: Tensor) -> Tensor:
        value, gate = self.expand(x_MTC).chunk(2, dim=-1)
        # Activation and norm run in float32 whatever the weights are, as in training.
        kept, moved = (value.float() * F.gelu(gate.float())).chunk(2, dim=-1)
        hidden = torch.cat([kept, F.pad(moved, (0, 0, 1, -1))], dim=-1)
        return self.project(self.gain(_standardise(hidden, dim=-1).to(x_MTC.dtype)))


class FrameShiftConv(nn.Module):
    """Residual convolution whose eighths of channels arrive 0 to 7 frames late."""

    chunks = 8

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, width)
        self.conv = _zeroed(nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x_NChw: Tensor, num_frames: int) -> Tensor:
        h = rearrange(self.conv(F.silu(self.norm(x_NChw))), "(b t) c h w -> b t c h w", t=num_frames)
        late = torch.zeros_like(h)
        step = h.shape[2] // self.chunks
        for delay in range(min(self.chunks, num_frames)):
            part = slice(delay * step, (delay + 1) * step)
            late[:, delay:, part] = h[:, : num_frames - delay, part]
        return x_NChw + rearrange(late, "b t c h w -> (b t) c h w")


class TemporalBlock(nn.Module):
    """Attention along time, feed-forward and frame shift: behind each residual block on the video side."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.position_bias = RelativePositionBias(width // 2, TemporalAttention.heads)
        self.attend = TemporalAttention(width)
        self.feed_forward = ShiftedFeedForward(width)
        self.frame_shift = FrameShiftConv(width)

    def forward(self, x_NChw: Tensor, num_frames: int) -> Tensor:
        h, w = x_NChw.shape[2:]
        # A view would split every layer's product into one per pixel (one clip folds without a copy).
        tokens = rearrange(x_NChw, "(b t) c h w -> (b h w) t c", t=num_frames).contiguous()
        tokens = self.attend(tokens, self.position_bias(num_frames)) + tokens
        tokens = self.feed_forward(tokens) + tokens
        x = rearrange(tokens, "(b h w) t c -> (b t) c h w", h=h, w=w).contiguous()
        return self.frame_shift(x, num_frames)


class EncoderBlock(nn.Module):
    """A residual block and, on the video side, its temporal block."""

    def __init__(self, in_channels: int, out_channels: int, time_dim: int, is_video: bool) -> None:
        super().__init__()
        self.residual = TimedResidual(in_channels, out_channels, time_dim)
        self.temporal = TemporalBlock(out_channels) if is_video else None

    def forward(self, x_NChw: Tensor, temb_NE: Tensor, num_frames: int) -> Tensor:
        x = self.residual(x_NChw, temb_NE)
        return x if self.temporal is None else self.temporal(x, num_frames)


class EncoderHead(nn.Module):
    """Norm, SiLU and the projection to D channels."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, in_channels)
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.silu(self.norm(x)))


class SignalEncoder(nn.Module):
    """An "out" connector: encode a noisy latent (with its x0 estimate) for the other modality.

    `stages` are in the published order: entry, blocks with a halving between the levels, head.
    """

    def __init__(self, side: SideConfig, out_channels: int, reads_x0: bool, is_video: bool) -> None:
        super().__init__()
        first = side.block_out_channels[0]
        width = first // 2
        stages: list[nn.Module] = [nn.Conv2d(side.in_channels * (2 if reads_x0 else 1), width, 3, padding=1)]
        for level, (mult, count) in enumerate(zip(side.channel_mult, side.num_blocks, strict=True)):
            if level:
                stages.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
            for _ in range(count):
                stages.append(EncoderBlock(width, mult * first, side.time_dim, is_video))
                width = mult * first
        self.stages = nn.ModuleList([*stages, EncoderHead(width, out_channels)])

    def forward(self, x_NChw: Tensor, temb_NE: Tensor, num_frames: int) -> Tensor:
        for stage in self.stages:
            x_NChw = stage(x_NChw, temb_NE, num_frames) if isinstance(stage, EncoderBlock) else stage(x_NChw)
        return x_NChw
