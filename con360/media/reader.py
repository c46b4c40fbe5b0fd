"""Reads a piece of a 360° video: frames by timestamp, resized while decoding, with the sound of the same interval.

Convention: output frame `i` shows the time `start_s + i / fps`: the last source frame whose timestamp is not later,
within half a tick of the stream's clock; before the first frame, the first. Sample `n` of the sound is the file's
time `start_s + n / rate`. Time 0 is the file's own start. Nothing is repaired in silence: each departure from what
was asked becomes a notice.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..records import PanoramaClip, Progress, Sound, StartClip
from .info import (
    MIN_HEIGHT_PX,
    PANORAMA_ASPECT,
    AudioTrack,
    MediaInfo,
    open_media,
    open_picture,
    probe,
    video_stream,
)
from .limits import CLIP_VARIABLE, MAX_TIME_S, PIXELS_VARIABLE, max_clip_bytes, max_pixels

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.container import InputContainer
    from av.frame import Frame
    from av.stream import Stream
    from av.video.frame import VideoFrame

T = TypeVar("T")
Eye = Literal["whole", "left", "right"]

# Enough threads for real time; each of them holds a few decoded frames.
MAX_THREADS = 4
# Sound that starts or ends this close to the picture is coder granularity, not worth a sentence.
NOTICE_GAP_S = 0.025
# Timestamps further off than this from the running count of samples are a real gap, not rounding.
RUN_GAP_S = 0.005
# A step of a streamed track's timestamps beyond this is damage, not a pause to be filled with silence.
MAX_GAP_S = 600.0
# WebM's milliseconds place a block to half of one; counted from the file's start, sound is exact. Worth it up to here.
COUNTED_SOUND_S = 60.0
# An excerpt's ends are taken this exactly: finer than any frame, coarser than rounded milliseconds.
EXCERPT_TOLERANCE_S = 0.0006
# Decoders need this much sound before the first sample that counts (AAC overlap, Opus pre-roll).
SOUND_PREROLL_S = 0.1
# Seeking aims this much early; an index that still lands late costs a further attempt, at last from the beginning.
SEEK_BACK_S = (0.5, 10.0, math.inf)
# Halves of top-bottom stereo correlate at 0.96 and above in real clips, upper and lower half of a panorama below 0.5.
SAME_PICTURE = 0.8
# Mean step from the last column to the first, over the mean step between neighbours: 0.5 to 3 where edges join.
OPEN_SEAM = 4.0


def read_panorama(
    path: str | os.PathLike,
    *,
    start_s: float = 0.0,
    duration_s: float = 4.0,
    fps: float = 8.0,
    height: int = 512,
    eye: Eye | None = None,
    audio_track: int | None = None,
    progress: Progress | None = None,
) -> PanoramaClip:
    """Reads `duration_s` of a 360° video (or a still panorama) as an equirectangular clip with its sound.

    Convention:
        A picture counts as a full panorama when its metadata says equirectangular, or when nothing is said and its
        displayed width / height lies in `PANORAMA_ASPECT` (1.55 to 2.3); it is stretched to 2:1 where needed, with a
        notice. Cropped, mesh and cubemap projections, and flat shapes, are refused by name.

    Args:
        start_s: where to begin, in seconds.
        duration_s: how long; a source that ends earlier is held and padded, with a notice.
        fps: output frames per second.
        height: output height in pixels; the width is twice that.
        eye: of stereo video. None takes the left one where metadata says stereo and the picture agrees. `left` and
            `right` without metadata split top-bottom, or left-right from 3:1 on. `whole` takes the picture as it is,
            whatever its shape.
        audio_track: which sound track, from 1; None takes the default one.
        progress: called per output frame; may raise to cancel.

    Returns:
        `round(duration_s * fps)` frames, and sound of `round(duration_s * rate)` samples per channel, or no sound.

    Raises:
        InputError: the file, the range or the options cannot be used, or it is above a limit (`limits`).
    """
    num_frames = _check_request(start_s, duration_s, fps, height, eye)
    info = probe(path)
    _check_picture(info, eye)
    painter = _Painter(info, height, eye, notices=list(info.notices))
    if info.kind == "picture":
        frames = painter.paint(_picture_pixels(info)).expand(num_frames, -1, -1, -1)
        painter.notices.append(f"a still picture: the same frame for {duration_s:g} s")
    else:
        frames = _read_frames(info, start_s + np.arange(num_frames) / fps, painter, progress)
    sound, sound_notices = _read_track(info, start_s, duration_s, audio_track)
    return PanoramaClip(frames, fps, sound, start_s, info.path.name, _sentences(*painter.notices, *sound_notices))


def read_view(
    path: str | os.PathLike, *, duration_s: float, fps: float, size: int, progress: Progress | None = None
) -> tuple[StartClip, tuple[str, ...]]:
    """Reads the beginning of an ordinary video, picture or sound file as what a generation starts from.

    Args:
        duration_s: how long; a source that ends earlier is held and padded, with a notice.
        fps: output frames per second.
        size: side of the square frames in pixels; the middle of a picture that is not square is taken.

    Returns:
        Frames and sound, each None where the file has none, and the notices.

    Raises:
        InputError: the file cannot be used.
    """
    num_frames, info, painter = _check_request(0.0, duration_s, fps, size, None), probe(path), _SquarePainter(size)
    _check_pixels(info)
    frames = None
    if info.kind == "picture":
        frames = painter.paint(_picture_pixels(info)).expand(num_frames, -1, -1, -1)
    elif info.kind != "sound":
        frames = _read_frames(info, np.arange(num_frames) / fps, painter, progress)
    sound, notices = _read_track(info, 0.0, duration_s, None)
    return StartClip(frames, sound), _sentences(*painter.notices, *notices)


def read_sound(
    path: str | os.PathLike, *, start_s: float = 0.0, duration_s: float | None = None, audio_track: int | None = None
) -> tuple[Sound, tuple[str, ...]]:
    """Reads sound from any media file: float, its own rate and channels.

    Args:
        duration_s: None reads to the end; otherwise the sound is padded to it, with a notice.

    Returns:
        The sound and the notices.

    Raises:
        InputError: there is no sound to be read.
    """
    check_times(start_s, duration_s)
    info = probe(path)
    sound, notices = _read_track(info, start_s, duration_s, audio_track)
    if sound is None:
        raise InputError(f"{info.path.name} has no sound track that can be read.")
    if sound.waveform.shape[-1] == 0:
        raise InputError(f"{info.path.name} has no sound at {start_s:g} s. Choose an earlier start.")
    return sound, _sentences(*notices)


@dataclass
class PanoramaStream:
    """A 360° video, frame after frame as it is stored: nothing is resized or dropped, and one frame is held at a time.

    Args:
        info: what `probe` found.
        eye: as in `read_panorama`. audio_track: from 1; None takes the default one.
        notices: filled while frames and sound pass.
    """

    info: MediaInfo
    eye: Eye | None = None
    audio_track: int | None = None
    notices: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuses by name what is no full panorama.

        Raises:
            InputError: as in `read_panorama`.
        """
        if self.eye not in (None, "whole", "left", "right"):
            raise InputError(f"eye '{self.eye}' is unknown; choose left, right or whole.")
        if self.info.kind == "picture":
            raise InputError(f"{self.info.path.name} is a still picture; a 360° video is wanted.")
        _check_picture(self.info, self.eye)
        self.notices += self.info.notices
        self._painter = _Painter(self.info, MIN_HEIGHT_PX, self.eye, self.notices)
        self.end_s, self.ended = 0.0, False

    @property
    def sentences(self) -> tuple[str, ...]:
        """The notices so far, each once."""
        return _sentences(*dict.fromkeys(self.notices))

    def frames(
        self, start_s: float = 0.0, stop_s: float = math.inf
    ) -> Iterator[tuple[float, Callable[[], np.ndarray]]]:
        """Each frame's time and a function that gives its pixels `[h, w, 3]` uint8, upright, one eye.

        Convention: from the frame that shows `start_s` (its time may be earlier) to the last one before `stop_s`.
        Pixels are converted when asked for. After the last frame `end_s` is where the picture ends, and `ended` says
        whether that is the end of the file.
        """
        tally = _Tally()
        with _decode_from(self.info, None, start_s, tally) as (timed, stream):
            # A track's clock can be as coarse as its frames.
            tolerance = min(float(stream.time_base) / 2, EXCERPT_TOLERANCE_S)
            held: tuple[float, VideoFrame] | None = None
            for time_s, frame in timed:
                if held is not None and time_s > start_s + tolerance:
                    yield held[0], partial(self._pixels, held[1])
                if time_s > stop_s - tolerance:
                    held = None
                    break
                held = time_s, frame
            self.end_s, self.ended = tally.end_s, tally.at_end
            if held is not None and tally.end_s > start_s + tolerance:
                yield held[0], partial(self._pixels, held[1])
        if tally.damaged:
            self.notices.append(f"damaged pieces of the picture were skipped: {tally.damaged}")

    def _pixels(self, frame: VideoFrame) -> np.ndarray:
        return self._painter.part(_upright_pixels(frame, self.info))

    @property
    def track(self) -> AudioTrack | None:
        """The sound track that is read; None where there is none that can be decoded."""
        track, notices = _choose_track(self.info, self.audio_track)
        self.notices += [notice for notice in notices if notice not in self.notices]
        return track

    def sound(self, start_s: float = 0.0, stop_s: float = math.inf) -> Iterator[np.ndarray]:
        """Blocks `[C, n]` float32 of the track without a gap, sample 0 at `start_s`, AmbiX in its own order.

        Convention: gaps in the file are silence, what overlaps is dropped; ends where the track ends.
        """
        track = self.track
        if track is None:
            return
        rate, tally, gaps = track.sample_rate_hz, _Tally(), 0
        origin, length = round(start_s * rate), math.inf if stop_s == math.inf else round((stop_s - start_s) * rate)
        at: float | None = None  # where the next block goes if it follows on the one before
        written = 0
        with _decode_from(self.info, track.stream_index, start_s - SOUND_PREROLL_S, tally) as (timed, stream):
            limit = _stream_end(stream, self.info.origin_s)
            length = length if limit is None else min(length, limit - origin)
            for time_s, frame in timed:
                if frame.layout.nb_channels != track.channels or frame.sample_rate != rate:
                    tally.damaged += 1
                    continue
                stamp = time_s * rate - origin
                if at is not None and abs(stamp - at) > MAX_GAP_S * rate:
                    tally.damaged += 1
                    stamp = at
                at = round(stamp) if at is None or abs(stamp - at) > max(RUN_GAP_S, track.tick_s) * rate else at
                block, first, at = float_samples(frame), at, at + frame.samples
                silent = max(0, min(first, length) - written)
                gaps += silent if written else 0
                for _ in range(0, silent, rate):
                    part = min(rate, silent)
                    yield np.zeros((self.sound_channels, part), np.float32)
                    written, silent = written + part, silent - part
                block = block[:, max(0, written - first) : int(max(0, min(first + block.shape[1], length) - first))]
                if block.shape[1]:
                    written += block.shape[1]
                    yield self._ordered(block, track)
                if written >= length:
                    break
        if tally.damaged:
            self.notices.append(f"damaged pieces of the sound were skipped: {tally.damaged}")
        if gaps:
            self.notices.append(f"{gaps / rate:.3f} s within the sound are missing: silence there")

    @property
    def sound_channels(self) -> int:
        track = self.track
        return 0 if track is None else len(track.channel_order or range(track.channels))

    @staticmethod
    def _ordered(block: np.ndarray, track: AudioTrack) -> np.ndarray:
        block = block if track.channel_order is None else block[list(track.channel_order)]
        return np.where(np.isfinite(block), block, np.float32(0.0))


