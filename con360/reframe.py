"""A flat video out of a 360° one, at the source's own resolution and frame rate, with the sound turned with the view.

Needs no weights. Files of any length: one frame and a fraction of a second of sound are held at a time.

Convention: times of a path count from where the excerpt begins. Each source frame is shown once, at its own time. The
field of view spans the longer side of the picture, so that a picture of any shape lies inside the square view that
editors and other stages draw; pixels are square.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from .errors import InputError
from .follow import Follower, view_on_path
from .geometry.erp import erp_coordinates
from .geometry.sphere import DEG, rotation
from .keyframes import Keyframe, view_at
from .media.channels import FIRST_ORDER
from .media.info import MediaInfo, probe
from .media.painting import Eye
from .media.reader import PanoramaStream, check_times
from .media.sound import (
    PAIR_LEFT_OUT,
    downmix_matrix,
    mix_moving,
    mixed_notice,
    mono_matrix,
    resample_blocks,
    stereo_matrix,
    turn_matrices,
)
from .media.writer import ClipStream, aac_gain, aac_notices, aac_rate_hz, check_clip_path, clip_stream
from .records import Progress, View
from .saliency.heard import Listener
from .saliency.human_faces import FaceDetector, HumanFace
from .saliency.predict import MULTICUE, predict_saliency
from .viewpoint import check_fov_deg, manual_viewpoint

SoundKind = Literal["auto", "stereo", "mono", "foa", "none"]
SOUND_KINDS: tuple[str, ...] = get_args(SoundKind)
Aim = Callable[[float], View]

SIDE_RANGE_PX = (16, 8192)
# What players decode; only where no size was asked for.
MAX_DEFAULT_SIDE_PX = 4096
# Saliency is looked for on small pictures a few times a second, in windows; a window begins with the last pictures of
# the one before, for motion and smoothing.
SALIENCY_FPS, SALIENCY_HEIGHT, MAP_HEIGHT = 4.0, 192, 96
WINDOW, OVERLAP = 32, 2
FACES_EVERY_S = 1.0
# Samples from one mixing matrix to the next (about 10 ms); in between they fade into each other.
MIX_STEP = 512
# Columns and rows that cubic interpolation reads beyond the panorama's edges.
MARGIN = 2
# Frames this much longer than the shortest one make a variable frame rate; less is rounding of timestamps.
VARIABLE_RATE = 1.5


@dataclass(frozen=True)
class Follow:
    """Follow the most salient region (rank 1), the second, ..."""

    rank: int = 1
    fov_deg: float = 90.0


@dataclass(frozen=True)
class Reframed:
    """What was written.

    Args:
        sound: "stereo", "mono", "foa" where it was turned, "as recorded", or "none".
        first_view: of the first frame.
        notices: sentences for people.
    """

    path: Path
    width: int
    height: int
    num_frames: int
    duration_s: float
    sound: str
    first_view: View
    notices: tuple[str, ...]


def reframe(
    source: str | os.PathLike, out: str | os.PathLike, look: Follow | View | Sequence[Keyframe], *,
    size: tuple[int, int] | None = None, sound: SoundKind = "auto", start_s: float = 0.0,
    duration_s: float | None = None, fps: float | None = None, eye: Eye | None = None, audio_track: int | None = None,
    ambisonics: str = "auto", head_locked: bool = False, saliency: str | Path = MULTICUE,
    detector: FaceDetector | None = None,
    device: torch.device | str = "cpu", progress: Progress | None = None,
) -> Reframed:  # fmt: skip
    """Writes what a camera inside a 360° video sees and hears, as an MP4 (H.264, AAC).

    Convention: the module's text.

    Args:
        source: a 360° video. out: the MP4 to write; it appears when it is complete.
        look: where the camera looks: a salient region to follow, one view, or keyframes.
        size: width and height, even. None gives a square of as many pixels per degree as the source has.
        sound: `stereo` and `mono` are virtual microphones turned with the view (`stereo_matrix`, `view_sound`), or the
            downmix of loudspeakers (`downmix_matrix`); `foa` is the turned Ambisonics itself; `auto` leaves mono and
            stereo as they are and makes stereo of the rest. A head-locked pair is added without a turn. All of it is
            resampled where AAC lacks the rate, and turned down by one gain where it would be too loud.
        start_s: where to begin. duration_s: how long; None goes to the end.
        fps: None keeps every frame at its own time; a number repeats and drops frames to a constant rate.
        eye, audio_track, ambisonics, head_locked: as in `read_panorama`.
        saliency, device: of `predict_saliency`, for `Follow`. detector: finds faces for it; None does without.
        progress: told of each frame; may raise to cancel, which leaves no file.

    Returns:
        Facts about the clip and the notices.

    Raises:
        InputError: the file, the range, the path or the options cannot be used.
    """
    _check(look, size, sound, start_s, duration_s, fps)
    check_clip_path(out)
    info = probe(source)
    if Path(out).expanduser().resolve() == info.path.resolve():
        raise InputError(f"{info.path.name} is both read and written; choose another name for the result.")
    stream = PanoramaStream(info, eye, audio_track, ambisonics, head_locked)
    stop_s = math.inf if duration_s is None else start_s + duration_s
    mix = _choose_mix(stream, sound)
    aim = _aim(stream, look, start_s, stop_s, _Estimator(saliency, detector, device), progress)
    job = _Job(stream, aim, start_s, stop_s, fps, progress)
    shots = job.shots()
    first = next(shots, None)
    if first is None:
        raise InputError(f"{info.path.name} has no picture at {start_s:g} s; choose an earlier start.")
    width, height = size or _default_size(first.pixels.shape[1], _widest_deg(look))
    camera = _Camera(width, height)
    gain = _gain(stream, mix, aim, start_s, stop_s, progress)
    with clip_stream(out, (width, height), job.time_base, job.rate, mix.shape) as clip:
        heard = _Heard(_sound_blocks(stream, mix, aim, start_s, stop_s), mix, gain, clip)
        shot: _Shot | None = first
        while shot is not None:
            clip.add_frame(camera.picture(shot.pixels, aim(shot.time_s)), shot.tick)
            heard.advance(shot.time_s)
            job.tell()
            shot = next(shots, None)
        # Sound may outlast the picture, as in the source.
        heard.advance(math.inf)
    stream.notices += aac_notices(mix.rate_hz, gain) if mix.shape else ()
    notices = (*stream.sentences, *job.notices())
    return Reframed(Path(out), width, height, job.count, job.end_s, mix.name, aim(first.time_s), notices)


def _check(
    look: Follow | View | Sequence[Keyframe], size: tuple[int, int] | None, sound: str, start_s: float,
    duration_s: float | None, fps: float | None,
) -> None:  # fmt: skip
    low, high = SIDE_RANGE_PX
    if size is not None and any(side % 2 or not low <= side <= high for side in size):
        raise InputError(f"a size of {size[0]}x{size[1]} was asked for; H.264 needs even numbers, {low} to {high}.")
    if sound not in SOUND_KINDS:
        raise InputError(f"sound {sound!r} is unknown; choose one of {', '.join(SOUND_KINDS)}.")
    check_times(start_s, duration_s)
    if fps is not None and not 0 < fps <= 240:
        raise InputError(f"{fps:g} frames per second were asked for; choose more than 0 and at most 240.")
    if isinstance(look, Follow):
        Follower(SALIENCY_FPS, look.rank)
        check_fov_deg(look.fov_deg)
    elif isinstance(look, View):
        manual_viewpoint(look.yaw_deg, look.pitch_deg, look.fov_deg, 1)
    elif not look:
        raise InputError("there are no keyframes; set at least one, or choose the view in another way.")


def _widest_deg(look: Follow | View | Sequence[Keyframe]) -> float:
    return look.fov_deg if isinstance(look, Follow | View) else max(frame.view.fov_deg for frame in look)


def _default_size(source_width: int, fov_deg: float) -> tuple[int, int]:
    """A square that has at its centre as many pixels per degree as a panorama of a width."""
    side = 2 * math.tan(fov_deg * DEG / 2) * source_width / (2 * math.pi)
    even = min(MAX_DEFAULT_SIDE_PX, max(SIDE_RANGE_PX[0], round(side / 2) * 2))
    return even, even


# Path -----------------------------------------------------------------------------------------------------------------


def _aim(
    stream: PanoramaStream, look: Follow | View | Sequence[Keyframe], start_s: float, stop_s: float,
    estimator: _Estimator, progress: Progress | None,
) -> Aim:  # fmt: skip
    if isinstance(look, View):
        still = manual_viewpoint(look.yaw_deg, look.pitch_deg, look.fov_deg, 1).track.views[0]
        return lambda time_s: still
    if not isinstance(look, Follow):
        return lambda time_s: view_at(look, time_s)
    follower = Follower(SALIENCY_FPS, look.rank)
    total = round(_seconds(stream.info, start_s, stop_s) * SALIENCY_FPS)

    def tell(seen: int) -> None:
        if progress is not None:
            progress(seen, max(seen, total), "looking for what is salient")

    for maps in _saliency_windows(stream, start_s, stop_s, estimator, tell):
        for one in maps:
            follower.add(one)
    if not len(follower):
        raise InputError(f"{stream.info.path.name} has no picture at {start_s:g} s; choose an earlier start.")
    if not follower.found_something:
        stream.notices.append("nothing stands out in the picture: the view looks to the front (yaw 0, pitch 0)")
    path = follower.path()
    return lambda time_s: view_on_path(path, time_s * SALIENCY_FPS, look.fov_deg)


def _seconds(info: MediaInfo, start_s: float, stop_s: float) -> float:
    """How long the excerpt probably is; 0 where the file does not say."""
    return max(0.0, min(stop_s, info.duration_s or 0.0) - start_s)


@dataclass(frozen=True)
class _Estimator:
    """How saliency is looked for: `method` and `device` of `predict_saliency`, and the user's face detector."""

    method: str | Path
    detector: FaceDetector | None
    device: torch.device | str

    @property
    def uses_cues(self) -> bool:
        return str(self.method) == MULTICUE


