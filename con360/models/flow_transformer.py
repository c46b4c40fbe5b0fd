"""A transformer over latent rows that predicts a flow's velocity: noise minus clean.

Shape legend: B clips, Z latent channels, R latent rows, W width, S timesteps, P panorama pictures.

Time and panorama enter by one token in front of the rows. The view's pictures are added to the rows before the first
layer. There is no cross-attention and no adaptive norm.

Source: OmniAudio (arXiv 2504.14906) and the diffusion transformer of Stable Audio Open (arXiv 2407.14358), whose tensor
names are kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..protocols import Film
from ..records import AV

TIME_FEATURES = 256
# Cosine and sine of the rows' turns, `[rows, turned]` each.
Angles = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class FlowTransformerConfig:
    """Sizes of the transformer; the defaults are OmniAudio's.

    Args:
        latent_channels: of a row.
        width: of a token. heads: of attention, which share it. depth: layers.
    """

    latent_channels: int = 64
    width: int = 1536
    heads: int = 24
    depth: int = 24


# The three models of the paper's table by scale: 1222 M, 472 M and 291 M parameters with autoencoder and embedders.
# Only the largest is published. Width and depth of the others are inferred: heads stay 64 wide, and the counts come
# within 1 % (469 M, 293 M). Other pairs fit as well.
SIZES = {
    "large": FlowTransformerConfig(),
    "medium": FlowTransformerConfig(width=1152, heads=18, depth=12),
    "small": FlowTransformerConfig(width=768, heads=12, depth=11),
}


class _Norm(nn.Module):
    """A layer norm with a gain and a fixed shift of zero, which the published weights carry as a buffer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))
        self.register_buffer("beta", torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.gamma, self.beta)


class _Rotary(nn.Module):
    """Turn the first half of each head by the row's position; the second half carries no position."""

    def __init__(self, head_width: int) -> None:
        super().__init__()
        self.turned = head_width // 2
        self.register_buffer("inv_freq", 10000.0 ** -(torch.arange(0, self.turned, 2).float() / self.turned))

    def angles(self, rows: int) -> Angles:
        """Cosine and sine `[rows, turned]` in float32."""
        angle = torch.arange(rows, device=self.inv_freq.device, dtype=torch.float32)[:, None] * self.inv_freq.float()
        angle = torch.cat((angle, angle), dim=-1)
        return angle.cos(), angle.sin()

    def forward(self, x: Tensor, angles: Angles) -> Tensor:
        """Turn `[..., rows, head width]`; in float32, as published."""
        cos, sin = angles
        turned, kept = x.split((self.turned, x.shape[-1] - self.turned), dim=-1)
        turned = turned.float()
        first, second = turned.chunk(2, dim=-1)
        turned = turned * cos + torch.cat((-second, first), dim=-1) * sin
        return torch.cat((turned.to(x.dtype), kept), dim=-1)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.to_out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, rotary: _Rotary, angles: Angles) -> Tensor:
        qkv = rearrange(self.to_qkv(x), "b r (three h c) -> three b h r c", three=3, h=self.heads)
        q, k = rotary(qkv[:2], angles)
        out = F.scaled_dot_product_attention(q, k, qkv[2])
        return self.to_out(rearrange(out, "b h r c -> b r (h c)"))


class _Gated(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 2 * inner)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.silu(gate)


