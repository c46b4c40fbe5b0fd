"""Captions without a model: typed by a person, or a plain statement of what was found. Nothing is guessed."""

from __future__ import annotations

from ..errors import InputError
from ..records import PanoramaClip, SceneCaption, Viewpoint

MAX_CHARACTERS = 2000


def typed_caption(text: str) -> SceneCaption:
    """A caption that a person wrote; line breaks and repeated spaces are one space, halves of a character "?".

    Raises:
        InputError: longer than 2000 characters.
    """
    short = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
    if len(short) > MAX_CHARACTERS:
        raise InputError(f"the caption has {len(short)} characters; the text encoders read at most {MAX_CHARACTERS}.")
    return SceneCaption(short=short, long=short, origin="typed")


def plain_caption(clip: PanoramaClip, viewpoint: Viewpoint | None = None) -> SceneCaption:
    """Say what is known without looking at the content: a panorama, its salient places, its sound.

    The short form is empty: the text encoders get no words rather than words about file formats.
    """
    sound = "no sound" if clip.sound is None else f"{clip.sound.layout} sound"
    where = ""
    if viewpoint is not None and viewpoint.region is not None:
        where = f", most salient at yaw {viewpoint.region.yaw_deg:.0f}°, pitch {viewpoint.region.pitch_deg:.0f}°"
    length = f"{clip.num_frames / clip.fps:g} s"
    long = f"An uncaptioned 360° clip of {length} with {sound}{where}. Type a caption to say what is in it."
    return SceneCaption(short="", long=long, origin="plain")
