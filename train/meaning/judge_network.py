"""Read captions, pictures and sounds by another architecture than the built-in encoder's: recurrent networks.

Shape legend: B clips, L words, T frames, R rows, C channels, h w latent rows and columns, F frequencies, W width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from con360.models.meaning_network import NO_WORD, Head, MeaningConfig, MeaningNetwork, Moments

# Side of a patch of a frame's latents, and rows of a sound's that are read at once.
PATCH, ROWS = 4, 2


class JudgeNetwork(MeaningNetwork):
    """Attention over words; patches and recurrence over frames; recurrence over rows."""

    architecture = "recurrence and moments"

    def parts(self, config: MeaningConfig) -> tuple[nn.Module, nn.Module, nn.Module]:
        return JudgeWords(config), JudgePicture(config), JudgeSound(config)


class JudgeWords(nn.Module):
    """One layer of attention over words; places in the caption count."""

    def __init__(self, config: MeaningConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(config.words) + 2, config.width, padding_idx=NO_WORD)
        self.place = nn.Parameter(0.02 * torch.randn(128, config.width))
        self.layer = nn.TransformerEncoderLayer(
            config.width, 4, 2 * config.width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.head = Head(config.width, config)

    def forward(self, words: Tensor) -> Tensor:
        there = words != NO_WORD
        # A caption without a word that counts is read as one unknown word.
        there[:, 0] = True
        x = self.layer(self.embedding(words) + self.place[: words.shape[1]], src_key_padding_mask=~there)
        weight = there[..., None].float()
        return self.head((x * weight).sum(1) / weight.sum(1))


class JudgePicture(nn.Module):
    """Patches of each frame by themselves, their mean and peaks, then a recurrence over frames."""

    def __init__(self, config: MeaningConfig) -> None:
        super().__init__()
        values = config.channels_v * PATCH**2
        self.patch = nn.Sequential(
            nn.Linear(values, 2 * config.width), nn.GELU(), nn.Linear(2 * config.width, config.width)
        )
        self.over_time = Recurrence(2 * config.width, config, 1 / config.fps)

    def forward(self, latents: Tensor) -> Tensor:
        frames = latents.transpose(1, 2).flatten(0, 1)
        patches = self.patch(F.unfold(frames, PATCH, stride=PATCH).transpose(1, 2))
        x = torch.cat((patches.mean(1), patches.amax(1)), dim=1)
        return self.over_time(x.unflatten(0, (len(latents), -1)))


class JudgeSound(nn.Module):
    """A recurrence over pairs of rows."""

    def __init__(self, config: MeaningConfig) -> None:
        super().__init__()
        self.over_time = Recurrence(ROWS * config.channels_a * config.bands, config, ROWS * config.row_s)

    def forward(self, latents: Tensor) -> Tensor:
        rows = latents.transpose(1, 2).flatten(2)
        return self.over_time(rows[:, : rows.shape[1] // ROWS * ROWS].unflatten(1, (-1, ROWS)).flatten(2))


class Recurrence(nn.Module):
    """A recurrent layer in both directions, its moments over time and its peaks."""

    def __init__(self, features: int, config: MeaningConfig, step_s: float) -> None:
        super().__init__()
        self.first = nn.Linear(features, config.width)
        self.layer = nn.GRU(config.width, config.width, batch_first=True, bidirectional=True)
        self.moments = Moments(config, step_s)
        self.head = Head(2 * config.width * (1 + self.moments.times), config)

    def forward(self, x: Tensor) -> Tensor:
        x, _ = self.layer(F.gelu(self.first(x)))
        return self.head(torch.cat((self.moments(x), x.amax(1)), dim=1))
