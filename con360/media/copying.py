"""Give a clip another sound: its picture's packets are copied, not coded again."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..records import Progress
from .edit_lists import end_picture
from .files import atomic_path
from .info import AudioTrack, MediaInfo, open_media, video_stream
from .reader import EXCERPT_TOLERANCE_S
from .sound_coders import USUAL_SOUND, SoundCoder, SoundCoding
from .spherical_tags import Packing, tag_file
from .unfolding import check_copied
from .writer import check_clip_path

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet

# Ticks per second of edit lists; a millisecond, FFmpeg's own, would round the sound's end.
MOVIE_TIMESCALE = 90000
# FFmpeg multiplies coarser clocks of pictures until they are as fine.
FINE_TICKS = 10000
# FFmpeg's names of containers that hold each picture's own time; AVI, for one, holds their order alone.
TIMED = {"mp4", "matroska", "mpegts", "flv"}


@contextmanager
def copied_clip(
    info: MediaInfo, path: str | os.PathLike, sound: tuple[int, int] | None, packing: Packing | None = None,
    start_s: float = 0.0, stop_s: float = math.inf, *, sound_coding: SoundCoding = USUAL_SOUND,
    tags: Mapping[str, str] | None = None, track: AudioTrack | None = None,
) -> Iterator[CopiedClip]:  # fmt: skip
    """Write a clip with the picture of another one, bit for bit, and new sound; it gets its name when the block ends.

    Convention: `start_s` of the file's time (`MediaInfo.origin_s` is its 0) becomes time 0, where the new sound begins.
    Pictures before it, from a key frame on, are in the file, and its edit list leaves them out; so it does with those
    behind `stop_s` that are decoded before the last one.

    Args:
        sound: number of channels, one of `CLIP_CHANNELS`, and rate (`SoundCoding.rate_for`); None for no sound.
        packing: tag the picture as full equirectangular with this packing of the eyes; a pose that the file states
            is kept.
        start_s, stop_s: part of the picture; `stop_s` may be infinite.
        sound_coding: of the sound. tags: further metadata of the file.
        track: sound track of the file whose packets are copied, too (`CopiedClip.copy_all`); `sound` is None then.

    Raises:
        InputError: an MP4 does not hold the picture's codec, it is tagged and no panorama as it is stored, or a place
            that cannot be written to.
    """
    import av

    check_clip_path(path, sound_coding)
    if packing:
        check_copied(info)
    # MP4 drops names that it does not know, unless told.
    flags = "+faststart+use_metadata_tags" if tags else "+faststart"
    options = {"movflags": flags, "movie_timescale": str(MOVIE_TIMESCALE)}
    with atomic_path(path) as temporary, open_media(info.path) as source:
        clock = _picture(source).time_base
        if clock.numerator == 1 and clock.denominator >= FINE_TICKS:
            options["video_track_timescale"] = str(clock.denominator)
        with av.open(str(temporary), "w", options=options) as target:
            target.metadata.update(tags or {})
            packets = _packets(info, source, start_s, stop_s)
            clip = CopiedClip(info, source, target, sound, packets, stop_s - start_s, sound_coding, track)
            yield clip
            clip.finish()
        if stop_s < math.inf:
            end_picture(temporary, stop_s - start_s)
        channels = track.channels if track is not None else sound[0] if sound is not None else 0
        is_ambisonic, mastering = channels > 2, info.colour.mastering
        if is_ambisonic or packing or mastering:
            tag_file(
                temporary, panorama=packing, ambisonic=is_ambisonic, pose_deg=info.spherical.pose_deg,
                light=mastering.boxes if mastering else {},
            )  # fmt: skip


class CopiedClip:
    """A clip that is being written. Copy its picture, and add sound as far as the picture has come.

    `count` pictures have been copied so far.
    """

    def __init__(
        self, info: MediaInfo, source: InputContainer, target: OutputContainer, sound: tuple[int, int] | None,
        packets: Iterator[Packet], longest_s: float, sound_coding: SoundCoding, track: AudioTrack | None = None,
    ) -> None:  # fmt: skip
        self._info, self._target, self._shape = info, target, sound or (0, 1)
        self._packets, self._longest_s = packets, longest_s
        self.count = 0
        self._from = _picture(source)
        if not TIMED & set(source.format.name.split(",")):
            raise InputError(
                f"{info.path.name} is of a kind ({source.format.name}) whose pictures have no times of their own; "
                f"convert it to MP4 first."
            )
        codec = self._from.codec_context.codec.canonical_name
        if codec not in target.supported_codecs:
            raise InputError(
                f"the picture of {info.path.name} is coded as {codec}, which the new file's format does not hold; "
                f"convert it to H.264 first."
            )
        self._to: Any = target.add_stream_from_template(self._from, opaque=True)
        if codec == "hevc":  # Apple's players know hvc1 alone; FFmpeg would write hev1
            own = self._from.codec_context.codec_tag
            self._to.codec_context.codec_tag = own if own == "hev1" else "hvc1"
        self._track = track
        self._track_to: Any = None
        if track is not None:
            self._track_to = target.add_stream_from_template(source.streams[track.stream_index], opaque=True)
        self._sound: SoundCoder | None = None if sound is None else sound_coding.add_to(target, *sound)

    def picture(self) -> Iterator[float]:
        """Copy packet after packet; yields in seconds how far the picture has come.

        Raises:
            InputError: there is none, or its packets are of a kind that cannot be copied.
        """
        end_s = 0.0
        for packet in self._packets:
            assert packet.duration is not None
            end_s = max(end_s, float((packet.pts + packet.duration) * packet.time_base))
            packet.stream = self._to
            self._mux(packet)
            self.count += 1
            yield min(end_s, self._longest_s)
        if end_s <= 0:
            raise InputError(f"{self._info.path.name} has no picture that can be copied. It is damaged or incomplete.")

    def _mux(self, packet: Packet) -> None:
        import av

        try:
            self._target.mux(packet)
        except av.ArgumentError as error:
            raise InputError(
                f"the picture of {self._info.path.name} cannot be copied (FFmpeg: {error.strerror}); convert it first."
            ) from error

    def copy_with(self, blocks: Iterable[np.ndarray], progress: Progress | None = None) -> float:
        """Copy the whole picture, with sound `[C, n]` float32 beside it; returns where the picture ends, in seconds.

        Sound beyond the picture's end is cut, and silence follows on sound that ends before.
        """
        channels, rate = self._shape
        waiting, held, at, end_s = iter(blocks), np.zeros((channels, 0), np.float32), 0, 0.0
        for end_s in self.picture():
            while self._sound is not None and at + held.shape[1] <= end_s * rate:
                self.add_sound(held)
                at += held.shape[1]
                held = next(waiting, np.zeros((channels, rate), np.float32))
            _tell(progress, end_s, self._info)
        if self._sound is not None:
            self.add_sound(held[:, : round(end_s * rate) - at])
        return end_s

    def copy_all(self, progress: Progress | None = None) -> float:
        """Copy the whole picture, and the packets of its sound track beside it; returns where the picture ends."""
        assert self._track is not None
        end_s, sound_s = 0.0, -math.inf
        with open_media(self._info.path) as file:
            stream = file.streams[self._track.stream_index]
            shift = round(self._info.origin_s / stream.time_base)
            waiting = readable(file.demux(stream))
            for end_s in self.picture():
                while sound_s <= end_s and (packet := next(waiting, None)) is not None:
                    packet.pts, packet.dts = (at if at is None else at - shift for at in (packet.pts, packet.dts))
                    sound_s = sound_s if packet.pts is None else float(packet.pts * packet.time_base)
                    packet.stream = self._track_to
                    self._target.mux(packet)
                _tell(progress, end_s, self._info)
        return end_s

    def add_sound(self, block: np.ndarray) -> None:
        """Add `block [C, n]` float32, which follows on the one before."""
        assert self._sound is not None
        self._sound.add(block)

    def finish(self) -> None:
        """Flush the sound's coder."""
        if self._sound is not None:
            self._sound.finish()


