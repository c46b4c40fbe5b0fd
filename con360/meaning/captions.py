"""Check captions that are to be compared."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InputError


def checked_captions(captions: Sequence[str]) -> Sequence[str]:
    """Return captions as they are.

    Raises:
        InputError: there is none, or one is empty.
    """
    if not captions or not all(caption.strip() for caption in captions):
        raise InputError("a caption is empty, so there is no meaning to compare with; write what the clip shows.")
    return captions
