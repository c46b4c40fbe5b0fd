"""Reframe a 360° video: a flat one at its own resolution and frame rate, its sound turned with the view.

Needs no weights. Takes files of any length: memory holds one frame and a fraction of a second of sound.

Convention: times of a path count from where the excerpt begins. Each source frame is shown once, at its own time. The
field of view spans the longer side of the picture. So a picture of any shape lies inside the square view that editors
and other stages draw. Pixels are square.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..choices import MULTICUE, SOUND_KINDS, WRITTEN_HDR, Eye, Hdr, PresetName, SoundKind, StereoLaw, check_aspect
from ..errors import InputError
from ..geometry.degrees import DEG
from ..media.files import check_not_read
from ..media.info import probe
from ..media.layouts import AS_TAGGED, Reading
from ..media.planes import Planes
from ..media.presets import file_kind
from ..media.reader import PanoramaStream, check_times, shown_at_rate
from ..media.writer import ClipStream, clip_stream
from ..records import PanoramaClip, Progress, View, ViewTrack
from ..viewpoint.choose import check_fov_deg, manual_viewpoint
from ..viewpoint.keyframes import Keyframe, keyframes_of
from .aim import SALIENCY_FPS, Estimator, Follow, Look, aim_at, seconds_of
from .camera import Camera
from .in_memory import HeldPanorama
from .sound import Heard, choose_mix, sound_blocks, sound_gain

if TYPE_CHECKING:
    import torch

    from ..saliency.human_faces import FaceDetector

SIDE_RANGE_PX = (16, 8192)
# The largest side that players decode reliably; a size that was asked for may exceed it.
MAX_DEFAULT_SIDE_PX = 4096
# The frame rate varies where the longest frame lasts this many times the shortest; less is rounding of timestamps.
VARIABLE_RATE = 1.5


@dataclass(frozen=True)
class Reframed:
    """Facts about the file that was written.

    Args:
        sound: "stereo", "mono", "foa", "headphones" where it was turned, "as recorded", or "none".
        first_view: the view of the first frame.
        notices: sentences for people.
        look: where the camera was told to look. track: where it looked, `SALIENCY_FPS` times a second.
    """

    path: Path
    width: int
    height: int
    num_frames: int
    duration_s: float
    sound: str
    first_view: View
    notices: tuple[str, ...]
    look: Look
    track: ViewTrack

    @property
    def keyframes(self) -> tuple[Keyframe, ...]:
        """The camera's path to edit by hand: the given one, or the followed one made sparse (`keyframes_of`)."""
        if isinstance(self.look, View):
            return (Keyframe(0.0, self.first_view),)
        return keyframes_of(self.track, SALIENCY_FPS) if isinstance(self.look, Follow) else tuple(self.look)


@dataclass(frozen=True)
class ReframeSettings:
    """The part of the video to reframe, and the size, rate and sound of the result.

    Args:
        size: width and height in pixels, even. None gives as many pixels per degree as the source has.
        aspect: width over height, 1:4 to 4:1, for a size of None; None gives a square.
        sound: `stereo` and `mono` are virtual microphones turned with the view (`stereo_matrix`, `view_sound`), or the
            downmix of loudspeakers (`downmix_matrix`); `foa` is the turned Ambisonics itself, `headphones` what two
            ears hear of it; `auto` leaves mono and stereo as they are and makes stereo of the rest. A head-locked pair
            is added without a turn. All of it is resampled where AAC lacks the rate, and turned down by one gain where
            it would be too loud.
        hrtf: SOFA file of the listener's own head for `headphones`; None takes `load_ears`.
        stereo: law by which Ambisonics becomes stereo (`sound.stereo`).
        start_s: where to begin. duration_s: how long; None goes to the end.
        fps: None keeps every frame at its own time; a number repeats and drops frames to a constant rate.
        eye, audio_track, ambisonics, head_locked, reading: as in `read_panorama`, for files.
        saliency: method of `predict_saliency`, for `Follow`.
        preset: kind of file (`media.presets`); None writes H.264 and AAC.
        hdr: tone-map HDR, or keep it with 10 bits.

    Raises:
        InputError: a size, sound, time or frame rate that cannot be used.
    """

    size: tuple[int, int] | None = None
    sound: SoundKind = "auto"
    hrtf: str | Path | None = None
    stereo: StereoLaw = "cardioids"
    start_s: float = 0.0
    duration_s: float | None = None
    fps: float | None = None
    eye: Eye | None = None
    audio_track: int | None = None
    ambisonics: str = "auto"
    head_locked: bool = False
    saliency: str | Path = MULTICUE
    aspect: float | None = None
    reading: Reading = AS_TAGGED
    preset: PresetName | None = None
    hdr: Hdr = "tone-map"

    def __post_init__(self) -> None:
        low, high = SIDE_RANGE_PX
        if self.size is not None and any(side % 2 or not low <= side <= high for side in self.size):
            width, height = self.size
            raise InputError(f"a size of {width}x{height} was asked for; H.264 needs even numbers, {low} to {high}.")
        if self.aspect is not None:
            check_aspect(self.aspect)
        if self.size is not None and self.aspect is not None:
            raise InputError("a size has its own aspect ratio; give the size or the aspect ratio, not both.")
        if self.sound not in SOUND_KINDS:
            raise InputError(f"sound {self.sound!r} is unknown; choose one of {', '.join(SOUND_KINDS)}.")
        if self.hrtf is not None and self.sound != "headphones":
            raise InputError(f"a SOFA file is for the sound 'headphones', and the sound is {self.sound!r}; choose one.")
        if self.stereo != "cardioids":
            from ..sound.stereo import check_law

            check_law(self.stereo)
        if self.stereo != "cardioids" and self.sound not in ("auto", "stereo"):
            raise InputError(f"a stereo law is for the sound 'stereo', and the sound is {self.sound!r}; choose one.")
        check_times(self.start_s, self.duration_s)
        check_hdr(self.hdr)
        if self.fps is not None and not 0 < self.fps <= 240:
            raise InputError(f"{self.fps:g} frames per second were asked for; choose more than 0 and at most 240.")

    @property
    def stop_s(self) -> float:
        """End of the excerpt in seconds of the source; infinite without a duration."""
        return math.inf if self.duration_s is None else self.start_s + self.duration_s


