"""Write a held picture at its source's own size and rate, beside the sound that was made for it.

The model sees the picture at its own few pixels and few frames a second. What is kept of it need not pass through them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..media.copying import copied_clip
from ..media.decoding import Tally, decode_from
from ..media.info import MediaInfo, probe
from ..media.painting import picture_pixels, upright_pixels
from ..media.writer import clip_stream, fit_sound
from ..records import Progress, Sound, ViewTrack
from ..viewpoint.keyframes import Keyframe
from .aim import Look
from .run import ReframeSettings, reframe

TIME_BASE = Fraction(1, 90000)
# Of a still picture, which has none of its own.
STILL_FPS = 8.0


@dataclass(frozen=True)
class HeldPicture:
    """Facts about the picture that was written."""

    width: int
    height: int
    num_frames: int
    notices: tuple[str, ...]


def write_held_view(
    source: str | os.PathLike[str], out: str | os.PathLike[str], track: ViewTrack, fps: float, sound: Sound,
    settings: ReframeSettings, *, progress: Progress | None = None,
) -> HeldPicture:  # fmt: skip
    """Cut a view out of a 360° file as `reframe` does, and write it with a new sound.

    Args:
        track: the view, `fps` times a second from the excerpt's start.
        sound: mono or stereo, as long as the excerpt.
        settings: the excerpt, the eye and the size; their sound is not used.

    Raises:
        InputError: as `reframe`.
    """
    with tempfile.TemporaryDirectory() as folder:
        silent = Path(folder) / "picture.mp4"
        made = reframe(source, silent, _look(track, fps), settings, progress=progress)
        fitted, notices = fit_sound(sound)
        shape = fitted.waveform.shape[0], fitted.sample_rate_hz
        with copied_clip(probe(silent), out, shape) as clip:
            for _ in clip.picture():
                pass
            clip.add_sound(fitted.waveform.numpy())
    return HeldPicture(made.width, made.height, made.num_frames, (*made.notices, *notices))


def write_held_file(
    source: str | os.PathLike[str], out: str | os.PathLike[str], sound: Sound, *, progress: Progress | None = None
) -> HeldPicture:
    """Write the picture of an ordinary video or picture file as long as a sound lasts, with that sound.

    Each frame keeps its own time; a picture that ends earlier is held. Odd sizes lose their last row or column.

    Args:
        sound: mono or stereo.

    Raises:
        InputError: the file has no picture.
    """
    info = probe(source)
    fitted, notices = fit_sound(sound)
    shots = _shots(info, sound.duration_s)
    first = None if info.kind == "sound" else next(shots, None)
    if first is None:
        raise InputError(f"{info.path.name} has no picture to hold; choose another file.")
    height, width = (side // 2 * 2 for side in first[1].shape[:2])
    rate = info.fps or STILL_FPS
    shape, count, tick = (fitted.waveform.shape[0], fitted.sample_rate_hz), 0, -1
    with clip_stream(out, (width, height), TIME_BASE, rate, shape) as clip:
        shot: tuple[float, np.ndarray] | None = first
        while shot is not None:
            now = round(max(0.0, shot[0]) / TIME_BASE)
            if now > tick:
                tick, count = now, count + 1
                clip.add_frame(_sized(shot[1], first[1].shape)[:height, :width], tick)
            if progress is not None:
                progress(count, max(count, round(sound.duration_s * rate)), "writing the picture")
            shot = next(shots, None)
        clip.add_sound(fitted.waveform.numpy())
    return HeldPicture(width, height, count, notices)


def _sized(pixels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Bring a picture to the size of the first one: a recording can change its own."""
    import cv2

    return pixels if pixels.shape == shape else cv2.resize(np.ascontiguousarray(pixels), shape[1::-1])


def _look(track: ViewTrack, fps: float) -> Look:
    """A still track as its view, a moving one as keyframes, one for each of its views."""
    if track.is_still:
        return track.views[0]
    return tuple(Keyframe(i / fps, view) for i, view in enumerate(track.views))


def _shots(info: MediaInfo, seconds: float) -> Iterator[tuple[float, np.ndarray]]:
    """Time and pixels of each frame of the first seconds; the last one again where the file ends earlier."""
    last: tuple[float, np.ndarray] | None = None
    if info.kind == "picture":
        last = -1 / STILL_FPS, picture_pixels(info)
    else:
        with decode_from(info, None, 0.0, Tally()) as (timed, _):
            for time_s, frame in timed:
                if time_s >= seconds - 1e-3:
                    return
                last = time_s, upright_pixels(frame, info)
                yield last
    step = 1 / (info.fps or STILL_FPS)
    while last is not None and last[0] + step < seconds - 1e-3:
        last = last[0] + step, last[1]
        yield last
