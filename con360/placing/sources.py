"""Sounds around the listener: a file and its place, or a clip's own sound, as blocks of a field.

Times of places count from the clip's start. Everything streams, as often as it is asked to.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..geometry.sphere import rotation
from ..media.info import AudioTrack, MediaInfo, probe
from ..media.track import choose_track, stream_track
from ..records import DirectionField, Sound, SourcePoint, SourceTrack, order_of
from ..sound.ambisonics import channels_of
from ..sound.channels import PAIR
from ..sound.fields import synthesise_blocks
from ..sound.levels import PAIR_LEFT_OUT, resample_blocks, to_mono
from ..sound.moving import mix_blocks, rows_of
from ..sound.rotation import turn_matrices
from ..sound.source_tracks import panned_track, panning_tracks, unpanned_blocks
from ..sound.sources import path_of, place_blocks, sum_blocks
from ..sound.speakers import speakers_matrix

# Samples at once: larger blocks spend less time in small calls.
BLOCK = 16384
# A path that ends this much before or after its sound is worth a sentence.
LOOSE_END_S = 0.5


@dataclass(frozen=True)
class Following:
    """Follow the most salient region of the clip's picture (rank 1), the second, ...; the rest as in `SourcePoint`."""

    rank: int = 1
    distance_m: float = 1.0
    spread_deg: float = 0.0
    gain_db: float = 0.0


@dataclass(frozen=True)
class Panned:
    """Put what is panned in a stereo sound where its panning says, and the rest at two loudspeakers."""

    gain_db: float = 0.0


@dataclass(frozen=True)
class Finding:
    """Send each band of frequency to the region of the clip's picture that moves with it; the rest is diffuse.

    Args:
        most_moving: all of it goes to the region that moves most, whatever the sound does.
    """

    most_moving: bool = False
    gain_db: float = 0.0


Place: TypeAlias = SourcePoint | SourceTrack | Following | Panned | Finding


@dataclass(frozen=True)
class PlacedSound:
    """A sound file and its place.

    Args:
        path: any media file with sound. Several channels are mixed to one; Ambisonics is turned, so that its front
            lies at the place.
        place: a point, a track in seconds of the clip, a region to follow or to find, or stereo's own panning.
        start_s: when it begins in the clip.
    """

    path: str | os.PathLike[str]
    place: Place = SourcePoint(0.0)
    start_s: float = 0.0


@dataclass
class SoundFile:
    """A sound track of a file, which streams as often as it is asked to. `notices` fill while it is read."""

    info: MediaInfo
    track: AudioTrack
    notices: list[str]

    @property
    def name(self) -> str:
        return self.info.path.name

    @property
    def rate_hz(self) -> int:
        return self.track.sample_rate_hz

    @property
    def channels(self) -> int:
        return self.track.heard_channels

    @property
    def order(self) -> int:
        """Order of its Ambisonics; 0 for any other sound."""
        if self.track.layout != "ambix":
            return 0
        return order_of(self.channels) or order_of(self.channels - PAIR) or 0

    @property
    def has_pair(self) -> bool:
        return self.order > 0 and self.channels > channels_of(self.order)

    def blocks(self, rate_hz: int) -> Iterator[Tensor]:
        """Yield `[C, n]` at a rate, channels as the track has them."""
        own = (torch.from_numpy(block) for block in stream_track(self.info, self.track, 0.0, math.inf, self.notices))
        return rows_of(resample_blocks(own, self.rate_hz, rate_hz), BLOCK)


def open_sound(
    source: str | os.PathLike[str] | MediaInfo, audio_track: int | None = None, ambisonics: str = "auto",
    head_locked: bool = False,
) -> SoundFile:  # fmt: skip
    """Open the sound of a file; the options are those of `read_panorama`.

    Raises:
        InputError: it has no sound that can be read, or its channels cannot be what was said.
    """
    info = source if isinstance(source, MediaInfo) else probe(source)
    track, notices = choose_track(info, audio_track, ambisonics, head_locked)
    if track is None:
        raise InputError(f"{info.path.name} cannot be heard: {notices[-1]}. Give a file with sound.")
    return SoundFile(info, track, [*notices, *track.notices])


def sentences(said: Iterable[str]) -> tuple[str, ...]:
    """Make whole sentences of notices, each once; empty ones are dropped."""
    return tuple(f"{one[:1].upper()}{one[1:]}." for one in dict.fromkeys(said) if one)


# Fields ---------------------------------------------------------------------------------------------------------------


