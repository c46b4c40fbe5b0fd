"""Read a piece of a 360° video: frames by timestamp, resized while decoding, with the sound of the same interval.

Convention: output frame `i` shows the time `start_s + i / fps`: the last source frame whose timestamp is not later,
within half a tick of the stream's clock; before the first frame, the first. Sample `n` of the sound is the file's
time `start_s + n / rate`. Time 0 is the file's own start. Nothing is repaired in silence: each departure from what
was asked becomes a notice.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np

from ..choices import EYES, Eye, Hdr
from ..errors import InputError
from ..records import PanoramaClip, Progress, Sound, StartClip
from .colour import hdr_notices
from .decoding import Tally, decode_from, pick_by_time
from .info import MIN_HEIGHT_PX, PANORAMA_ASPECT, AudioTrack, MediaInfo, probe
from .layouts import AS_TAGGED, Reading
from .limits import CLIP_VARIABLE, MAX_TIME_S, PIXELS_VARIABLE, max_clip_bytes, max_pixels
from .painting import Painter, Paints, SquarePainter, picture_pixels, upright_pixels
from .planes import Planes, planes_of
from .spherical_tags import Packing
from .track import choose_track, read_track, stream_track
from .upright import upright_blocks, upright_sound

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from torch import Tensor

T = TypeVar("T")
GivesStored: TypeAlias = Callable[[], np.ndarray | Planes]

# Tolerance at an excerpt's ends: finer than any frame, coarser than rounded milliseconds.
EXCERPT_TOLERANCE_S = 0.0006


def read_panorama(
    path: str | os.PathLike,
    *,
    start_s: float = 0.0,
    duration_s: float = 4.0,
    fps: float = 8.0,
    height: int = 512,
    eye: Eye | None = None,
    audio_track: int | None = None,
    ambisonics: str = "auto",
    head_locked: bool = False,
    hdr: Hdr = "tone-map",
    reading: Reading = AS_TAGGED,
    progress: Progress | None = None,
) -> PanoramaClip:
    """Read `duration_s` of a 360° video (or a still panorama) as an equirectangular clip with its sound.

    Convention:
        A picture counts as a full panorama when its metadata says equirectangular, or when nothing is said and its
        displayed width / height lies in `PANORAMA_ASPECT` (1.55 to 2.3); it is stretched to 2:1 where needed, with a
        notice. Cropped, mesh and cubemap projections are laid out as panoramas, black where they show nothing. Flat
        pictures and shapes are refused.

    Args:
        start_s: where to begin, in seconds.
        duration_s: how long; a source that ends earlier is held and padded, with a notice.
        fps: output frames per second.
        height: output height in pixels; the width is twice that.
        eye: of stereo video. None takes the left one where metadata says stereo and the picture agrees. `left` and
            `right` without metadata split top-bottom, or left-right from 3:1 on. `whole` takes the picture as it is,
            whatever its shape.
        audio_track: which sound track, from 1; None takes the default one.
        ambisonics, head_locked: what its channels are, as in `channels.channel_meaning`.
        hdr: HDR is tone-mapped to SDR, or its `values` are taken as they are; a notice says which.
        reading: how the picture is taken where the metadata is missing or wrong.
        progress: called per output frame; may raise to cancel.

    Returns:
        `round(duration_s * fps)` frames, and sound of `round(duration_s * rate)` samples per channel, or no sound.

    Raises:
        InputError: the file, the range or the options cannot be used, or it is above a limit (`limits`).
    """
    num_frames = _check_request(start_s, duration_s, fps, height, eye)
    info = probe(path).taken_as(reading)
    check_picture(info, eye)
    # Before the picture, which takes longer: impossible options of the sound fail at once.
    sound, sound_notices = read_track(info, start_s, duration_s, audio_track, ambisonics, head_locked)
    painter = Painter(info, height, eye, notices=[*info.notices, *hdr_notices(info.colour, hdr)])
    if info.kind == "picture":
        frames = painter.paint(picture_pixels(info)).expand(num_frames, -1, -1, -1)
        painter.notices.append(f"a still picture: the same frame for {duration_s:g} s")
    else:
        frames = _read_frames(info, start_s + np.arange(num_frames) / fps, painter, progress, hdr)
    sound = upright_sound(sound, info)
    return PanoramaClip(frames, fps, sound, start_s, info.path.name, _sentences(*painter.notices, *sound_notices))


def read_view(
    path: str | os.PathLike, *, duration_s: float, fps: float, size: int, progress: Progress | None = None
) -> tuple[StartClip, tuple[str, ...]]:
    """Read the beginning of an ordinary video, picture or sound file, for a generation to start from.

    Args:
        duration_s: how long; a source that ends earlier is held and padded, with a notice.
        fps: output frames per second.
        size: side of the square frames in pixels; the middle of a picture that is not square is taken.

    Returns:
        Frames and sound, each None where the file has none, and the notices.

    Raises:
        InputError: the file cannot be used.
    """
    num_frames, info, painter = _check_request(0.0, duration_s, fps, size, None), probe(path), SquarePainter(size)
    painter.notices += hdr_notices(info.colour, "tone-map")
    check_pixels(info)
    frames = None
    if info.kind == "picture":
        frames = painter.paint(picture_pixels(info)).expand(num_frames, -1, -1, -1)
    elif info.kind != "sound":
        frames = _read_frames(info, np.arange(num_frames) / fps, painter, progress)
    sound, notices = read_track(info, 0.0, duration_s, None)
    return StartClip(frames, sound), _sentences(*painter.notices, *notices)


def read_sound(
    path: str | os.PathLike, *, start_s: float = 0.0, duration_s: float | None = None, audio_track: int | None = None,
    ambisonics: str = "auto", head_locked: bool = False,
) -> tuple[Sound, tuple[str, ...]]:  # fmt: skip
    """Read sound from any media file: float, its own rate and channels.

    Args:
        duration_s: None reads to the end; otherwise the sound is padded to it, with a notice.
        audio_track, ambisonics, head_locked: as in `read_panorama`.

    Returns:
        The sound and the notices.

    Raises:
        InputError: there is no sound to be read.
    """
    check_times(start_s, duration_s)
    info = probe(path)
    sound, notices = read_track(info, start_s, duration_s, audio_track, ambisonics, head_locked)
    if sound is None:
        raise InputError(f"{info.path.name} has no sound track that can be read.")
    if sound.waveform.shape[-1] == 0:
        raise InputError(f"{info.path.name} has no sound at {start_s:g} s. Choose an earlier start.")
    return sound, _sentences(*notices)


@dataclass
class PanoramaStream:
    """Stream a 360° video frame by frame as stored: nothing is resized or dropped, one frame is held at a time.

    Args:
        info: what `probe` found.
        eye, audio_track, ambisonics, head_locked: as in `read_panorama`.
        notices: filled while frames and sound pass.
        both_eyes: keep both eyes of a stereo file where no eye was chosen, as they are packed.
        hdr: what becomes of HDR; to `keep` it, `stored_frames` gives it as planes.
    """

    info: MediaInfo
    eye: Eye | None = None
    audio_track: int | None = None
    ambisonics: str = "auto"
    head_locked: bool = False
    notices: list[str] = field(default_factory=list)
    both_eyes: bool = False
    hdr: Hdr = "tone-map"

    def __post_init__(self) -> None:
        """Refuse flat pictures, and projections that cannot be read.

        Raises:
            InputError: as in `read_panorama`.
        """
        if self.eye not in (None, *EYES):
            raise InputError(f"eye '{self.eye}' is unknown; choose left, right or whole.")
        if self.info.kind == "picture":
            raise InputError(f"{self.info.path.name} is a still picture; a 360° video is wanted.")
        check_picture(self.info, self.eye)
        self.notices += [*self.info.notices, *hdr_notices(self.info.colour, self.hdr)]
        self._painter = Painter(self.info, MIN_HEIGHT_PX, self.eye, self.notices, self.both_eyes)
        self.end_s, self.ended = 0.0, False

    @property
    def sentences(self) -> tuple[str, ...]:
        """List the notices so far, each once."""
        return _sentences(*dict.fromkeys(self.notices))

    def frames(
        self, start_s: float = 0.0, stop_s: float = math.inf
    ) -> Iterator[tuple[float, Callable[[], np.ndarray]]]:
        """Yield each frame's time and a function that gives its pixels `[h, w, 3]` uint8, upright, one eye.

        Convention: from the frame that shows `start_s` (its time may be earlier) to the last one before `stop_s`.
        Pixels are converted when asked for. After the last frame `end_s` is where the picture ends, and `ended` says
        whether that is the end of the file.
        """
        yield from self._timed(self._pixels, start_s, stop_s)

    def stored_frames(self, start_s: float = 0.0, stop_s: float = math.inf) -> Iterator[tuple[float, GivesStored]]:
        """Yield as `frames` does, but as planes where the file holds its pictures so (`planes_of`)."""
        yield from self._timed(self._stored, start_s, stop_s)

    def _timed(
        self, convert: Callable[[VideoFrame], T], start_s: float, stop_s: float
    ) -> Iterator[tuple[float, Callable[[], T]]]:
        tally = Tally()
        with decode_from(self.info, None, start_s, tally) as (timed, stream):
            # A track's clock can be as coarse as its frames.
            tolerance = min(float(stream.time_base) / 2, EXCERPT_TOLERANCE_S)
            held: tuple[float, VideoFrame] | None = None
            for time_s, frame in timed:
                if held is not None and time_s > start_s + tolerance:
                    yield held[0], partial(convert, held[1])
                if time_s > stop_s - tolerance:
                    held = None
                    break
                held = time_s, frame
            self.end_s, self.ended = tally.end_s, tally.at_end
            if held is not None and tally.end_s > start_s + tolerance:
                yield held[0], partial(convert, held[1])
        if tally.damaged:
            self.notices.append(f"damaged pieces of the picture were skipped: {tally.damaged}")

    @property
    def packing(self) -> Packing:
        """Packing of the eyes in the pixels; known once the first ones were asked for."""
        return self._painter.packing

    def _pixels(self, frame: VideoFrame) -> np.ndarray:
        return self._painter.part(upright_pixels(frame, self.info, self.hdr))

    def _stored(self, frame: VideoFrame) -> np.ndarray | Planes:
        planes = None if self.hdr == "values" else planes_of(frame, self.info)
        found = planes and self._painter.part_of_planes(planes)
        if found is None:
            # The first pixels settle which part is shown, for planes too.
            pixels = self._pixels(frame)
            found = planes and self._painter.part_of_planes(planes)
        return pixels if found is None else found

    @property
    def track(self) -> AudioTrack | None:
        """Sound track that is read; None where none can be decoded."""
        track, notices = choose_track(self.info, self.audio_track, self.ambisonics, self.head_locked)
        self.notices += [notice for notice in notices if notice not in self.notices]
        return track

    def sound(self, start_s: float = 0.0, stop_s: float = math.inf) -> Iterator[np.ndarray]:
        """Yield gapless blocks `[C, n]` float32 of the track, sample 0 at `start_s`, channels as `track.heard` says.

        Convention: gaps in the file become silence, overlaps are dropped; it ends where the track ends.
        """
        track = self.track
        if track is not None:
            blocks = stream_track(self.info, track, start_s, stop_s, self.notices)
            yield from upright_blocks(blocks, self.info, track)

    @property
    def sound_channels(self) -> int:
        track = self.track
        return 0 if track is None else track.heard_channels


def at_rate(
    stream: PanoramaStream, fps: float, start_s: float, stop_s: float
) -> Iterator[Callable[[], np.ndarray]]:  # fmt: skip
    """Yield the picture `[H, W, 3]` at start_s, start_s + 1 / fps, ... until the video or the excerpt ends."""
    return shown_at_rate(stream, stream.frames(start_s, stop_s), fps, start_s, stop_s)


def shown_at_rate(
    stream: PanoramaStream, frames: Iterator[tuple[float, T]], fps: float, start_s: float, stop_s: float
) -> Iterator[T]:
    """Yield what is shown at start_s, start_s + 1 / fps, ... of the timed `frames` of a stream."""
    shown: T | None = None
    count, tolerance = 0, 0.25 / fps
    for time_s, pixels in frames:
        # Timestamps rounded to milliseconds must not shift a picture by a frame.
        while shown is not None and start_s + count / fps + min(tolerance, 1e-3) < time_s:
            yield shown
            count += 1
        shown = pixels
    end_s = min(stop_s, stream.end_s) if stream.ended else stop_s
    while shown is not None and start_s + count / fps < end_s - 1e-3:
        yield shown
        count += 1


def small_picture(pixels: np.ndarray, height: int) -> Tensor:
    """Average a picture `[H, W, 3]` uint8 down to `[3, height, 2 height]` in [0, 1]."""
    import cv2
    import torch

    small = cv2.resize(np.ascontiguousarray(pixels), (2 * height, height), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(small).permute(2, 0, 1).float() / 255.0


def _sentences(*notices: str) -> tuple[str, ...]:
    return tuple(notice[0].upper() + notice[1:] + "." for notice in notices)


def _check_request(start_s: float, duration_s: float, fps: float, height: int, eye: str | None) -> int:
    """Check every number and return the number of output frames. Comparisons are written so that NaN fails them."""
    check_times(start_s, duration_s)
    if not 0 < fps <= 240:
        raise InputError(f"{fps:g} frames per second were asked for; choose more than 0 and at most 240.")
    if height < MIN_HEIGHT_PX:
        raise InputError(f"a height of {height} pixels was asked for; choose at least {MIN_HEIGHT_PX}.")
    if eye not in (None, *EYES):
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
    """Refuse an interval that makes no sense; comparisons are written so that NaN fails them.

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