def _listened(stream: PanoramaStream, start_s: float, stop_s: float) -> Listener | None:
    """Where the sound of an excerpt comes from; None for sound without directions."""
    track = stream.track
    if track is None or track.heard.layout != "ambix":
        return None
    listener = Listener(track.sample_rate_hz, SALIENCY_FPS)
    for block in stream.sound(start_s, stop_s):
        listener.add(block)
    return listener


def _saliency_windows(
    stream: PanoramaStream, start_s: float, stop_s: float, estimator: _Estimator, tell: Callable[[int], None]
) -> Iterator[Tensor]:
    """Maps `[n, h, 2h]` at `SALIENCY_FPS`, window after window; `tell` hears of each picture, and may raise."""
    listener = _listened(stream, start_s, stop_s) if estimator.uses_cues else None
    detector = estimator.detector if estimator.uses_cues else None
    kept: list[Tensor] = []
    faces: list[tuple[HumanFace, ...]] = []
    fresh = seen = 0

    def maps() -> Tensor:
        found = predict_saliency(
            torch.stack(kept), estimator.method, fps=SALIENCY_FPS, height=MAP_HEIGHT, device=estimator.device,
            heard=None if listener is None else listener.intensity(seen)[-len(kept) :],
            faces=faces if detector is not None else None, progress=lambda *_: tell(seen),
        )  # fmt: skip
        return found.maps[-fresh:]

    for pixels in _at_rate(stream, SALIENCY_FPS, start_s, stop_s):
        picture = pixels()
        kept.append(_small(picture))
        if detector is not None:
            due = not faces or seen % round(FACES_EVERY_S * SALIENCY_FPS) == 0
            faces.append(detector.find(picture) if due else faces[-1])
        fresh, seen = fresh + 1, seen + 1
        tell(seen)
        if fresh == WINDOW:
            yield maps()
            kept, faces, fresh = kept[-OVERLAP:], faces[-OVERLAP:], 0
    if fresh:
        yield maps()


