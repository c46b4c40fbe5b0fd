"""The method as readable calls: a panorama to conditions, conditions to a sounding viewpoint clip.

Source: paper, figures 1 and 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .caption import plain_caption
from .choices import NAMED_METHODS, ViewSound
from .control import LoadedControl, encode_control, fingerprint, with_maps, with_named
from .control.directions import control_directions
from .errors import InputError
from .geometry.perspective import erp_to_perspective
from .meaning.guiding import Guiding, meaning_terms, record_of
from .memory import in_smaller_pieces
from .models.system import AVSystem, Placement
from .pace import Stopwatch
from .protocols import Film, SoundCodec
from .records import (
    AV,
    MODALITIES,
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
from .residency import resident
from .saliency.predict import clip_saliency
from .sampling.joint import Given, StepCallback
from .sampling.settings import SAID, SamplerSettings
from .sampling.steer import Term
from .sampling.when import TimeGuideSettings, time_terms
from .sound.channels import first_order_notice
from .sound.levels import fit_length, omni_sound, resample, to_mono
from .sound.time_tracks import fit_time_track
from .sound.views import view_ears, view_sound
from .timing import ClipSpec
from .viewpoint.basd import basd_maps

# on_step(step, total, x0): after each sampling step, with the present estimates of the clean latents; it may raise to
# cancel.
OnStep = Callable[[int, int, AV], None]


def default_settings(model: AVSystem, **overrides: Any) -> SamplerSettings:
    """Settings that suit a model: what its folder recommends, else the published ones; None overrides nothing."""
    recommended = dict(model.metadata.get("defaults", {}))
    return SamplerSettings(**{**recommended, **{k: v for k, v in overrides.items() if v is not None}})


def conditions_of(
    clip: PanoramaClip,
    saliency: SaliencyMaps,
    viewpoint: Viewpoint,
    caption: SceneCaption | None = None,
    normalization: BasdNormalization = "minmax",
    control: LoadedControl | None = None,
) -> Conditions:
    """Assemble the conditions of one viewpoint; without a caption, a plain statement of what was found.

    With a control, the further maps and signals that it names are made from the clip by their registered makers.

    Source: paper section 2.1.
    """
    basd = basd_maps(viewpoint.track, saliency.maps.shape[-2], normalization)
    made = Conditions(saliency, basd, caption or plain_caption(clip, viewpoint))
    return made if control is None else with_control(made, clip, control)


def with_control(conditions: Conditions, clip: PanoramaClip, control: LoadedControl) -> Conditions:
    """Add the maps and signals that a control and its direction head name, made from the clip."""
    made = with_named(conditions, clip, control.module.config)
    return made if control.field_head is None else with_maps(made, clip, control.field_head.config.channels)


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


def crop_view(clip: PanoramaClip, track: ViewTrack, size: int, sound: ViewSound = "view") -> ViewpointClip:
    """The true view of a panorama, to compare with: its picture, and its sound as the view's microphone hears it.

    Sound that is not Ambisonic has no direction and is mixed to mono; a clip without sound gives silence. Both are said
    in the notices.

    Args:
        clip: the panorama.
        track: one view per frame.
        size: longer side of the picture in pixels; its shape is the track's aspect ratio.
        sound: `view` is the view's microphone (`view_sound`), `omni` the mono downmix, `headphones` what two ears hear
            that look where the view looks (`view_ears`, stereo).

    Raises:
        InputError: a track of another length, or headphones for sound that is not Ambisonic.
    """
    if len(track) != clip.num_frames:
        raise InputError(
            f"the view has {len(track)} frames and the clip {clip.num_frames}; make both from the same clip."
        )
    frames = erp_to_perspective(clip.frames, track, size).clamp(0, 1)
    heard, said = _heard(clip, track, sound)
    return ViewpointClip(frames, clip.fps, heard, notices=clip.notices + said)


def _heard(clip: PanoramaClip, track: ViewTrack, kind: ViewSound) -> tuple[Sound, tuple[str, ...]]:
    """A clip's sound from a view, with notices."""
    if clip.sound is None:
        count = round(clip.num_frames / clip.fps * ClipSpec().sample_rate_hz)
        return Sound(torch.zeros(1, count), ClipSpec().sample_rate_hz), ()
    if kind == "headphones":
        return view_ears(clip.sound, track, clip.fps), ()
    if kind == "view" and clip.sound.layout == "ambix":
        return view_sound(clip.sound, track, clip.fps), first_order_notice(clip.sound.ambisonic_order)
    same = "the sound is not Ambisonic, so it is the same for every view"
    return omni_sound(clip.sound), (same,) if kind == "view" else ()


