"""Read a few pictures and seconds of sound of a file, spread over its length, in seconds of work and little memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..media.decoding import Tally, decode_from
from ..media.info import AudioTrack, MediaInfo
from ..media.painting import picture_pixels, upright_pixels
from ..media.reader import check_pixels
from ..media.track import stream_track
from ..sound.channels import Channels

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

PICTURES = 8
# Files up to this long are decoded whole, once; of longer ones each moment is sought.
WHOLE_S = 12.0
# At these moments of a long video a second picture is taken soon after: moments far apart can look alike, as in a loop.
TWICE, LATER_S = (2, 5), 0.5
# Live recordings do not say how long they are: look at their beginning.
UNKNOWN_S = 2.0
# Pictures are held no larger: 25 MB for all of a file.
SIDE_PX = 1024
# Seconds of sound: all of a short file, else so many parts of this length.
SOUND_S, PARTS, PART_S = 24.0, 12, 2.0
# Picture or sound that ends earlier than the file says, by more than this, is told.
SHORT_S = 0.25


@dataclass(frozen=True)
class Pictures:
    """Pictures `[h, w, 3]` uint8 in order of time, at most `SIDE_PX` on a side, and notices of damage."""

    images: tuple[np.ndarray, ...]
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Heard:
    """Samples of a sound track.

    Args:
        waveform: `[C, N]` float32, channels as the file stores them; parts of a long file one after another.
        rate_hz: samples per second. notices: of damage.
    """

    waveform: np.ndarray
    rate_hz: int
    notices: tuple[str, ...] = ()


def sampled_pictures(info: MediaInfo) -> Pictures:
    """Read up to `PICTURES` pictures of a video, or the one of a still.

    Raises:
        InputError: nothing can be decoded, or a picture is above `limits.max_pixels`.
    """
    check_pixels(info)
    if info.kind == "picture":
        return Pictures((reduced(picture_pixels(info)),))
    if info.duration_s is not None and info.duration_s > WHOLE_S:
        return _sought(info, info.duration_s)
    return _passed(info)


def reduced(pixels: np.ndarray) -> np.ndarray:
    """Average a picture `[h, w, 3]` down to at most `SIDE_PX` on each side."""
    import cv2

    height, width = (min(side, SIDE_PX) for side in pixels.shape[:2])
    pixels = np.ascontiguousarray(pixels)
    same = (height, width) == pixels.shape[:2]
    return pixels if same else cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)


def _passed(info: MediaInfo) -> Pictures:
    """Decode a short video once and keep pictures by their times."""
    length_s = info.duration_s or UNKNOWN_S
    step_s = length_s / PICTURES
    images: list[np.ndarray] = []
    tally = Tally()
    with decode_from(info, None, 0.0, tally) as (timed, _):
        for time_s, frame in timed:
            if time_s > WHOLE_S:
                break
            if len(images) < PICTURES and time_s >= (len(images) + 0.5) * step_s - 1e-3 or not images:
                images.append(reduced(upright_pixels(frame, info)))
    _check_some(images, info, tally)
    notices = [f"damaged pieces of the picture: {tally.damaged}"] if tally.damaged else []
    if info.duration_s is not None and tally.at_end and tally.end_s < info.duration_s - SHORT_S:
        notices.append(f"the picture ends at {tally.end_s:.2f} s, and the file says {info.duration_s:.2f} s")
    return Pictures(tuple(images), tuple(notices))


def _sought(info: MediaInfo, length_s: float) -> Pictures:
    """Seek each moment of a long video; the nearest picture that decodes at once is enough."""
    step_s = length_s / PICTURES
    images: list[np.ndarray] = []
    missing, tally = 0, Tally()
    for i in range(PICTURES):
        time_s = (i + 0.5) * step_s
        later_s = (0.0, LATER_S) if i in TWICE else (0.0,)
        with decode_from(info, None, time_s, tally) as (timed, _):
            found = [reduced(upright_pixels(frame, info)) for frame in _at(timed, time_s - step_s / 2, later_s)]
        missing += not found
        images += found
    _check_some(images, info, tally)
    lacks = f"{missing} of {PICTURES} moments of the video have no picture that decodes"
    return Pictures(tuple(images), (lacks,) if missing else ())


def _at(timed: Iterator[tuple[float, VideoFrame]], from_s: float, later_s: tuple[float, ...]) -> Iterator[VideoFrame]:
    """Yield the first frame from `from_s` on, and those that follow it by so many seconds."""
    waits, first_s = list(later_s), None
    for at_s, frame in timed:
        first_s = at_s if first_s is None and at_s >= from_s else first_s
        if first_s is not None and at_s >= first_s + waits[0] - 1e-3:
            yield frame
            del waits[0]
        if not waits:
            return


def _check_some(images: list[np.ndarray], info: MediaInfo, tally: Tally) -> None:
    if not images:
        raise InputError(
            f"{info.path.name} has no frame that can be decoded{tally.after}. It is damaged or incomplete."
        )


def sampled_sound(info: MediaInfo, track: AudioTrack) -> Heard:
    """Read up to `SOUND_S` seconds of a track, channels as stored."""
    raw, rate = replace(track, heard=Channels("other")), track.sample_rate_hz
    notices: list[str] = []
    parts = [_joined(stream_track(info, raw, a, b, notices), track.channels) for a, b in _spans(info.duration_s)]
    waveform = np.concatenate(parts, 1)
    if len(parts) == 1 and info.duration_s is not None and waveform.shape[1] < (info.duration_s - SHORT_S) * rate:
        notices.append(f"the sound ends at {waveform.shape[1] / rate:.2f} s, the file at {info.duration_s:.2f} s")
    return Heard(waveform, rate, tuple(dict.fromkeys(notices)))


def _spans(length_s: float | None) -> Iterator[tuple[float, float]]:
    if length_s is None or length_s <= SOUND_S:
        yield 0.0, SOUND_S if length_s is None else math.inf
        return
    for i in range(PARTS):
        middle_s = (i + 0.5) * length_s / PARTS
        yield middle_s - PART_S / 2, middle_s + PART_S / 2


def _joined(blocks: Iterator[np.ndarray], channels: int) -> np.ndarray:
    return np.concatenate((np.zeros((channels, 0), np.float32), *blocks), 1)
