"""Read a drawn time track at the mel's rate: when sounds begin and how loud they are.

Shape legend: B clips, K channels, S mel frames, n mel frames of a row, R rows, C channels of a site.

A map of 8 frames a second cannot carry a pulse of 4 Hz, and an average over a row of 320 ms loses 20 ms: each row gets
all its mel frames as channels. The convolutions are ours; Video-Foley's RMS ControlNet (arXiv 2408.11915) has an input
projection of the kind.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..records import Envelope, OnsetTrack, TimeTrack
from ..sound.envelopes import mu_law
from ..sound.mels import MEL_HOP, SAMPLE_RATE_HZ
from ..sound.time_tracks import envelope_of_track
from .config import TIME_CHANNELS
from .film import FilmHead

MEL_RATE_HZ = SAMPLE_RATE_HZ / MEL_HOP
DECAY_S = 0.1
WIDTH = 64
# Rows of `channels_of`.
ENVELOPE, ONSET, SINCE, PRESENCE = range(TIME_CHANNELS)


def channels_of(track: TimeTrack, frames: int) -> Tensor:
    """Write a time track as `[K, S]`: envelope, onsets, time since the last onset, presence.

    The envelope is companded by mu-law; onsets without one have the curve of `envelope_of_track`. An onset is its
    strength in its frame, the time d since one is exp(-d / 0.1 s), and presence is 1 where the envelope is meant.

    Args:
        frames: S, of the whole clip; mel frame k stands for the time 10 k ms.

    Raises:
        InputError: a track that the clip cannot follow (`check_time_track`).
    """
    envelope = envelope_of_track(track, frames / MEL_RATE_HZ)
    channels = torch.zeros(TIME_CHANNELS, frames)
    channels[ENVELOPE], channels[PRESENCE] = _loudness(envelope, frames)
    if track.onsets is not None:
        channels[ONSET], channels[SINCE] = _beginnings(track.onsets, frames)
    return channels


def _loudness(envelope: Envelope, frames: int) -> tuple[Tensor, Tensor]:
    """Companded envelope and presence at the mel frames, `[S]` each."""
    last = len(envelope.values) - 1
    place = (torch.arange(frames) / MEL_RATE_HZ * envelope.rate_hz - 0.5).clamp(0, last)
    lower = place.floor().long()
    values = torch.lerp(envelope.values[lower], envelope.values[(lower + 1).clamp_max(last)], place - lower)
    present = torch.ones(frames)
    if envelope.present is not None:
        present = (envelope.present[place.round().long()] > 0.5).float()
    return mu_law(values.clamp(0, 1)) * present, present


def _beginnings(track: OnsetTrack, frames: int) -> tuple[Tensor, Tensor]:
    """Impulses and their dying away at the mel frames, `[S]` each; of two onsets in a frame the stronger counts."""
    impulses, since = torch.zeros(frames), torch.zeros(frames)
    times = torch.arange(frames) / MEL_RATE_HZ
    for time, strength in zip(track.times_s, track.strengths or (1.0,) * len(track.times_s), strict=True):
        frame = int(time * MEL_RATE_HZ)
        if frame < frames:
            impulses[frame] = impulses[frame].clamp_min(strength)
            since[frame:] = torch.exp(-(times[frame:] - frame / MEL_RATE_HZ) / DECAY_S)
    return impulses, since


def folded(channels: Tensor, fold: int, rows: int) -> Tensor:
    """Give each row all its mel frames: `[B, K, S]` to `[B, K n, R]`; rows past the last frame are zeros.

    Raises:
        ValueError: more mel frames than the rows hold.
    """
    missing = fold * rows - channels.shape[-1]
    if missing < 0:
        raise ValueError(f"{channels.shape[-1]} mel frames do not fit {rows} rows of {fold}")
    return rearrange(F.pad(channels, (0, missing)), "b k (r n) -> b (k n) r", n=fold)


class TimeHead(nn.Module):
    """Turn time channels into the (scale, shift) of one audio site; zero-initialised, all frequencies alike.

    Args:
        fold: mel frames of a row. channels: C.
    """

    def __init__(self, fold: int, channels: int) -> None:
        super().__init__()
        self.fold = fold
        self.convs = nn.Sequential(
            nn.Conv1d(TIME_CHANNELS * fold, WIDTH, 3, padding=1), nn.SiLU(),
            nn.Conv1d(WIDTH, WIDTH, 3, padding=1), nn.SiLU(),
        )  # fmt: skip
        self.head = FilmHead(WIDTH, channels)

    def forward(self, channels_BKS: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """`[B, K, S]` to two tensors `[B, C, R, 1]`."""
        return self.head(self.convs(folded(channels_BKS, self.fold, rows))[..., None])
