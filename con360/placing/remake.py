"""Code a 360° clip again: a part of it, another size, a codec that every browser plays; its directions stay."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from torch import Tensor

from ..errors import InputError
from ..media.copying import copied_clip
from ..media.info import MediaInfo
from ..media.reader import PanoramaStream
from ..media.sound_coders import USUAL_SOUND
from ..media.writer import clip_stream
from ..records import Progress, Sound, View
from ..reframing.aim import seconds_of
from ..reframing.sound import Heard, choose_mix, sound_blocks, sound_gain
from ..sound.levels import to_mono
from ..sound.peaks import peak_of
from .sources import SoundFile

TIME_BASE = Fraction(1, 90000)
FRONT = View(0.0)


@dataclass(frozen=True)
class Excerpt:
    """A part of a clip; None goes to its end."""

    start_s: float = 0.0
    duration_s: float | None = None

    @property
    def stop_s(self) -> float:
        return math.inf if self.duration_s is None else self.start_s + self.duration_s


def remake(
    stream: PanoramaStream, out: str | os.PathLike[str], part: Excerpt, size: tuple[int, int] | None = None, *,
    progress: Progress | None = None,
) -> int:  # fmt: skip
    """Write a panorama as H.264 and AAC: one eye, each frame at its own time, first-order AmbiX where it has that.

    Args:
        stream: of the clip; notices are added to it. out: the MP4 to write.
        size: width and height, even; None keeps the picture's, made even.

    Returns:
        The number of frames.

    Raises:
        InputError: the clip has no picture there.
    """
    mix = choose_mix(stream, "foa" if stream.track is not None and stream.track.layout == "ambix" else "auto")
    start_s, stop_s = part.start_s, part.stop_s
    shots = ((time_s, pixels()) for time_s, pixels in stream.frames(start_s, stop_s))
    first = next(shots, None)
    if first is None:
        raise InputError(f"{stream.info.path.name} has no picture at {start_s:g} s; choose an earlier start.")
    width, height = size or (first[1].shape[1] // 2 * 2, first[1].shape[0] // 2 * 2)
    gain = sound_gain(stream, mix, _ahead, start_s, stop_s, progress)
    rate = stream.info.fps or 25.0
    total, count, tick = round(seconds_of(stream.info, start_s, stop_s) * rate), 0, -1
    with clip_stream(out, (width, height), TIME_BASE, rate, mix.shape, panorama="mono") as clip:
        heard = Heard(sound_blocks(stream, mix, _ahead, start_s, stop_s), mix, gain, clip)
        shot: tuple[float, np.ndarray] | None = first
        while shot is not None:
            time_s = max(0.0, shot[0] - start_s) if count else 0.0
            if round(time_s / TIME_BASE) > tick:
                tick, count = round(time_s / TIME_BASE), count + 1
                clip.add_frame(_resized(shot[1], (width, height)), tick)
                heard.advance(time_s)
            if progress is not None:
                progress(count, max(count, total), "coding the clip")
            shot = next(shots, None)
        heard.advance(math.inf)
    stream.notices += mix.coding.notices(mix.rate_hz, gain, mix.channels) if mix.shape else ()
    return count


def with_sound(clip: MediaInfo, sound: SoundFile, out: str | os.PathLike[str]) -> None:
    """Write a clip with another sound, mono or stereo, from its start on; the picture's packets are copied."""
    channels = sound.channels if sound.track.layout in ("mono", "stereo") else 1
    rate = USUAL_SOUND.rate_for(channels, sound.rate_hz)

    def blocks() -> Iterator[Tensor]:
        heard = sound.track.heard
        for block in sound.blocks(rate):
            yield (
                block
                if channels == block.shape[0]
                else to_mono(Sound(block, rate, heard.layout, heard.speakers)).waveform
            )

    gain = USUAL_SOUND.gain_for(peak_of(blocks()))
    with copied_clip(clip, out, (channels, rate)) as copied:
        copied.copy_with((block * gain).numpy() for block in blocks())


def _ahead(time_s: float) -> View:
    return FRONT


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    import cv2

    if pixels.shape[1::-1] == size:
        return pixels
    way = cv2.INTER_AREA if size[0] < pixels.shape[1] else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(pixels), size, interpolation=way)