def generate(
    model: AVSystem, control: LoadedControl | None, conditions: Conditions, settings: SamplerSettings | None = None, *,
    seconds: float = 4.0, strengths: Mapping[str, float] | None = None, start: StartClip | None = None,
    when: TimeGuideSettings | None = None, meaning: Guiding | None = None, terms: Sequence[Term] = (),
    device: torch.device | str | None = None, on_step: OnStep | None = None, progress: Progress | None = None,
) -> ViewpointClip:  # fmt: skip
    """Generate one viewpoint clip: picture and sound together.

    Args:
        model: the joint model.
        control: control module; None generates from the caption alone.
        conditions: saliency and BASD maps of the whole clip, the caption, and the time track that the sound follows.
        settings: sampler settings, seed included; None takes `default_settings`.
        seconds: duration in [0.5, 4]; the maps must have that many frames at the model's rate.
        strengths: of the control's maps and signals by name, 0 is off and 1 as trained; names left out have 1.
        start: picture and sound to start from or to hold, as far as the settings' strengths and hold ask for them. The
            true view (`crop_view`) is the natural one.
        when: how the time track guides the sampler; None takes the defaults, strength 0 leaves it to the control.
        meaning: an encoder that guides sound, picture or both towards the caption, and how; None does not.
        terms: further steering of each step (`sampling.steer`), after the time track's and the meaning's.
        device: where the model's parts visit one by one with `memory="low"`; None is the model's own.
        on_step, progress: told while it runs; both may raise to cancel.

    Returns:
        `[T, 3, s, s]` frames of the square around the view, sound of exactly `seconds`, and with a head its directions.

    Raises:
        InputError: maps of another length, a field of view that the control never saw, a control that this model has
            no place for, a time track that the clip or the model cannot follow, or a meaning that cannot be read.
        TooLittleMemory: a step or the decoding does not fit, in smaller pieces either.

    Source: paper sections 2.2 and 2.3.
    """
    settings = default_settings(model) if settings is None else settings
    spec, watch = model.clip_spec(seconds), Stopwatch()
    _check(model, control, conditions, spec)
    conditions, said = _fitted(conditions, spec)
    guides = time_terms(model.codecs.audio, conditions.when, spec, settings, when, progress)
    given = _fitted_start(model, start, settings, spec)
    by_meaning = meaning_terms(meaning, model, conditions.caption, given, settings, spec, progress)
    device = torch.device(device if device is not None and settings.memory == "low" else model.device)
    there = Placement(device, settings.memory == "low")
    with watch.stage("text"), torch.no_grad(), there.bring(*model.encoders()):
        inputs = model.encode(conditions, settings.negative_prompt)
    with watch.stage("control"), torch.no_grad():
        inputs = replace(inputs, film=_film(model, control, conditions, spec, device, strengths or {}))
    known = _encoded_start(model, given, spec, there, watch)
    with watch.stage("sampling"):
        told, begin = _step_callback(on_step, progress), Given(given.noise, known)
        terms = (*guides, *by_meaning, *terms)
        latents = model.sample(inputs, spec, settings, given=begin, terms=terms, device=device, callback=told)
    with watch.stage("decoding"):
        frames, sound = _decoded(model, latents, given, settings, spec, there, progress)
    said = (*inputs.notices, *_mismatch(model, control), *said)
    said = model.notices + drawing_notices(model, conditions.caption, settings) + said
    made = ViewpointClip(frames, spec.fps, sound, settings.seed, said, watch.seconds, _alone(latents))
    return _with_directions(replace(made, guided=record_of(by_meaning)), control, conditions, watch)


def _with_directions(
    made: ViewpointClip, control: LoadedControl | None, conditions: Conditions, watch: Stopwatch
) -> ViewpointClip:
    """The clip with the directions of its sound, where the control has a head for them."""
    if control is None or control.field_head is None:
        return made
    with watch.stage("directions"):
        directions, said = control_directions(control, conditions, made.sound, made.fps)
    return replace(made, directions=directions, notices=made.notices + said)


