"""The method as readable calls: a panorama to conditions, conditions to a sounding viewpoint clip.

Source: paper, figures 1 and 2.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .caption import plain_caption
from .choices import HOLDS, NAMED_METHODS
from .control import LoadedControl, encode_control, fingerprint
from .errors import InputError
from .geometry.perspective import erp_to_perspective
from .memory import in_smaller_pieces
from .models.codecs import decode_frames, decode_mel, encode_frames, encode_mel, log_mel, vocode
from .models.connectors import Film
from .models.joint import JointModel
from .models.residency import resident
from .models.text import encode_captions
from .records import (
    BasdNormalization,
    Conditions,
    PanoramaClip,
    Progress,
    SaliencyMaps,
    SceneCaption,
    Sound,
    StartClip,
    Viewpoint,
    ViewpointClip,
    ViewTrack,
)
from .saliency.predict import clip_saliency
from .sampling.joint import sample_joint
from .sampling.settings import SamplerSettings
from .sound.levels import fit_length, omni_sound, resample, to_mono
from .sound.views import view_sound
from .timing import ClipSpec
from .viewpoint.basd import basd_maps

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


def control_saliency(
    clip: PanoramaClip, control: LoadedControl | None, found: SaliencyMaps, *, device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> tuple[SaliencyMaps, tuple[str, ...]]:  # fmt: skip
    """The saliency that a control reads: by the method that it was trained with.

    Args:
        found: maps by which the viewpoint was chosen; used again where the method is the same, and where the control
            was trained with weights of SalViT360, which only the user can name.

    Returns:
        The maps and the notices.

    Raises:
        InputError, TooLittleMemory: as in `predict_saliency`.
    """
    if control is None or control.saliency == found.method:
        return found, ()
    if control.saliency in NAMED_METHODS:
        return clip_saliency(clip, control.saliency, device=device, progress=progress), ()
    return found, (
        f"the control was trained with saliency by {control.saliency} and reads maps by {found.method}; name the "
        "weights as the saliency method for what it knows.",
    )


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
    start: StartClip | None = None,
    device: torch.device | str | None = None,
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
        start: picture and sound to start from or to hold, as far as the settings' strengths and hold ask for them. The
            true view (`crop_view`) is the natural one.
        device: where to compute with `memory="low"`, from where the parts of the model visit one by one; None is the
            model's own device.
        on_step, progress: told while it runs; both may raise to cancel.

    Returns:
        `[T, 3, s, s]` frames at 8 fps with mono 16 kHz sound of exactly `seconds`.

    Raises:
        InputError: maps of another length, a field of view that the control never saw, or a control that this model
            has no place for.
        TooLittleMemory: a step or the decoding does not fit, in smaller pieces either.

    Source: paper sections 2.2 and 2.3.
    """
    spec, watch = model.clip_spec(seconds), Stopwatch()
    _check_conditions(conditions, control, spec)
    if control is not None:
        _check_control(model, control, spec)
    given = _fitted_start(model, start, settings, spec)
    device = torch.device(device if device is not None and settings.memory == "low" else model.device)
    there = _Visits(device, settings.memory == "low")
    with watch.stage("text"), torch.no_grad(), there.bring(model.text_encoder_v, model.text_encoder_a):
        text = encode_captions(model, [settings.negative_prompt, conditions.caption.short])
    with watch.stage("control"), torch.no_grad():
        film = _film(model, control, conditions, spec, device, saliency_strength, basd_strength)
    known_v = known_a = None
    if given.frames is not None or given.sound is not None:
        with watch.stage("start"), torch.no_grad(), there.bring(model.vae_v, model.vae_a):
            known_v, known_a = _encoded_start(model, given, spec, there)
    with watch.stage("sampling"):
        latents_v, latents_a = sample_joint(
            model.unet, model.scheduler_v, model.scheduler_a,
            text_v=text.text_v[1:], text_a=text.text_a[1:], negative_v=text.text_v[:1], negative_a=text.text_a[:1],
            shape_v=model.latent_shape_v(spec), shape_a=model.latent_shape_a(spec), settings=settings, film=film,
            known_v=known_v, known_a=known_a, device=device, callback=_step_callback(on_step, progress),
        )  # fmt: skip
    with watch.stage("decoding"), torch.no_grad():
        held_v, held_a = (settings.hold == name for name in HOLDS)
        frames = given.frames if held_v else _picture(model, latents_v[0], there, progress)
        sound = given.sound if held_a else Sound(_sound(model, latents_a, spec, there), spec.sample_rate_hz)
        assert frames is not None and sound is not None  # the sampler refuses to hold what is not given
    if not (torch.isfinite(frames).all() and torch.isfinite(sound.waveform).all()):
        raise RuntimeError(
            "the model produced values that are not finite; its weights or precision do not fit together"
        )
    mismatch = control.mismatch(model.name, fingerprint(model.unet.unet_v, model.unet.unet_a)) if control else None
    notices = model.notices + drawing_notices(model, conditions.caption, settings) + text.notices
    notices += (mismatch,) if mismatch else ()
    return ViewpointClip(frames, spec.fps, sound, settings.seed, notices, stage_seconds=watch.seconds)


