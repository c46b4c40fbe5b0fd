"""Decode one stream of a file from any time on: count and skip damaged packets, seek further back past a bad index."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from ..devices import threads_here
from .early import Times, early_times
from .info import MediaInfo, forget_order, open_media, video_stream
from .limits import max_pixels

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.frame import Frame
    from av.stream import Stream

T = TypeVar("T")

# Enough threads for real time; each of them holds a few decoded frames.
MAX_THREADS = 4
# Packets that wait for their frames, at most: more than any coder reorders and threads hold.
MAX_ON_THEIR_WAY = 256
# Seeks aim this many seconds early. Where the index lands late, the next one aims further back.
SEEK_BACK_S = (0.5, 10.0, math.inf)


@dataclass
class Tally:
    """Events of decoding: damaged packets and frames, end of the last good frame, end of file.

    `durations` maps the timestamps of packets in the decoder to their durations, both in ticks: frames of older PyAV
    have none.
    """

    damaged: int = 0
    end_s: float = 0.0
    at_end: bool = False
    durations: dict[int, int] = field(default_factory=dict)

    def reset(self) -> None:
        self.damaged, self.end_s, self.at_end = 0, 0.0, False
        self.durations.clear()

    def expect(self, pts: int | None, ticks: int) -> None:
        """Remember a packet's duration until its frame comes; drop the oldest where frames stay away."""
        if pts is not None:
            self.durations[pts] = ticks
        if len(self.durations) > MAX_ON_THEIR_WAY:
            del self.durations[next(iter(self.durations))]

    @property
    def after(self) -> str:
        return f" (damaged pieces: {self.damaged})" if self.damaged else ""


@contextmanager
def decode_from(
    info: MediaInfo, stream_index: int | None, target_s: float, tally: Tally
) -> Iterator[tuple[Iterator[tuple[float, Frame]], Stream]]:
    """Yield frames of one stream, from `target_s` or earlier on, each with its time and the stream.

    A file's index can be missing or wrong. Each attempt seeks further back and is checked by the first frame's own
    time; the last one reads from the beginning.
    """
    for back_s in SEEK_BACK_S:
        with open_media(info.path) as container:
            # What `probe` found is there.
            stream: Any = video_stream(container) if stream_index is None else container.streams[stream_index]
            # No seeking to times below 0, which an index does not hold.
            from_start = target_s - back_s + min(0.0, info.origin_s) <= 0
            if from_start or _seek(container, info.origin_s + target_s - back_s):
                early = early_times(info.path)[1].get(stream.index, ()) if from_start and info.origin_s < 0 else ()
                timed = _timed_frames(container, stream, info.origin_s, tally, early)
                first = next(timed, None)
                if from_start or first is not None and _is_by(first, target_s, info.origin_s):
                    yield (timed if first is None else chain((first,), timed)), stream
                    return
        tally.reset()


def _is_by(first: tuple[float, Frame], target_s: float, origin_s: float) -> bool:
    """Tell whether a frame after a seek is early enough. Where times go below 0, only a time of its own counts."""
    time_s, frame = first
    return time_s <= target_s + float(frame.time_base or 0) / 2 and (origin_s >= 0 or frame.pts is not None)


def _seek(container: InputContainer, time_s: float) -> bool:
    import av

    try:
        container.seek(int(time_s * 1_000_000), backward=True)
    except av.FFmpegError:  # no index: the caller reads from the beginning instead
        return False
    return True


def _timed_frames(
    container: InputContainer, stream: Stream, origin_s: float, tally: Tally, early: Times
) -> Iterator[tuple[float, Frame]]:
    """Yield frames with rising times in seconds; a frame without a time follows on the one before.

    `early` holds file times of the first packets, where FFmpeg does not know them.
    """
    is_video = stream.type == "video"
    if is_video:
        stream.thread_type = "AUTO"
        # A worker among many was given one thread by whoever runs them (OMP_NUM_THREADS), and keeps to it here too.
        stream.codec_context.thread_count = min(MAX_THREADS, threads_here())
        # Frames may be larger than the first one, whose size was checked.
        stream.codec_context.options = {"max_pixels": str(max_pixels())}
    else:
        forget_order(stream.codec_context)
    usual_s = float(1 / (stream.average_rate or stream.guessed_rate or Fraction(25))) if is_video else 0.0
    last_s = -math.inf
    for frame in _good_frames(container, stream, tally, early):
        known = frame.pts is not None and frame.time_base
        time_s = float(frame.pts * frame.time_base) - origin_s if known else max(0.0, tally.end_s)
        time_s = max(time_s, last_s) if is_video else time_s
        if is_video:
            ticks = tally.durations.pop(frame.pts, None)
            seconds = float(ticks * frame.time_base) if known and ticks else usual_s
        else:
            seconds = frame.samples / frame.sample_rate
        last_s, tally.end_s = time_s, time_s + seconds
        yield time_s, frame
    tally.at_end = True


def _good_frames(container: InputContainer, stream: Stream, tally: Tally, early: Times) -> Iterator[Frame]:
    """Yield the frames that decode; count and skip damaged packets and frames."""
    import av

    packets, known, is_video = container.demux(stream), iter(early), stream.type == "video"
    while True:
        try:
            packet = next(packets)
            if (time_s := next(known, None)) is not None:
                packet.pts = round(time_s / packet.time_base)
            if packet.duration and is_video:
                tally.expect(packet.pts, packet.duration)
            frames = packet.decode()
        except StopIteration:
            return
        except av.FFmpegError:
            tally.damaged += 1
            continue
        for frame in frames:
            if frame.is_corrupt:
                tally.damaged += 1
            else:
                yield frame


def pick_by_time(timed: Iterable[tuple[float, T]], times: Iterable[float], tolerance: float) -> Iterator[T]:
    """Pick for each of the rising `times` the last item that is not later (within `tolerance`), else the first item.

    Reads up to the first item after the last time, no further.
    """
    wanted, current = iter(times), list[T]()  # at most one item, which may itself be None
    time = next(wanted, None)
    for item_time, item in timed:
        while current and time is not None and time + tolerance < item_time:
            yield current[0]
            time = next(wanted, None)
        if time is None:
            return
        current = [item]
    while current and time is not None:
        yield current[0]
        time = next(wanted, None)
