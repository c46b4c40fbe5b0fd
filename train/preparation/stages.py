"""The stages of preparation: each takes a `Work` and returns a new one, and does not depend on the executor.

    clips:   read -> caption -> clean -> saliency -> views -> encode
    scenes:  render -> encode

`encode` uses an accelerator. The earlier stages need only CPU cores, except for captioning models and SalViT360.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from con360.choices import NAMED_METHODS
from con360.control.inputs import stack_maps
from con360.errors import InputError
from con360.geometry.perspective import erp_to_perspective
from con360.media.info import probe
from con360.media.reader import read_panorama
from con360.media.unfolding import unfolding_of
from con360.models.codecs import encode_frames, encode_mel
from con360.models.text import encode_sentences, encode_tokens
from con360.records import Conditions, PanoramaClip, SaliencyMaps, SceneCaption, Sound, ViewTrack
from con360.saliency.predict import clip_saliency
from con360.saliency.salvit360 import load_salvit360, salvit360_saliency
from con360.sound.ambisonics import first_order
from con360.sound.channels import FIRST_ORDER, first_order_notice
from con360.sound.levels import fit_length, omni_sound, resample, to_mono
from con360.sound.mels import log_mel
from con360.sound.views import view_sound
from con360.sounding.picture_encoder import BATCH, PictureEncoder
from con360.sounding.pictures import clip_picture, clip_values, front_view, squared
from con360.viewpoint.basd import basd_maps
from con360.viewpoint.choose import viewpoint_notices, viewpoints
from train.examples import MAP_HEIGHT, make_example, scene_of
from train.preparation.cleaning import (
    Rejected,
    check_is_360,
    check_is_foa,
    check_match,
    check_seen,
    check_silent,
    check_speech,
    check_static,
    reads_captions,
)
from train.preparation.model import load_encoders, load_field_model, match_encoder
from train.preparation.plan import Segment, is_scene
from train.preparation.settings import SALIENCY_HEIGHT, TRUTH, Settings
from train.preparation.sources import scene_number
from train.shards import FIELD_TENSORS, Outcome, Prepared, Result, Status

# Allowed gap at the end of a segment: cutting tools end clips a frame or two early.
SHORT_S = 0.25


@dataclass(frozen=True)
class Draft:
    """Hold one viewpoint of a segment before encoding: `crops [T, 3, s, s]` uint8, `sound [N]` float32,
    `maps [T, 2, H, W]` uint8, and the view of each frame."""

    crops: Tensor
    sound: Tensor
    maps: Tensor
    track: ViewTrack
    sound_kind: str


@dataclass(frozen=True)
class Work:
    """Carry a segment through the stages.

    Args:
        panorama: the clip with sound at 16 kHz; dropped after `views`, to free memory.
        drafts: one per viewpoint.
        foa: `[4, N]` AmbiX if the clip is Ambisonic, else None.
        spatial: its sound at its own rate, for a model of Ambisonics, else None.
        pictures: pixels of panoramas and front views, `[T, 224, 224, 3]` uint8 each, for the same.
        caption: text for the text encoders.
        seconds, core_seconds: per stage, as in `Outcome`.
        notices: changes made to the clip, for the user.
        device: for captioners and SalViT360.
        examples: result of `encode`.
        outcome: set when the segment ended early.
    """

    segment: Segment
    panorama: PanoramaClip | None = None
    saliency: SaliencyMaps | None = None
    drafts: tuple[Draft, ...] = ()
    foa: Tensor | None = None
    spatial: Sound | None = None
    pictures: tuple[Tensor, Tensor] | None = None
    caption: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    core_seconds: dict[str, float] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    device: str = "cpu"
    examples: tuple[Prepared, ...] = ()
    outcome: Outcome | None = None

    @property
    def clip(self) -> tuple[PanoramaClip, Sound]:
        """The panorama and its sound, for the stages after `read`."""
        assert self.panorama is not None and self.panorama.sound is not None, "a stage ran before `read`"
        return self.panorama, self.panorama.sound


Stage = Callable[[Work, Settings], Work]


def read(work: Work, settings: Settings) -> Work:
    """Read the clip: frames at 8 fps, 2:1, and sound at 16 kHz. Ambisonics are kept, other sound becomes mono."""
    segment, spec = work.segment, settings.spec
    info = probe(segment.clip.path)
    length, unfolding = info.duration_s, unfolding_of(info)
    if unfolding is not None and not unfolding.is_whole:
        raise Rejected(f"part: the clip shows a part of the sphere ({info.projection})")
    if length is not None and length < segment.start_s + spec.seconds - SHORT_S:
        raise Rejected(f"short: the clip has {length:.2f} s, the segment ends at {segment.start_s + spec.seconds:g} s")
    clip = read_panorama(
        segment.clip.path, start_s=segment.start_s, duration_s=spec.seconds, fps=spec.fps, height=settings.read_height,
        ambisonics=settings.ambisonics, head_locked=settings.head_locked,
    )  # fmt: skip
    if clip.sound is None:
        raise Rejected("mute: the clip has no sound")
    if not torch.isfinite(clip.sound.waveform).all():
        raise InputError("the sound holds NaN or infinite samples")
    spatial = clip.sound.layout == "ambix"
    kept = first_order(clip.sound) if spatial else to_mono(clip.sound)
    sound = fit_length(resample(kept, spec.sample_rate_hz), spec.num_samples)
    return replace(
        work, panorama=replace(clip, sound=sound), foa=sound.waveform[:FIRST_ORDER] if spatial else None,
        spatial=kept if spatial and settings.field is not None else None,
        caption=segment.clip.caption, notices=clip.notices + first_order_notice(clip.sound.ambisonic_order),
    )  # fmt: skip


def caption(work: Work, settings: Settings) -> Work:
    """Caption the panorama if the source has no caption and a captioner is named."""
    if work.caption or settings.caption_models is None:
        return work
    from con360.caption.by_models import caption_scene

    made = caption_scene(work.clip[0], settings.caption_models, lambda *which: nullcontext(_kept(*which, work.device)))
    return replace(work, caption=made.short, notices=work.notices + made.notices)


@lru_cache(maxsize=2)
def _kept(load: Callable[..., Any], folder: Path, device: str) -> Any:
    """Keep a captioner and a language model for all segments of a process."""
    return load(folder, device=device)


def clean(work: Work, settings: Settings) -> Work:
    """Reject the segments that the chosen rules leave out."""
    clip, sound = work.clip
    mono = omni_sound(sound)
    if "static" in settings.clean:
        check_static(clip.frames, clip.fps)
    if "silent" in settings.clean:
        check_silent(mono)
    if "speech" in settings.clean:
        check_speech(mono, settings.speech_model)
    if "not360" in settings.clean:
        check_is_360(clip)
    if "notfoa" in settings.clean:
        check_is_foa(sound)
    if "match" in settings.clean and reads_captions(settings.match_model):
        check_match(mono, work.caption, settings.match_model, settings.min_match)
    elif "match" in settings.clean:
        encoder = match_encoder(settings.match_model, settings.facts.model, work.device)
        check_seen(clip.frames, clip.fps, mono, encoder, settings.min_match)
    return work


def saliency(work: Work, settings: Settings) -> Work:
    """Estimate a saliency map per frame."""
    return replace(work, saliency=_saliency_of(work.clip[0], settings.saliency, SALIENCY_HEIGHT, work.device))


def _saliency_of(clip: PanoramaClip, method: str, height: int, device: str) -> SaliencyMaps:
    if method in NAMED_METHODS or not Path(method).is_file():
        return clip_saliency(clip, method, height=height)
    model = _salvit360(method, device)
    return SaliencyMaps(salvit360_saliency(model, clip.frames, height).cpu(), f"SalViT360 {model.variant}")


@lru_cache(maxsize=1)
def _salvit360(weights: str, device: str) -> Any:
    # `predict_saliency` would load the network for each clip; load it once per process instead.
    return load_salvit360(weights, device)


def views(work: Work, settings: Settings) -> Work:
    """Choose the most salient viewpoints; cut out the true picture, sound and maps of each."""
    (clip, sound), maps = work.clip, work.saliency
    assert maps is not None, "`views` ran before `saliency`"
    found = viewpoints(maps, clip.fps, fov_deg=settings.fov_deg, mode=settings.mode, max_viewpoints=settings.viewpoints)
    drafts = tuple(_draft(clip, sound, maps, viewpoint.track, settings) for viewpoint in found)
    notices = work.notices + viewpoint_notices(found)
    return replace(work, panorama=None, saliency=None, drafts=drafts, notices=notices)


def _draft(clip: PanoramaClip, heard: Sound, maps: SaliencyMaps, track: ViewTrack, settings: Settings) -> Draft:
    crops = erp_to_perspective(clip.frames, track, settings.facts.picture_size_px).clamp(0, 1)
    directed = settings.sound == "view" and heard.layout == "ambix"
    sound = view_sound(heard, track, clip.fps) if directed else omni_sound(heard)
    stacked = stack_maps(Conditions(maps, basd_maps(track, maps.maps.shape[-2]), SceneCaption("")))[0]
    small = torch.nn.functional.interpolate(stacked, (MAP_HEIGHT, 2 * MAP_HEIGHT), mode="area")
    return Draft(_bytes(crops), sound.waveform[0], _bytes(small), track, "view" if directed else "omni")


def render(work: Work, settings: Settings) -> Work:
    """Render a procedural scene with its true saliency, or with estimated saliency if the settings ask for it."""
    split, index = scene_number(work.segment.clip)
    spec = settings.spec
    example = make_example(split, index, num_frames=spec.num_frames, spec=spec, size=settings.facts.picture_size_px)
    scene, maps = scene_of(split, index), example.maps
    if settings.saliency != TRUTH:
        panorama = scene.panorama(settings.read_height, spec)
        estimated = _saliency_of(panorama, settings.saliency, maps.shape[-2], work.device)
        maps = torch.stack([estimated.maps, maps[:, 1]], dim=1)
    draft = Draft(_bytes(example.frames), example.waveform, _bytes(maps), example.track, "view")
    return replace(work, drafts=(draft,), foa=scene.foa(spec).waveform, caption=example.caption)


def pictures(work: Work, settings: Settings) -> Work:
    """Make the pictures that a model of Ambisonics reads, of clips that have such sound."""
    if work.spatial is None and not is_scene(work.segment.clip):
        return work
    if work.panorama is None:
        scene = scene_of(*scene_number(work.segment.clip))
        clip = scene.panorama(settings.read_height, settings.spec)
        work = replace(work, spatial=scene.foa(settings.spec))
    else:
        clip = work.panorama
    frames = [np.ascontiguousarray(frame) for frame in _bytes(clip.frames).movedim(1, -1).numpy()]
    made = (torch.stack([torch.from_numpy(clip_picture(make(f))) for f in frames]) for make in (squared, front_view))
    whole, front = made
    return replace(work, pictures=(whole, front))


def _bytes(values: Tensor) -> Tensor:
    return (values * 255).round().to(torch.uint8)


def stages_of(segment: Segment, settings: Settings) -> tuple[Stage, ...]:
    """List the stages before encoding."""
    more: tuple[Stage, ...] = () if settings.field is None else (pictures,)
    return (render, *more) if is_scene(segment.clip) else (read, caption, clean, *more, saliency, views)


def prepare_views(segment: Segment, settings: Settings, device: str = "cpu") -> Work:
    """Run every stage before encoding; an error ends the segment and is recorded in its outcome."""
    work = Work(segment, device=device)
    for stage in stages_of(segment, settings):
        work = _timed(stage.__name__, work, stage, settings)
        if work.outcome is not None:
            break
    return work


def _timed(name: str, work: Work, stage: Stage, settings: Settings) -> Work:
    """Run a stage and measure it; an exception becomes the segment's outcome."""
    clock, cores = time.perf_counter(), time.process_time()
    status: Status = "failed"
    try:
        made, reason = stage(work, settings), ""
    except Rejected as error:
        made, status, reason = work, "rejected", str(error)
    except InputError as error:
        made, reason = work, str(error)
    # One broken clip must not end the run: its error is recorded with its kind and counted at the end.
    except Exception as error:
        made, reason = work, f"{type(error).__name__}: {error}"
    made = replace(
        made, seconds={**work.seconds, name: time.perf_counter() - clock},
        core_seconds={**work.core_seconds, name: time.process_time() - cores},
    )  # fmt: skip
    if not reason:
        return made
    outcome = Outcome(
        work.segment.id, status, name, reason, seconds=made.seconds, core_seconds=made.core_seconds,
        notices=work.notices, finished_s=time.time(),
    )  # fmt: skip
    return replace(
        made, panorama=None, saliency=None, drafts=(), foa=None, spatial=None, pictures=None, outcome=outcome
    )


