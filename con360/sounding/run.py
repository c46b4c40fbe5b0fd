"""Make Ambisonics for a 360° video: file to file, or for frames that are held.

Clips may have any length: groups of windows are made one after the other, and memory holds one. Features of pictures
and finished groups are kept by content (`store`), so another seed reads no picture, and a run that was cut off goes on
where it was. The sound so far lies beside the result while it grows, and can be played.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..choices import LOOKS_TO, MULTICUE, Eye, LooksTo
from ..errors import InputError
from ..media.copying import copied_clip
from ..media.files import check_not_read
from ..media.info import probe
from ..media.reader import PanoramaStream, check_times
from ..media.wav import WavStream
from ..media.writer import aac_gain, aac_notices, aac_rate_hz, check_clip_path
from ..models.omniaudio import PICTURE_FPS
from ..placing.run import packing_of
from ..placing.sources import Source, open_sound, sentences
from ..records import PanoramaClip, Progress, Sound
from ..reframing.aim import Estimator
from ..reframing.in_memory import HeldPanorama
from ..saliency.human_faces import FaceDetector
from ..sound.ambisonics import channels_of
from ..sound.levels import fit_length
from ..sound.peaks import peak_of
from ..sound.sources import sum_blocks
from .generate import FieldSettings, generated_blocks, groups_for
from .level import Level
from .model import AmbisonicsModel, load_ambisonics_model
from .picture_encoder import PictureFeatures
from .reading import Excerpt, features_of
from .store import Store, file_key, key_of

FIELD = channels_of(1)
# Of a clip that does not say.
USUAL_FPS = 30.0


@dataclass(frozen=True)
class AmbisonicsSettings:
    """Choose how Ambisonics is made.

    Args:
        steps, cfg: of the sampler; None is the model's default, and a `cfg` of 1 is off.
        seed: of the noise.
        start_s: where to begin. duration_s: how long; None goes to the end. These and the next four are about files.
        own_sound: mix in the clip's own sound; False leaves it out.
        eye, audio_track, ambisonics, head_locked: of the clip, as in `read_panorama`.
        view: where the view that the model reads looks: `front` as published, or at the most `salient` region.
        saliency: method of `predict_saliency`, for `salient`.
        gain_db: on top of the model's own level.
        limiter: keep peaks at -1 dBFS or below; False leaves the model's level as it is.
        keep: keep features of pictures and finished groups for later runs.

    Raises:
        InputError: a value that cannot be used.
    """

    steps: int | None = None
    cfg: float | None = None
    seed: int = 0
    start_s: float = 0.0
    duration_s: float | None = None
    own_sound: bool = False
    eye: Eye | None = None
    audio_track: int | None = None
    ambisonics: str = "auto"
    head_locked: bool = False
    view: LooksTo = "front"
    saliency: str | Path = MULTICUE
    gain_db: float = 0.0
    limiter: bool = True
    keep: bool = True

    def __post_init__(self) -> None:
        check_times(self.start_s, self.duration_s)
        if self.view not in LOOKS_TO:
            raise InputError(f"view {self.view!r} is not known; choose {' or '.join(LOOKS_TO)}.")
        if not abs(self.gain_db) <= 60:
            raise InputError(f"a gain of {self.gain_db} dB was asked for; choose -60 to 60.")

    @property
    def stop_s(self) -> float:
        """End of the part in seconds of the clip; infinite without a duration."""
        return math.inf if self.duration_s is None else self.start_s + self.duration_s

    def of_model(self, model: AmbisonicsModel) -> FieldSettings:
        """Sampler settings, with the model's own where none are given."""
        defaults = model.defaults
        field = FieldSettings(
            int(self.steps or defaults["steps"]), defaults["cfg_audio"] if self.cfg is None else self.cfg, self.seed
        )
        field.sampler  # noqa: B018  checks the numbers
        return field


@dataclass(frozen=True)
class MadeAmbisonics:
    """Facts about the file that was written.

    Args:
        model, knows: name of the model, and a sentence about what it was trained on.
        steps, cfg, seed: of the sampler.
        groups, kept_groups: groups of windows, and how many of them an earlier run had finished.
        read_pictures: False where an earlier run had read them.
        peak_db: of the sound before the level was set, in dBFS; minus infinity for silence.
        own_sound: the clip's own sound is mixed in.
        notices: sentences for people.
    """

    path: Path
    sample_rate_hz: int
    duration_s: float
    model: str
    knows: str
    steps: int
    cfg: float | None
    seed: int
    groups: int
    kept_groups: int
    read_pictures: bool
    peak_db: float
    own_sound: bool
    notices: tuple[str, ...]


