"""Requests to the caption models. Ours, not the paper's, which publishes none; every one can be replaced."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError

DEFAULT_TIMES, DEFAULT_BATCH = 3, 6

# The captioner continues this text for each face; {direction} becomes "in front", "behind", ...
FACE_PROMPT = "a photo of"

# {captions} becomes one line for each face and time: "0.7 s, in front: a man with a guitar".
MERGE_PROMPT = """\
These are captions of one 360° video. Each line gives a time, a direction as seen from the middle, and what is seen \
there.

{captions}

Describe the whole scene around the viewer in one paragraph of at most 120 words: what is where, and what changes \
over time. Use only what the captions say, keep the directions, and leave out repetitions. Answer with the \
paragraph alone."""

# {description} becomes the long caption.
SHORT_PROMPT = """\
{description}

Shorten this description of a 360° scene to one or two plain sentences of at most 40 words. Begin with what moves or \
makes a sound, and say where it is. Answer with the sentences alone."""


@dataclass(frozen=True)
class CaptionPrompts:
    """The three prompts of a scene caption.

    Args:
        face: begins each face's caption; may be empty, may hold {direction}.
        merge: asks the language model for the long caption; holds {captions}.
        short: asks it for the short one; holds {description}.

    Raises:
        InputError: a prompt lacks its place holder, so that the model would never see what it should read.
    """

    face: str = FACE_PROMPT
    merge: str = MERGE_PROMPT
    short: str = SHORT_PROMPT

    def __post_init__(self) -> None:
        for name, text, place in (("merge", self.merge, "{captions}"), ("short", self.short, "{description}")):
            if place not in text:
                raise InputError(
                    f"the {name} prompt does not hold {place}, so the language model would not see what to work on; "
                    f"put {place} where it belongs."
                )
