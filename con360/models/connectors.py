"""The trainable bridge between the two U-Nets: encoders ("out") and CMC-PE connectors ("in").

Shape legend: B clips, T frames (1 for sound), h w rows and columns of a feature map (mel rows and frequencies for
sound), N = B * T, C channels of a feature map, D connector channels, S time positions of the other modality,
E time embedding.

Each modality has an encoder that reads its noisy latent with the previous x0 estimate. What it says is averaged over
space and handed to the other modality's connectors, which sit behind the deeper blocks of that modality's U-Net.
Kind `additive` is CMC-PE: the signal is laid along the target's time axis and added before a spatial attention, like
a positional encoding. Kind `attn` attends to one pooled token instead.

Convention: a connector has one place for outside modulation, FiLM: after the cross-modal attention and its residual,
before the next norm. It arrives as a plain (scale, shift), whoever made it.

Source: SVG baseline (arXiv 2409.17550) and the quirks of its published weights, each named where it lives.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from .feed_forward import GatedFeedForward

SITES = (
    "video.down.2", "video.down.3", "video.up.0", "video.up.1",
    "audio.down.2", "audio.down.3", "audio.up.0", "audio.up.1",
)  # fmt: skip
MODALITIES = ("video", "audio")
# Which of the four levels carry connectors, in the published folders' notation; SITES says the same.
WITH_CONNECTOR = (False, False, True, True)
# The frame rate at which the published encoders were trained, fixed in their temporal positions.
FRAME_RATE_HZ = 8.0

Film = Mapping[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class SideConfig:
    """One modality's share of the connectors; the first four mirror its U-Net.

    Args:
        block_out_channels: widths of the U-Net's levels.
        in_channels: channels of the latent.
        time_embedding_dim: E; None is the U-Nets' own rule, four times the first width.
        attention_head_dim: WIDTH of a connector's attention heads. Inside diffusers the same published number, 8,
            is the COUNT of heads; the weights depend on both readings.
        channel_mult: widths of the encoder's levels, in units of the U-Net's first width.
        num_blocks: residual blocks per encoder level.
    """

    block_out_channels: tuple[int, ...]
    in_channels: int
    time_embedding_dim: int | None = None
    attention_head_dim: int = 8
    channel_mult: tuple[int, ...] = (2, 4)
    num_blocks: tuple[int, ...] = (1, 1)

    @property
    def time_dim(self) -> int:
        return self.time_embedding_dim or 4 * self.block_out_channels[0]


@dataclass(frozen=True)
class ConnectorConfig:
    """Everything that decides the connectors' shape.

    Args:
        video, audio: the two sides.
        kind: `additive` (CMC-PE) or `attn`.
        connector_channel: D, width of the signal between the modalities.
        reads_x0: the encoders see the previous x0 estimate beside the noisy latent (published `x_pred`).
    """

    video: SideConfig
    audio: SideConfig
    kind: Literal["additive", "attn"] = "additive"
    connector_channel: int = 1280
    reads_x0: bool = True

    def __post_init__(self) -> None:
        if self.kind not in ("additive", "attn"):
            raise InputError(f"connectors of type {self.kind!r} are not known; wanted 'additive' or 'attn'.")
        for name in MODALITIES:
            _check_side(name, self.side(name))

    def side(self, modality: str) -> SideConfig:
        return self.video if modality == "video" else self.audio

    @staticmethod
    def for_unets(
        unet_v: nn.Module, unet_a: nn.Module, *, channel_mult: tuple[int, ...] = (2, 4), **options: Any
    ) -> ConnectorConfig:
        """Configuration that fits two U-Nets.

        Args:
            unet_v, unet_a: diffusers' UNetMotionModel and UNet2DConditionModel.
            channel_mult: encoder widths of both sides; (1, 1) is the smallest.
            options: further fields of `ConnectorConfig`.
        """
        sides = {}
        for name, unet in (("video", unet_v), ("audio", unet_a)):
            widths, channels = tuple(unet.config.block_out_channels), unet.config.in_channels
            sides[name] = SideConfig(widths, channels, channel_mult=channel_mult, num_blocks=(1,) * len(channel_mult))
        return ConnectorConfig(**sides, **options)

    @staticmethod
    def from_published(values: Mapping[str, Any]) -> ConnectorConfig:
        """From `unet_svg/config.json`; absent entries have the published code's defaults.

        Raises:
            InputError: an entry is missing or asks for something that no published folder has.
        """
        connector = {m: values.get(f"connector_{m}_config") or {} for m in MODALITIES}
        shared = {k: {c.get(k, default) for c in connector.values()} for k, default in _SHARED_DEFAULTS.items()}
        for key, found in shared.items():
            if len(found) > 1:
                raise InputError(f"unet_svg/config.json names two values for {key}, {sorted(found)}; sides must agree.")
        for name, config in connector.items():
            if tuple(config.get("with_connector", WITH_CONNECTOR)) != WITH_CONNECTOR:
                raise InputError(
                    f"unet_svg/config.json puts {name} connectors elsewhere than at the last two levels; not supported."
                )
        return ConnectorConfig(
            **{m: _side_from_published(m, values.get(f"unet_{m}_config") or {}, connector[m]) for m in MODALITIES},
            kind=shared["connector_in_type"].pop(),
            connector_channel=shared["connector_channel"].pop(),
            reads_x0=shared["connector_out_input"].pop() == "x_pred",
        )

    def to_published(self) -> dict[str, Any]:
        """The contents of `unet_svg/config.json`."""
        values: dict[str, Any] = {"_class_name": "UNetModelSVG"}
        for name in MODALITIES:
            side = self.side(name)
            values[f"unet_{name}_config"] = {
                "block_out_channels": list(side.block_out_channels),
                "in_channels": side.in_channels,
                "time_embedding_dim": side.time_embedding_dim,
                "attention_head_dim": side.attention_head_dim,
            }
            values[f"connector_{name}_config"] = {
                "connector_in_type": self.kind,
                "connector_channel": self.connector_channel,
                "connector_out_input": "x_pred" if self.reads_x0 else "x_cur",
                "with_connector": list(WITH_CONNECTOR),
                "channel_mult_connector": list(side.channel_mult),
                "num_blocks_connector": list(side.num_blocks),
            }
        return values


_SHARED_DEFAULTS = {"connector_in_type": "attn", "connector_channel": 1280, "connector_out_input": "x_pred"}


def _side_from_published(name: str, unet: Mapping[str, Any], connector: Mapping[str, Any]) -> SideConfig:
    missing = [key for key in ("block_out_channels", "in_channels") if key not in unet]
    if missing:
        raise InputError(f"unet_svg/config.json lacks {missing[0]} in unet_{name}_config; take the whole folder.")
    mult = tuple(connector.get("channel_mult_connector", (2, 4)))
    return SideConfig(
        tuple(unet["block_out_channels"]),
        unet["in_channels"],
        unet.get("time_embedding_dim"),
        # Newer diffusers drops the entry from the motion U-Net's configuration; it was 8 in every published one.
        unet.get("attention_head_dim") or 8,
        mult,
        tuple(connector.get("num_blocks_connector", (1,) * len(mult))),
    )


def _check_side(name: str, side: SideConfig) -> None:
    widths, head = side.block_out_channels, side.attention_head_dim
    if len(widths) != len(WITH_CONNECTOR):
        raise InputError(f"the {name} U-Net has {len(widths)} levels; connectors want {len(WITH_CONNECTOR)}.")
    if len(side.channel_mult) != len(side.num_blocks):
        raise InputError(
            f"the {name} encoder names {len(side.channel_mult)} widths, {len(side.num_blocks)} block counts."
        )
    if widths[0] % 64:
        # The encoder normalises half of it in 32 groups.
        raise InputError(f"the {name} U-Net's first width is {widths[0]}; connectors want a multiple of 64.")
    for width in widths[2:]:
        if width % 32 or width % head:
            raise InputError(f"the {name} U-Net's width {width} must divide by 32 and by the head width {head}.")


class CrossFeatures(NamedTuple):
    """What each modality hears from the other: `[B, D, S]` (additive), `[B, D]` (attn), None where nothing is said."""

    into_video: Tensor | None
    into_audio: Tensor | None


class Pointwise(nn.Module):
    """A linear layer over the last axis whose weight keeps the shape of the published 1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int, kernel_dims: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, *(1,) * kernel_dims))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.flatten(1), self.bias)


