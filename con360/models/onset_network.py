"""Find frames in which a sound begins, from pictures alone: R(2+1)D-18 that keeps every frame.

Shape legend: B clips, T frames, h w a picture, C channels.

Source: SyncFusion (arXiv 2310.15247); the backbone is that of Tran et al. (CVPR 2018) without strides over time. Tensor
names are the published ones.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..geometry.perspective import erp_to_perspective
from ..records import OnsetTrack, TimeTrack, View, ViewTrack
from ..saliency.salvit360 import IMAGENET_MEAN, IMAGENET_STD

# Rate of the pictures and their side, and the length of the pieces that the network learned from.
FPS, SIDE_PX, CHUNK_FRAMES = 15.0, 112, 30
# A logit above this is an onset, as published: a probability of 0.62.
THRESHOLD = 0.5
# Of onsets nearer than this, the surest stays: neighbouring frames say the same thing.
LEAST_GAP_S = 0.1
WIDTHS = (64, 64, 128, 256, 512)


def convolution(channels_in: int, middle: int, channels: int, stride: int) -> nn.Sequential:
    """Convolve over space, then over time; only space has strides."""
    return nn.Sequential(
        nn.Conv3d(channels_in, middle, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
        nn.BatchNorm3d(middle), nn.ReLU(),
        nn.Conv3d(middle, channels, (3, 1, 1), padding=(1, 0, 0), bias=False),
    )  # fmt: skip


class Block(nn.Module):
    """Two convolutions around a shortcut."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        # As many weights as 3 x 3 x 3 kernels would have.
        middle = channels_in * channels * 27 // (channels_in * 9 + 3 * channels)
        first = convolution(channels_in, middle, channels, stride)
        self.conv1 = nn.Sequential(first, nn.BatchNorm3d(channels), nn.ReLU())
        self.conv2 = nn.Sequential(convolution(channels, middle, channels, 1), nn.BatchNorm3d(channels))
        self.downsample = None
        if stride > 1:
            shortcut = nn.Conv3d(channels_in, channels, 1, (1, stride, stride), bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm3d(channels))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(self.conv2(self.conv1(x)) + shortcut)


class Backbone(nn.Module):
    """Features of each frame: `[B, 3, T, h, w]` to `[B, 512, T]`, the mean over each picture."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(3, 45, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False), nn.BatchNorm3d(45), nn.ReLU(),
            nn.Conv3d(45, WIDTHS[0], (3, 1, 1), padding=(1, 0, 0), bias=False), nn.BatchNorm3d(WIDTHS[0]), nn.ReLU(),
        )  # fmt: skip
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.Sequential(Block(before, width, 1 if before == width else 2), Block(width, width, 1))
            for before, width in zip(WIDTHS[:-1], WIDTHS[1:], strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        for part in (self.stem, self.layer1, self.layer2, self.layer3, self.layer4):
            x = part(x)
        return x.mean((-1, -2))


class OnsetNetwork(nn.Module):
    """One logit per frame: above 0.5 a sound begins in it, as published (`protocols.PictureNetwork`)."""

    knows = "The published onset network was trained on drumsticks that hit things: take its onsets as a draft."
    panorama_rows = 512

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.ModuleDict({"model": Backbone()})
        self.fc = nn.Sequential(nn.Linear(WIDTHS[-1], 128), nn.ReLU(), nn.Linear(128, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits `[B, T]` of pictures `[B, 3, T, h, w]` (`normalised`), of any size."""
        return self.fc(self.net["model"](x).transpose(1, 2))[..., 0]

    @torch.no_grad()
    def logits(self, frames: Tensor) -> Tensor:
        """Compute logits `[T]` of frames `[T, 3, h, w]` in [0, 1] at 15 fps, in pieces of 2 s as published."""
        weight = self.fc[0].weight
        pieces = [normalised(piece).to(weight)[None] for piece in frames.split(CHUNK_FRAMES)]
        return torch.cat([self(piece)[0] for piece in pieces]).float().cpu()

    def read(self, panoramas: Tensor, look: View | ViewTrack) -> Tensor:
        """Logits `[T]` of a view of panoramas `[T, 3, H, 2 H]`."""
        return self.logits(squeezed(erp_to_perspective(panoramas, look, SIDE_PX)))

    def tell(self, read: Tensor) -> TimeTrack:
        """Turn logits `[T]` into onsets."""
        return TimeTrack(onsets=onsets_of_logits(read))


def onsets_of_logits(logits: Tensor, threshold: float = THRESHOLD, least_gap_s: float = LEAST_GAP_S) -> OnsetTrack:
    """Turn logits `[T]` of frames at 15 fps into onsets.

    Args:
        threshold: smallest logit. least_gap_s: of onsets nearer than this, the surest stays; 0 keeps all, as published.
    """
    kept: list[int] = []
    for frame in logits.argsort(descending=True, stable=True).tolist():
        if not logits[frame] > threshold:
            break
        if all(abs(frame - other) / FPS >= least_gap_s for other in kept):
            kept.append(frame)
    kept.sort()
    times = tuple((frame + 0.5) / FPS for frame in kept)
    return OnsetTrack(times, tuple(logits[kept].sigmoid().tolist()), (), len(logits) / FPS, "picture")


def squeezed(frames: Tensor) -> Tensor:
    """Squeeze frames `[T, 3, H, W]` into the network's square, as published."""
    if frames.shape[-2:] == (SIDE_PX, SIDE_PX):
        return frames
    return F.interpolate(frames, (SIDE_PX, SIDE_PX), mode="bilinear", antialias=True)


def normalised(frames: Tensor) -> Tensor:
    """Turn frames `[T, 3, h, w]` in [0, 1] into what the network reads, `[3, T, h, w]`, by ImageNet's statistics."""
    mean, std = (torch.tensor(values).view(3, 1, 1).to(frames) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return ((frames - mean) / std).transpose(0, 1)
