"""Read captions, pictures and sounds by ImageBind's networks: three transformers that end in one space.

Shape legend: B clips, L tokens, W width, D vector.

Source: ImageBind (arXiv 2305.05665); tensor names are the published ones, so that its file loads. Depth, heat and
motion sensors are left out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Pictures: side, and patch of frames, rows and columns. Sounds: bands and frames of a filter bank, side of a patch and
# its stride. Captions: tokens.
SIDE_PX, PATCH = 224, (2, 14, 14)
BANDS, FRAMES, SOUND_PATCH, SOUND_STRIDE = 128, 204, 16, 10
CONTEXT = 77
# Width of an attention head; no tensor tells it.
HEAD_WIDTHS = {"vision": 80, "text": 64, "audio": 64}
_EPS = 1e-6


@dataclass(frozen=True)
class ImageBindConfig:
    """Sizes of the networks; the published file's are the defaults.

    Args:
        widths, blocks: of `vision`, `text` and `audio`. vocabulary: number of tokens. size: length D of the vectors.
    """

    widths: tuple[int, int, int] = (1280, 1024, 768)
    blocks: tuple[int, int, int] = (32, 24, 12)
    vocabulary: int = 49408
    size: int = 1024


class ImageBind(nn.Module):
    """Networks of captions, pictures and sounds."""

    def __init__(self, config: ImageBindConfig) -> None:
        super().__init__()
        vision, text, audio = config.widths
        self.modality_preprocessors = nn.ModuleDict(
            {"vision": _Pictures(vision), "text": _Captions(text, config.vocabulary), "audio": _Sounds(audio)}
        )
        self.modality_trunks = nn.ModuleDict(
            {
                name: _Trunk(width, blocks, width // HEAD_WIDTHS[name], normed=name == "vision", extra=name == "audio")
                for name, width, blocks in zip(HEAD_WIDTHS, config.widths, config.blocks, strict=True)
            }
        )
        heads = {
            "vision": nn.ModuleDict({"0": nn.LayerNorm(vision, _EPS), "2": nn.Linear(vision, config.size, bias=False)}),
            "text": nn.ModuleDict(
                {"proj": nn.Sequential(nn.LayerNorm(text, _EPS), nn.Linear(text, config.size, bias=False))}
            ),
            "audio": nn.ModuleDict({"0": nn.LayerNorm(audio, _EPS), "2": nn.Linear(audio, config.size, bias=False)}),
        }
        self.modality_heads = nn.ModuleDict(heads)

    def text(self, tokens: Tensor) -> Tensor:
        """Tokens `[B, 77]`, zeros behind the end's, which is the highest, to unit vectors `[B, D]`."""
        # Each token sees itself and those before it.
        mask = torch.full((CONTEXT, CONTEXT), -torch.inf, device=tokens.device).triu(1)
        x = self.modality_trunks["text"](self.modality_preprocessors["text"](tokens), mask)
        end = x[torch.arange(len(x)), tokens.argmax(-1)]
        return F.normalize(self.modality_heads["text"]["proj"](end), dim=-1)

    def picture(self, frames: Tensor) -> Tensor:
        """Two frames `[B, 3, 2, 224, 224]`, normalised as CLIP's, to unit vectors `[B, D]`."""
        return self._first("vision", frames)

    def sound(self, banks: Tensor) -> Tensor:
        """Normalised filter banks `[B, 1, 128, 204]` to unit vectors `[B, D]`."""
        return self._first("audio", banks)

    def _first(self, name: str, x: Tensor) -> Tensor:
        head = self.modality_heads[name]
        x = self.modality_trunks[name](self.modality_preprocessors[name](x), None)
        return F.normalize(head["2"](head["0"](x[:, 0])), dim=-1)


class _Places(nn.Module):
    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, width))


class _Patches(nn.Module, ABC):
    """A convolution to tokens, a token in front of them, and their places."""

    def __init__(self, width: int, tokens: int, stem: nn.Module) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.rgbt_stem = stem
        self.pos_embedding_helper = _Places(1 + tokens, width)

    @abstractmethod
    def tokens(self, x: Tensor) -> Tensor:
        """Tokens of a batch `[B, L, W]`, without places."""

    def forward(self, x: Tensor) -> Tensor:
        first = self.cls_token.expand(len(x), -1, -1)
        return torch.cat((first, self.tokens(x)), dim=1) + self.pos_embedding_helper.pos_embed


class _Pictures(_Patches):
    def __init__(self, width: int) -> None:
        stem = nn.ModuleDict({"proj": nn.ModuleDict({"1": nn.Conv3d(3, width, PATCH, PATCH, bias=False)})})
        super().__init__(width, (SIDE_PX // PATCH[1]) ** 2, stem)

    def tokens(self, x: Tensor) -> Tensor:
        return self.rgbt_stem["proj"]["1"](x).flatten(2).transpose(1, 2)


class _Sounds(_Patches):
    def __init__(self, width: int) -> None:
        proj = nn.Conv2d(1, width, SOUND_PATCH, SOUND_STRIDE, bias=False)
        rows, columns = ((n - SOUND_PATCH) // SOUND_STRIDE + 1 for n in (BANDS, FRAMES))
        super().__init__(width, rows * columns, nn.ModuleDict({"proj": proj, "norm_layer": nn.LayerNorm(width)}))

    def tokens(self, x: Tensor) -> Tensor:
        return self.rgbt_stem["norm_layer"](self.rgbt_stem["proj"](x).flatten(2).transpose(1, 2))


class _Captions(nn.Module):
    def __init__(self, width: int, vocabulary: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.pos_embed = nn.Parameter(torch.zeros(1, CONTEXT, width))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.token_embedding(tokens) + self.pos_embed


class _Trunk(nn.Module):
    """Blocks of a transformer.

    Args:
        normed: a layer norm stands in front of them. extra: attention has a learned key and value more.
    """

    def __init__(self, width: int, blocks: int, heads: int, *, normed: bool, extra: bool) -> None:
        super().__init__()
        first = nn.LayerNorm(width, _EPS) if normed else nn.Identity()
        self.pre_transformer_layer = nn.Sequential(first)
        self.blocks = nn.ModuleList(_Block(width, heads, extra) for _ in range(blocks))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = self.pre_transformer_layer(x)
        for block in self.blocks:
            x = block(x, mask)
        return x


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, extra: bool) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, add_bias_kv=extra, batch_first=True)
        self.norm_1, self.norm_2 = nn.LayerNorm(width, _EPS), nn.LayerNorm(width, _EPS)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        y = self.norm_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm_2(x))))