class Attention(nn.Module):
    """Multi-head attention from `[N, n, C]` to itself or to a context `[N, m, K]`."""

    def __init__(self, width: int, head_width: int, context_width: int | None = None) -> None:
        super().__init__()
        self.heads = width // head_width
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context_width or width, width, bias=False)
        self.to_v = nn.Linear(context_width or width, width, bias=False)
        self.to_out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        context = x if context is None else context
        q, k, v = (_split_heads(t, self.heads) for t in (self.to_q(x), self.to_k(context), self.to_v(context)))
        return self.to_out(_join_heads(F.scaled_dot_product_attention(q, k, v)))


def _split_heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(-3, -2)


def _join_heads(x: Tensor) -> Tensor:
    return x.transpose(-3, -2).flatten(-2)


class PositionalContext(nn.Module):
    """CMC-PE's attention: the other modality's signal, laid along time, is added before a spatial self-attention."""

    def __init__(self, width: int, head_width: int, context_width: int, time_axis: int) -> None:
        super().__init__()
        self.time_axis = time_axis
        self.project = GatedFeedForward(context_width, width)
        self.norm = nn.GroupNorm(32, width, eps=1e-6)
        self.attend = Attention(width, head_width)

    def forward(self, x_BThwC: Tensor, context_BDS: Tensor | None) -> Tensor:
        if context_BDS is not None:
            x_BThwC = x_BThwC + self.along_time(x_BThwC, context_BDS)
        return _attend_in_frames(self.attend, x_BThwC)

    def along_time(self, x_BThwC: Tensor, context_BDS: Tensor) -> Tensor:
        """The signal at the target's times (nearest), one value over space: `[B, T, 1, 1, C]` or `[B, 1, h, 1, C]`."""
        signal_BCS = self.norm(self.project(context_BDS.transpose(1, 2)).transpose(1, 2))
        signal_BCt = F.interpolate(signal_BCS, size=x_BThwC.shape[self.time_axis])
        signal_BCt = _repeat_batch(signal_BCt, x_BThwC.shape[0])
        shape = [x_BThwC.shape[0], 1, 1, 1, x_BThwC.shape[-1]]
        shape[self.time_axis] = -1
        return signal_BCt.transpose(1, 2).reshape(shape)


