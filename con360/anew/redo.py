"""Make a span of a generated clip anew: the rest stays as it is, and the new part fits it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..choices import HOLDS, REDO_PARTS, RedoPart
from ..control import LoadedControl
from ..errors import InputError
from ..meaning.guiding import Guiding
from ..models.system import AVSystem
from ..pipeline import OnStep, default_settings, generate
from ..records import AV, MODALITIES, Conditions, DirectionField, Progress, StartClip, ViewpointClip
from ..sampling.joint import Given, starting_noise
from ..sampling.kept import Kept
from ..sampling.settings import SAID, SamplerSettings
from ..sampling.steer import Term
from ..sampling.when import TimeGuideSettings
from ..timing import ClipSpec
from .span import JOIN_S, Span, check_span, joined_frames, joined_sound

# Time in which the noise of a remade picture turns from the first seed's to its own, from each join inwards.
TURN_S = 0.375


def redo(
    model: AVSystem,
    control: LoadedControl | None,
    conditions: Conditions,
    first: ViewpointClip,
    span: Span | tuple[float, float],
    settings: SamplerSettings | None = None,
    *,
    what: RedoPart = "both",
    strengths: Mapping[str, float] | None = None,
    when: TimeGuideSettings | None = None,
    meaning: Guiding | None = None,
    terms: Sequence[Term] = (),
    device: torch.device | str | None = None,
    on_step: OnStep | None = None,
    progress: Progress | None = None,
) -> ViewpointClip:
    """Make a span of a clip anew.

    While it is sampled, all that lies outside the span is the first clip at every step, so that the span fits it.
    Frames and samples outside come from the first clip bit for bit. The joins lie inside the span: the sound fades over
    40 ms at the power of both.

    Args:
        model, control: those of the first clip.
        conditions: of the same view; caption and time track may be others.
        first: a clip of `generate`, with its latents.
        span: seconds from the clip's start, at least 0.25 s; (0, the clip's length) makes all of it anew.
        settings: sampler settings, the span's seed included; None takes `default_settings`. What they start from or
            hold counts for the first clip alone.
        what: `picture`, `sound` or `both`; what is not made anew is held.
        strengths, when, meaning, terms, device, on_step, progress: as for `generate`.

    Returns:
        The clip with the new span and its latents; its seed stays the first clip's.

    Raises:
        InputError: a span outside the clip or too short, a first clip without latents or of another length, or as
            `generate`.
        TooLittleMemory: as `generate`.
    """
    settings = default_settings(model) if settings is None else settings
    spec = check_first(model, first)
    span = check_span(span if isinstance(span, Span) else Span(*span), spec.seconds)
    anew = _parts_anew(what)
    begun = replace(settings, hold=_held(anew), denoise_video=1.0, denoise_audio=1.0)
    kept = Kept(first.latents.map(lambda one: one[None]), _rows_anew(model, span, spec, anew))
    made = generate(
        model, control, conditions, begun, seconds=spec.seconds, strengths=strengths, when=when, meaning=meaning,
        start=StartClip(first.frames, first.sound, first.latents, _noise(model, first, span, spec, begun)),
        terms=(*terms, kept), device=device, on_step=on_step, progress=progress,
    )  # fmt: skip
    return _joined(first, made, span, anew)


def check_first(model: AVSystem, first: ViewpointClip) -> ClipSpec:
    """Check that a clip's latents are there and are this model's; return its lengths.

    Raises:
        InputError: they are not.
    """
    if first.latents.present() != MODALITIES:
        raise InputError("the clip has no latents, so no span of it can be made anew; take one that was generated.")
    spec = model.clip_spec(round(first.sound.duration_s, 6))
    wanted = model.latent_shapes(spec)
    for name in MODALITIES:
        found = tuple(first.latents.get(name).shape)
        if found != tuple(wanted.get(name)):
            raise InputError(
                f"the clip's {SAID.get(name)} has latents of shape {found}, and '{model.name}' makes "
                f"{tuple(wanted.get(name))} in {spec.seconds:g} s; take the model that made the clip."
            )
    return spec


def _parts_anew(what: str) -> tuple[str, ...]:
    """The modalities to make anew."""
    if what not in REDO_PARTS:
        raise InputError(f"{what!r} cannot be made anew; choose {', '.join(REDO_PARTS[:-1])} or {REDO_PARTS[-1]}.")
    return tuple(m for m in MODALITIES if what in (SAID.get(m), "both"))


def _held(anew: tuple[str, ...]) -> str | None:
    """The word of the modality that is held."""
    return next((name for m, name in zip(MODALITIES, HOLDS, strict=True) if m not in anew), None)


def _rows_anew(model: AVSystem, span: Span, spec: ClipSpec, anew: tuple[str, ...]) -> AV:
    """True along the latents' time where a modality is made anew; it broadcasts over the rest."""
    shapes = model.latent_shapes(spec)
    frames = span.inside(shapes.video[1], 1 / spec.fps)
    rows = span.inside(spec.num_latent_rows, model.codecs.audio.seconds_per_row)
    if span.end_s >= spec.seconds:
        # The padding behind the clip follows its end.
        rows = range(rows.start, shapes.audio[1])
    return AV.of({m: _mask(span_of, shapes.get(m)) for m, span_of in zip(MODALITIES, (frames, rows), strict=True)
                  if m in anew})  # fmt: skip


