"""The trainable bridge between the two U-Nets: encoders ("out") and CMC-PE connectors ("in").

Shape legend: B clips, T frames (1 for sound), h w rows and columns of a feature map (mel rows and frequencies for
sound), N = B * T, C channels of a feature map, D connector channels, S time positions of the other modality,
E time embedding.

Each modality has an encoder that reads its noisy latent with the previous x0 estimate. Its features are averaged over
space and handed to the other modality's connectors, which sit behind the deeper blocks of that modality's U-Net.
Kind `additive` is CMC-PE: the signal is laid along the target's time axis and added before a spatial attention, like
a positional encoding. Kind `attn` attends to one pooled token instead.

Convention: FiLM enters a connector in one place: after the cross-modal attention and its residual, before the next
norm. It is a plain (scale, shift), so that this room knows nothing of its maker.

Source: SVG baseline (arXiv 2409.17550) and the quirks of its published weights, each named where it lives.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange, reduce, repeat
from torch import Tensor, nn

from .connector_config import MODALITIES, SITES, ConnectorConfig
from .cpu.feed_forward import GatedFeedForward
from .signal_encoder import Pointwise, SignalEncoder, join_heads, split_heads


class CrossFeatures(NamedTuple):
    """Signals that each modality gets from the other: `[B, D, S]` (additive), `[B, D]` (attn), None for no signal."""

    into_video: Tensor | None
    into_audio: Tensor | None


class TokenAttention(nn.Module):
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
        q, k, v = (split_heads(t, self.heads) for t in (self.to_q(x), self.to_k(context), self.to_v(context)))
        return self.to_out(join_heads(F.scaled_dot_product_attention(q, k, v)))


class PositionalContext(nn.Module):
    """CMC-PE's attention: add the other modality's signal along time, then attend over space."""

    def __init__(self, width: int, head_width: int, context_width: int, time_axis: int) -> None:
        super().__init__()
        self.time_axis = time_axis
        self.project = GatedFeedForward(context_width, width)
        self.norm = nn.GroupNorm(32, width, eps=1e-6)
        self.attend = TokenAttention(width, head_width)

    def forward(self, x_BThwC: Tensor, context_BDS: Tensor | None) -> Tensor:
        if context_BDS is not None:
            x_BThwC = x_BThwC + self.along_time(x_BThwC, context_BDS)
        return _attend_in_frames(self.attend, x_BThwC)

    def along_time(self, x_BThwC: Tensor, context_BDS: Tensor) -> Tensor:
        """Sample the signal at the target's times (nearest): `[B, T, 1, 1, C]` or, for a mel, `[B, 1, h, 1, C]`."""
        signal_BCS = self.norm(self.project(context_BDS.transpose(1, 2)).transpose(1, 2))
        signal_BCt = F.interpolate(signal_BCS, size=x_BThwC.shape[self.time_axis])
        signal_BCt = _repeat_batch(signal_BCt, x_BThwC.shape[0])
        return rearrange(signal_BCt, "b c t -> b t 1 1 c" if self.time_axis == 1 else "b c h -> b 1 h 1 c")


def _attend_in_frames(attend: TokenAttention, x_BThwC: Tensor, context: Tensor | None = None) -> Tensor:
    """Attend among the positions of one frame (of a mel: among all its positions)."""
    B, _, h, *_ = x_BThwC.shape
    tokens = attend(rearrange(x_BThwC, "b t h w c -> (b t) (h w) c"), context)
    return rearrange(tokens, "(b t) (h w) c -> b t h w c", b=B, h=h)


