"""Generate several views of one scene over one sound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch

from ..choices import HOLDS
from ..control import LoadedControl
from ..errors import InputError
from ..meaning.guiding import Guiding
from ..models.system import AVSystem
from ..pipeline import OnStep, check_conditions, default_settings, generate
from ..records import AV, Conditions, Progress, StartClip, ViewpointClip
from ..sampling.settings import SamplerSettings
from ..sampling.steer import Term
from ..sampling.when import TimeGuideSettings

MOST_VIEWS = 16


def generate_views(
    model: AVSystem,
    control: LoadedControl | None,
    scene: Sequence[Conditions],
    settings: SamplerSettings | None = None,
    *,
    seconds: float = 4.0,
    strengths: Mapping[str, float] | None = None,
    when: TimeGuideSettings | None = None,
    meaning: Guiding | None = None,
    terms: Sequence[Term] = (),
    device: torch.device | str | None = None,
    on_step: OnStep | None = None,
    progress: Progress | None = None,
) -> Iterator[ViewpointClip]:
    """Generate views of one scene, one after the other as they are asked for.

    The first view's clip is that of `generate`. Its sound, the latents themselves, is held for each further picture.

    Args:
        scene: conditions of 1 to 16 views of the same panorama.
        settings: sampler settings, the same for each view; they hold nothing and start from noise.
        model, control, seconds, strengths, when, meaning, terms, device, on_step, progress: as for `generate`.

    Returns:
        A clip per view; all have the one sound and its directions, which `placing.generated` renders for each.

    Raises:
        InputError: too few or too many views, settings that hold or start from something, or as `generate`; all of it
            before anything is sampled.
        TooLittleMemory: as `generate`.
    """
    settings = default_settings(model) if settings is None else settings
    if not 1 <= len(scene) <= MOST_VIEWS:
        raise InputError(f"{len(scene)} views were asked for; choose 1 to {MOST_VIEWS}.")
    if settings.hold is not None or settings.denoise_video < 1 or settings.denoise_audio < 1:
        raise InputError(
            "views of one scene are made from noise and share a sound; hold nothing, and leave out starts."
        )
    for conditions in scene:
        check_conditions(conditions, control, model.clip_spec(seconds))

    def made(conditions: Conditions, settings: SamplerSettings, start: StartClip | None) -> ViewpointClip:
        return generate(
            model, control, conditions, settings, seconds=seconds, strengths=strengths, when=when, meaning=meaning,
            start=start, terms=terms, device=device, on_step=on_step, progress=progress,
        )  # fmt: skip

    def views() -> Iterator[ViewpointClip]:
        first = made(scene[0], settings, None)
        yield first
        heard, held = StartClip(None, first.sound, AV(audio=first.latents.audio)), replace(settings, hold=HOLDS[1])
        for conditions in scene[1:]:
            yield replace(made(conditions, held, heard), directions=first.directions)

    return views()