def drawing_notices(model: JointModel, caption: SceneCaption, settings: SamplerSettings) -> tuple[str, ...]:
    """What a model that knows one kind of picture draws in place of footage.

    Nothing where the model's folder names no such kind, where the picture is held, and for a procedural scene, which
    is known by its own caption.
    """
    draws = model.metadata.get("draws")
    if not draws or caption.origin == "scene" or settings.hold == HOLDS[0]:
        return ()
    return (f"the model {model.name} draws {draws}, whatever the footage shows",)


@dataclass(frozen=True)
class _Visits:
    """Where parts of a model compute: where they are, or as visitors on a device while memory is low."""

    device: torch.device
    low: bool

    def bring(self, *modules: nn.Module) -> AbstractContextManager[None]:
        return resident(self.device, *modules) if self.low else nullcontext()

    def chunk(self, usual: int) -> int:
        """Frames that a codec takes at a time."""
        return 1 if self.low else usual

    @property
    def advice(self) -> str:
        """What to change when memory runs out."""
        return "ask for a shorter clip, or a smaller model" if self.low else "set memory to 'low', or shorten the clip"


def _fitted_start(model: JointModel, start: StartClip | None, settings: SamplerSettings, spec: ClipSpec) -> StartClip:
    """Of a start what the settings use: frames of the model's size, mono sound of exactly the clip's length."""
    start = start or StartClip()
    frames = start.frames if settings.begins(0) > 0 else None
    sound = start.sound if settings.begins(1) > 0 else None
    if frames is not None:
        if len(frames) != spec.num_frames:
            raise InputError(
                f"the start has {len(frames)} frames; {spec.seconds:g} s at {spec.fps:g} fps needs {spec.num_frames}."
            )
        frames = _square(frames, model.picture_size_px)
    if sound is not None:
        if sound.duration_s < spec.seconds - 1 / spec.fps:
            raise InputError(f"the start's sound lasts {sound.duration_s:g} s; the clip needs {spec.seconds:g} s.")
        sound = fit_length(resample(to_mono(sound), spec.sample_rate_hz), spec.num_samples)
    return StartClip(frames, sound)


def _square(frames: Tensor, size: int) -> Tensor:
    """The middle square of each frame at `size` pixels."""
    H, W = frames.shape[-2:]
    side = min(H, W)
    top, left = (H - side) // 2, (W - side) // 2
    square = frames[..., top : top + side, left : left + side].float()
    if side == size:
        return square.clamp(0, 1)
    return F.interpolate(square, (size, size), mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)


def _encoded_start(
    model: JointModel, given: StartClip, spec: ClipSpec, there: _Visits
) -> tuple[Tensor | None, Tensor | None]:
    known_v = known_a = None
    if given.frames is not None:
        known_v = encode_frames(model.vae_v, given.frames[None], chunk=there.chunk(8))
    if given.sound is not None:
        mel = log_mel(given.sound.waveform, given.sound.sample_rate_hz)
        known_a = encode_mel(model.vae_a, mel, model.latent_shape_a(spec)[1])
    return known_v, known_a


def _picture(model: JointModel, latents: Tensor, there: _Visits, progress: Progress | None) -> Tensor:
    with there.bring(model.vae_v):
        return in_smaller_pieces(
            lambda chunk: decode_frames(model.vae_v, latents, chunk=chunk, progress=progress).cpu(),
            there.chunk(4), 1, what="decoding frames", advice=there.advice,
        )  # fmt: skip


def _sound(model: JointModel, latents: Tensor, spec: ClipSpec, there: _Visits) -> Tensor:
    with there.bring(model.vae_a, model.vocoder):
        return in_smaller_pieces(
            lambda _: vocode(model.vocoder, decode_mel(model.vae_a, latents), spec.num_samples).cpu(),
            1, 1, what="decoding the sound", advice=there.advice,
        )  # fmt: skip


def preview_frame(model: JointModel, x0_v: Tensor) -> Tensor:
    """The clip's middle frame as a step estimates it, decoded on its own: what a step's preview shows.

    Args:
        x0_v: `[1, 4, T, h, w]`, from `OnStep`.

    Returns:
        `[3, s, s]` in [0, 1], on the CPU.
    """
    middle = x0_v.shape[2] // 2
    with torch.no_grad(), resident(x0_v.device, model.vae_v):
        return in_smaller_pieces(
            lambda chunk: decode_frames(model.vae_v, x0_v[0, :, middle : middle + 1], chunk=chunk)[0].cpu(),
            1, 1, what="decoding a step's preview", advice="set memory to 'low', or shorten the clip",
        )  # fmt: skip


def _film(
    model: JointModel, control: LoadedControl | None, conditions: Conditions, spec: ClipSpec, device: torch.device,
    saliency_strength: float, basd_strength: float,
) -> Film | None:  # fmt: skip
    if control is None:
        return None
    return encode_control(
        control.module.to(device), conditions, model.site_shapes(spec), fps=spec.fps,
        audio_seconds=spec.latent_seconds_a, saliency_strength=saliency_strength, basd_strength=basd_strength,
    )  # fmt: skip


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