def _small(pixels: np.ndarray) -> Tensor:
    import cv2

    size = (2 * SALIENCY_HEIGHT, SALIENCY_HEIGHT)
    small = cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_AREA)
    return torch.from_numpy(small).permute(2, 0, 1).float() / 255.0


def _at_rate(
    stream: PanoramaStream, fps: float, start_s: float, stop_s: float
) -> Iterator[Callable[[], np.ndarray]]:  # fmt: skip
    """The picture at start_s, start_s + 1 / fps, ... until the picture or the excerpt ends."""
    shown: Callable[[], np.ndarray] | None = None
    count, tolerance = 0, 0.25 / fps
    for time_s, pixels in stream.frames(start_s, stop_s):
        # A quarter of a step: timestamps that are rounded to milliseconds must not shift a picture by a frame.
        while shown is not None and start_s + count / fps + min(tolerance, 1e-3) < time_s:
            yield shown
            count += 1
        shown = pixels
    end_s = min(stop_s, stream.end_s) if stream.ended else stop_s
    while shown is not None and start_s + count / fps < end_s - 1e-3:
        yield shown
        count += 1


# Picture --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Shot:
    """One frame of the result; `time_s` from the excerpt's start."""

    tick: int
    time_s: float
    pixels: np.ndarray


@dataclass
class _Job:
    """Hands out the frames of an excerpt with their output times, and counts them."""

    stream: PanoramaStream
    aim: Aim
    start_s: float
    stop_s: float
    fps: float | None
    progress: Progress | None
    count: int = 0
    end_s: float = 0.0
    _gaps: list[float] = field(default_factory=lambda: [math.inf, 0.0])
    _doubled: int = 0

    @property
    def rate(self) -> float:
        return self.fps or self.stream.info.fps or 25.0

    @property
    def time_base(self) -> Fraction:
        if self.fps:
            return 1 / Fraction(self.fps).limit_denominator(1001)
        # Not the stream's own base, which WebM's reader and frames without a time do not keep: a common fine one.
        return Fraction(1, 90000)

    def shots(self) -> Iterator[_Shot]:
        return self._constant() if self.fps else self._own_times()

    def _constant(self) -> Iterator[_Shot]:
        assert self.fps is not None
        for tick, pixels in enumerate(_at_rate(self.stream, self.fps, self.start_s, self.stop_s)):
            self.count, self.end_s = tick + 1, (tick + 1) / self.fps
            yield _Shot(tick, tick / self.fps, pixels())

    def _own_times(self) -> Iterator[_Shot]:
        last_tick, last_s = -1, 0.0
        for source_s, pixels in self.stream.frames(self.start_s, self.stop_s):
            # The first frame may begin before the excerpt, or late: the clip begins with it.
            time_s = max(0.0, source_s - self.start_s) if self.count else 0.0
            tick = round(time_s / self.time_base)
            if tick <= last_tick:
                self._doubled += 1
                continue
            if self.count > 1:
                self._gaps = [min(self._gaps[0], time_s - last_s), max(self._gaps[1], time_s - last_s)]
            last_tick, last_s, self.count = tick, time_s, self.count + 1
            yield _Shot(tick, time_s, pixels())
        end_s = self.stream.end_s if self.stream.ended else self.stop_s
        self.end_s = max(last_s, min(end_s, self.stop_s) - self.start_s)

    def tell(self) -> None:
        if self.progress is not None:
            total = round(_seconds(self.stream.info, self.start_s, self.stop_s) * self.rate)
            self.progress(self.count, max(self.count, total), "reframing")

    def notices(self) -> tuple[str, ...]:
        low, high = self._gaps
        said = []
        if self.fps is None and high > VARIABLE_RATE * low:
            said.append(
                f"The frame rate varies ({1 / high:.4g} to {1 / low:.4g} per second): each frame keeps its own time."
            )
        source = self.stream.info.fps
        if self.fps is not None and source and abs(source - self.fps) > 0.01:
            said.append(f"Made constant at {self.fps:g} frames per second; the source has about {source:.4g}.")
        if self._doubled:
            said.append(f"{self._doubled} frames without a time of their own were left out.")
        if self.stop_s < math.inf and self.end_s < self.stop_s - self.start_s - 0.1:
            said.append(f"The picture ends after {self.end_s:.2f} s of the excerpt.")
        return tuple(said)


