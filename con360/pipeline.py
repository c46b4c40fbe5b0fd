"""The method as readable calls: a panorama to conditions, conditions to a sounding viewpoint clip.

Source: paper, figures 1 and 2.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .basd import basd_maps
from .caption import plain_caption
from .control import LoadedControl, encode_control, fingerprint
from .errors import InputError
from .geometry.perspective import erp_to_perspective
from .media.sound import omni_sound, view_sound
from .models.codecs import decode_frames, decode_mel, vocode
from .models.loading import JointModel
from .models.text import encode_captions
from .records import (
    BasdNormalization,
    Conditions,
    PanoramaClip,
    Progress,
    SaliencyMaps,
    SceneCaption,
    Sound,
    Viewpoint,
    ViewpointClip,
    ViewTrack,
)
from .sampling.joint import SamplerSettings, sample_joint
from .timing import ClipSpec

# on_step(step, total, x0_v): after each sampling step, with the present estimate of the clean video latents
# [1, 4, T, h, w]; it may raise to cancel.
OnStep = Callable[[int, int, Tensor], None]


@dataclass
class Stopwatch:
    """Seconds per stage, in the order in which the stages ran."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


def default_settings(model: JointModel, **overrides: Any) -> SamplerSettings:
    """Settings that suit a model: what its folder recommends, else the published ones; None overrides nothing."""
    recommended = dict(model.metadata.get("defaults", {}))
    return SamplerSettings(**{**recommended, **{k: v for k, v in overrides.items() if v is not None}})


def conditions_of(
    clip: PanoramaClip,
    saliency: SaliencyMaps,
    viewpoint: Viewpoint,
    caption: SceneCaption | None = None,
    normalization: BasdNormalization = "minmax",
) -> Conditions:
    """Assemble the three conditions of one viewpoint; without a caption, a plain statement of what was found.

    Source: paper section 2.1.
    """
    basd = basd_maps(viewpoint.track, saliency.maps.shape[-2], normalization)
    return Conditions(saliency, basd, caption or plain_caption(clip, viewpoint))


def crop_view(clip: PanoramaClip, track: ViewTrack, size: int) -> ViewpointClip:
    """The true view of a panorama, to compare with: its picture, and its sound as the view's microphone hears it.

    Sound that is not Ambisonic has no direction and is mixed to mono; a clip without sound gives silence. Both are said
    in the notices.

    Args:
        clip: the panorama.
        track: one view per frame.
        size: side of the square picture in pixels.
    """
    if len(track) != clip.num_frames:
        raise InputError(
            f"the view has {len(track)} frames and the clip {clip.num_frames}; make both from the same clip."
        )
    frames = erp_to_perspective(clip.frames, track, size).clamp(0, 1)
    notices = clip.notices
    if clip.sound is None:
        count = round(clip.num_frames / clip.fps * ClipSpec().sample_rate_hz)
        sound = Sound(torch.zeros(1, count), ClipSpec().sample_rate_hz)
    elif clip.sound.layout == "ambix":
        sound = view_sound(clip.sound, track, clip.fps)
    else:
        sound = omni_sound(clip.sound)
        notices += ("the sound is not Ambisonic, so it is the same for every view",)
    return ViewpointClip(frames, clip.fps, sound, notices=notices)


