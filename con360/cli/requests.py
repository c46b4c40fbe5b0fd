"""Requests: each command's options as a frozen record. Its fields are the parser's destinations; defaults stand there.

Groups of options that several commands share are records of their own, which a request inherits.
"""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Literal

    from ..choices import (
        ClipSound,
        Eye,
        GuideLoss,
        GuideSteer,
        LooksTo,
        Quality,
        Ranking,
        RedoPart,
        SoundKind,
        StereoLaw,
        TimesFrom,
        VideoCodec,
    )


@dataclass(frozen=True, kw_only=True)
class Request:
    """One command as it was typed; `json` prints one line for programs."""

    command: str
    json: bool


# Groups ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ExcerptOptions:
    """Part of INPUT: from `start`, for `duration` seconds; `eye` of stereo video, None as the metadata says."""

    input: str
    start: float
    duration: float
    eye: Eye | None


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


# Requests -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class DemoRequest(Request, ModelOptions):
    """`con360 demo`."""

    out: str
    seed: int
    steps: int | None


@dataclass(frozen=True, kw_only=True)
class GenerateRequest(
    Request, ExcerptOptions, SoundOptions, SaliencyOptions, DirectionOptions, SamplingOptions, CaptioningOptions,
    StartOptions, TimeOptions, MeaningOptions, RedoOptions, ModelOptions,
):  # fmt: skip
    """`con360 generate`."""

    output: str
    viewpoint: int | None
    viewpoints: str | None
    choose_by: Ranking
    track: str
    memory: str | None
    conditions: str | None
    field: str | None
    sound: ClipSound | None


@dataclass(frozen=True, kw_only=True)
class ReframeRequest(Request, SoundOptions, SaliencyOptions, DirectionOptions):
    """`con360 reframe`; `duration` None goes to the end."""

    input: str
    output: str
    follow: int | None
    path: str | None
    device: str
    start: float
    duration: float | None
    eye: Eye | None
    size: str | None
    fps: float | None
    sound: SoundKind
    hrtf: str | None
    stereo: StereoLaw
    roll: float | None
    aspect: str | None
    write_keyframes: str | None


@dataclass(frozen=True, kw_only=True)
class LevelRequest(Request, SoundOptions):
    """`con360 level`; `recentre` is a yaw, "initial" or None."""

    input: str
    output: str
    yaw: float
    pitch: float
    roll: float
    auto: bool
    recentre: float | Literal["initial"] | None
    start: float
    duration: float | None
    eye: Eye | None
    codec: VideoCodec
    quality: Quality


@dataclass(frozen=True, kw_only=True)
class PlaceRequest(Request, PlaceOptions, SoundOptions, SaliencyOptions):
    """`con360 place`; `order` of None is the clip's own, else 1; `views` is a folder with sounds of views."""

    sounds: tuple[str, ...]
    views: str | None
    output: str
    on: str | None
    order: int | None
    replace: bool
    eye: Eye | None
    device: str


@dataclass(frozen=True, kw_only=True)
class AmbisonicsRequest(Request, SoundOptions, SaliencyOptions):
    """`con360 ambisonics`; `duration` None goes to the end, `steps` and `cfg` None are the model's own."""

    input: str
    output: str
    start: float
    duration: float | None
    eye: Eye | None
    seed: int
    steps: int | None
    cfg: float | None
    view: LooksTo
    published_jpeg: bool
    fresh: bool
    keep_original: bool
    gain: float
    no_limiter: bool
    headphones: str | None
    model: str
    pictures: str | None
    device: str
    dtype: str


@dataclass(frozen=True, kw_only=True)
class ListenRequest(Request, SoundOptions):
    """`con360 listen`; the head points to the front where nothing was typed."""

    input: str
    output: str
    yaw: float | None
    pitch: float | None
    path: str | None
    hrtf: str | None


@dataclass(frozen=True, kw_only=True)
class ViewsRequest(Request, SoundOptions, SaliencyOptions):
    """`con360 views`; `count` None and `regions` None take the default count, `duration` None goes to the end."""

    input: str
    out: str
    count: int | None
    regions: int | None
    above_below: bool
    fov: float | None
    device: str
    start: float
    duration: float | None
    eye: Eye | None
    size: str | None
    fps: float | None
    with_sound: bool


@dataclass(frozen=True, kw_only=True)
class WhenRequest(Request, SoundOptions):
    """`con360 when`; `region` of None is the most salient."""

    input: str
    output: str
    times_from: TimesFrom
    start: float
    duration: float
    region: int | None
    yaw: float | None
    pitch: float | None
    network: str | None
    eye: Eye | None
    device: str

    @property
    def by_hand(self) -> bool:
        return self.yaw is not None or self.pitch is not None


@dataclass(frozen=True, kw_only=True)
class PageRequest(Request, SoundOptions):
    """`con360 page`; `duration` None goes to the end."""

    input: str
    output: str
    view: tuple[str, ...]
    views: str | None
    title: str | None
    size: str | None
    start: float
    duration: float | None
    eye: Eye | None


@dataclass(frozen=True, kw_only=True)
class CaptionRequest(Request, ExcerptOptions, CaptioningOptions):
    """`con360 caption`."""

    model: str | None
    device: str


@dataclass(frozen=True, kw_only=True)
class ModelsRequest(Request):
    """`con360 models`."""

    folder: str | None


@dataclass(frozen=True, kw_only=True)
class ConvertRequest(Request):
    """`con360 convert`."""

    input: str
    output: str
    half: bool
    tensors_only: bool


REQUESTS: dict[str, type[Request]] = {
    "demo": DemoRequest,
    "generate": GenerateRequest,
    "reframe": ReframeRequest,
    "level": LevelRequest,
    "place": PlaceRequest,
    "ambisonics": AmbisonicsRequest,
    "listen": ListenRequest,
    "when": WhenRequest,
    "page": PageRequest,
    "views": ViewsRequest,
    "caption": CaptionRequest,
    "models": ModelsRequest,
    "convert": ConvertRequest,
}


def request_of(options: Namespace) -> Request:
    """The request that parsed options stand for; repeated options become tuples."""
    kind = REQUESTS[options.command]
    given = {field.name: getattr(options, field.name) for field in fields(kind)}
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
    return kind(**values)