def _fitted(conditions: Conditions, spec: ClipSpec) -> tuple[Conditions, tuple[str, ...]]:
    """Conditions of square views with a time track as long as the clip, and notices of what was changed."""
    conditions, said = _squared(conditions)
    if conditions.when is None:
        return conditions, said
    track, cut = fit_time_track(conditions.when, spec.seconds)
    return replace(conditions, when=track), (*said, *cut)


def _squared(conditions: Conditions) -> tuple[Conditions, tuple[str, ...]]:
    """Conditions of the square views that the models know, with notices about a shape or a roll that they do not."""
    track = conditions.track
    said: tuple[str, ...] = ()
    if any(view.roll_deg for view in track.views):
        said += ("the view is rolled; the model was trained on level ones and may draw a level picture",)
    if track.aspect != 1.0:
        said += ("the model makes square pictures: the square around the view was generated",)
        basd = conditions.basd
        square = basd_maps(replace(track, aspect=1.0), basd.maps.shape[-2], basd.normalization)
        conditions = replace(conditions, basd=square)
    return conditions, said


def _alone(latents: AV) -> AV:
    """The one clip's latents, without the batch, on the CPU."""
    return latents.map(lambda one: one[0].cpu())


def _decoded(
    model: AVSystem, latents: AV, given: StartClip, settings: SamplerSettings, spec: ClipSpec, there: Placement,
    progress: Progress | None,
) -> tuple[Tensor, Sound]:  # fmt: skip
    """Frames and sound of the one clip; a held one as it was given, where more than its latents were."""
    kept = SAID.map(lambda name, own: settings.hold == name and own is not None, AV(given.frames, given.sound))
    made = AV.of({m: latents.get(m)[0] for m in latents.present() if not kept.get(m)})
    frames, sound = model.decode(made, spec, placement=there, progress=progress)
    frames, sound = (given.frames if frames is None else frames), (given.sound if sound is None else sound)
    assert frames is not None and sound is not None  # what is not given is decoded
    if not (torch.isfinite(frames).all() and torch.isfinite(sound.waveform).all()):
        raise RuntimeError(
            "the model produced values that are not finite; its weights or precision do not fit together"
        )
    return frames, sound


def _mismatch(model: AVSystem, control: LoadedControl | None) -> tuple[str, ...]:
    """Say that a control was trained for another base."""
    if control is None:
        return ()
    found = control.mismatch(model.name, fingerprint(*model.backbones()))
    return (found,) if found else ()


def drawing_notices(model: AVSystem, caption: SceneCaption, settings: SamplerSettings) -> tuple[str, ...]:
    """Say so where a model that knows one kind of picture draws it in place of footage.

    Nothing where the model's folder names no such kind, where the picture is held, and for a procedural scene, which
    is known by its own caption.
    """
    draws = model.metadata.get("draws")
    if not draws or caption.origin == "scene" or settings.hold == SAID.video:
        return ()
    return (f"the model {model.name} draws {draws}, whatever the footage shows",)


def _fitted_start(model: AVSystem, start: StartClip | None, settings: SamplerSettings, spec: ClipSpec) -> StartClip:
    """Resize and trim the parts of the start clip that the settings use.

    Frames get the model's size, sound the model's channels, rate and exactly the clip's length.
    """
    start = start or StartClip()
    frames = start.frames if settings.begins("video") > 0 else None
    sound = start.sound if settings.begins("audio") > 0 else None
    if frames is not None:
        if len(frames) != spec.num_frames:
            raise InputError(
                f"the start has {len(frames)} frames; {spec.seconds:g} s at {spec.fps:g} fps needs {spec.num_frames}."
            )
        frames = _square(frames, model.codecs.video.size_px)
    if sound is not None:
        if sound.duration_s < spec.seconds - 1 / spec.fps:
            raise InputError(f"the start's sound lasts {sound.duration_s:g} s; the clip needs {spec.seconds:g} s.")
        sound = _as_coded(sound, model.codecs.audio)
        sound = fit_length(resample(sound, spec.sample_rate_hz), spec.num_samples)
    latents = {m: start.latents.get(m) for m in start.latents.present() if settings.begins(m) > 0}
    return StartClip(frames, sound, AV.of(latents), start.noise)