def check_pixels(info: MediaInfo) -> None:
    """Check that a picture is not too large to be decoded.

    Raises:
        InputError: it is above `max_pixels`.
    """
    if info.coded_width * info.coded_height > max_pixels():
        raise InputError(
            f"{info.path.name} is {info.coded_width}x{info.coded_height} pixels; at most {max_pixels()} pixels are "
            f"decoded. Scale it down first, or raise {PIXELS_VARIABLE}."
        )


def check_picture(info: MediaInfo, eye: str | None) -> None:
    """Refuse what is no panorama before anything is decoded.

    Raises:
        InputError: it is none, is too small or too large.
    """
    name, size = info.path.name, f"{info.width}x{info.height}"
    if info.kind == "sound":
        raise InputError(f"{name} has no video, only sound. Give a 360° video.")
    check_pixels(info)
    if 0 < info.height < MIN_HEIGHT_PX or 0 < info.width < 2 * MIN_HEIGHT_PX:
        raise InputError(f"{name} is only {size} pixels, too small for a panorama. Give a larger one.")
    if info.spherical.projection == "flat":
        raise InputError(
            f"{name} is a flat video, as its metadata says; a 360° video is wanted. If it is one, choose its "
            f"projection by hand."
        )
    if info.projection == "flat?" and info.stereo == "mono" and eye is None:
        low, high = PANORAMA_ASPECT
        raise InputError(
            f"{name} is {size}{' after its rotation' if info.rotation_deg else ''} without 360° metadata, which looks "
            f"like a flat picture; an equirectangular one of about 2:1 ({low:g} to {high:g}) is wanted. "
            f"If it is a panorama, say eye=left (stereo) or eye=whole."
        )


def _read_frames(
    info: MediaInfo, times: np.ndarray, painter: Paints, progress: Progress | None, hdr: Hdr = "tone-map"
) -> Tensor:
    """Read one frame per time; convert only frames that are shown."""
    import torch

    frames = torch.empty(len(times), 3, *painter.size)
    tally, shown, name = Tally(), None, info.path.name
    with decode_from(info, None, times[0], tally) as (timed, stream):
        tolerance = float(stream.time_base) / 2
        for i, frame in enumerate(pick_by_time(timed, times, tolerance)):
            frames[i] = frames[i - 1] if frame is shown else painter.paint(upright_pixels(frame, info, hdr))
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
