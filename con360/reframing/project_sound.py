"""Give a written picture the sound of a file: copied where an MP4 holds it, else coded again."""

from __future__ import annotations

import os
from pathlib import Path

from ..media.copying import copied_clip
from ..media.info import probe
from ..media.joining import can_copy, join_sound
from ..media.reader import PanoramaStream
from ..records import Progress, View
from .sound import sound_blocks, sound_gain, whole_mix


def add_sound(
    silent: Path, out: Path, stream: PanoramaStream | None, stop_s: float, progress: Progress | None
) -> str:  # fmt: skip
    """Write the picture of `silent` with the sound of a stream, both from their beginnings.

    Args:
        silent: is moved or read. out: written as it is named, without another step. stream: None gives no sound.
        stop_s: where copied sound is cut; infinite keeps all of it. Sound that is coded again ends with the picture.

    Returns:
        Name of the sound, as in `Projected.sound`.
    """
    track = None if stream is None else stream.track
    if stream is None or track is None:
        os.replace(silent, out)
        return "none"
    if can_copy(stream.info, track):
        stream.notices += track.notices
        join_sound(silent, stream.info, track, out, stop_s)
        return "copied"
    mix, front = whole_mix(stream), View(0.0)
    assert mix.shape is not None  # the track has channels
    gain = sound_gain(stream, mix, lambda _: front, 0.0, stop_s, progress)
    blocks = sound_blocks(stream, mix, lambda _: front, 0.0, stop_s)
    with copied_clip(probe(silent), out, mix.shape) as clip:
        clip.copy_with((block * gain).numpy() for block in blocks)
    stream.notices += mix.coding.notices(mix.rate_hz, gain, mix.channels)
    return mix.name


def is_ambisonic(stream: PanoramaStream | None) -> bool:
    """Tell whether a stream's sound is Ambisonics."""
    track = None if stream is None else stream.track
    return track is not None and track.layout == "ambix"