class _Camera:
    """Draws views of one size."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._key: tuple[View, tuple[int, int]] | None = None
        self._maps: tuple[np.ndarray, np.ndarray] | None = None

    def picture(self, pixels: np.ndarray, view: View) -> np.ndarray:
        """`[h, w, 3]` uint8 of a panorama `[H, W, 3]`, which may be of any shape."""
        import cv2

        pixels = self._shrunk(pixels, view)
        if self._key != (view, pixels.shape[:2]):
            self._key, self._maps = (view, pixels.shape[:2]), self._coordinates(view, *pixels.shape[:2])
        assert self._maps is not None
        return cv2.remap(_with_margin(pixels), *self._maps, cv2.INTER_CUBIC)

    def _shrunk(self, pixels: np.ndarray, view: View) -> np.ndarray:
        """Averaged down where the panorama is at least twice as fine as the picture, against flicker."""
        import cv2

        finer = pixels.shape[1] / (2 * math.pi) * 2 * math.tan(view.fov_deg * DEG / 2) / max(self.width, self.height)
        if finer < 2:
            return np.ascontiguousarray(pixels)
        size = (pixels.shape[1] // int(finer), pixels.shape[0] // int(finer))
        return cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_AREA)

    def _coordinates(self, view: View, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
        reach = math.tan(view.fov_deg * DEG / 2) / max(self.width, self.height)
        x = (2 * torch.arange(self.width, dtype=torch.float32) + 1 - self.width) * reach
        y = -(2 * torch.arange(self.height, dtype=torch.float32) + 1 - self.height) * reach
        ahead = torch.ones(self.height, self.width)
        camera = torch.stack((x.expand(self.height, -1), y[:, None].expand(-1, self.width), ahead), -1)
        where = erp_coordinates(camera @ rotation(view.yaw_deg, view.pitch_deg).T, rows, columns)
        return where[0].numpy() + MARGIN, where[1].numpy() + MARGIN


def _with_margin(pixels: np.ndarray) -> np.ndarray:
    """Columns wrap; beyond a pole the picture goes on half a turn further."""
    tall = np.empty((pixels.shape[0] + 2 * MARGIN, pixels.shape[1] + 2 * MARGIN, 3), np.uint8)
    inner, half = tall[:, MARGIN:-MARGIN], pixels.shape[1] // 2
    inner[MARGIN:-MARGIN] = pixels
    inner[:MARGIN] = np.roll(pixels[:MARGIN][::-1], half, axis=1)
    inner[-MARGIN:] = np.roll(pixels[-MARGIN:][::-1], half, axis=1)
    tall[:, :MARGIN], tall[:, -MARGIN:] = inner[:, -MARGIN:], inner[:, :MARGIN]
    return tall


# Sound ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Mix:
    """What is made of the sound.

    Args:
        name: as in `Reframed.sound`. rate_hz: of the source. channels: of the result; 0 for no sound.
        turned: `[D, 4]` after the turn with the view; None where the sound is not turned.
        flat: `[D, C]` for the channels that do not turn: all of them, or a head-locked pair; None leaves them as they
            are, or the pair out.
    """

    name: str
    rate_hz: int = 0
    channels: int = 0
    turned: Tensor | None = None
    flat: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int] | None:
        """Channels and rate of the result; None for no sound."""
        return (self.channels, aac_rate_hz(self.rate_hz)) if self.channels else None

    def of(self, block: Tensor, turns: Tensor | None) -> Tensor:
        """`[D, n]` of a block `[C, n]` and its turns `[M, 4, 4]` every `MIX_STEP` samples."""
        if self.turned is None or turns is None:
            return block if self.flat is None else self.flat.to(block) @ block
        field = mix_moving(block[:FIRST_ORDER], self.turned @ turns, MIX_STEP)
        return field if self.flat is None else field + self.flat.to(block) @ block[FIRST_ORDER:]


def _choose_mix(stream: PanoramaStream, kind: str) -> _Mix:
    """What to make of the sound; what had to be assumed or mixed is among the stream's notices then."""
    track = None if kind == "none" else stream.track
    if track is None:
        return _Mix("none")
    channels, rate, speakers = stream.sound_channels, track.sample_rate_hz, track.heard.speakers
    stream.notices += track.notices
    if track.layout == "ambix":
        return _turned_mix(stream, kind, rate)
    if kind == "foa":
        raise InputError(
            f"turned Ambisonics was asked for, but the sound is {track.layout} with {channels} channels; "
            "choose auto, stereo, mono or none."
        )
    if channels <= 2 and (kind != "mono" or channels == 1):
        stream.notices += ["the sound is mono and stays it"] if kind == "stereo" and channels == 1 else []
        return _Mix("as recorded", rate, channels)
    if not speakers:
        stream.notices += [f"the mean of the sound's {channels} channels is used: mono"] if channels > 2 else []
        return _Mix("mono", rate, 1, flat=torch.full((1, channels), 1 / channels))
    name = "mono" if kind == "mono" else "stereo"
    stream.notices.append(mixed_notice(speakers, name))
    flat = downmix_matrix(speakers, 1 if name == "mono" else 2)
    return _Mix(name, rate, len(flat), flat=flat)