def _repeat_batch(x: Tensor, batch: int) -> Tensor:
    """Repeat a batch as a whole up to `batch` entries: guidance's halves share features that depend on no text."""
    if batch % x.shape[0]:
        raise ValueError(f"features of a batch of {x.shape[0]} cannot serve a batch of {batch}")
    return repeat(x, "b ... -> (times b) ...", times=batch // x.shape[0])


def _modulate(x_BThwC: Tensor, film: tuple[Tensor, Tensor] | None) -> Tensor:
    """Apply `(1 + scale) * x + shift`; video FiLM is `[B, C, T, h, w]`, sound `[B, C, rows, 1 or freq]`."""
    if film is None:
        return x_BThwC
    to_last = "b c t h w -> b t h w c" if film[0].ndim == 5 else "b c h w -> b 1 h w c"
    scale, shift = (rearrange(t, to_last).to(x_BThwC) for t in film)
    return x_BThwC * (1 + scale) + shift


class AdditiveBlock(nn.Module):
    """CMC-PE block. Each residual adds the NORMALISED tensor: the published weights were trained so."""

    def __init__(self, width: int, head_width: int, context_width: int, time_axis: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attend_cross = PositionalContext(width, head_width, context_width, time_axis)
        self.norm2 = nn.LayerNorm(width)
        self.attend_self = TokenAttention(width, head_width)
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
        self.attend_self = TokenAttention(width, head_width)
        self.norm2 = nn.LayerNorm(width)
        self.attend_cross = TokenAttention(width, head_width, context_width)
        self.norm3 = nn.LayerNorm(width)
        self.feed_forward = GatedFeedForward(width, width)

    def forward(self, x_BThwC: Tensor, context: Tensor | None, film: tuple[Tensor, Tensor] | None) -> Tensor:
        x = _attend_in_frames(self.attend_self, self.norm1(x_BThwC)) + x_BThwC
        if context is not None:
            B, T = x.shape[:2]
            token = repeat(_repeat_batch(context, B), "b d -> (b t) 1 d", t=T)
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
        return x_NChw + rearrange(x, "b t h w c -> (b t) c h w")

    def _normalise(self, x_NChw: Tensor, num_frames: int) -> Tensor:
        """Normalise to `[B, T, h, w, C]`: all frames together in CMC-PE, frame by frame in the `attn` variant."""
        if not self.joint_norm or num_frames == 1:
            return rearrange(self.norm(x_NChw), "(b t) c h w -> b t h w c", t=num_frames)
        together = self.norm(rearrange(x_NChw, "(b t) c h w -> b c t h w", t=num_frames))
        return rearrange(together, "b c t h w -> b t h w c")


class Connectors(nn.Module):
    """Both encoders and the eight connectors.

    `encoders["video"]` makes the signal for the audio connectors and the other way round.
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
        """Return the connector of a site, None where the U-Net has none."""
        return self.sites[site.replace(".", "_")] if site in SITES else None

    def encode(self, modality: str, x: Tensor, x0: Tensor | None, temb_BE: Tensor) -> Tensor:
        """Encode one modality for the other's connectors.

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
        features = self.encoders[modality](frames, repeat(temb_BE, "b e -> (b t) e", t=T), T)
        if self.config.kind == "attn":
            signal = reduce(features, "(b t) d h w -> b d", "mean", t=T)
        elif modality == "video":
            # Two steps: in one, the mean's memory layout and with it the norm's last bits would change.
            signal = rearrange(reduce(features, "n d h w -> n d", "mean"), "(b t) d -> b d t", t=T)
        else:
            signal = reduce(features, "b d h w -> b d h", "mean")
        # Squares of half-precision numbers overflow and vanish: take the length in float32 at least.
        dtype = torch.promote_types(signal.dtype, torch.float32)
        norm = torch.linalg.vector_norm(signal, dim=-1, keepdim=True, dtype=dtype).clamp_min(1e-12)
        return (signal / norm).to(signal.dtype)


def _connector_at(site: str, config: ConnectorConfig) -> Connector:
    modality, direction, index = site.split(".")
    side = config.side(modality)
    width = side.block_out_channels[int(index) if direction == "down" else -1 - int(index)]
    return Connector(width, side.attention_head_dim, config.connector_channel, config.kind, modality == "video")


def fold_frames(x: Tensor) -> tuple[Tensor, int]:
    """Fold `[B, C, T, h, w]` to `[B * T, C, h, w]` and T; `[B, C, rows, freq]` stays as it is, T is 1."""
    if x.ndim == 4:
        return x, 1
    return rearrange(x, "b c t h w -> (b t) c h w"), x.shape[2]
