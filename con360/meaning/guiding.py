"""Make the guide of one generation: from an encoder, a caption and what is held."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ..errors import InputError
from ..models.system import AVSystem
from ..protocols import LatentMeaning, MeaningEncoder
from ..records import AV, MODALITIES, Progress, SceneCaption, StartClip
from ..sampling.settings import SAID, SamplerSettings
from ..sampling.steer import Step
from ..timing import ClipSpec
from .guide import MeaningGuide, MeaningGuideSettings
from .measure import check_picture, check_sound, read_captions
from .reading import reading_of


@dataclass(frozen=True)
class Guiding:
    """A guide by meaning, as it is asked for: whose meaning, and how."""

    encoder: MeaningEncoder
    settings: MeaningGuideSettings = field(default_factory=MeaningGuideSettings)


def check_judge(guiding: Guiding | None, judge: MeaningEncoder) -> None:
    """Refuse to judge a clip by the encoder that guides it.

    Raises:
        InputError: both are one.
    """
    if guiding is not None and guiding.encoder.name == judge.name:
        raise InputError(
            f"{judge.name} is given as a judge and guides the clip too, which it would then praise; guide by another "
            "encoder, or choose another judge."
        )


def meaning_terms(
    guiding: Guiding | None, model: AVSystem, caption: SceneCaption, start: StartClip, settings: SamplerSettings,
    spec: ClipSpec, progress: Progress | None = None,
) -> tuple[MeaningGuide, ...]:  # fmt: skip
    """Return the term that guides by meaning; none without a guide, at strength 0, or where all that moves is held.

    Args:
        start: what is given, fitted to the model.
        progress: told of the step again before each reading; may raise to cancel.

    Raises:
        InputError: an empty caption, a held picture that is black or a held sound that is silent, or an encoder that
            cannot read what this model makes.
    """
    if guiding is None or guiding.settings.strength == 0:
        return ()
    if all(settings.hold == SAID.get(m) for m in guiding.settings.moves):
        return ()
    _check_held(start, settings)
    encoder = guiding.encoder
    with torch.inference_mode(False), torch.no_grad():
        text = read_captions(encoder, [caption.short])
    read = AV(reading_of(encoder, model, "video", spec), reading_of(encoder, model, "audio", spec))
    # An encoder of latents lies where its own network is; others read through the codecs.
    modules = () if isinstance(encoder, LatentMeaning) else [m for codec in model.codecs for m in codec.modules()]
    first = min(settings.begins(m) for m in MODALITIES)

    def alive(step: Step) -> None:
        if progress is not None:
            progress(step.index - first, step.total - first, "sampling")

    return (MeaningGuide(text, read, guiding.settings, modules=modules, alive=alive),)


def record_of(terms: tuple[MeaningGuide, ...]) -> tuple[Mapping[str, Any], ...]:
    """Return the rows of all guides' records."""
    return tuple(row for term in terms for row in term.record)


def _check_held(start: StartClip, settings: SamplerSettings) -> None:
    if settings.hold == SAID.video and start.frames is not None:
        check_picture(start.frames[None])
    if settings.hold == SAID.audio and start.sound is not None:
        check_sound(start.sound.waveform.mean(0, keepdim=True))