def _mask(span: range, shape: tuple[int, ...]) -> Tensor:
    """`[T, 1, ...]` for latents `[B, C, T, ...]`."""
    inside = torch.zeros(shape[1], dtype=torch.bool)
    inside[span.start : span.stop] = True
    return inside.reshape(-1, *[1] * (len(shape) - 2))


def _noise(model: AVSystem, first: ViewpointClip, span: Span, spec: ClipSpec, settings: SamplerSettings) -> AV:
    """Noise of the new seed; the picture's is the first seed's outside the span and turns into the new one inside.

    Where frames share their noise, another noise is another look: half of it would be seen as a jump.
    """
    if first.seed is None or first.seed == settings.seed:
        return AV()
    shapes = model.latent_shapes(spec)
    old, new = (starting_noise(shapes, replace(settings, seed=seed), Given()) for seed in (first.seed, settings.seed))
    turned = _turned(span, shapes.video[1], spec.fps).reshape(-1, *[1] * (len(shapes.video) - 2))
    return new._replace(video=old.video * (1 - turned**2).sqrt() + new.video * turned)


def _turned(span: Span, count: int, fps: float) -> Tensor:
    """`[T]`, 0 outside a span, and sines of angles that rise to 1 from each join inwards."""
    inside = span.inside(count, 1 / fps)
    rise = min(round(TURN_S * fps), len(inside) // 2) + 1
    turned = torch.zeros(count)
    for frame in inside:
        before, after = (frame - inside.start + 1, inside.stop - frame)
        steps = min(before if inside.start > 0 else rise, after if inside.stop < count else rise, rise)
        turned[frame] = math.sin(math.pi / 2 * steps / rise)
    return turned


def _joined(first: ViewpointClip, made: ViewpointClip, span: Span, anew: tuple[str, ...]) -> ViewpointClip:
    frames, sound, field = first.frames, first.sound, first.directions
    if "video" in anew:
        frames = joined_frames(frames, made.frames, span.inside(len(frames), 1 / first.fps))
    if "audio" in anew:
        rate = sound.sample_rate_hz
        inside = span.inside(sound.waveform.shape[-1], 1 / rate)
        sound = replace(sound, waveform=joined_sound(sound.waveform, made.sound.waveform, inside, round(JOIN_S * rate)))
        field = _joined_field(field, made.directions, span)
    notices = tuple(dict.fromkeys((*first.notices, *made.notices)))
    return replace(made, frames=frames, sound=sound, seed=first.seed, notices=notices, directions=field)


def _joined_field(first: DirectionField | None, made: DirectionField | None, span: Span) -> DirectionField | None:
    """The first field with the span's rows of the new one."""
    if first is None or made is None:
        return first
    vectors, residual, rows = (
        first.vectors.clone(),
        first.residual.clone(),
        span.inside(len(first.vectors), first.row_s),
    )
    vectors[rows.start : rows.stop] = made.vectors[rows.start : rows.stop]
    residual[rows.start : rows.stop] = made.residual[rows.start : rows.stop]
    return replace(first, vectors=vectors, residual=residual)