class _FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        # The published network has a dropout of zero between the two.
        self.ff = nn.Sequential(_Gated(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.ff(x)


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.pre_norm, self.self_attn = _Norm(width), _Attention(width, heads)
        self.ff_norm, self.ff = _Norm(width), _FeedForward(width)

    def forward(self, h: Tensor, rotary: _Rotary, angles: Angles) -> Tensor:
        h = h + self.self_attn(self.pre_norm(h), rotary, angles)
        return h + self.ff(self.ff_norm(h))


class _Layers(nn.Module):
    def __init__(self, c: FlowTransformerConfig) -> None:
        super().__init__()
        self.project_in = nn.Linear(c.latent_channels, c.width, bias=False)
        self.layers = nn.ModuleList([_Layer(c.width, c.heads) for _ in range(c.depth)])
        self.rotary_pos_emb = _Rotary(c.width // c.heads)
        self.project_out = nn.Linear(c.width, c.latent_channels, bias=False)


class _TimeFeatures(nn.Module):
    """Cosines and sines of learned multiples of the time."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(TIME_FEATURES // 2, 1))

    def forward(self, t: Tensor) -> Tensor:
        angle = 2 * math.pi * t[:, None].float() * self.weight[:, 0].float()
        return torch.cat((angle.cos(), angle.sin()), dim=-1)


class FlowTransformer(nn.Module):
    """Predict the velocity of a sound's latents (`protocols.Denoiser`).

    A batch's features are `[B, 1 + R, W]`: the panorama's token, then what is added to each row.
    """

    groups: tuple[tuple[str, ...], ...] = (("audio",),)
    takes_film = False

    def __init__(self, config: FlowTransformerConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or FlowTransformerConfig()
        self.timestep_features = _TimeFeatures()
        self.to_timestep_embed = nn.Sequential(
            nn.Linear(TIME_FEATURES, c.width), nn.SiLU(), nn.Linear(c.width, c.width)
        )
        self.to_global_embed = nn.Sequential(
            nn.Linear(c.width, c.width, bias=False), nn.SiLU(), nn.Linear(c.width, c.width, bias=False)
        )
        self.preprocess_conv = nn.Conv1d(c.latent_channels, c.latent_channels, 1, bias=False)
        self.transformer = _Layers(c)
        self.postprocess_conv = nn.Conv1d(c.latent_channels, c.latent_channels, 1, bias=False)
        # Zero-initialised: a fresh network passes rows on as they are.
        nn.init.zeros_(self.preprocess_conv.weight)
        nn.init.zeros_(self.postprocess_conv.weight)

    @property
    def device(self) -> torch.device:
        return self.preprocess_conv.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.preprocess_conv.weight.dtype

    def panorama_token(self, pictures: Tensor) -> Tensor:
        """Embedded panorama pictures `[B, P, W]` to one token `[B, 1, W]`: per picture, then the maximum over all."""
        return self.to_global_embed(pictures).amax(dim=1, keepdim=True)

    def embed_times(self, modality: str, times: Tensor, like: Tensor) -> Tensor:
        """`[S]` times in [0, 1], 1 is noise, to `[S, W]`."""
        return self.to_timestep_embed(self.timestep_features(times).to(self.dtype))

    def read(self, features: AV) -> tuple[Tensor, Angles]:
        """Features `[B, 1 + R, W]`, and the turns of their rows, which all steps share."""
        return features.audio, self.transformer.rotary_pos_emb.angles(features.audio.shape[1])

    def share(self, x: AV, t: AV, x0: AV, heard: tuple[str, ...]) -> None:
        return None

    def predict(
        self, group: tuple[str, ...], x: AV, t: AV, features: tuple[Tensor, Angles], shared: None, film: Film | None
    ) -> AV:
        """Velocity `[B, Z, R]` of the sound."""
        return AV(audio=self.velocity(x.audio, t.audio, *features))

    def velocity(self, x: Tensor, time: Tensor, features: Tensor, angles: Angles | None = None) -> Tensor:
        """Velocity at latents `[B, Z, R]`, embedded times `[B or 1, W]` and features `[B, 1 + R, W]`.

        Args:
            angles: turns of the features' rows; None computes them.
        """
        layers = self.transformer
        rows = layers.project_in((x + self.preprocess_conv(x)).mT) + features[:, 1:]
        h = torch.cat((features[:, :1] + time[:, None], rows), dim=1)
        angles = angles or layers.rotary_pos_emb.angles(h.shape[1])
        for layer in layers.layers:
            h = layer(h, layers.rotary_pos_emb, angles)
        y = layers.project_out(h)[:, 1:].mT
        return y + self.postprocess_conv(y)

    def parts(self, group: tuple[str, ...] = ()) -> list[nn.Module]:
        return [self] if group else []