def generate(
    model: JointModel,
    control: LoadedControl | None,
    conditions: Conditions,
    settings: SamplerSettings,
    *,
    seconds: float = 4.0,
    saliency_strength: float = 1.0,
    basd_strength: float = 1.0,
    on_step: OnStep | None = None,
    progress: Progress | None = None,
) -> ViewpointClip:
    """Generate one viewpoint clip: picture and sound together.

    Args:
        model: the joint model.
        control: control module; None generates from the caption alone.
        conditions: saliency and BASD maps of the whole clip, and the caption.
        settings: sampler settings, seed included.
        seconds: duration in [0.5, 4]; the maps must have that many frames at 8 fps.
        saliency_strength, basd_strength: 0 is off, 1 as trained.
        on_step, progress: told while it runs; both may raise to cancel.

    Returns:
        `[T, 3, s, s]` frames at 8 fps with mono 16 kHz sound of exactly `seconds`.

    Raises:
        InputError: maps of another length, a field of view that the control never saw, or a control that this model
            has no place for.

    Source: paper sections 2.2 and 2.3.
    """
    spec, watch = model.clip_spec(seconds), Stopwatch()
    _check_conditions(conditions, control, spec)
    if control is not None:
        _check_control(model, control, spec)
    with watch.stage("text"), torch.no_grad():
        text = encode_captions(model, [settings.negative_prompt, conditions.caption.short])
    with watch.stage("control"), torch.no_grad():
        film = _film(model, control, conditions, spec, saliency_strength, basd_strength)
    with watch.stage("sampling"):
        latents_v, latents_a = sample_joint(
            model.unet, model.scheduler_v, model.scheduler_a,
            text_v=text.text_v[1:], text_a=text.text_a[1:], negative_v=text.text_v[:1], negative_a=text.text_a[:1],
            shape_v=model.latent_shape_v(spec), shape_a=model.latent_shape_a(spec), settings=settings, film=film,
            callback=_step_callback(on_step, progress),
        )  # fmt: skip
    with watch.stage("decoding"), torch.no_grad():
        frames = decode_frames(model.vae_v, latents_v[0], progress=progress).cpu()
        waveform = vocode(model.vocoder, decode_mel(model.vae_a, latents_a), spec.num_samples).cpu()
    if not (torch.isfinite(frames).all() and torch.isfinite(waveform).all()):
        raise RuntimeError(
            "the model produced values that are not finite; its weights or precision do not fit together"
        )
    mismatch = control.mismatch(model.name, fingerprint(model.unet.unet_v, model.unet.unet_a)) if control else None
    notices = model.notices + text.notices + ((mismatch,) if mismatch else ())
    return ViewpointClip(
        frames, spec.fps, Sound(waveform, spec.sample_rate_hz), settings.seed, notices, stage_seconds=watch.seconds
    )


def _film(model, control, conditions, spec, saliency_strength, basd_strength):
    if control is None:
        return None
    module = control.module.to(model.device)
    film = encode_control(
        module, conditions, model.site_shapes(spec), fps=spec.fps, audio_seconds=spec.latent_seconds_a,
        saliency_strength=saliency_strength, basd_strength=basd_strength,
    )  # fmt: skip
    return film


def _step_callback(on_step: OnStep | None, progress: Progress | None):
    def callback(step: int, total: int, latents_v: Tensor, x0_v: Tensor) -> None:
        del latents_v
        if progress is not None:
            progress(step, total, "sampling")
        if on_step is not None:
            on_step(step, total, x0_v)

    return callback


def _check_control(model: JointModel, control: LoadedControl, spec: ClipSpec) -> None:
    """That the model has the sites that a control acts at, before anything is encoded."""
    if model.unet.connectors is None:
        raise InputError(
            f"'{model.name}' has no connectors, and a control acts inside them; run it without control, or choose a "
            f"model with connectors."
        )
    wanted, found = control.module.config.site_channels, {s: v[0] for s, v in model.site_shapes(spec).items()}
    wrong = [site for site, channels in wanted.items() if found.get(site) != channels]
    if wrong:
        raise InputError(
            f"the control file was made for a model of other widths ({wrong[0]}: {wanted[wrong[0]]} channels, "
            f"'{model.name}' has {found.get(wrong[0], 'no such site')}); choose the one trained over this model."
        )


def _check_conditions(conditions: Conditions, control: LoadedControl | None, spec: ClipSpec) -> None:
    for name, count in (("saliency", len(conditions.saliency.maps)), ("BASD map", len(conditions.basd.maps))):
        if count != spec.num_frames:
            raise InputError(
                f"the {name} has {count} frames; {spec.seconds:g} s at {spec.fps:g} fps needs {spec.num_frames}. "
                f"Load the clip with the same duration and frame rate."
            )
    if control is None:
        return
    low, high = control.module.config.fov_range_deg
    for view in conditions.track.views:
        if not low <= view.fov_deg <= high:
            raise InputError(
                f"the field of view is {view.fov_deg:g}°; this control was trained on "
                f"{low:g}° to {high:g}°. Choose one there."
            )