class Encoder:
    """Encode pictures, sound and caption for the U-Nets: the last stage. Creating it loads the encoders."""

    def __init__(self, settings: Settings, device: str = "cpu") -> None:
        self.settings = settings
        self.parts = load_encoders(settings.facts.model, device)
        self.device = device
        self.text = lru_cache(maxsize=256)(self._text)

    def __call__(self, work: Work) -> Result:
        """Return a segment's examples, or the outcome that an earlier stage gave."""
        if work.outcome is None:
            work = _timed("encode", work, self._encode, self.settings)
        if work.outcome is not None:
            return Result(work.outcome)
        outcome = Outcome(
            work.segment.id, "done", examples=len(work.examples), seconds=work.seconds, core_seconds=work.core_seconds,
            notices=work.notices, finished_s=time.time(),
        )  # fmt: skip
        return Result(outcome, work.examples)

    @torch.no_grad()
    def _encode(self, work: Work, settings: Settings) -> Work:
        text_v, text_a = self.text(work.caption)
        beside, made = self._field(work, settings), []
        for rank, draft in enumerate(work.drafts, start=1):
            latents_v, latents_a = self._latents(draft)
            made.append(Prepared(
                latents_v.half(), latents_a.half(), draft.maps,
                torch.tensor([[v.yaw_deg, v.pitch_deg, v.fov_deg] for v in draft.track.views]), text_v, text_a,
                work.caption, id=f"{work.segment.id}#{rank}", segment=work.segment.id, video=work.segment.clip.video,
                start_s=work.segment.start_s, rank=rank, sound_kind=draft.sound_kind, sound=draft.sound.half(),
                foa=work.foa.half() if work.foa is not None and rank == 1 else None,
                crops=draft.crops if settings.crops else None, **(beside if rank == 1 else {}),
            ))  # fmt: skip
        return replace(work, drafts=(), spatial=None, pictures=None, examples=tuple(made))

    def _field(self, work: Work, settings: Settings) -> dict[str, Tensor]:
        """Features of pictures and moments of latents, by the shards' names."""
        if work.spatial is None or work.pictures is None or settings.field is None:
            return {}
        model = load_field_model(settings.field.model, settings.field.pictures, self.device)
        codec = model.network.codec
        waveform = fit_length(
            resample(work.spatial, codec.sample_rate_hz), round(settings.seconds * codec.sample_rate_hz)
        ).waveform
        mean, std = codec.vae.moments(waveform[None].to(codec.vae.device, codec.vae.dtype))
        panorama, view = (encode_pictures(model.encoder, half) for half in work.pictures)
        found = (panorama, view, mean[0], std[0])
        return {name: value.half().cpu() for name, value in zip(FIELD_TENSORS, found, strict=True)}

    def _latents(self, draft: Draft) -> tuple[Tensor, Tensor]:
        """`[T, 4, h, w]` and `[8, R, 16]`."""
        latents_v = encode_frames(self.parts.vae_v, draft.crops.float() / 255).transpose(0, 1).cpu()
        rows = self.settings.spec.num_latent_rows_padded
        latents_a = encode_mel(self.parts.vae_a, log_mel(draft.sound[None]), rows)[0].cpu()
        if not (torch.isfinite(latents_v.half()).all() and torch.isfinite(latents_a.half()).all()):
            raise InputError("the latents are not finite at half precision")
        return latents_v, latents_a

    def _text(self, caption: str) -> tuple[Tensor, Tensor]:
        parts = self.parts
        text_v = encode_tokens(parts.tokenizer_v, parts.text_encoder_v, [caption])[0]
        text_a = encode_sentences(parts.tokenizer_a, parts.text_encoder_a, [caption])[0]
        return text_v.half().cpu(), text_a.half().cpu()


def encode_pictures(encoder: PictureEncoder, pictures: Tensor) -> Tensor:
    """Features `[T, F]` of pictures `[T, 224, 224, 3]` uint8, a few at a time."""
    return torch.cat([encoder.features(torch.stack(list(map(clip_values, part)))) for part in pictures.split(BATCH)])