def _sentences(*notices: str) -> tuple[str, ...]:
    return tuple(notice[0].upper() + notice[1:] + "." for notice in notices)


def _check_request(start_s: float, duration_s: float, fps: float, height: int, eye: str | None) -> int:
    """Number of output frames, once every number makes sense. Comparisons are written so that NaN fails them."""
    check_times(start_s, duration_s)
    if not 0 < fps <= 240:
        raise InputError(f"{fps:g} frames per second were asked for; choose more than 0 and at most 240.")
    if height < MIN_HEIGHT_PX:
        raise InputError(f"a height of {height} pixels was asked for; choose at least {MIN_HEIGHT_PX}.")
    if eye not in (None, "whole", "left", "right"):
        raise InputError(f"eye '{eye}' is unknown; choose left, right or whole.")
    num_frames = max(1, round(duration_s * fps))
    size = num_frames * 3 * height * 2 * height * 4
    if size > max_clip_bytes():
        raise InputError(
            f"{num_frames} frames of {2 * height}x{height} would take {size / 2**30:.0f} GiB of memory, above the "
            f"limit. Ask for a shorter clip, fewer frames per second or a smaller height, or raise {CLIP_VARIABLE}."
        )
    return num_frames


def check_times(start_s: float, duration_s: float | None) -> None:
    """That an interval makes sense; comparisons are written so that NaN fails them.

    Raises:
        InputError: it does not.
    """
    if not 0 <= start_s < math.inf:
        raise InputError(f"a start of {start_s:g} s was asked for; it must be 0 or later.")
    if duration_s is not None and not 0 < duration_s < math.inf:
        raise InputError(f"a duration of {duration_s:g} s was asked for; it must be positive.")
    if start_s > MAX_TIME_S or (duration_s or 0) > MAX_TIME_S:
        longest = max(start_s, duration_s or 0)
        raise InputError(f"{longest:g} s were asked for, longer than any recording; choose up to {MAX_TIME_S:g} s.")