def reframe(
    source: str | os.PathLike[str] | PanoramaClip, out: str | os.PathLike[str], look: Look,
    settings: ReframeSettings | None = None,
    *, detector: FaceDetector | None = None, device: torch.device | str = "cpu", progress: Progress | None = None,
) -> Reframed:  # fmt: skip
    """Write what a camera inside a 360° video sees and hears, as an MP4 (H.264, AAC).

    Convention: the module's text.

    Args:
        source: a 360° video, or a clip that is held. out: the MP4 to write; it appears when it is complete.
        look: a salient region to follow, one view, or keyframes.
        settings: part, size, rate and sound; None takes the defaults.
        detector: finds faces for `Follow`; None does without. device: computes its saliency.
        progress: told of each frame; may raise to cancel, which leaves no file.

    Returns:
        Facts about the clip and the notices.

    Raises:
        InputError: the file, the range, the path or the options cannot be used.
    """
    settings = settings or ReframeSettings()
    _check_look(look)
    kind = file_kind(settings.preset)
    kind.check_path(out)
    stream = _open(source, out, settings)
    kind = kind.showing(stream.info.colour, settings.hdr)
    start_s, stop_s = settings.start_s, settings.stop_s
    mix = choose_mix(stream, settings.sound, settings.hrtf, settings.stereo, kind)
    aim = aim_at(stream, look, start_s, stop_s, Estimator(settings.saliency, detector, device), progress)
    job = Job(stream, start_s, stop_s, settings.fps, progress)
    (_, columns), shots = job.shots()
    width, height = settings.size or _default_size(columns, _widest_deg(look), settings.aspect or 1.0)
    camera = Camera(width, height)
    gain = sound_gain(stream, mix, aim, start_s, stop_s, progress)
    with clip_stream(
        out, (width, height), job.time_base, job.rate, mix.shape, coding=kind.picture, sound_coding=kind.sound
    ) as clip:
        heard = Heard(sound_blocks(stream, mix, aim, start_s, stop_s), mix, gain, clip)
        job.write(shots, clip, heard, lambda shot: camera.picture(shot.pixels, aim(shot.time_s)))
    stream.notices += mix.coding.notices(mix.rate_hz, gain, mix.channels) if mix.shape else ()
    notices = (*stream.sentences, *job.notices())
    views = tuple(aim(i / SALIENCY_FPS) for i in range(max(1, round(job.end_s * SALIENCY_FPS))))
    return Reframed(
        Path(out), width, height, job.count, job.end_s, mix.name, views[0], notices, look,
        ViewTrack(views, width / height),
    )  # fmt: skip


def _open(
    source: str | os.PathLike[str] | PanoramaClip, out: str | os.PathLike[str], settings: ReframeSettings
) -> PanoramaStream:  # fmt: skip
    if isinstance(source, PanoramaClip):
        if settings.eye not in (None, "whole"):
            raise InputError(
                f"the eye {settings.eye!r} is for files; cut the frames of that eye out of the clip first."
            )
        return HeldPanorama(source)
    info = probe(source).taken_as(settings.reading)
    check_not_read(out, [info.path])
    return PanoramaStream(
        info, settings.eye, settings.audio_track, settings.ambisonics, settings.head_locked, hdr=settings.hdr
    )  # fmt: skip


def check_hdr(hdr: Hdr) -> None:
    """Check what is to become of HDR in a written file.

    Raises:
        InputError: an unknown word.
    """
    if hdr not in WRITTEN_HDR:
        raise InputError(f"HDR {hdr!r} is unknown; choose {' or '.join(WRITTEN_HDR)}.")


def _check_look(look: Look) -> None:
    if isinstance(look, Follow):
        from ..viewpoint.follow import Follower

        Follower(SALIENCY_FPS, look.rank)
        check_fov_deg(look.fov_deg)
    elif isinstance(look, View):
        manual_viewpoint(look.yaw_deg, look.pitch_deg, look.fov_deg, 1, look.roll_deg)
    elif not look:
        raise InputError("there are no keyframes; set at least one, or choose the view in another way.")