@dataclass
class Source:
    """One sound in the field.

    Args:
        track: of the source, or of the panned part of stereo; None leaves a clip's own sound as it is.
        place: what the track was made from. found: directions of a sound whose place was looked for.
        keeps_pair: its head-locked pair goes another way into the result.
        peak, length_s: known once it has been read.
    """

    file: SoundFile
    track: SourceTrack | None = None
    place: Place | None = None
    start_s: float = 0.0
    found: DirectionField | None = None
    keeps_pair: bool = False
    peak: float = field(default=0.0, init=False)
    length_s: float = field(default=0.0, init=False)

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def order(self) -> int:
        return self.file.order

    @property
    def rate_hz(self) -> int:
        return self.file.rate_hz

    def blocks(self, rate_hz: int, order: int) -> Iterator[Tensor]:
        """Yield the field `[(order + 1)², n]` from the clip's start on."""
        count = 0
        for block in self._field(rate_hz, order):
            count += block.shape[1]
            self.peak = max(self.peak, float(block.abs().max()))
            self.length_s = max(self.length_s, count / rate_hz)
            yield block

    def late(self, rate_hz: int) -> Iterator[Tensor]:
        """Yield the sound in its own channels from the clip's start on."""
        silent = round(self.start_s * rate_hz)
        for at in range(0, silent, BLOCK):
            yield torch.zeros(self.file.channels, min(BLOCK, silent - at))
        yield from self.file.blocks(rate_hz)

    def mono(self, rate_hz: int) -> Iterator[Tensor]:
        """Yield the sound mixed to one channel `[1, n]` from the clip's start on."""
        heard = self.file.track.heard
        for block in self.late(rate_hz):
            yield to_mono(Sound(block, rate_hz, heard.layout, heard.speakers)).waveform

    def _field(self, rate_hz: int, order: int) -> Iterator[Tensor]:
        if self.found is not None and isinstance(self.place, Finding):
            gain = 10 ** (self.place.gain_db / 20)
            first = synthesise_blocks((block * gain for block in self.mono(rate_hz)), rate_hz, self.found)
            return (_of_order(block, 1, order) for block in first)
        blocks = self.late(rate_hz)
        if self.file.order:
            fields = (_of_order(block, self.file.order, order) for block in blocks)
            return fields if self.track is None else _turned(fields, rate_hz, self.track, order)
        if isinstance(self.place, Panned) and self.track is not None:
            return _panned(self, self.track, rate_hz, order)
        if self.track is None:
            matrix = _matrix_of(self.file.track, order)
            return (matrix @ block for block in blocks)
        return place_blocks(self.mono(rate_hz), rate_hz, self.track, order)

    def said(self, end_s: float) -> tuple[str, ...]:
        """Sentences about a sound that was read, in a result that ends at `end_s`."""
        found = [*dict.fromkeys(self.file.notices), self.made_of_it(), "" if self.peak else "it is silent"]
        if self.length_s > end_s + LOOSE_END_S:
            found.append(cut_notice(end_s))
        if isinstance(self.place, SourceTrack) and len(self.place.times_s) > 1:
            found.append(self._loose_end(self.place.times_s[-1], min(self.length_s, end_s)))
        return tuple(f"sound {self.file.name}: {one}" for one in found if one)

    def made_of_it(self) -> str:
        """Say what becomes of channels that do not stay what they are; empty where all do."""
        count, heard = self.file.channels, self.file.track.heard
        if self.file.has_pair:
            return "" if self.keeps_pair else PAIR_LEFT_OUT
        if isinstance(self.place, Panned) or self.file.order and self.found is None:
            return ""
        if self.track is not None or self.found is not None:
            return "" if count == 1 else f"its {count} channels are mixed to one, since a source is one channel"
        if heard.layout == "stereo":
            return "its two sides come from 30° left and right of the front"
        if heard.speakers:
            return f"its {count} loudspeakers stand at their nominal places, without LFE"
        what = "mono" if count == 1 else f"the mean of its {count} channels"
        return f"{what} comes from everywhere, so it does not turn"

    @staticmethod
    def _loose_end(last_s: float, sound_s: float) -> str:
        if last_s > sound_s + LOOSE_END_S:
            return f"it ends at {sound_s:.2f} s; the rest of its path is not used"
        if last_s < sound_s - LOOSE_END_S:
            return f"it stays at its last place from {last_s:.2f} s on, where its path ends"
        return ""


def cut_notice(end_s: float) -> str:
    return f"it goes on after the clip's end at {end_s:.2f} s, and is cut there"


def panning_of(source: Source, gain_db: float) -> SourceTrack:
    """Read a stereo sound once and return the track of what is panned in it.

    Raises:
        InputError: it is not stereo.
    """
    if source.file.track.layout != "stereo":
        raise InputError(
            f"{source.file.name} is {source.file.track.layout} with {source.file.channels} channels; only a stereo "
            f"sound can be placed by its panning. Give it a direction."
        )
    track = panned_track(source.late(source.file.rate_hz), source.file.rate_hz)
    return replace(track, points=tuple(replace(point, gain_db=gain_db) for point in track.points))


def _panned(source: Source, track: SourceTrack, rate_hz: int, order: int) -> Iterator[Tensor]:
    """Place what is panned along its track, and the rest at two loudspeakers."""

    def part(channel: int) -> Iterator[Tensor]:
        for parts in unpanned_blocks(source.late(rate_hz), rate_hz, track):
            yield parts[channel : channel + 1]

    return sum_blocks([place_blocks(part(i), rate_hz, to, order) for i, to in enumerate(panning_tracks(track))])


def _matrix_of(track: AudioTrack, order: int) -> Tensor:
    """Make `[(order + 1)², C]` of a sound without a place of its own: loudspeakers, or a mean from everywhere."""
    if track.layout == "stereo":
        return speakers_matrix(("FL", "FR"), order).float()
    if track.heard.speakers:
        return speakers_matrix(track.heard.speakers, order).float()
    count = track.heard_channels
    return speakers_matrix(("",) * count, order).float() / count


def _of_order(block: Tensor, own: int, order: int) -> Tensor:
    """Cut Ambisonics to an order, or fill it up with silent channels; a head-locked pair is left out."""
    block = block[: channels_of(min(own, order))]
    return F.pad(block, (0, 0, 0, channels_of(order) - block.shape[0]))


def _turned(fields: Iterator[Tensor], rate_hz: int, track: SourceTrack, order: int) -> Iterator[Tensor]:
    """Turn a field so that its front lies where the track says, with the track's gain."""
    path = path_of(track)

    def turns(times_s: np.ndarray) -> Tensor:
        yaw, pitch, _, _, gain = torch.from_numpy(path(times_s)).unbind(1)
        # A camera's turn brings a place to the front; its transpose brings the front to a place.
        return turn_matrices(rotation(yaw, pitch), order).transpose(-1, -2) * 10 ** (gain / 20)[:, None, None]

    return mix_blocks(fields, rate_hz, turns)
