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

import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..media.copying import copied_clip
from ..media.files import check_not_read, full_disk_told
from ..media.info import MediaInfo, probe
from ..media.presets import FileKind, file_kind
from ..media.reader import PanoramaStream
from ..media.wav import WavStream
from ..models.omniaudio import PICTURE_FPS
from ..placing.head_locked import HeadLocked, head_locked_of, with_silent_pair
from ..placing.run import packing_of
from ..placing.sources import Source, open_sound, sentences
from ..records import PanoramaClip, Progress, Sound
from ..reframing.in_memory import HeldPanorama
from ..saliency.human_faces import FaceDetector
from ..sound.ambisonics import channels_of
from ..sound.channels import PAIR
from ..sound.peaks import peak_of
from ..sound.sources import sum_blocks
from .making import Maker
from .model import AmbisonicsModel, load_ambisonics_model
from .settings import AmbisonicsSettings
from .store import file_key

FIELD = channels_of(1)
# Width over height of a panorama, within which nobody doubts that it is one.
SURE_ASPECT = (1.95, 2.05)


@dataclass(frozen=True)
class MadeAmbisonics:
    """Facts about the file that was written.

    Args:
        model, knows: name of the model, and a sentence about what it was trained on.
        steps, cfg, seed: of the sampler.
        groups, kept_groups: groups of windows, and how many of them an earlier run had finished.
        read_pictures: False where an earlier run had read them.
        peak_db: of the sound before its level was set, in dBFS; None for silence.
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
    peak_db: float | None
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
    kind = file_kind(settings.preset)
    stream = _opened(clip, out, settings, kind)
    own, model = _own_sound(stream, settings), model or load_ambisonics_model()
    pair = head_locked_of((own,) if own else ()) if kind.shape.pair else None
    order = kind.shape.order or 1
    channels = channels_of(order) + PAIR * (pair is not None)
    rate_hz = kind.sound.rate_for(channels, max(model.network.sample_rate_hz, own.rate_hz if own else 0))
    maker = Maker(stream, model, settings, detector, progress)
    part = settings.start_s, settings.stop_s
    # Opened first: a picture that cannot be copied is refused before minutes are spent on the sound.
    packing = packing_of(stream.info, settings.eye)
    with copied_clip(stream.info, out, (channels, rate_hz), packing, *part, sound_coding=kind.sound) as copied:
        with _unfinished(Path(out), model.network.sample_rate_hz) as wav:
            for block in maker.blocks(file_key(stream.info.path), *part):
                wav.add(block.numpy())
                wav.finish()
            field = _Field(wav.path, own, rate_hz, settings.start_s, progress, order, pair)
            gain = kind.sound.gain_for(peak_of(field.blocks("measuring the sound")))
            end_s = copied.copy_with((block * gain).numpy() for block in field.blocks("writing"))
    said = sentences((
        *maker.said(), *kind.sound.notices(rate_hz, gain, channels), *(own.said(math.inf) if own else ()),
        pair.said if pair else "",
    ))  # fmt: skip
    return _made(maker, Path(out), rate_hz, end_s, own is not None, said)


def _opened(
    clip: str | os.PathLike[str], out: str | os.PathLike[str], settings: AmbisonicsSettings, kind: FileKind
) -> PanoramaStream:
    kind.check_path(out)
    info = probe(clip)
    check_not_read(out, [info.path])
    if info.duration_s is not None and settings.start_s >= info.duration_s:
        raise InputError(f"{info.path.name} ends at {info.duration_s:.2f} s; choose an earlier start.")
    stream = PanoramaStream(
        info, settings.eye, settings.audio_track, settings.ambisonics, settings.head_locked, hdr="keep"
    )  # fmt: skip
    stream.notices += kind.copied_notices(info.codec)
    if kind.shape.needs_field and kind.shape.order != 1:
        stream.notices.append(f"the model makes order 1; the channels up to order {kind.shape.order} are silent")
    if not is_surely_360(info):
        stream.notices.append(
            f"the file does not say that it is a 360° video: its picture, {info.width}x{info.height}, is taken for a "
            f"whole panorama, and the result says so"
        )
    return stream


def is_surely_360(info: MediaInfo) -> bool:
    """Tell whether a file says that it is a panorama, or its shape does."""
    return bool(info.spherical.projection) or SURE_ASPECT[0] <= info.aspect <= SURE_ASPECT[1]


def _made(
    maker: Maker, out: Path, rate_hz: int, end_s: float, own_sound: bool, notices: tuple[str, ...]
) -> MadeAmbisonics:
    field, model = maker.field, maker.model
    return MadeAmbisonics(
        out, rate_hz, end_s, model.name, model.knows, field.steps, field.cfg, field.seed, maker.groups,
        maker.kept.taken, maker.read_pictures, maker.level.peak_db, own_sound, notices,
    )  # fmt: skip


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


# Files ----------------------------------------------------------------------------------------------------------------


def _own_sound(stream: PanoramaStream, settings: AmbisonicsSettings) -> Source | None:
    """The clip's own sound, where it is to be kept."""
    if not settings.own_sound:
        stream.notices += ["the clip's own sound is left out"] if stream.info.audio_tracks else []
        return None
    if stream.track is None:
        return None
    return Source(open_sound(stream.info, settings.audio_track, settings.ambisonics, settings.head_locked))


class _Unfinished(WavStream):
    path: Path


@contextmanager
def _unfinished(out: Path, rate_hz: int) -> Iterator[_Unfinished]:
    """A WAV beside the result, which can be played while it grows; it goes when the block ends."""
    path = out.with_name(f"{out.name}.unfinished.wav")
    try:
        with full_disk_told(path), open(path, "wb") as file:
            wav = _Unfinished(file, FIELD, rate_hz, 32)
            wav.path = path
            wav.finish()
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
    progress: Progress | None
    order: int = 1
    pair: HeadLocked | None = None

    def blocks(self, what: str) -> Iterator[Tensor]:
        """Yield `[C, n]`; the own sound may go on behind the one that was made."""
        file, count = open_sound(self.made, ambisonics="ambix"), 0
        made = (F.pad(block, (0, 0, 0, channels_of(self.order) - len(block))) for block in file.blocks(self.rate_hz))
        for block in self._mixed(made):
            yield block
            count += block.shape[1]
            if self.progress is not None:
                done = count // self.rate_hz
                self.progress(done, max(done, int(file.info.duration_s or 0), 1), what)

    def _mixed(self, made: Iterator[Tensor]) -> Iterator[Tensor]:
        late = round(self.start_s * self.rate_hz)
        if self.own is None:
            return made
        if self.pair is None:
            return sum_blocks([made, without_start(self.own.blocks(self.rate_hz, self.order), late)])
        parts = [with_silent_pair(made), without_start(self.pair.blocks(self.rate_hz, self.order), late)]
        if not self.pair.takes_all:
            parts.append(with_silent_pair(without_start(self.own.blocks(self.rate_hz, self.order), late)))
        return sum_blocks(parts)


def without_start(blocks: Iterator[Tensor], count: int) -> Iterator[Tensor]:
    """Blocks `[C, n]` without their first samples."""
    for block in blocks:
        kept = block[:, count:]
        count = max(0, count - block.shape[1])
        if kept.shape[1]:
            yield kept
