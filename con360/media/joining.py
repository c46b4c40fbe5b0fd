"""Join a new picture with the sound of another file: its packets are copied where an MP4 holds their codec."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .copying import MOVIE_TIMESCALE, TIMED, readable
from .info import AudioTrack, MediaInfo, open_media, video_stream

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet

# Codecs that players find in an MP4.
COPIED = {"aac", "opus", "alac", "mp3", "ac3", "eac3", "flac"}


def can_copy(info: MediaInfo, track: AudioTrack) -> bool:
    """Tell whether a sound track can go into an MP4 as it is, its channels included."""
    if track.heard.picks is not None:
        return False
    with open_media(info.path) as container:
        sound: Any = container.streams[track.stream_index]
        is_timed = bool(TIMED & set(container.format.name.split(",")))
        return is_timed and sound.codec_context.codec.canonical_name in COPIED


def join_sound(picture: Path, info: MediaInfo, track: AudioTrack, out: Path, stop_s: float = math.inf) -> None:
    """Write the picture of one file and a sound track of another, packet by packet, as an MP4.

    Convention: both begin at time 0 of their files, within the half millisecond to which Matroska rounds. The sound may
    outlast the picture, up to `stop_s` and a packet.

    Args:
        picture: a file of our own. info, track: the other file. out: written as it is named, without another step.
    """
    import av

    with open_media(picture) as seen, open_media(info.path) as heard:
        pictures: Any = video_stream(seen)
        sounds: Any = heard.streams[track.stream_index]
        options = {
            "movflags": "+faststart", "movie_timescale": str(MOVIE_TIMESCALE),
            "video_track_timescale": str(pictures.time_base.denominator),
        }  # fmt: skip
        with av.open(str(out), "w", options=options) as target:
            ways = [(seen, pictures, 0.0), (heard, sounds, info.origin_s)]
            joined = [
                _packets(source, stream, origin_s, target.add_stream_from_template(stream, opaque=True))
                for source, stream, origin_s in ways
            ]
            for at_s, _, packet in heapq.merge(*joined, key=lambda timed: timed[:2]):
                if at_s < stop_s or packet.stream.type == "video":
                    target.mux(packet)


def _packets(
    source: InputContainer, stream: Any, origin_s: float, to: Any
) -> Iterator[tuple[float, int, Packet]]:  # fmt: skip
    """Yield decoding time, track and packet of a stream, with times that count from the file's own 0."""
    shift = round(origin_s / stream.time_base)
    for packet in readable(source.demux(stream)):
        if packet.pts is None:
            continue  # damaged
        packet.pts -= shift
        packet.dts = packet.pts if packet.dts is None else packet.dts - shift
        at_s = float(packet.dts * packet.time_base)
        packet.stream = to
        yield at_s, to.index, packet
