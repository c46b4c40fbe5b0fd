"""The records that cross the borders between stages.

Each stage takes records and returns new ones; none is changed in place. Tensors are float32 on
the CPU unless a docstring says otherwise; pixels are in [0, 1] and waveforms nominally in [-1, 1].
Angles are degrees: yaw right-positive in [-180, 180), pitch up-positive in [-90, 90], yaw 0 at the
panorama's centre column.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

# progress(done, total, what): called by long stages; it may raise to cancel them.
Progress = Callable[[int, int, str], None]

SoundLayout = Literal["mono", "stereo", "ambix", "other"]
MODALITIES = ("video", "audio")


class AV(NamedTuple):
    """One value for each modality; None where a modality is absent."""

    video: Any = None
    audio: Any = None

    def get(self, modality: str) -> Any:
        """The half of `video` or `audio`."""
        return self[MODALITIES.index(modality)]

    def present(self) -> tuple[str, ...]:
        """Modalities that have a value."""
        return tuple(name for name, half in zip(MODALITIES, self, strict=True) if half is not None)

    def map(self, function: Callable[..., Any], *others: AV) -> AV:
        """Apply a function to each present half, with the same halves of `others` behind it."""
        return AV.of({name: function(*(pair.get(name) for pair in (self, *others))) for name in self.present()})

    @staticmethod
    def of(halves: Mapping[str, Any]) -> AV:
        """A pair from values by modality."""
        return AV(*(halves.get(name) for name in MODALITIES))


@dataclass(frozen=True)
class Sound:
    """A waveform with its rate.

    Args:
        waveform: `[C, N]` float32. Peaks above 1 are kept, not clipped.
        sample_rate_hz: sampling rate.
        layout: what the channels mean. `ambix` is Ambisonics, ACN order W, Y, Z, X, ..., SN3D: (n + 1)² channels at
            order n, and two more where a head-locked stereo pair follows. `other` are loudspeakers or plain channels.
        speakers: FFmpeg's names of `other`'s channels (FL, FR, FC, LFE, ...); empty where they are not known.
    """

    waveform: Tensor
    sample_rate_hz: int
    layout: SoundLayout = "mono"
    speakers: tuple[str, ...] = ()

    @property
    def duration_s(self) -> float:
        return self.waveform.shape[-1] / self.sample_rate_hz

    @property
    def ambisonic_order(self) -> int | None:
        """Order of `ambix` channels; None for other layouts, and where no order has so many channels."""
        channels = self.waveform.shape[0]
        if self.layout != "ambix":
            return None
        return next((n for n in map(order_of, (channels, channels - 2)) if n is not None), None)


def order_of(channels: int) -> int | None:
    """Order of Ambisonics of so many channels, a head-locked pair not counted; None where no order has them."""
    order = math.isqrt(max(channels, 1)) - 1
    return order if (order + 1) ** 2 == channels else None


@dataclass(frozen=True)
class SourcePoint:
    """Place of a sound source, as the listener sees it.

    Args:
        distance_m: 1 m leaves the level as it is, twice as far is 6.02 dB quieter.
        spread_deg: angle that the source fills: 0 is a point, 360 sounds from everywhere.
        gain_db: on top of the distance.
    """

    yaw_deg: float
    pitch_deg: float = 0.0
    distance_m: float = 1.0
    spread_deg: float = 0.0
    gain_db: float = 0.0


@dataclass(frozen=True)
class SourceTrack:
    """A source that moves: `points` at `times_s`, seconds from the sound's start, sorted.

    Convention: between two points yaw takes the shorter way round and the rest is linear; the first point holds before
    its time, the last one after its own.
    """

    times_s: tuple[float, ...]
    points: tuple[SourcePoint, ...]

    @staticmethod
    def still(point: SourcePoint) -> SourceTrack:
        return SourceTrack((0.0,), (point,))


@dataclass(frozen=True)
class DirectionField:
    """Direction of a sound per row of time and band of frequency; it turns W alone into Ambisonics.

    Args:
        vectors: `[R, B, 3]`, intensity over the energy of W along the dipoles Y, Z, X (left, up, front); length at
            most 2.
        residual: `[R, B]`, energy of the dipoles over that of W which `vectors` do not explain, in [0, 16].
        row_s: seconds of a row; row r stands for r * row_s to (r + 1) * row_s.
        shares: how much of `residual` each of the dipoles Y, Z, X has, over all rows; sums to 1.
    """

    vectors: Tensor
    residual: Tensor
    row_s: float = 0.04
    shares: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)


@dataclass(frozen=True)
class Signal:
    """One or more values over time.

    Args:
        values: `[T, ...]`; value k stands for the time `(k + 0.5) / rate_hz`. A batch has `[B, T, ...]`.
        rate_hz: values per second.
    """

    values: Tensor
    rate_hz: float

    @property
    def duration_s(self) -> float:
        return len(self.values) / self.rate_hz

    @property
    def width(self) -> int:
        """Number of values at a time."""
        return math.prod(self.values.shape[1:])


OnsetSource = Literal["drawn", "sound", "picture", "file"]


@dataclass(frozen=True)
class OnsetTrack:
    """Times at which sounds begin.

    Args:
        times_s: seconds from the start, at least 0, sorted.
        strengths: one per time, in (0, 1]; empty where all count alike.
        labels: one per time, or empty.
        duration_s: of the clip that they belong to; None where it is not known.
        source: who found them.
    """

    times_s: tuple[float, ...]
    strengths: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()
    duration_s: float | None = None
    source: OnsetSource = "drawn"


@dataclass(frozen=True)
class Envelope(Signal):
    """Loudness over time: linear RMS, in which a full-scale square wave has 1 and a full sine 0.707.

    Args:
        values: `[N]`, at least 0.
        rate_hz: 125, a hop of 128 samples at 16 kHz.
        present: `[N]`, 1 where the envelope is meant and 0 where it is free; None means it everywhere.
    """

    rate_hz: float = 125.0
    present: Tensor | None = None


@dataclass(frozen=True)
class TimeTrack:
    """Say when sounds begin and how loud they are, as someone wants it.

    Args:
        onsets: beginnings; None asks for none in particular.
        envelope: loudness of all sound together; None follows from the onsets (`sound.time_tracks.envelope_of_track`).
        decay_s: time in which a sound dies away, where the envelope follows from the onsets; None is 0.25.
    """

    onsets: OnsetTrack | None = None
    envelope: Envelope | None = None
    decay_s: float | None = None


@dataclass(frozen=True)
class PanoramaClip:
    """A piece of a 360° video, sampled at a constant frame rate.

    Args:
        frames: `[T, 3, H, W]` equirectangular, `W == 2 * H`, in [0, 1].
        fps: rate at which the frames were sampled.
        sound: the clip's sound as recorded (any channels and rate), as long as the picture; None when there is none.
        start_s: where the clip begins in its source.
        source: name of the file, for people.
        notices: sentences about what was done or missing (stretched, silent, padded, ...).
    """

    frames: Tensor
    fps: float
    sound: Sound | None = None
    start_s: float = 0.0
    source: str = ""
    notices: tuple[str, ...] = ()

    @property
    def num_frames(self) -> int:
        return self.frames.shape[0]


@dataclass(frozen=True)
class SaliencyMaps:
    """Saliency per frame: `maps [T, H, W]` in [0, 1], maximum 1 in each frame (a flat map when nothing stands out)."""

    maps: Tensor
    method: str


@dataclass(frozen=True)
class View:
    """A camera's direction, its field of view and its roll.

    Args:
        fov_deg: across the longer side of the picture.
        roll_deg: in [-180, 180). Positive leans the camera to its right: clockwise as seen from behind it, so that the
            picture's content turns counter-clockwise.
    """

    yaw_deg: float
    pitch_deg: float = 0.0
    fov_deg: float = 90.0
    roll_deg: float = 0.0


@dataclass(frozen=True)
class ViewTrack:
    """One view per frame of a clip.

    Args:
        aspect: the pictures' width over their height. A picture of another shape than a square is the middle of the
            square view with the same field of view.
    """

    views: tuple[View, ...]
    aspect: float = 1.0

    def __len__(self) -> int:
        return len(self.views)

    @property
    def is_still(self) -> bool:
        return all(view == self.views[0] for view in self.views)

    def at(self, frames: Iterable[int]) -> ViewTrack:
        """The track of these frames alone."""
        return ViewTrack(tuple(self.views[i] for i in frames), self.aspect)

    @staticmethod
    def still(view: View, num_frames: int, aspect: float = 1.0) -> ViewTrack:
        return ViewTrack((view,) * num_frames, aspect)


@dataclass(frozen=True)
class Region:
    """A salient region on the sphere.

    Args:
        yaw_deg, pitch_deg: saliency- and area-weighted spherical centroid.
        width_deg, height_deg: angular size of the box around the region, seen from its centroid.
        mass: the region's share of the map's saliency over the sphere, in [0, 1].
    """

    yaw_deg: float
    pitch_deg: float
    width_deg: float
    height_deg: float
    mass: float


@dataclass(frozen=True)
class Viewpoint:
    """A ranked region and the view or track that looks at it. `rank` counts from 1; 0 is a view set by hand."""

    rank: int
    region: Region | None
    track: ViewTrack


BasdNormalization = Literal["minmax", "diagonal", "none"]


@dataclass(frozen=True)
class BasdMaps:
    """Bounding-box-aware signed distance per frame.

    Args:
        maps: `[T, H, W]`; in pixels of the map for `none`, divided by the diagonal for `diagonal`,
            in [0, 1] for `minmax`. Positive inside the view, negative outside, before normalisation.
        track: the views that the maps stand for; the `view` feature geometry needs them.
        normalization: which of the three.
    """

    maps: Tensor
    track: ViewTrack
    normalization: BasdNormalization = "minmax"


CaptionOrigin = Literal["typed", "scene", "plain", "models", "rules"]


@dataclass(frozen=True)
class FaceCaption:
    """A captioner's sentence about one cube face at one time.

    Args:
        time_s: time within the clip.
        face: one of `geometry.cubemap.FACE_NAMES`.
        direction: the same for people: "in front", "on the right", "behind", "on the left", "above", "below".
        text: its words; empty when it had none.
    """

    time_s: float
    face: str
    direction: str
    text: str

    def __str__(self) -> str:
        return f"{self.time_s:.1f} s, {self.direction}: {self.text or '(nothing)'}"


@dataclass(frozen=True)
class SceneCaption:
    """The scene in words: `short` is what the text encoders read (CLIP keeps 77 tokens), `long` is for people.

    Args:
        origin: who wrote it; "scene" is a procedural scene's own, "models" is a captioner and a language model, "rules"
            a captioner's words joined by rule.
        faces: what was said of each cube face, by time and then by direction.
        notices: sentences about what was cut or missing.
    """

    short: str
    long: str = ""
    origin: CaptionOrigin = "typed"
    faces: tuple[FaceCaption, ...] = ()
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Conditions:
    """Everything that steers one generation.

    Args:
        maps: further maps of the panorama by name, `[T, H, W]` in [0, 1], one per frame as saliency and BASD.
        signals: signals by name, as long as the clip.
        when: times at which the sound is to strike; None leaves them to model and control.
    """

    saliency: SaliencyMaps
    basd: BasdMaps
    caption: SceneCaption
    maps: Mapping[str, Tensor] = field(default_factory=dict)
    signals: Mapping[str, Signal] = field(default_factory=dict)
    when: TimeTrack | None = None

    @property
    def track(self) -> ViewTrack:
        return self.basd.track


@dataclass(frozen=True)
class StartClip:
    """Picture and sound that a generation starts from or holds; None where nothing is given.

    Args:
        frames: `[T, 3, H, W]` in [0, 1], at the model's frame rate. What is not square is cut to its middle.
        sound: of any rate and channels.
        latents: clean latents per modality, without the batch; they are read in place of encoding the other two.
        noise: to begin with, `[1, ...]` per modality (`sampling.joint.starting_noise`); the seed draws what is absent.
    """

    frames: Tensor | None = None
    sound: Sound | None = None
    latents: AV = AV()
    noise: AV = AV()


@dataclass(frozen=True)
class ViewpointClip:
    """A generated (or cropped) viewpoint clip: `frames [T, 3, H, W]` in [0, 1] with its sound.

    Args:
        latents: clean latents per modality, without the batch; what a span is made anew from. None where nothing was
            sampled.
        directions: of the sound, in the panorama; None where nothing says them.
        guided: per step that a guide by meaning corrected, V and cosines of the estimates as its own encoder sees them.
    """

    frames: Tensor
    fps: float
    sound: Sound
    seed: int | None = None
    notices: tuple[str, ...] = ()
    stage_seconds: dict[str, float] = field(default_factory=dict)
    latents: AV = AV()
    directions: DirectionField | None = None
    guided: tuple[Mapping[str, Any], ...] = ()