def _turned_mix(stream: PanoramaStream, kind: str, rate_hz: int) -> _Mix:
    name = "stereo" if kind == "auto" else kind
    turned = {"stereo": stereo_matrix, "mono": mono_matrix}.get(name, lambda: torch.eye(4, dtype=torch.float64))()
    flat, has_pair = None, stream.sound_channels > FIRST_ORDER
    if has_pair and name == "foa":
        stream.notices.append(PAIR_LEFT_OUT)
    elif has_pair:
        flat = downmix_matrix(("FL", "FR"), len(turned))
    return _Mix(name, rate_hz, len(turned), turned, flat)


def _sound_blocks(
    stream: PanoramaStream, mix: _Mix, aim: Aim, start_s: float, stop_s: float
) -> Iterator[Tensor]:  # fmt: skip
    """What is heard of an excerpt, `[D, n]` after `[D, n]` in the result's channels and rate."""
    if mix.shape is None:
        return iter(())

    def mixed() -> Iterator[Tensor]:
        at = 0
        for block in _in_steps(stream.sound(start_s, stop_s)):
            turns = None if mix.turned is None else _turns(aim, at, block.shape[1], mix.rate_hz)
            yield mix.of(torch.from_numpy(block), turns)
            at += block.shape[1]

    return resample_blocks(mixed(), mix.rate_hz, mix.shape[1])


