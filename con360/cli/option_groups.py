"""Groups of options that several commands share; a request inherits them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..choices import (
        Eye,
        GuideLoss,
        GuideSteer,
        Layout,
        PresetName,
        ProjectionWord,
        RedoPart,
    )
    from ..media.layouts import Reading


@dataclass(frozen=True, kw_only=True)
class PictureOptions:
    """Picture of INPUT: `eye` of stereo video, None as the metadata says; layout, projection and pose."""

    eye: Eye | None
    layout: Layout
    projection: ProjectionWord
    upright: bool

    @property
    def reading(self) -> Reading:
        from ..media.layouts import Reading

        return Reading(self.layout, self.projection, self.upright)


@dataclass(frozen=True, kw_only=True)
class ExcerptOptions(PictureOptions):
    """Part of INPUT: from `start`, for `duration` seconds."""

    input: str
    start: float
    duration: float


@dataclass(frozen=True, kw_only=True)
class SoundOptions:
    """Sound of INPUT: the track from 1, None for the default one, and what its channels are."""

    audio_track: int | None
    ambisonics: str
    head_locked: bool


@dataclass(frozen=True, kw_only=True)
class SaliencyOptions:
    """A saliency method or file, and a face detector's file or `none`; None takes the default."""

    saliency: str | None
    faces: str | None


@dataclass(frozen=True, kw_only=True)
class PresetOptions:
    """Kind of the written file; None for an MP4 of H.264 with AAC or Opus."""

    preset: PresetName | None


@dataclass(frozen=True, kw_only=True)
class DirectionOptions:
    """A direction set by hand, in degrees; None where it was not typed."""

    yaw: float | None
    pitch: float | None
    fov: float | None

    @property
    def by_hand(self) -> bool:
        return self.yaw is not None or self.pitch is not None


@dataclass(frozen=True, kw_only=True)
class PlaceOptions:
    """Place of a sound; None where it was not typed."""

    yaw: float | None = None
    pitch: float | None = None
    follow: int | None = None
    path: str | None = None
    panned: bool = False
    find: bool = False
    most_moving: bool = False
    distance: float | None = None
    spread: float | None = None
    gain: float | None = None
    begin: float | None = None

    @property
    def ways(self) -> tuple[str, ...]:
        """Ways in which it says where the sound lies; more than one contradict each other."""
        given = {
            "direction": self.yaw is not None or self.pitch is not None, "region": self.follow is not None,
            "path": self.path is not None, "panning": self.panned, "finding": self.find,
            "most moving region": self.most_moving,
        }  # fmt: skip
        return tuple(way for way, is_given in given.items() if is_given)


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """Settings of the sampler; None takes what the model recommends."""

    caption: str | None
    negative: str
    seed: int
    steps: int | None
    sampler: str | None
    cfg_video: float | None
    cfg_audio: float | None
    cfg_control: float | None
    strength: float
    saliency_strength: float
    basd_strength: float
    control_start: float | None
    control_end: float | None


@dataclass(frozen=True, kw_only=True)
class CaptioningOptions:
    """Caption models and their prompts; a prompt of None is the default one."""

    captioner: str | None
    caption_llm: str | None
    caption_times: int
    caption_batch: int
    face_prompt: str | None
    merge_prompt: str | None
    short_prompt: str | None


@dataclass(frozen=True, kw_only=True)
class StartOptions:
    """The clip's start, how much of it to replace, and the modality to hold."""

    start_from: str | None
    denoise: float | None
    denoise_sound: float | None
    hold: str | None


@dataclass(frozen=True, kw_only=True)
class TimeOptions:
    """A file with the time track that the sound follows, how firmly, and where the picture does; None is none."""

    when: str | None
    when_strength: float | None
    when_at: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class MeaningOptions:
    """A guide by meaning, by whose encoder, and of how many seeds the best is kept by whose judgement; None is none."""

    guide: GuideLoss | None
    guide_steer: GuideSteer | None
    guide_strength: float | None
    guide_start: float | None
    guide_end: float | None
    encoder: str | None
    best_of: int | None
    judge: str | None


@dataclass(frozen=True, kw_only=True)
class RedoOptions:
    """A span to make anew, what of it and by what; files of latents that are written and read."""

    redo: str | None
    redo_seed: int | None
    redo_what: RedoPart | None
    redo_caption: str | None
    redo_when: str | None
    save_latents: str | None
    latents: str | None


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The model by name, folder or manifest, parts from elsewhere, its control, and where it computes."""

    model: str
    part: tuple[str, ...]
    control: str | None
    device: str
    dtype: str
