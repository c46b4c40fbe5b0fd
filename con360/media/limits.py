"""Limits of what may be decoded of a file: explicit, and adjustable by environment variables.

A file decides how large its pictures are and how long its sound is, and a few kilobytes can claim any size. What is
above a limit is refused in one sentence that names the variable; nothing is allocated for it.
"""

from __future__ import annotations

import os

from ..errors import InputError

# One decoded 8-bit 4:2:0 frame of this size takes 50 MB.
MAX_PIXELS = 8192 * 4096
# Of one clip in memory: its frames as float32, or its sound.
MAX_CLIP_GIB = 8
# Numbers beyond this many seconds are no times in a recording (115 days).
MAX_TIME_S = 1e7

PIXELS_VARIABLE, CLIP_VARIABLE = "CON360_MAX_PIXELS", "CON360_MAX_CLIP_GIB"


def max_pixels() -> int:
    """Width times height of the largest picture that is decoded: `CON360_MAX_PIXELS`, else 8192 x 4096.

    Raises:
        InputError: the variable holds no positive number.
    """
    return int(_from_environment(PIXELS_VARIABLE, MAX_PIXELS))


def max_clip_bytes() -> int:
    """Bytes that one clip's frames, or its sound, may take in memory: `CON360_MAX_CLIP_GIB`, else 8 GiB.

    Raises:
        InputError: the variable holds no positive number.
    """
    return int(_from_environment(CLIP_VARIABLE, MAX_CLIP_GIB) * 2**30)


def _from_environment(name: str, usual: float) -> float:
    text = os.environ.get(name, "").strip()
    try:
        value = float(text) if text else usual
    except ValueError:
        value = 0.0
    if not 0 < value < 2**53:
        raise InputError(f"the environment variable {name} is {text!r}; wanted a positive number, or nothing.")
    return value