def _tell(progress: Progress | None, end_s: float, info: MediaInfo) -> None:
    if progress is not None:
        progress(int(end_s), max(int(end_s), int(info.duration_s or 0), 1), "copying")


def _packets(info: MediaInfo, source: InputContainer, start_s: float, stop_s: float) -> Iterator[Packet]:
    """Yield the picture's packets of a part, from the key frame before it, with times that count from its start.

    Damaged packets are left out, as decoders skip them.
    """
    stream = _picture(source)
    shift = round((info.origin_s + start_s) / stream.time_base)
    # Of the last packet, some containers do not know the duration.
    usual = round(1 / ((stream.average_rate or stream.guessed_rate or 25) * stream.time_base))
    if start_s:
        source.seek(shift, stream=stream)
    for packet in readable(source.demux(stream)):
        if packet.pts is None:  # before a Matroska's time 0, or damaged
            raise InputError(f"{info.path.name} has a picture without a time; convert it to MP4 first.")
        packet.pts -= shift
        packet.dts = None if packet.dts is None else packet.dts - shift
        at = packet.pts if packet.dts is None else packet.dts
        # What is decoded later is shown later, too.
        if float(at * stream.time_base) > stop_s - start_s - EXCERPT_TOLERANCE_S:
            return
        packet.duration = packet.duration or usual
        yield packet


def readable(packets: Iterator[Packet]) -> Iterator[Packet]:
    """Yield the packets that can be read; damaged ones are left out."""
    import av

    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.FFmpegError:
            continue
        if packet.size:  # none marks the file's end
            yield packet


def _picture(source: InputContainer) -> Any:
    # What `probe` found is there.
    return video_stream(source)
