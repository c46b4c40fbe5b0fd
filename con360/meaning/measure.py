"""Measure how far a caption, a picture and a sound agree: three cosines and their volume, always together.

The volume alone is blind to signs: it is 0 wherever the three vectors lie in a plane, opposite ones as well.

Shape legend: B clips, F frames, S samples, D vector.

Source: GRAM (arXiv 2412.11959).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from ..metrics.gram import gram_volume
from ..protocols import MeaningEncoder, PairTexts

# Quieter than this (-80 dB of full scale) is silence, darker than one step of 255 is black.
SILENCE_RMS, BLACK = 1e-4, 1 / 255


@dataclass(frozen=True)
class Meaning:
    """Hold what clips share by one encoder, `[B]` each.

    Args:
        ta, tv, va: cosines of caption and sound, caption and picture, picture and sound.
        volume: of the three vectors, 0 to 1.
        encoder: its name. Picture and sound of an encoder without a shared space have neither `va` nor `volume`.
    """

    ta: Tensor
    tv: Tensor
    va: Tensor | None
    volume: Tensor | None
    encoder: str


@dataclass(frozen=True)
class CaptionVectors:
    """Hold captions as an encoder reads them, `[B, D]` each.

    Args:
        whole: beside picture and sound at once, for volumes; None where there is no shared space.
        sound, picture: to be compared with that one.
    """

    whole: Tensor | None
    sound: Tensor
    picture: Tensor


def read_captions(encoder: MeaningEncoder, captions: Sequence[str]) -> CaptionVectors:
    """Read captions for all three comparisons.

    Raises:
        InputError: an empty caption.
    """
    whole = encoder.read_text(captions) if encoder.shared else None
    if isinstance(encoder, PairTexts):
        return CaptionVectors(whole, *encoder.read_pair_texts(captions))
    assert whole is not None, "an encoder without a shared space has texts for its pairs"
    return CaptionVectors(whole, whole, whole)


def check_shared(encoder: MeaningEncoder, what: str = "a volume") -> None:
    """Refuse what needs one space.

    Raises:
        InputError: the encoder has two.
    """
    if not encoder.shared:
        raise InputError(
            f"{encoder.name} reads pictures and sounds into two spaces, so {what} over both means nothing; use its "
            "cosines with the caption, or choose an encoder with one space."
        )


def meaning_of(encoder: MeaningEncoder, text: CaptionVectors, picture: Tensor, sound: Tensor) -> Meaning:
    """Compare vectors that an encoder read, `[B, D]` of pictures and sounds."""
    ta, tv = _cosine(text.sound, sound), _cosine(text.picture, picture)
    if text.whole is None:
        return Meaning(ta, tv, None, None, encoder.name)
    volume = gram_volume(text.whole, picture, sound)
    return Meaning(ta, tv, _cosine(picture, sound), volume, encoder.name)


@torch.no_grad()
def measure(
    encoder: MeaningEncoder, captions: Sequence[str], frames: Tensor, fps: float, sounds: Tensor, rate_hz: int
) -> Meaning:
    """Measure clips.

    Args:
        captions: B of them. frames: `[B, F, 3, H, W]` in [0, 1]. sounds: mono, `[B, S]` in [-1, 1].

    Raises:
        InputError: numbers of clips differ, a caption is empty, a picture black, or a sound silent.
    """
    if not len(captions) == len(frames) == len(sounds):
        raise InputError(
            f"{len(captions)} captions came with {len(frames)} pictures and {len(sounds)} sounds; give one of each."
        )
    check_picture(frames)
    check_sound(sounds)
    text = read_captions(encoder, captions)
    return meaning_of(encoder, text, encoder.read_picture(frames, fps), encoder.read_sound(sounds, rate_hz))


def figures_text(found: Meaning) -> str:
    """Say the figures of one clip in words, all of them and whose they are."""
    said = f"by {found.encoder}: caption and sound {float(found.ta):.3f}, caption and picture {float(found.tv):.3f}"
    if found.va is None or found.volume is None:
        return f"{said}; it has no common space of picture and sound, so no volume."
    return f"{said}, picture and sound {float(found.va):.3f} (cosines, 1 is agreed); volume {float(found.volume):.3f}."


def check_picture(frames: Tensor) -> None:
    """Refuse pictures `[..., 3, H, W]` in which nothing is to be seen.

    Raises:
        InputError: one is black throughout, or has values that are no numbers.
    """
    if not frames.isfinite().all():
        raise InputError("the picture has values that are no numbers; make it again.")
    if (frames.flatten(1).amax(1) < BLACK).any():
        raise InputError(
            "a picture is black throughout, so it has no meaning to measure; give one that shows something."
        )


def check_sound(sounds: Tensor) -> None:
    """Refuse sounds `[B, S]` in which nothing is to be heard.

    Raises:
        InputError: one is silent, or has values that are no numbers.
    """
    if not sounds.isfinite().all():
        raise InputError("the sound has values that are no numbers; make it again.")
    if (sounds.square().mean(1).sqrt() < SILENCE_RMS).any():
        raise InputError("a sound is silent, so it has no meaning to measure; give one that sounds.")


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return torch.cosine_similarity(a.double(), b.double(), dim=-1)