def ambisonics_for_clip(
    clip: str | os.PathLike[str], out: str | os.PathLike[str], model: AmbisonicsModel | None = None,
    settings: AmbisonicsSettings | None = None, *, detector: FaceDetector | None = None,
    progress: Progress | None = None,
) -> MadeAmbisonics:  # fmt: skip
    """Write a 360° clip with first-order Ambisonics that a model makes: the picture's packets are copied.

    Convention: the sound lasts as long as the picture. Spherical metadata is kept, or written where the file has none.

    Args:
        clip: a 360° video. out: the MP4 to write; it appears when it is complete. Until then the sound so far is
            `OUT.unfinished.wav`.
        model: None loads the built-in one.
        settings: None takes the defaults.
        detector: finds faces for the `salient` view; None does without.
        progress: told of each step; may raise to cancel, which leaves no file.

    Raises:
        InputError: the clip, the place or a setting cannot be used.
        TooLittleMemory: the model does not fit, in smaller pieces either.
    """
    settings = settings or AmbisonicsSettings()
    check_clip_path(out)
    info = probe(clip)
    check_not_read(out, [info.path])
    stream = PanoramaStream(info, settings.eye, settings.audio_track, settings.ambisonics, settings.head_locked)
    own = _own_sound(stream, settings)
    model = model or load_ambisonics_model()
    rate_hz = aac_rate_hz(max(model.network.sample_rate_hz, own.rate_hz if own else 0))
    # Opened first: a picture that cannot be copied is refused before minutes are spent on the sound.
    packing, start_s, stop_s = packing_of(info, settings.eye), settings.start_s, settings.stop_s
    with copied_clip(info, out, (FIELD, rate_hz), packing, start_s, stop_s) as copied:
        maker = Maker(stream, model, settings, detector, progress)
        with _unfinished(Path(out), model.network.sample_rate_hz) as wav:
            for block in maker.blocks(file_key(info.path), start_s, stop_s):
                wav.add(block.numpy())
                wav.finish()
            field = _Field(wav.path, own, rate_hz, settings.start_s)
            gain = aac_gain(peak_of(field.blocks()))
            end_s = copied.copy_with((block * gain).numpy() for block in field.blocks())
    said = (*maker.said(), *aac_notices(rate_hz, gain), *(own.said(end_s) if own else ()))
    return maker.facts(Path(out), rate_hz, end_s, own is not None, sentences([*said]))


def ambisonics_for_frames(
    frames: Tensor, fps: float, model: AmbisonicsModel | None = None, settings: AmbisonicsSettings | None = None, *,
    detector: FaceDetector | None = None, progress: Progress | None = None,
) -> Sound:  # fmt: skip
    """Make first-order Ambisonics for a panorama that is held.

    Args:
        frames: `[T, H, W, 3]`, equirectangular, floats in [0, 1] or uint8.
        fps: frames a second.
        model: None loads the built-in one.
        settings: None takes the defaults; those about files say nothing.
        detector, progress: as in `ambisonics_for_clip`.

    Returns:
        `ambix` of four channels, as long as the frames.

    Raises:
        InputError: frames of another shape, too few of them, or a setting cannot be used.
        TooLittleMemory: the model does not fit, in smaller pieces either.
    """
    settings = settings or AmbisonicsSettings()
    if frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames) or not 0 < fps <= 1000:
        raise InputError(f"frames {list(frames.shape)} at {fps:g} a second came; wanted [T, H, W, 3] and 0 to 1000.")
    model = model or load_ambisonics_model()
    stream = HeldPanorama(PanoramaClip(frames.movedim(-1, 1), fps))
    return Maker(stream, model, settings, detector, progress).sound(frames_key(frames, fps))


def frames_key(frames: Tensor, fps: float) -> str:
    """A key made of the frames `[T, H, W, 3]` that the model reads."""
    digest = hashlib.blake2b(digest_size=16)
    for i in range(math.ceil(len(frames) / fps * PICTURE_FPS)):
        frame = frames[min(len(frames) - 1, int(i / PICTURE_FPS * fps + 1e-6))]
        digest.update(frame.contiguous().cpu().numpy())
    return f"{digest.hexdigest()} {fps} {list(frames.shape)} {frames.dtype}"


# Making ---------------------------------------------------------------------------------------------------------------