def _check_pixels(info: MediaInfo) -> None:
    if info.coded_width * info.coded_height > max_pixels():
        raise InputError(
            f"{info.path.name} is {info.coded_width}x{info.coded_height} pixels; at most {max_pixels()} pixels are "
            f"decoded. Scale it down first, or raise {PIXELS_VARIABLE}."
        )


def _check_picture(info: MediaInfo, eye: str | None) -> None:
    """Refuses by name what is no full panorama, before anything is decoded."""
    name, size = info.path.name, f"{info.width}x{info.height}"
    if info.kind == "sound":
        raise InputError(f"{name} has no video, only sound. Give a 360° video.")
    _check_pixels(info)
    if 0 < info.height < MIN_HEIGHT_PX or 0 < info.width < 2 * MIN_HEIGHT_PX:
        raise InputError(f"{name} is only {size} pixels, too small for a panorama. Give a larger one.")
    refused = {
        "cropped": "covers only a part of the sphere (cropped equirectangular, such as VR180)",
        "mesh": "is stored through a mesh (VR180 or another camera format)",
        "cubemap": "is stored as a cubemap",
        "flat": "is a flat video, as its metadata says",
    }
    if info.spherical.projection in refused:
        what = refused[info.spherical.projection]
        raise InputError(f"{name} {what}; a full 360° equirectangular video is wanted. Convert it first.")
    if info.projection == "flat?" and info.stereo == "mono" and eye is None:
        low, high = PANORAMA_ASPECT
        raise InputError(
            f"{name} is {size}{' after its rotation' if info.rotation_deg else ''} without 360° metadata, which looks "
            f"like a flat picture; an equirectangular one of about 2:1 ({low:g} to {high:g}) is wanted. "
            f"If it is a panorama, say eye=left (stereo) or eye=whole."
        )


