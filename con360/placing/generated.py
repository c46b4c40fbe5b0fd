"""Place the sound of a generated clip around the listener, and hear it from a view.

Ambisonics, the view's sound, stereo and headphones are renderings of one mono sound and its directions: every view of a
scene hears the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..choices import CLIP_SOUNDS, ClipSound
from ..errors import InputError
from ..records import Sound, ViewpointClip, ViewTrack
from ..sound.fields import synthesise
from ..sound.levels import omni_sound, to_mono
from ..sound.views import view_ears, view_sound, view_stereo
from .finding import RHYTHM_CONFIDENCE, Found, find_rhythms
from .movement import Movement

if TYPE_CHECKING:
    from ..control import LoadedControl


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
    placed, found = place_mono(clip.sound, windows, confidence)
    return placed, replace(found, notices=(*clip.notices, *found.notices))


def place_mono(sound: Sound, windows: Iterable[Movement], confidence: float = RHYTHM_CONFIDENCE) -> tuple[Sound, Found]:
    """Place a generated sound, mixed to mono, as `place_generated` does."""
    mono = to_mono(sound)
    found = find_rhythms(windows, mono, confidence)
    return synthesise(mono, found.field), found


# A control without a direction head falls back to this, by name.
FALLBACK = "the control gives no directions: 'find the place' puts the sound where the picture has its rhythm"


def sound_around(clip: ViewpointClip, windows: Callable[[], Iterable[Movement]]) -> tuple[Sound, tuple[str, ...]]:
    """Turn a generated clip's sound into Ambisonics: by the clip's directions, or else by `place_generated`.

    Args:
        windows: called where the clip has no directions; returns `place_generated`'s windows.

    Returns:
        First-order AmbiX as long as the clip's sound, in the panorama's directions, and notices.

    Raises:
        InputError: as `place_generated` and `synthesise`.
    """
    if clip.directions is not None:
        return synthesise(to_mono(clip.sound), clip.directions), ()
    placed, found = place_generated(replace(clip, notices=()), windows())
    return placed, (FALLBACK, *found.notices)


def heard_from(around: Sound, kind: ClipSound, track: ViewTrack, fps: float) -> Sound:
    """Render Ambisonics as a clip's sound.

    Args:
        around: of `sound_around`. kind: `view` is the view's microphone, `omni` the sound without directions, `stereo`
            two cardioids and `headphones` two ears that turn with the view.
        track, fps: of the clip.

    Raises:
        InputError: an unknown kind, or sound that is not Ambisonic.
    """
    if kind == "omni":
        return omni_sound(around)
    render = {"view": view_sound, "stereo": view_stereo, "headphones": view_ears}.get(kind)
    if render is None:
        raise InputError(f"a clip's sound is one of {', '.join(CLIP_SOUNDS)}; got {kind!r}.")
    return render(around, track, fps)


def heard_of(clip: ViewpointClip, kind: ClipSound, track: ViewTrack) -> Sound:
    """Hear a clip as `heard_from` does, by its own directions; without any, its sound is as it was made."""
    if clip.directions is None or kind == "omni":
        return clip.sound
    return heard_from(synthesise(to_mono(clip.sound), clip.directions), kind, track, clip.fps)


def usual_sound(control: LoadedControl | None) -> ClipSound:
    """Choose `view` where a head places the scene's sound, else `omni`: the sound as the model makes it."""
    if control is None or control.field_head is None:
        return "omni"
    # Sound that was learned as the view's own is not turned once more.
    return "view" if control.module.config.sound == "omni" else "omni"