def _widest_deg(look: Look) -> float:
    return look.fov_deg if isinstance(look, Follow | View) else max(frame.view.fov_deg for frame in look)


def _default_size(source_width: int, fov_deg: float, aspect: float) -> tuple[int, int]:
    """A picture with as many pixels per degree at its centre as a panorama of `source_width` pixels."""
    from ..geometry.perspective import picture_size

    side = 2 * math.tan(fov_deg * DEG / 2) * source_width / (2 * math.pi)
    width, height = picture_size(min(MAX_DEFAULT_SIDE_PX, round(side / 2) * 2), aspect)
    return max(SIDE_RANGE_PX[0], width), max(SIDE_RANGE_PX[0], height)


# Picture --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shot:
    """One frame of the result: its tick of the time base, seconds from the excerpt's start, and the panorama."""

    tick: int
    time_s: float
    pixels: np.ndarray | Planes


@dataclass
class Job:
    """Give out the frames of an excerpt with their output times, count and write them.

    Args:
        what: the work, as its progress names it.
    """

    stream: PanoramaStream
    start_s: float
    stop_s: float
    fps: float | None
    progress: Progress | None
    what: str = "reframing"
    count: int = 0
    end_s: float = 0.0
    _gaps: list[float] = field(default_factory=lambda: [math.inf, 0.0])
    _doubled: int = 0

    @property
    def rate(self) -> float:
        return self.fps or self.stream.info.fps or 25.0

    @property
    def time_base(self) -> Fraction:
        if self.fps:
            return 1 / Fraction(self.fps).limit_denominator(1001)
        # A common fine base: WebM's reader and frames without a time do not keep the stream's own.
        return Fraction(1, 90000)

    def shots(self) -> tuple[tuple[int, int], Iterator[Shot]]:
        """Give rows and columns of the first frame, and all frames in order; the first one begins at 0 s.

        Raises:
            InputError: there is none.
        """
        shots = self._constant() if self.fps else self._own_times()
        first = next(shots, None)
        if first is None:
            name = self.stream.info.path.name
            raise InputError(f"{name} has no picture at {self.start_s:g} s; choose an earlier start.")
        rows, columns = first.pixels.shape[:2]
        return (rows, columns), chain((first,), shots)

    def write(
        self, shots: Iterator[Shot], clip: ClipStream, heard: Heard, draw: Callable[[Shot], np.ndarray | Planes]
    ) -> None:
        """Write what is drawn of each frame, and the sound beside it."""
        for shot in shots:
            clip.add_frame(draw(shot), shot.tick)
            heard.advance(shot.time_s)
            self._tell()
        # As in the source, sound may outlast the picture.
        heard.advance(math.inf)

    def _constant(self) -> Iterator[Shot]:
        assert self.fps is not None
        frames = self.stream.stored_frames(self.start_s, self.stop_s)
        shots = shown_at_rate(self.stream, frames, self.fps, self.start_s, self.stop_s)
        for tick, pixels in enumerate(shots):
            self.count, self.end_s = tick + 1, (tick + 1) / self.fps
            yield Shot(tick, tick / self.fps, pixels())

    def _own_times(self) -> Iterator[Shot]:
        last_tick, last_s = -1, 0.0
        for source_s, pixels in self.stream.stored_frames(self.start_s, self.stop_s):
            # The clip begins with the first frame, even where that begins before or after the excerpt's start.
            time_s = max(0.0, source_s - self.start_s) if self.count else 0.0
            tick = round(time_s / self.time_base)
            if tick <= last_tick:
                self._doubled += 1
                continue
            if self.count > 1:
                self._gaps = [min(self._gaps[0], time_s - last_s), max(self._gaps[1], time_s - last_s)]
            last_tick, last_s, self.count = tick, time_s, self.count + 1
            yield Shot(tick, time_s, pixels())
        end_s = self.stream.end_s if self.stream.ended else self.stop_s
        self.end_s = max(last_s, min(end_s, self.stop_s) - self.start_s)

    def _tell(self) -> None:
        if self.progress is not None:
            total = round(seconds_of(self.stream.info, self.start_s, self.stop_s) * self.rate)
            self.progress(self.count, max(self.count, total), self.what)

    def notices(self) -> tuple[str, ...]:
        low, high = self._gaps
        said = []
        if self.fps is None and high > VARIABLE_RATE * low:
            said.append(
                f"The frame rate varies ({1 / high:.4g} to {1 / low:.4g} per second): each frame keeps its own time."
            )
        source = self.stream.info.fps
        if self.fps is not None and source and abs(source - self.fps) > 0.01:
            said.append(f"Made constant at {self.fps:g} frames per second; the source has about {source:.4g}.")
        if self._doubled:
            said.append(f"{self._doubled} frames without a time of their own were left out.")
        if self.stop_s < math.inf and self.end_s < self.stop_s - self.start_s - 0.1:
            said.append(f"The picture ends after {self.end_s:.2f} s of the excerpt.")
        return tuple(said)
