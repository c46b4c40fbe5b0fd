"""Place the sound of a generated clip around the listener."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..errors import InputError
from ..records import Sound, ViewpointClip
from ..sound.fields import synthesise
from ..sound.levels import to_mono
from .finding import RHYTHM_CONFIDENCE, Found, find_rhythms
from .movement import Movement


def place_generated(
    clip: ViewpointClip, windows: Iterable[Movement], confidence: float = RHYTHM_CONFIDENCE
) -> tuple[Sound, Found]:
    """Turn a generated clip's sound into Ambisonics, by the rhythms of the panorama that it was generated for.

    A joint sampler's sound keeps no phase against its maps, so only rates of pulses can be compared.

    Args:
        clip: of any model whose sound has no directions.
        windows: of the panorama: `movement_of_stream` of its file, at 15 frames a second, or `movement_of_clip`.
        confidence: least score of a band that is placed; other bands stay diffuse.

    Returns:
        First-order AmbiX as long as the clip's sound, in the panorama's directions, and what was found; its notices
        come after the clip's own.

    Raises:
        InputError: the sound has directions already, or as `find_rhythms`.
    """
    if clip.sound.layout == "ambix":
        raise InputError("the clip's sound is Ambisonic already; turn it with the view instead of placing it again.")
    mono = to_mono(clip.sound)
    found = find_rhythms(windows, mono, confidence)
    return synthesise(mono, found.field), replace(found, notices=(*clip.notices, *found.notices))