# Picture --------------------------------------------------------------------------------------------------------------


class _Paints(Protocol):
    """Turns decoded pixels `[h, w, 3]` uint8, upright, into a frame `[3, height, width]` in [0, 1]."""

    notices: list[str]

    @property
    def size(self) -> tuple[int, int]: ...

    def paint(self, pixels: np.ndarray) -> Tensor: ...


@dataclass
class _SquarePainter:
    """Takes the middle square of a picture."""

    side: int
    notices: list[str] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int]:
        return self.side, self.side

    def paint(self, pixels: np.ndarray) -> Tensor:
        edge = min(pixels.shape[:2])
        top, left = ((n - edge) // 2 for n in pixels.shape[:2])
        return _resized(pixels[top : top + edge, left : left + edge], self.size)


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> Tensor:
    """`[h, w, 3]` uint8 to `[3, *size]` in [0, 1]."""
    import cv2

    shrinks = pixels.shape[0] >= size[0] and pixels.shape[1] >= size[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    small = cv2.resize(np.ascontiguousarray(pixels), size[::-1], interpolation=method)
    return torch.from_numpy(small).permute(2, 0, 1).float().div_(255.0)


@dataclass
class _Painter:
    """Turns decoded pixels into panorama frames: rotation, one eye, size. Settles on the eye at the first frame."""

    info: MediaInfo
    height: int
    eye: Eye | None
    notices: list[str] = field(default_factory=list)
    _part: tuple[slice, slice] | None = None
    _shape: tuple[int, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        return self.height, 2 * self.height

    def paint(self, pixels: np.ndarray) -> Tensor:
        return _resized(self.part(pixels), self.size)

    def part(self, pixels: np.ndarray) -> np.ndarray:
        """The eye's own pixels."""
        if self._part is None:
            self._part, self._shape = self._choose_part(pixels), pixels.shape
            self._describe_shape(pixels[self._part])
        if pixels.shape != self._shape:
            # A recording may change its size, and a damaged one may claim to.
            pixels = self._as_before(pixels)
        return pixels[self._part]

    def _as_before(self, pixels: np.ndarray) -> np.ndarray:
        import cv2

        notice = "the picture's size changes within the file: all of it is brought to that of its beginning"
        if notice not in self.notices:
            self.notices.append(notice)
        return cv2.resize(np.ascontiguousarray(pixels), self._shape[1::-1], interpolation=cv2.INTER_AREA)

    def _choose_part(self, pixels: np.ndarray) -> tuple[slice, slice]:
        height, width = pixels.shape[:2]
        whole, tags = (slice(height), slice(width)), self.info.spherical
        packing, left_first, eye = tags.stereo, tags.left_first, self.eye
        alike = _halves_alike(pixels)
        if eye is None and packing == "top-bottom" and alike is False:
            self.notices.append("the metadata says top-bottom stereo, but the halves differ: taken as one picture")
            return whole
        if eye is None and packing not in ("top-bottom", "left-right"):
            if alike:
                self.notices.append("the upper and lower half look alike; if this is top-bottom stereo, choose an eye")
            return whole
        if eye == "whole":
            return whole
        if eye is None:
            eye = "left"
            self.notices.append(f"{packing} stereo: the left eye is used")
        if packing not in ("top-bottom", "left-right"):
            packing = "left-right" if self.info.aspect >= 3 else "top-bottom"
            self.notices.append(f"no stereo metadata: split {packing} for the {eye} eye")
        first = (eye == "left") == left_first
        if packing == "top-bottom":
            half = height // 2
            return slice(0, half) if first else slice(height - half, height), slice(width)
        half = width // 2
        return slice(height), slice(0, half) if first else slice(width - half, width)

    def _describe_shape(self, part: np.ndarray) -> None:
        # Displayed shape: the stored one times the share of the pixel's own shape.
        height, width = self.info.height, self.info.width
        shown = [round(width * part.shape[1] / self._upright[1]), round(height * part.shape[0] / self._upright[0])]
        if abs(shown[0] / max(1, shown[1]) - 2) > 0.02:
            self.notices.append(f"the picture is {shown[0]}x{shown[1]}, not 2:1: stretched to 2:1")
        if _seam_ratio(part) > OPEN_SEAM:
            self.notices.append("the left and right edge do not join: this may be no full 360° picture")

    @property
    def _upright(self) -> tuple[int, int]:
        stored = (self.info.coded_height, self.info.coded_width)
        turned = self.info.rotation_deg in (90, 270) or self.info.kind == "picture" and self.info.width != stored[1]
        return stored[::-1] if turned else stored


def _halves_alike(pixels: np.ndarray) -> bool | None:
    """Whether the upper and lower half show the same scene; None where there is nothing to compare."""
    import cv2

    half = pixels.shape[0] // 2
    parts = (pixels[:half], pixels[half : 2 * half])
    halves = [cv2.resize(part, (32, 16), interpolation=cv2.INTER_AREA).mean(-1) for part in parts]
    if min(h.std() for h in halves) < 2.0:
        return None
    return float(np.corrcoef(halves[0].ravel(), halves[1].ravel())[0, 1]) > SAME_PICTURE


def _seam_ratio(pixels: np.ndarray) -> float:
    """Step across the seam in steps between neighbouring columns, without the polar rows; 0 for a flat picture."""
    import cv2

    small = cv2.resize(np.ascontiguousarray(pixels), (512, 256), interpolation=cv2.INTER_AREA)
    small = small[25:-25].astype(np.float32)
    neighbours = float(np.abs(np.diff(small, axis=1)).mean())
    return float(np.abs(small[:, 0] - small[:, -1]).mean()) / neighbours if neighbours > 0.1 else 0.0


def _picture_pixels(info: MediaInfo) -> np.ndarray:
    """`[h, w, 3]` uint8 of a still, upright; transparency becomes black, 16 bits become 8."""
    from PIL import Image, ImageOps

    with open_picture(info.path) as picture:
        picture = ImageOps.exif_transpose(picture)
        if picture.mode.startswith(("I", "F")):
            values = np.asarray(picture, dtype=np.float32)
            gray = (np.nan_to_num(values) / (257.0 if values.max() > 255 else 1.0)).clip(0, 255)
            return np.repeat(gray.round().astype(np.uint8)[..., None], 3, -1)
        if "A" in picture.getbands() or "transparency" in picture.info:
            black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
            picture = Image.alpha_composite(black, picture.convert("RGBA"))
        return np.asarray(picture.convert("RGB"))


def _read_frames(info: MediaInfo, times: np.ndarray, painter: _Paints, progress: Progress | None) -> Tensor:
    """One frame per time; only frames that are shown are converted."""
    frames = torch.empty(len(times), 3, *painter.size)
    tally, shown, name = _Tally(), None, info.path.name
    with _decode_from(info, None, times[0], tally) as (timed, stream):
        tolerance = float(stream.time_base) / 2
        for i, frame in enumerate(pick_by_time(timed, times, tolerance)):
            frames[i] = frames[i - 1] if frame is shown else painter.paint(_upright_pixels(frame, info))
            shown = frame
            if progress is not None:
                progress(i + 1, len(times), "reading frames")
    if shown is None:
        raise InputError(f"{name} has no frame that can be decoded{tally.after}. It is damaged or incomplete.")
    held = int((times >= tally.end_s - tolerance).sum()) if tally.at_end else 0
    if held == len(times):
        raise InputError(
            f"a start of {times[0]:g} s was asked for, but the picture of {name} ends at {tally.end_s:.2f} s. "
            f"Choose an earlier start."
        )
    if held:
        ending = f"the picture ends at {tally.end_s:.2f} s"
        painter.notices.append(f"{ending}: its last frame is held for {held} of {len(times)} frames")
    if tally.damaged:
        painter.notices.append(f"damaged pieces of the picture were skipped: {tally.damaged}")
    return frames


def pick_by_time(timed: Iterable[tuple[float, T]], times: Iterable[float], tolerance: float) -> Iterator[T]:
    """For each of the rising `times`, the last item not later than it (within `tolerance`); the first for earlier ones.

    Reads no further than it must: up to the first item after the last time.
    """
    wanted, current, known = iter(times), None, False
    time = next(wanted, None)
    for item_time, item in timed:
        while known and time is not None and time + tolerance < item_time:
            yield current
            time = next(wanted, None)
        if time is None:
            return
        current, known = item, True
    while known and time is not None:
        yield current
        time = next(wanted, None)


def _upright_pixels(frame: VideoFrame, info: MediaInfo) -> np.ndarray:
    """`[h, w, 3]` uint8, rotated as the file asks."""
    from av.video.reformatter import ColorRange, Colorspace

    if frame.format.is_rgb:
        return np.rot90(frame.to_ndarray(format="rgb24"), info.rotation_deg // 90)
    # Matrix and range are named, since older PyAV ignores both tags and acts only where source and target differ.
    # Untagged HD is BT.709 for players, BT.601 for FFmpeg.
    names = {1: "ITU709", 4: "FCC", 5: "ITU601", 6: "ITU601", 7: "SMPTE240M", 9: "BT2020", 10: "BT2020"}
    name = names.get(int(frame.colorspace), "ITU709" if frame.height >= 720 else "ITU601")
    is_full = int(frame.color_range) == 2 or frame.format.name.startswith("yuvj")
    picture = frame.reformat(
        format="rgb24",
        src_colorspace=getattr(Colorspace, name, None),
        dst_colorspace=Colorspace.ITU601,
        src_color_range=ColorRange.JPEG if is_full else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
    )
    return np.rot90(picture.to_ndarray(), info.rotation_deg // 90)


# Decoding -------------------------------------------------------------------------------------------------------------


@dataclass
class _Tally:
    """What happened while decoding: damaged packets and frames, where the last good frame ended, end of file.

    `durations` are those of packets on their way, in ticks by timestamp: older PyAV's frames have none.
    """

    damaged: int = 0
    end_s: float = 0.0
    at_end: bool = False
    durations: dict[int, int] = field(default_factory=dict)

    def reset(self) -> None:
        self.damaged, self.end_s, self.at_end = 0, 0.0, False
        self.durations.clear()

    @property
    def after(self) -> str:
        return f" (damaged pieces: {self.damaged})" if self.damaged else ""


@contextmanager
def _decode_from(
    info: MediaInfo, stream_index: int | None, target_s: float, tally: _Tally
) -> Iterator[tuple[Iterator[tuple[float, Frame]], Stream]]:
    """Frames of one stream with their times, from `target_s` or earlier on, and the stream.

    A file's index can be missing or wrong. Each attempt seeks further back and is checked by the first frame's own
    time; the last one reads from the beginning.
    """
    for back_s in SEEK_BACK_S:
        with open_media(info.path) as container:
            stream = video_stream(container) if stream_index is None else container.streams[stream_index]
            from_start = target_s - back_s <= 0
            if from_start or _seek(container, info.origin_s + target_s - back_s):
                timed = _timed_frames(container, stream, info.origin_s, tally)
                first = next(timed, None)
                if from_start or first is not None and first[0] <= target_s + float(stream.time_base) / 2:
                    yield (timed if first is None else chain((first,), timed)), stream
                    return
        tally.reset()


def _seek(container: InputContainer, time_s: float) -> bool:
    import av

    try:
        container.seek(int(time_s * 1_000_000), backward=True)
    except av.FFmpegError:  # no index: the caller reads from the beginning instead
        return False
    return True


def _timed_frames(
    container: InputContainer, stream: Stream, origin_s: float, tally: _Tally
) -> Iterator[tuple[float, Frame]]:
    """Frames with their times in seconds, never going back; frames without a time follow on the one before."""
    is_video = stream.type == "video"
    if is_video:
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = min(MAX_THREADS, os.cpu_count() or 1)
        # Frames may be larger than the first one, whose size was checked.
        stream.codec_context.options = {"max_pixels": str(max_pixels())}
    rate = (stream.average_rate or stream.guessed_rate or Fraction(25)) if is_video else None
    last_s = -math.inf
    for frame in _good_frames(container, stream, tally):
        known = frame.pts is not None and frame.time_base
        time_s = float(frame.pts * frame.time_base) - origin_s if known else max(0.0, tally.end_s)
        time_s = max(time_s, last_s) if is_video else time_s
        if is_video:
            ticks = tally.durations.pop(frame.pts, None)
            seconds = float(ticks * frame.time_base) if known and ticks else float(1 / rate)
        else:
            seconds = frame.samples / frame.sample_rate
        last_s, tally.end_s = time_s, time_s + seconds
        yield time_s, frame
    tally.at_end = True


def _good_frames(container: InputContainer, stream: Stream, tally: _Tally) -> Iterator[Frame]:
    """Decodes what can be decoded; damaged packets and frames are counted and left out."""
    import av

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
            if packet.duration:
                tally.durations[packet.pts] = packet.duration
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


# Sound ----------------------------------------------------------------------------------------------------------------


def _read_track(
    info: MediaInfo, start_s: float, duration_s: float | None, number: int | None
) -> tuple[Sound | None, tuple[str, ...]]:
    track, notices = _choose_track(info, number)
    if track is None:
        return None, (*notices[:-1], f"{notices[-1]}: silence is used")
    waveform = _read_samples(info, track, start_s, duration_s, notices)
    if waveform is None:
        return None, (*notices, "the sound track has no sound that can be decoded: silence is used")
    bad = int((~np.isfinite(waveform)).sum())
    if bad:
        waveform = np.where(np.isfinite(waveform), waveform, np.float32(0.0))
        notices.append(f"{bad} samples of the sound are not numbers (NaN or infinite): they are silenced")
    if track.channel_order is not None:
        waveform = np.ascontiguousarray(waveform[list(track.channel_order)])
    return Sound(torch.from_numpy(waveform), track.sample_rate_hz, track.layout), (*notices, *track.notices)


def _choose_track(info: MediaInfo, number: int | None) -> tuple[AudioTrack | None, list[str]]:
    """The track of a number or the default one, and what to say; None, and at last why, where none can be decoded."""
    tracks, notices = info.audio_tracks, []
    if number is not None and not 1 <= number <= len(tracks):
        raise InputError(f"sound track {number} was asked for; {info.path.name} has {len(tracks)}, counted from 1.")
    if not tracks:
        return None, ["there is no sound track"]
    track = tracks[number - 1] if number else next((t for t in tracks if t.is_default), tracks[0])
    if len(tracks) > 1:
        labels = ", ".join(f"{t.number}: {t.label}" for t in tracks)
        notices.append(f"there are {len(tracks)} sound tracks ({labels}); number {track.number} is used")
    if track.channels < 1 or track.sample_rate_hz < 1:
        return None, [*notices, "the sound track cannot be decoded"]
    return track, notices


@dataclass
class _Run:
    """Consecutive blocks of sound without a gap, in samples; `tick` is the step of their timestamps."""

    rate: int
    tick: float
    blocks: list[np.ndarray] = field(default_factory=list)
    offsets: list[float] = field(default_factory=list)
    length: int = 0
    skipped: int = 0

    def fits(self, time_s: float) -> bool:
        return abs(time_s * self.rate - self.offsets[0] - self.length) <= RUN_GAP_S * self.rate

    def add(self, time_s: float, block: np.ndarray, keep: bool) -> None:
        self.offsets.append(time_s * self.rate - self.length)
        self.length += block.shape[1]
        if keep:
            self.blocks.append(block)
        else:  # before the interval: only its length matters
            self.skipped += block.shape[1]

    @property
    def first(self) -> int:
        """Where the run begins in the file: each rounded timestamp (WebM: milliseconds) narrows it down."""
        low, high = max(self.offsets) - self.tick / 2, min(self.offsets) + self.tick / 2
        if low > high:  # timestamps that jitter by more than their rounding
            return round(float(np.median(self.offsets)))
        # Nothing is rounded at the file's start, so the first stamp counts where the others allow it.
        return round(min(max(self.offsets[0], low), high) if abs(self.offsets[0]) < 1 else (low + high) / 2)


def _read_samples(
    info: MediaInfo, track: AudioTrack, start_s: float, duration_s: float | None, notices: list[str]
) -> np.ndarray | None:
    """`[C, N]` float32 of exactly the interval; None when nothing at all decodes."""
    rate, tally = track.sample_rate_hz, _Tally()
    origin, length = round(start_s * rate), None if duration_s is None else round(duration_s * rate)
    _check_sound_size(info, track, length or 0)
    stop_s = math.inf if duration_s is None else start_s + duration_s
    runs: list[_Run] = []
    counted = track.tick_s * rate > 1.001 and start_s <= COUNTED_SOUND_S
    target_s = 0.0 if counted else start_s - SOUND_PREROLL_S
    with _decode_from(info, track.stream_index, target_s, tally) as (timed, stream):
        limit = _stream_end(stream, info.origin_s)
        for time_s, frame in timed:
            if time_s > stop_s + RUN_GAP_S:
                break
            if frame.layout.nb_channels != track.channels or frame.sample_rate != rate:
                tally.damaged += 1
                continue
            if not runs or not runs[-1].fits(time_s):
                runs.append(_Run(rate, track.tick_s * rate))
            keep = bool(runs[-1].blocks) or time_s + frame.samples / rate > start_s - RUN_GAP_S
            runs[-1].add(time_s, float_samples(frame) if keep else np.empty((0, frame.samples), np.float32), keep)
            _check_sound_size(info, track, runs[-1].length)
    if tally.damaged:
        notices.append(f"damaged pieces of the sound were skipped: {tally.damaged}")
    if not runs:
        return None
    end = min(runs[-1].first + runs[-1].length, math.inf if limit is None else limit) - origin
    length = max(0, end) if length is None else length
    _check_sound_size(info, track, length)
    samples, covered = _place(runs, track.channels, origin, length, end)
    _describe_gaps(covered, rate, start_s, notices)
    return samples


def _check_sound_size(info: MediaInfo, track: AudioTrack, num_samples: int) -> None:
    size = 4 * track.channels * num_samples
    if size > max_clip_bytes():
        raise InputError(
            f"the sound of {info.path.name} ({track.channels} channels at {track.sample_rate_hz} Hz) would take "
            f"{size / 2**30:.0f} GiB of memory, above the limit. Ask for a shorter part, or raise {CLIP_VARIABLE}."
        )


def _place(runs: list[_Run], channels: int, origin: int, length: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    """The runs on a silent interval that begins at `origin`, and which samples of it they cover."""
    samples, covered = np.zeros((channels, length), np.float32), np.zeros(length, bool)
    for run in runs:
        at = run.first + run.skipped - origin
        for block in run.blocks:
            low, high = max(at, 0), min(at + block.shape[1], length, end)
            if low < high:
                samples[:, low:high] = block[:, low - at : high - at]
                covered[low:high] = True
            at += block.shape[1]
    return samples, covered


def _describe_gaps(covered: np.ndarray, rate: int, start_s: float, notices: list[str]) -> None:
    if not covered.any():
        notices.append("the sound track has nothing in this interval: silence is used")
        return
    head, tail = int(covered.argmax()), int(covered[::-1].argmax())
    inner = len(covered) - head - tail - int(covered.sum())
    if head > NOTICE_GAP_S * rate:
        notices.append(f"the sound starts {head / rate:.2f} s late: silence before it")
    if tail > NOTICE_GAP_S * rate:
        notices.append(f"the sound ends at {start_s + (len(covered) - tail) / rate:.2f} s: padded with silence")
    if inner > 0:
        notices.append(f"{inner / rate:.3f} s within the sound are missing: silence there")


def _stream_end(stream: Stream, origin_s: float) -> int | None:
    """Sample at which an MP4's edit list ends the track: the coder's padding beyond it is not sound."""
    if "mp4" not in stream.container.format.name or not stream.duration:
        return None
    end_s = float(((stream.start_time or 0) + stream.duration) * stream.time_base) - origin_s
    return round(end_s * stream.codec_context.sample_rate)


def float_samples(frame: AudioFrame) -> np.ndarray:
    """A decoded block as `[C, n]` float32 with full scale 1. No mixer: channels stay as they are."""
    values, kind = frame.to_ndarray(), frame.format.name.removesuffix("p")
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    if kind == "u8":
        return (values.astype(np.float32) - 128.0) / 128.0
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    full_scale = float(2 ** (8 * values.dtype.itemsize - 1))
    return (values.astype(np.float64) / full_scale).astype(np.float32)
