"""Supervise the tiny bundle's features while it trains, and cache frozen features.

Shape legend: N examples of a cache, B clips, T frames, h w latent rows and columns, R mel rows, g the view's grid.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from con360.protocols import Film
from con360.scenes import COLOURS, SHAPES
from train.tiny.cache import CacheBatch


class PerformerReader(nn.Module):
    """Predict each performer's place, colour and shape from the picture U-Net's features (deep supervision).

    With the squared error alone, words bind to directions slowly; with this head it takes minutes. The loss counts only
    at high noise: at low noise the picture shows the answer, and the network need not read the caption. The reader is
    dropped after training.
    """

    def __init__(self, unet_v: nn.Module, labels: Tensor) -> None:
        super().__init__()
        self.labels = labels
        self.colour = nn.Conv2d(unet_v.config.block_out_channels[1], len(COLOURS) + 1, 1)
        self.shape = nn.Conv2d(unet_v.config.block_out_channels[1], len(SHAPES) + 1, 1)
        # The first features after the last FiLM and a cross-attention.
        unet_v.up_blocks[2].register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: tuple, output: Tensor) -> None:
        self.features: Tensor = output

    def loss(self, batch: CacheBatch, weight: Tensor) -> Tensor:
        """Cross-entropy per latent pixel, weighted by `weight [B * T]`; empty pixels, the great majority, weigh 0.1."""
        wanted = self.labels[batch.indices].flatten(0, 1)
        total = torch.zeros(())
        for channel, head in enumerate((self.colour, self.shape)):
            error = nn.functional.cross_entropy(head(self.features), wanted[:, channel], reduction="none")
            seen = wanted[:, channel] < head.out_channels - 1
            weight_Nhw = torch.where(seen, 1.0, 0.1) * weight.view(-1, 1, 1)
            total = total + (error * weight_Nhw).sum() / weight_Nhw.sum().clamp_min(1e-6)
        return total

    @torch.no_grad()
    def share_right(self, batch: CacheBatch, rows: Tensor) -> Tensor:
        """Share of performer pixels in `rows` (mask `[B * T]`) whose colour is read correctly; NaN if none."""
        wanted = self.labels[batch.indices].flatten(0, 1)[:, 0][rows]
        read, seen = self.colour(self.features[rows]).argmax(dim=1), wanted < len(COLOURS)
        return (read == wanted)[seen].float().mean()


class VoiceReader(nn.Module):
    """Predict each voice's loudness over time from the audio U-Net's features (deep supervision).

    The caption tells where each voice is, saliency when something pulses there, and BASD how far it is from the view's
    axis. The network must combine all three, which a squared error of mel spectrograms teaches slowly. As with
    `PerformerReader`, the loss counts only at high noise and the reader is dropped after training.
    """

    # Approximate variance of the amplitudes over training scenes, by which the loss is divided.
    VARIANCE = 0.06

    def __init__(self, unet_a: nn.Module, levels: Tensor) -> None:
        """Args: levels: `[N, R, voices]` of the cache's examples, see `heard_voices`."""
        super().__init__()
        self.levels = levels
        self.level = nn.Linear(unet_a.config.block_out_channels[1], levels.shape[-1])
        # The first features after the last FiLM.
        unet_a.up_blocks[2].register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: tuple, output: Tensor) -> None:
        self.features: Tensor = output

    def loss(self, batch: CacheBatch, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return (error weighted by `weight [B]`, error of each sample), both relative to the amplitudes' variance."""
        read = self.level(self.features.mean(dim=-1).transpose(1, 2))
        error = (read - self.levels[batch.indices]).square().mean(dim=(1, 2)) / self.VARIANCE
        return (error * weight).sum() / weight.sum().clamp_min(1e-6), error.detach()


class KnownFeatures:
    """Cache features of a frozen map encoder, which would take a fifth of each sound step.

    Audio sites read only the mean over the panorama, so only the mean is kept.
    """

    def __init__(self, encoder: nn.Module) -> None:
        self.encoder = encoder
        self.known: dict[tuple, Tensor] = {}

    @torch.no_grad()
    def of(self, maps: Tensor, indices: Tensor) -> Tensor:
        """Return the features `[B, T, hidden, 1, 1]` of maps `[B, T, 2, H, W]`, the examples `indices [B]`.

        Dropped maps are zeros.
        """
        kept = maps.amax(dim=(1, 3, 4)) > 0
        keys = [(index, *row) for index, row in zip(indices.tolist(), kept.tolist(), strict=True)]
        new = [row for row, key in enumerate(keys) if key not in self.known]
        if new:
            means = self.encoder(maps[new]).mean(dim=(-2, -1), keepdim=True)
            self.known |= {keys[row]: mean for row, mean in zip(new, means, strict=True)}
        return torch.stack([self.known[key] for key in keys])


class QueryTeacher:
    """Train the attention queries after the last FiLM to match those of the text stage's reader (dense supervision).

    That reader's query is linear in the direction asked about. Every pixel of a view has a direction, so every pixel
    gives a target. Learning from the few pixels that show a performer takes hours.
    """

    def __init__(self, unet_v: nn.Module, reader: dict[str, Tensor]) -> None:
        self.weight, self.bias = reader["query.weight"], reader["query.bias"]
        self.asked: list[Tensor] = []
        for attention in unet_v.up_blocks[2].attentions:
            for block in attention.transformer_blocks:
                block.attn2.to_q.register_forward_hook(lambda module, inputs, output: self.asked.append(output))

    def loss(self, rays: Tensor, film: Film) -> Tensor:
        """Compute the error relative to the variance of the target queries.

        Args:
            rays: `[B, T, 2 g, 2 g, 3]` directions of latent pixels; the queries have half that resolution.
            film: modulation; samples where it was dropped are left out, since nothing tells their direction.
        """
        asked, self.asked = self.asked, []
        B, T, size = rays.shape[:3]
        centres = rays.view(B, T, size // 2, 2, size // 2, 2, 3).mean(dim=(3, 5))
        wanted = centres @ self.weight.T + self.bias
        kept = film["video.up.1"][1].flatten(1).abs().amax(dim=1) > 0
        errors = [(q.view_as(wanted)[kept] - wanted[kept]).square().mean() for q in asked]
        return sum(errors) / (len(errors) * wanted.var(dim=(0, 1, 2, 3)).mean())