def _as_coded(sound: Sound, codec: SoundCodec) -> Sound:
    """A sound with the codec's channels: as it is, or mixed to mono."""
    if (sound.layout, len(sound.waveform)) == (codec.layout, codec.channels):
        return sound
    if codec.layout == "mono":
        return to_mono(sound)
    raise InputError(
        f"the start's sound is {sound.layout} with {len(sound.waveform)} channels; this model reads {codec.layout} "
        f"with {codec.channels}."
    )


def _square(frames: Tensor, size: int) -> Tensor:
    """The middle square of each frame at `size` pixels."""
    H, W = frames.shape[-2:]
    side = min(H, W)
    top, left = (H - side) // 2, (W - side) // 2
    square = frames[..., top : top + side, left : left + side].float()
    if side == size:
        return square.clamp(0, 1)
    return F.interpolate(square, (size, size), mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)


def _encoded_start(model: AVSystem, given: StartClip, spec: ClipSpec, there: Placement, watch: Stopwatch) -> AV:
    """Clean latents of what is given, `[1, ...]` per modality; latents that are given are not made again."""
    codecs, known = model.codecs, {m: given.latents.get(m)[None] for m in given.latents.present()}
    parts = AV(given.frames, given.sound)
    if all(m in known for m in parts.present()):
        return AV.of(known)
    modules = [module for codec in codecs if codec is not None for module in codec.modules()]
    with watch.stage("start"), torch.no_grad(), there.bring(*modules):
        if given.frames is not None and "video" not in known:
            known["video"] = codecs.video.encode(given.frames, chunk=there.chunk(8))
        if given.sound is not None and "audio" not in known:
            known["audio"] = codecs.audio.encode(given.sound, spec)
    return AV.of(known)


def preview_frame(model: AVSystem, x0: AV) -> Tensor:
    """The clip's middle frame as a step estimates it, decoded on its own: what a step's preview shows.

    Args:
        x0: clean latents from `OnStep`; the picture's are `[1, 4, T, h, w]`.

    Returns:
        `[3, s, s]` in [0, 1], on the CPU.
    """
    codec, middle = model.codecs.video, x0.video.shape[2] // 2
    with torch.no_grad(), resident(x0.video.device, *codec.modules()):
        return in_smaller_pieces(
            lambda chunk: codec.decode(x0.video[0, :, middle : middle + 1], chunk=chunk)[0].cpu(),
            1, 1, what="decoding a step's preview", advice="set memory to 'low', or shorten the clip",
        )  # fmt: skip


def _film(
    model: AVSystem, control: LoadedControl | None, conditions: Conditions, spec: ClipSpec, device: torch.device,
    strengths: Mapping[str, float],
) -> Film | None:  # fmt: skip
    if control is None:
        return None
    codec = model.codecs.audio
    return encode_control(
        control.module.to(device), conditions, model.site_shapes(spec), fps=spec.fps,
        audio_seconds=codec.seconds_per_row * codec.latent_shape(spec)[1], strengths=strengths,
    )  # fmt: skip


def _step_callback(on_step: OnStep | None, progress: Progress | None) -> StepCallback:
    def callback(step: int, total: int, latents: AV, x0: AV) -> None:
        del latents
        if progress is not None:
            progress(step, total, "sampling")
        if on_step is not None:
            on_step(step, total, x0)

    return callback


def _check(model: AVSystem, control: LoadedControl | None, conditions: Conditions, spec: ClipSpec) -> None:
    _check_model(model, control, spec)
    check_conditions(conditions, control, spec)


def _check_model(model: AVSystem, control: LoadedControl | None, spec: ClipSpec) -> None:
    """Refuse a model of one modality and a control whose sites the model lacks, before anything is encoded."""
    present = model.codecs.present()
    if present != MODALITIES:
        raise InputError(
            f"'{model.name}' makes {' and '.join(present)} alone, and a clip has picture and sound; call its encode, "
            f"sample and decode."
        )
    if control is None:
        return
    if not model.denoiser.takes_film:
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


def check_conditions(conditions: Conditions, control: LoadedControl | None, spec: ClipSpec) -> None:
    """Check that maps fit a clip and that a control knows the field of view.

    Raises:
        InputError: they do not, or it does not.
    """
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
