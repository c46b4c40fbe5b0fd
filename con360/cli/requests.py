"""Requests: each command's options as a frozen record. Its fields are the parser's destinations; defaults stand there.

Groups of options that several commands share (`option_groups`) are records of their own, which a request inherits.
"""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from .option_groups import (
    CaptioningOptions,
    DirectionOptions,
    ExcerptOptions,
    MeaningOptions,
    ModelOptions,
    PictureOptions,
    PlaceOptions,
    PresetOptions,
    RedoOptions,
    SaliencyOptions,
    SamplingOptions,
    SoundOptions,
    StartOptions,
    TimeOptions,
)

if TYPE_CHECKING:
    from typing import Literal

    from ..choices import (
        ClipSound,
        Eye,
        Hdr,
        LooksTo,
        Quality,
        Ranking,
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
class ReframeRequest(Request, PictureOptions, SoundOptions, SaliencyOptions, DirectionOptions, PresetOptions):
    """`con360 reframe`; `duration` None goes to the end."""

    input: str
    output: str
    follow: int | None
    path: str | None
    device: str
    start: float
    duration: float | None
    size: str | None
    fps: float | None
    sound: SoundKind
    hrtf: str | None
    stereo: StereoLaw
    roll: float | None
    aspect: str | None
    write_keyframes: str | None
    hdr: Hdr


@dataclass(frozen=True, kw_only=True)
class LevelRequest(Request, PictureOptions, SoundOptions, PresetOptions):
    """`con360 level`; `recentre` is a yaw, "initial" or None; `codec` None is the preset's, else H.264."""

    input: str
    output: str
    yaw: float
    pitch: float
    roll: float
    auto: bool
    recentre: float | Literal["initial"] | None
    start: float
    duration: float | None
    codec: VideoCodec | None
    quality: Quality
    hdr: Hdr


@dataclass(frozen=True, kw_only=True)
class CheckRequest(Request, SoundOptions):
    """`con360 check`; `all` shows what is good or cannot be told too."""

    input: str
    all: bool


@dataclass(frozen=True, kw_only=True)
class ProjectRequest(Request, DirectionOptions):
    """`con360 project`; the place is the front where nothing was typed."""

    input: str
    output: str
    panorama: str | None
    roll: float | None
    path: str | None
    feather: float
    begin: float
    height: int | None
    eye: Eye | None
    mask: str | None
    sound: str | None
    codec: VideoCodec | None
    quality: Quality


@dataclass(frozen=True, kw_only=True)
class PlaceRequest(Request, PlaceOptions, SoundOptions, SaliencyOptions, PresetOptions):
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
class AmbisonicsRequest(Request, SoundOptions, SaliencyOptions, PresetOptions):
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
class ViewsRequest(Request, PictureOptions, SoundOptions, SaliencyOptions):
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
    "check": CheckRequest,
    "project": ProjectRequest,
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