def _attend_in_frames(attend: Attention, x_BThwC: Tensor, context: Tensor | None = None) -> Tensor:
    """Attention among the positions of one frame (of a mel: among all its positions)."""
    tokens = x_BThwC.flatten(0, 1).flatten(1, 2)
    return attend(tokens, context).view(x_BThwC.shape)


def _repeat_batch(x: Tensor, batch: int) -> Tensor:
    """Repeat a batch as a whole until it has `batch` entries: guidance's halves share what reads no text."""
    if batch % x.shape[0]:
        raise ValueError(f"features of a batch of {x.shape[0]} cannot serve a batch of {batch}")
    return x if x.shape[0] == batch else x.repeat(batch // x.shape[0], *(1,) * (x.ndim - 1))


def _modulate(x_BThwC: Tensor, film: tuple[Tensor, Tensor] | None) -> Tensor:
    """`(1 + scale) * x + shift`; video FiLM is `[B, C, T, h, w]`, sound `[B, C, rows, 1 or freq]`."""
    if film is None:
        return x_BThwC
    scale, shift = ((t if t.ndim == 5 else t.unsqueeze(2)).movedim(1, -1).to(x_BThwC) for t in film)
    return x_BThwC * (1 + scale) + shift


class AdditiveBlock(nn.Module):
    """CMC-PE block. Each residual adds the NORMALISED tensor: the published weights were trained so."""

    def __init__(self, width: int, head_width: int, context_width: int, time_axis: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attend_cross = PositionalContext(width, head_width, context_width, time_axis)
        self.norm2 = nn.LayerNorm(width)
        self.attend_self = Attention(width, head_width)
        self.norm3 = nn.LayerNorm(width)
        self.feed_forward = GatedFeedForward(width, width)

    def forward(self, x_BThwC: Tensor, context: Tensor | None, film: tuple[Tensor, Tensor] | None) -> Tensor:
        x = self.norm1(x_BThwC)
        x = self.attend_cross(x, context) + x
        x = self.norm2(_modulate(x, film))
        x = _attend_in_frames(self.attend_self, x) + x
        x = self.norm3(x)
        return self.feed_forward(x) + x


class PooledTokenBlock(nn.Module):
    """The `attn` variant: an ordinary pre-norm transformer block whose context is one pooled token."""

    def __init__(self, width: int, head_width: int, context_width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attend_self = Attention(width, head_width)
        self.norm2 = nn.LayerNorm(width)
        self.attend_cross = Attention(width, head_width, context_width)
        self.norm3 = nn.LayerNorm(width)
        self.feed_forward = GatedFeedForward(width, width)

    def forward(self, x_BThwC: Tensor, context: Tensor | None, film: tuple[Tensor, Tensor] | None) -> Tensor:
        x = _attend_in_frames(self.attend_self, self.norm1(x_BThwC)) + x_BThwC
        if context is not None:
            B, T = x.shape[:2]
            token = _repeat_batch(context, B).repeat_interleave(T, dim=0)[:, None]
            x = _attend_in_frames(self.attend_cross, self.norm2(x), token) + x
        x = _modulate(x, film)
        return self.feed_forward(self.norm3(x)) + x


class Connector(nn.Module):
    """An "in" connector behind one block of a U-Net. Its output projection starts at zero: the identity.

    Args:
        width: C of the block.
        head_width: width of attention heads.
        context_width: D.
        kind: `additive` or `attn`.
        is_video: frames are an axis of their own; in a mel, time is the rows.
    """

    def __init__(self, width: int, head_width: int, context_width: int, kind: str, is_video: bool) -> None:
        super().__init__()
        self.joint_norm = kind == "additive"
        self.norm = nn.GroupNorm(32, width, eps=1e-6)
        self.proj_in = Pointwise(width, width, 2)
        if kind == "additive":
            self.block = AdditiveBlock(width, head_width, context_width, time_axis=1 if is_video else 2)
        else:
            self.block = PooledTokenBlock(width, head_width, context_width)
        self.proj_out = Pointwise(width, width, 2)
        nn.init.zeros_(self.proj_out.weight)

    def forward(
        self, x_NChw: Tensor, num_frames: int, context: Tensor | None = None, film: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """`[N, C, h, w]` to the same shape; `context` is the other modality's signal or None, `film` see `SITES`."""
        x = self.proj_in(self._normalise(x_NChw, num_frames))
        x = self.proj_out(self.block(x, context, film))
        return x_NChw + x.flatten(0, 1).movedim(-1, 1)

    def _normalise(self, x_NChw: Tensor, num_frames: int) -> Tensor:
        """To `[B, T, h, w, C]`; statistics over all frames together in CMC-PE, frame by frame in the `attn` variant."""
        if not self.joint_norm or num_frames == 1:
            return self.norm(x_NChw).unflatten(0, (-1, num_frames)).movedim(2, -1)
        return self.norm(x_NChw.unflatten(0, (-1, num_frames)).transpose(1, 2)).movedim(1, -1)


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
    """Zero mean, unit variance along `dim`; the floor is looser at half precision, as the weights were trained."""
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
        return self.layers[-1](x).movedim(-1, 0)


class TemporalAttention(nn.Module):
    """Attention along time, eight heads of a quarter of the width each.

    Its norm works over TIME, not over channels, and its positions are seconds at 8 fps: the published weights' quirks.
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
        q, k, v = (_split_heads(t, self.heads) for t in (self.to_q(x), *self.to_kv(x).chunk(2, dim=-1)))
        return self.to_out(_join_heads(F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))))


def _frame_positions(x_MTC: Tensor) -> Tensor:
    """Sines and cosines of each frame's time in seconds: `[T, C]`."""
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
        h = self.conv(F.silu(self.norm(x_NChw))).unflatten(0, (-1, num_frames))
        late = torch.zeros_like(h)
        step = h.shape[2] // self.chunks
        for delay in range(min(self.chunks, num_frames)):
            part = slice(delay * step, (delay + 1) * step)
            late[:, delay:, part] = h[:, : num_frames - delay, part]
        return x_NChw + late.flatten(0, 1)


class TemporalBlock(nn.Module):
    """What follows each residual block on the video side: attention along time, feed-forward, frame shift."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.position_bias = RelativePositionBias(width // 2, TemporalAttention.heads)
        self.attend = TemporalAttention(width)
        self.feed_forward = ShiftedFeedForward(width)
        self.frame_shift = FrameShiftConv(width)

    def forward(self, x_NChw: Tensor, num_frames: int) -> Tensor:
        x_BThwC = x_NChw.unflatten(0, (-1, num_frames)).movedim(2, -1)
        x_BhwTC = x_BThwC.movedim(1, 3)
        # For one clip flattening only changes strides, and every layer's product would fall apart into one per pixel.
        tokens = x_BhwTC.flatten(0, 2).contiguous()
        tokens = self.attend(tokens, self.position_bias(num_frames)) + tokens
        tokens = self.feed_forward(tokens) + tokens
        x = tokens.view(x_BhwTC.shape).permute(0, 3, 4, 1, 2).flatten(0, 1).contiguous()
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
    """An "out" connector: a modality's noisy latent (with its x0 estimate) to what the other modality hears.

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


class Connectors(nn.Module):
    """Both encoders and the eight connectors.

    `encoders["video"]` makes what the audio connectors hear and the other way round.
    """

    def __init__(self, config: ConnectorConfig) -> None:
        super().__init__()
        self.config = config
        D, reads_x0 = config.connector_channel, config.reads_x0
        self.encoders = nn.ModuleDict(
            {name: SignalEncoder(config.side(name), D, reads_x0, name == "video") for name in MODALITIES}
        )
        # Module names cannot hold dots.
        self.sites = nn.ModuleDict({site.replace(".", "_"): _connector_at(site, config) for site in SITES})

    def at(self, site: str) -> Connector | None:
        """The connector of a site, None where the U-Net has none."""
        return self.sites[site.replace(".", "_")] if site in SITES else None

    def encode(self, modality: str, x: Tensor, x0: Tensor | None, temb_BE: Tensor) -> Tensor:
        """What `modality` says to the other one.

        Args:
            modality: `video` or `audio`.
            x: noisy latent, `[B, c, T, h, w]` or `[B, c, rows, freq]`.
            x0: the previous step's estimate of the clean latent, same shape; None is zeros (first step).
            temb_BE: time embedding of the modality's own U-Net, without classes.

        Returns:
            `[B, D, T]` or `[B, D, rows / 2]`, unit norm along time; `[B, D]`, unit norm, for the `attn` kind.
        """
        if self.config.reads_x0:
            x = torch.cat([x, torch.zeros_like(x) if x0 is None else x0], dim=1)
        frames, T = fold_frames(x)
        features = self.encoders[modality](frames, temb_BE.repeat_interleave(T, dim=0), T)
        B, D = x.shape[0], self.config.connector_channel
        if self.config.kind == "attn":
            signal = features.view(B, T, D, -1).mean(dim=(1, 3))
        elif modality == "video":
            signal = features.mean(dim=(2, 3)).view(B, T, D).transpose(1, 2)
        else:
            signal = features.mean(dim=3)
        # Squares of half-precision numbers overflow and vanish: the length is taken in float32.
        norm = torch.linalg.vector_norm(signal, dim=-1, keepdim=True, dtype=torch.float32).clamp_min(1e-12)
        return (signal / norm).to(signal.dtype)


def _connector_at(site: str, config: ConnectorConfig) -> Connector:
    modality, direction, index = site.split(".")
    side = config.side(modality)
    width = side.block_out_channels[int(index) if direction == "down" else -1 - int(index)]
    return Connector(width, side.attention_head_dim, config.connector_channel, config.kind, modality == "video")


def fold_frames(x: Tensor) -> tuple[Tensor, int]:
    """`[B, C, T, h, w]` to `[B * T, C, h, w]` and T; `[B, C, rows, freq]` stays as it is, T is 1."""
    if x.ndim == 4:
        return x, 1
    return x.transpose(1, 2).flatten(0, 1), x.shape[2]


# Published names and ours, part by part. A name stands for all parameters beneath it. `_module_names` says where each
# part sits; nothing else knows a published name.
_RESIDUAL = (
    ("in_layers.0", "norm_in"),
    ("in_layers.2", "conv_in"),
    ("emb_layers.1", "time"),
    ("out_layers.0", "norm_out"),
    ("out_layers.3", "conv_out"),
    ("skip_connection", "skip"),
)
_TEMPORAL = (
    ("temporal_rel_pos_bias.net.0.0", "position_bias.layers.0"),
    ("temporal_rel_pos_bias.net.1.0", "position_bias.layers.1"),
    ("temporal_rel_pos_bias.net.2", "position_bias.layers.2"),
    ("temporal_attn.norm", "attend.gain"),
    ("temporal_attn.to_q", "attend.to_q"),
    ("temporal_attn.to_kv", "attend.to_kv"),
    ("temporal_attn.to_out", "attend.to_out"),
    ("ff.proj_in.0", "feed_forward.expand"),
    ("ff.proj_out.0", "feed_forward.gain"),
    ("ff.proj_out.1", "feed_forward.project"),
    ("frameshiftblock.out_layers.0", "frame_shift.norm"),
    ("frameshiftblock.out_layers.2", "frame_shift.conv"),
)
_HEAD = (("0", "norm"), ("2", "conv"))
_CONNECTOR = (("norm", "norm"), ("proj_in", "proj_in"), ("proj_out", "proj_out"))
_NORMS = tuple((f"norm{i}", f"norm{i}") for i in (1, 2, 3))
_FEED_FORWARD = (("net.0.proj", "expand"), ("net.2", "project"))
_ATTENTION = (("to_q", "to_q"), ("to_k", "to_k"), ("to_v", "to_v"), ("to_out.0", "to_out"))


def _under(published: str, ours: str, *tables: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple((f"{published}.{p}", f"{ours}.{o}") for table in tables for p, o in table)


_BLOCKS = {
    "additive": (
        *_NORMS,
        ("attn_c.norm", "attend_cross.norm"),
        *_under("attn_c.proj_c", "attend_cross.project", _FEED_FORWARD),
        *_under("attn_c", "attend_cross.attend", _ATTENTION),
        *_under("attn_s", "attend_self", _ATTENTION),
        *_under("ff", "feed_forward", _FEED_FORWARD),
    ),
    "attn": (
        *_NORMS,
        *_under("attn1", "attend_self", _ATTENTION),
        *_under("attn2", "attend_cross", _ATTENTION),
        *_under("ff", "feed_forward", _FEED_FORWARD),
    ),
}


def _module_names(config: ConnectorConfig) -> Iterator[tuple[str, str]]:
    """(published, ours) module names of the whole `unet_svg`."""
    for site in SITES:
        modality, direction, index = site.split(".")
        published = f"connector_in_{modality}.{('down', 'up').index(direction)}.{index}.0"
        ours = f"sites.{site.replace('.', '_')}"
        yield from _under(published, ours, _CONNECTOR)
        yield from _under(f"{published}.transformer_blocks.0", f"{ours}.block", _BLOCKS[config.kind])
    for modality in MODALITIES:
        yield from _encoder_names(modality, config.side(modality))


def _encoder_names(modality: str, side: SideConfig) -> Iterator[tuple[str, str]]:
    published, ours = f"connector_out_{modality}", f"encoders.{modality}.stages"
    yield f"{published}.0.0", f"{ours}.0"
    stage = 1
    for level, count in enumerate(side.num_blocks):
        if level:
            yield f"{published}.{stage}.0.op", f"{ours}.{stage}"
            stage += 1
        for _ in range(count):
            # The video side wraps its pair of blocks once more.
            residual = f"{published}.{stage}.0.0" if modality == "video" else f"{published}.{stage}.0"
            yield from _under(residual, f"{ours}.{stage}.residual", _RESIDUAL)
            if modality == "video":
                yield from _under(f"{published}.{stage}.0.1", f"{ours}.{stage}.temporal", _TEMPORAL)
            stage += 1
    yield from _under(f"{published}.{stage}", f"{ours}.{stage}", _HEAD)


def published_to_ours(config: ConnectorConfig, key: str) -> str | None:
    """Our name of a parameter with a published name; None when no such parameter exists."""
    module, _, leaf = key.rpartition(".")
    ours = dict(_module_names(config)).get(module)
    return None if ours is None else f"{ours}.{leaf}"


def to_published_state(connectors: Connectors) -> dict[str, Tensor]:
    """The connectors' weights under their published names, as `unet_svg` stores them."""
    names = {ours: published for published, ours in _module_names(connectors.config)}
    state = {}
    for key, tensor in connectors.state_dict().items():
        module, _, leaf = key.rpartition(".")
        state[f"{names[module]}.{leaf}"] = tensor
    return state


def from_published_state(config: ConnectorConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under our names from a published state dict; unknown names are kept, for the strict loader to name."""
    names = dict(_module_names(config))
    renamed = {}
    for key, tensor in state.items():
        module, _, leaf = key.rpartition(".")
        renamed[f"{names.get(module, 'unknown.' + module)}.{leaf}"] = tensor
    return renamed