def _turns(aim: Aim, at: int, count: int, rate_hz: int) -> Tensor:
    """`[M, 4, 4]`: how the field turns at the samples `at`, `at + MIX_STEP`, ..."""
    views = [aim((at + edge) / rate_hz) for edge in range(0, count + MIX_STEP, MIX_STEP)]
    yaw = torch.tensor([view.yaw_deg for view in views], dtype=torch.float64)
    pitch = torch.tensor([view.pitch_deg for view in views], dtype=torch.float64)
    return turn_matrices(rotation(yaw, pitch))


def _gain(
    stream: PanoramaStream, mix: _Mix, aim: Aim, start_s: float, stop_s: float, progress: Progress | None
) -> float:  # fmt: skip
    """The one factor by which the sound fits AAC: all of it is heard once before the picture, to find its peak."""
    peak, heard = 0.0, 0
    for block in _sound_blocks(stream, mix, aim, start_s, stop_s):
        peak, heard = max(peak, float(block.abs().max())), heard + block.shape[1]
        if progress is not None and mix.shape is not None:
            second, total = heard // mix.shape[1], int(_seconds(stream.info, start_s, stop_s))
            progress(second, max(second, total, 1), "measuring the sound")
    return aac_gain(peak)


class _Heard:
    """Writes the sound, as far as the picture has come."""

    def __init__(self, blocks: Iterator[Tensor], mix: _Mix, gain: float, clip: ClipStream) -> None:
        self._blocks, self._mix, self._gain, self._clip, self._at = blocks, mix, gain, clip, 0
        self._more = mix.shape is not None

    def advance(self, time_s: float) -> None:
        """Writes until `time_s` from the excerpt's start is reached."""
        while self._more and self._mix.shape is not None and self._at < time_s * self._mix.shape[1]:
            block = next(self._blocks, None)
            if block is None:
                self._more = False
                return
            self._clip.add_sound((block * self._gain).numpy())
            self._at += block.shape[1]


def _in_steps(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The same samples in blocks of whole mixing steps; the last one may be shorter."""
    waiting: np.ndarray | None = None
    for block in blocks:
        waiting = block if waiting is None else np.concatenate((waiting, block), axis=1)
        # Eight steps at once: less time goes into small calls.
        whole = waiting.shape[1] // (8 * MIX_STEP) * (8 * MIX_STEP)
        if whole:
            yield np.ascontiguousarray(waiting[:, :whole])
            waiting = waiting[:, whole:]
    if waiting is not None and waiting.shape[1]:
        yield np.ascontiguousarray(waiting)
