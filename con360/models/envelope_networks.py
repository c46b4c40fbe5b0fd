"""Tell a sound's envelope from pictures: convolutions and a BiLSTM, to classes of `sound.envelopes`.

Shape legend: B clips, T frames, F features of a frame, N values of the envelope, K = 64 classes.

Source: Video-Foley (arXiv 2408.11915) for `Video2Rms`, whose tensor names are the published ones; FOL-AI (arXiv
2412.15023) for networks of this kind on motion.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..records import Envelope, TimeTrack, View, ViewTrack
from ..saliency.region_motion import FEATURES, region_motion
from ..sound.envelopes import CLASSES, RATE_HZ, from_classes

KERNEL, LAYERS = 5, 3


class Encoder(nn.Module):
    """Three convolutions with batch norm, two bidirectional LSTMs, a linear layer over time and one over features."""

    def __init__(self, features: int, frames: int, values: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Sequential(
                nn.Sequential(OrderedDict(conv=nn.Conv1d(features, features, KERNEL, padding=KERNEL // 2))),
                nn.BatchNorm1d(features),
            )
            for _ in range(LAYERS)
        )
        self.BiLSTM = nn.LSTM(features, features // 4, 2, batch_first=True, bidirectional=True)
        self.BiLSTM_projs = nn.ModuleList([nn.Linear(frames, values), nn.Linear(features // 2, CLASSES)])

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        for convolution in self.convolutions:
            x = F.dropout(F.relu(convolution(x)), 0.5, self.training)
        x, _ = self.BiLSTM(x.transpose(1, 2))
        over_time, over_features = self.BiLSTM_projs
        x = over_time(x.transpose(1, 2)).transpose(1, 2)
        # The published network has the ReLU on its logits.
        return F.relu(over_features(x)).transpose(1, 2)


class Video2Rms(nn.Module):
    """Video-Foley's network: features of frames at 30 fps to classes at 125 Hz, for clips of one length.

    Args:
        features: of a frame; the published one reads TSN's for colour and flow, 2048.
        frames, values: of a clip, 300 and 1250 for 10 s.
    """

    def __init__(self, features: int = 2048, frames: int = 300, values: int = 1250) -> None:
        super().__init__()
        self.features, self.frames = features, frames
        self.encoder = Encoder(features, frames, values)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits `[B, K, N]` of `[B, T, F]`."""
        return self.encoder(x)


class PictureEnvelope(nn.Module):
    """A region's motion at 15 fps to classes at 125 Hz, for clips of any length.

    Convolutions and BiLSTMs read frames; each value of the envelope is told by the two frames around it and the place
    between them, so that a rise can lie between frames (`protocols.PictureNetwork`).

    Args:
        width: features inside. fps: of the motion that it reads.
    """

    knows = "This network was trained on procedural scenes alone, whose shapes pulse as they sound: take it as a draft."
    panorama_rows = 128

    def __init__(self, width: int = 48, fps: float = 15.0) -> None:
        super().__init__()
        self.width, self.fps = width, fps
        channels = (FEATURES, *(width,) * LAYERS)
        self.convolutions = nn.Sequential(
            *(
                nn.Sequential(nn.Conv1d(a, b, KERNEL, padding=KERNEL // 2), nn.SiLU())
                for a, b in zip(channels[:-1], channels[1:], strict=True)
            )
        )
        self.memory = nn.LSTM(width, width, 2, batch_first=True, bidirectional=True)
        self.head = nn.Sequential(nn.Linear(4 * width + 1, 2 * width), nn.ReLU(), nn.Linear(2 * width, CLASSES))

    def forward(self, motion: Tensor, told: slice = slice(None)) -> Tensor:
        """Compute logits `[B, K, N]` of `saliency.region_motion`, `[B, T, 4]`; N is T / fps x 125, rounded.

        Args:
            told: values that are wanted; training asks for a part.
        """
        x, _ = self.memory(self.convolutions(motion.transpose(1, 2)).transpose(1, 2))
        last, count = x.shape[1] - 1, round(x.shape[1] / self.fps * RATE_HZ)
        place = ((torch.arange(count, device=x.device)[told] + 0.5) / RATE_HZ * self.fps).clamp_max(last)
        before = place.floor().long()
        between = (place - before).to(x.dtype)[None, :, None].expand(len(x), -1, -1)
        pair = torch.cat((x[:, before], x[:, (before + 1).clamp_max(last)], between), dim=2)
        return self.head(pair).transpose(1, 2)

    def read(self, panoramas: Tensor, look: View | ViewTrack) -> Tensor:
        """Motion `[T, 4]` of the region around a view of panoramas `[T, 3, H, 2 H]`."""
        return region_motion(panoramas, look)

    def tell(self, read: Tensor) -> TimeTrack:
        """Turn motion `[T, 4]` into an envelope."""
        return TimeTrack(envelope=self.envelope(read))

    @torch.no_grad()
    def envelope(self, motion: Tensor) -> Envelope:
        """Tell the envelope of one region `[T, 4]`."""
        return self.decoded(self(motion.to(self.head[0].weight)[None])[0])

    @staticmethod
    def decoded(logits: Tensor) -> Envelope:
        """Decode logits `[K, N]`: each value is the middle of the class at which half of the belief is reached.

        The median has the least mean error, which the likeliest class has not.
        """
        reached = logits.float().softmax(0).cumsum(0) >= 0.5
        return Envelope(from_classes(reached.long().argmax(0).cpu()))


def envelope_of_logits(logits: Tensor, *, upper_edges: bool = False) -> Envelope:
    """Decode logits `[K, N]` to an envelope, each value the middle of its likeliest class.

    Args:
        upper_edges: take each class's upper edge, as the published code does: half a class too loud.
    """
    return Envelope(from_classes(logits.argmax(0).cpu(), upper_edges=upper_edges))