class Maker:
    """Make a clip's sound block by block, and remember what happened.

    Args:
        stream: the panorama. detector, progress: as in `ambisonics_for_clip`.
    """

    def __init__(
        self, stream: PanoramaStream, model: AmbisonicsModel, settings: AmbisonicsSettings,
        detector: FaceDetector | None, progress: Progress | None,
    ) -> None:  # fmt: skip
        self.stream, self.model, self.settings, self.progress = stream, model, settings, progress
        self.field = settings.of_model(model)
        self.store = Store() if settings.keep else None
        self.level = Level(model.network.sample_rate_hz, settings.gain_db, settings.limiter)
        self.kept = _Groups(self.store, "")
        looks = settings.view == "salient"
        self._follows = Estimator(settings.saliency, detector, model.network.device) if looks else None
        self.groups, self.read_pictures = 0, False
        self.picture_s = 0.0

    def sound(self, key: str, start_s: float = 0.0, stop_s: float = math.inf) -> Sound:
        """Make the sound of all `blocks`, `ambix` and as long as the picture."""
        made, rate_hz = torch.cat(list(self.blocks(key, start_s, stop_s)), dim=1), self.model.network.sample_rate_hz
        return fit_length(Sound(made, rate_hz, "ambix"), round(self.picture_s * rate_hz))

    def blocks(self, key: str, start_s: float = 0.0, stop_s: float = math.inf) -> Iterator[Tensor]:
        """Yield `[4, n]` at the model's rate and the final level.

        Args:
            key: of the clip's content.
            start_s, stop_s: part of the clip.
        """
        network, excerpt = self.model.network, Excerpt(self.stream, key, start_s, stop_s)
        pictures, seconds, was_kept = features_of(
            excerpt, self.model.encoder, self.store, follows=self._follows, progress=self.progress
        )
        self.read_pictures, self.picture_s = not was_kept, seconds
        seconds = self._whole_rows_s(seconds)
        self.groups = len(groups_for(network, seconds, self.field))
        self.kept = _Groups(self.store, self._key(pictures, seconds))
        made = generated_blocks(network, pictures, seconds, self.field, self._tell, self.kept)
        yield from self.level.set(made, first=math.inf if self.groups == 1 else 1)

    def _whole_rows_s(self, seconds: float) -> float:
        """Length in whole latent rows: what is left over is at most a frame of the video, else there is a row more."""
        codec = self.model.network.codec
        rows = codec.rows(seconds)
        more = seconds - rows * codec.seconds_per_row > 1 / (self.stream.info.fps or USUAL_FPS)
        return (rows + (more and rows > 0)) * codec.seconds_per_row

    def _key(self, pictures: PictureFeatures, seconds: float) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for features in (pictures.panorama, pictures.view):
            digest.update(features.contiguous().numpy())
        return key_of("groups", digest.hexdigest(), self.model.identity, self.field, seconds)

    def _tell(self, group: int, groups: int, step: int, steps: int) -> None:
        if self.progress is not None:
            self.progress(group * steps + step, groups * steps, "making the sound")

    def said(self) -> tuple[str, ...]:
        """Clauses about the pictures, what was kept, and the level."""
        kept = f"{self.kept.taken} of {self.groups} groups were finished by an earlier run" if self.kept.taken else ""
        problem = self.store.problem if self.store else None
        return (*self.stream.notices, kept, problem or "", *self.level.said())

    def facts(self, path: Path, rate_hz: int, end_s: float, own: bool, notices: tuple[str, ...]) -> MadeAmbisonics:
        field, model = self.field, self.model
        return MadeAmbisonics(
            path, rate_hz, end_s, model.name, model.knows, field.steps, field.cfg, field.seed, self.groups,
            self.kept.taken, self.read_pictures, self.level.peak_db, own, notices,
        )  # fmt: skip


class _Groups:
    """Finished groups of one sound (`FinishedGroups`); `taken` counts those that were found."""

    def __init__(self, store: Store | None, key: str) -> None:
        self.store, self.key, self.taken = store, key, 0

    def get(self, number: int) -> Tensor | None:
        found = None if self.store is None else self.store.get(f"{self.key}-{number}")
        self.taken += found is not None
        return None if found is None else found["rows"]

    def put(self, number: int, rows: Tensor) -> None:
        if self.store is not None:
            self.store.put(f"{self.key}-{number}", {"rows": rows})


# Files ----------------------------------------------------------------------------------------------------------------


def _own_sound(stream: PanoramaStream, settings: AmbisonicsSettings) -> Source | None:
    if stream.track is None:
        if settings.own_sound:
            stream.notices.append("the clip has no sound of its own to keep")
        return None
    if not settings.own_sound:
        stream.notices.append("the clip's own sound is left out")
        return None
    return Source(open_sound(stream.info, settings.audio_track, settings.ambisonics, settings.head_locked))


class _Unfinished(WavStream):
    path: Path


@contextmanager
def _unfinished(out: Path, rate_hz: int) -> Iterator[_Unfinished]:
    """A WAV beside the result, which can be played while it grows; it goes when the block ends."""
    path = out.with_name(f"{out.name}.unfinished.wav")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(path, "wb") as file:
            wav = _Unfinished(file, FIELD, rate_hz, 32)
            wav.path = path
            yield wav
    finally:
        path.unlink(missing_ok=True)


@dataclass
class _Field:
    """The sound that was made, with the clip's own, as often as it is asked for."""

    made: Path
    own: Source | None
    rate_hz: int
    start_s: float

    def blocks(self) -> Iterator[Tensor]:
        made = open_sound(self.made, ambisonics="ambix").blocks(self.rate_hz)
        if self.own is None:
            return made
        own = _from(self.own.blocks(self.rate_hz, 1), round(self.start_s * self.rate_hz))
        return sum_blocks([made, own])


def _from(blocks: Iterator[Tensor], first: int) -> Iterator[Tensor]:
    """Blocks without their first samples."""
    for block in blocks:
        kept = block[:, first:]
        first = max(0, first - block.shape[1])
        if kept.shape[1]:
            yield kept
