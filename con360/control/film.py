"""Feature-wise linear modulation: features to a scale and a shift per injection site.

Shape legend: B clips, T frames, C channels, h w rows and columns, R audio latent rows.

Source: FiLM (Perez et al. 2018); paper section 2.2 for where it enters. The shape of the modulation is
`(1 + scale) * x + shift`, zero-initialised, so that an untrained module changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..protocols import Film


def apply_strength(film: Mapping[str, tuple[Tensor, Tensor]], strength: float) -> Film:
    """Scale a modulation: strength s gives `(1 + s scale) x + s shift`; 0 is the identity."""
    return {site: (strength * scale, strength * shift) for site, (scale, shift) in film.items()}


def add_film(a: Mapping[str, tuple[Tensor, Tensor]], b: Mapping[str, tuple[Tensor, Tensor]]) -> Film:
    """Add two modulations; a site that one of them lacks is as in the other."""
    both = {site: (a[site][0] + b[site][0], a[site][1] + b[site][1]) for site in a if site in b}
    return {**a, **b, **both}


class FilmHead(nn.Module):
    """Turn features into the (scale, shift) of one site: a zero-initialised linear layer over channels."""

    def __init__(self, features: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 2 * channels)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, features, ...]` to two tensors `[B, channels, ...]`."""
        scale, shift = self.linear(features.movedim(1, -1)).movedim(-1, 1).chunk(2, dim=1)
        return scale, shift


def pool_to_video_site(features_BTChw: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Average features to the size (T, h', w') of a video site: `[B, C, T, h', w']`; frames are kept."""
    T = features_BTChw.shape[1]
    if size[0] != T:
        raise ValueError(f"maps have {T} frames, the video latent has {size[0]}; they must be the same clip")
    pooled = F.adaptive_avg_pool2d(rearrange(features_BTChw, "b t c h w -> (b t) c h w"), size[1:])
    return rearrange(pooled, "(b t) c h w -> b c t h w", t=T)


def pool_to_audio_site(features_BTChw: Tensor, rows: int, row_seconds: float, fps: float) -> Tensor:
    """Average features over space and align frames with audio rows, all frequencies alike: `[B, C, rows, 1]`.

    Latent rows are padded, so rows are aligned by their time and not by stretching: row r is heard at
    `(r + 0.5) * row_seconds` seconds, and rows past the last frame hold its value.
    """
    sequence_BCT = features_BTChw.mean(dim=(-2, -1)).transpose(1, 2)
    T = sequence_BCT.shape[-1]
    time_s = (torch.arange(rows, device=sequence_BCT.device, dtype=torch.float32) + 0.5) * row_seconds
    position = (time_s * fps - 0.5).clamp(0, T - 1)
    lower = position.floor().long()
    upper = (lower + 1).clamp_max(T - 1)
    weight = (position - lower).to(sequence_BCT)
    aligned = sequence_BCT[..., lower] * (1 - weight) + sequence_BCT[..., upper] * weight
    return aligned[..., None]
