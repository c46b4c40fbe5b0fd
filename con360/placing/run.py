"""Place sound files around the listener: on a 360° clip, whose picture is copied, or in a WAV by themselves.

Files may have any length: everything streams. The sound is read twice, since its peak decides one gain for all of it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..choices import MULTICUE, Eye, PresetName
from ..errors import InputError
from ..geometry.sphere import angles
from ..media.copying import copied_clip
from ..media.files import check_not_read, check_writable
from ..media.info import MediaInfo, probe
from ..media.presets import file_kind
from ..media.reader import PanoramaStream, check_times
from ..media.sound_coders import loud_notice
from ..media.spherical_tags import Packing
from ..media.wav import wav_stream
from ..records import Progress, SourcePoint, SourceTrack
from ..reframing.aim import SALIENCY_FPS, Estimator, follow_paths
from ..saliency.human_faces import FaceDetector
from ..sound.ambisonics import channels_of
from ..sound.channels import PAIR
from ..sound.peaks import peak_of
from ..sound.sources import check_track, sum_blocks
from .finding import CONFIDENCE, find_in_blocks, movement_alone
from .folder import ViewSounds
from .head_locked import HeadLocked, head_locked_of, with_silent_pair
from .matching import synchrony
from .movement import movement_of_stream
from .sources import Finding, Following, Panned, PlacedSound, Source, open_sound, panning_of, sentences

MAX_ORDER = 3
MAX_SOUNDS = 64


@dataclass(frozen=True)
class PlaceSettings:
    """Choose how sounds are placed.

    Args:
        order: of the Ambisonics, 1 to 3; None takes the clip's own, else 1. In a clip, order 1 is written as AAC, 2
            and 3 as Opus.
        own_sound: mix in the clip's own sound; False leaves it out.
        eye, audio_track, ambisonics, head_locked: of the clip, as in `read_panorama`.
        saliency: method of `predict_saliency`, for `Following`.
        preset: kind of file (`media.presets`), which names the order; its codec of pictures is not used. Where it has
            a head-locked pair, the clip's own mono or stereo sound becomes that.

    Raises:
        InputError: an order that cannot be used.
    """

    order: int | None = None
    own_sound: bool = True
    eye: Eye | None = None
    audio_track: int | None = None
    ambisonics: str = "auto"
    head_locked: bool = False
    saliency: str | Path = MULTICUE
    preset: PresetName | None = None

    def __post_init__(self) -> None:
        if self.order is not None and not 1 <= self.order <= MAX_ORDER:
            raise InputError(f"order {self.order} was asked for; choose 1 to {MAX_ORDER}.")
        fixed = file_kind(self.preset).shape.order
        if self.order is not None and fixed not in (None, self.order):
            raise InputError(f"the preset {self.preset!r} has order {fixed}, and order {self.order} was asked for.")


@dataclass(frozen=True)
class Placed:
    """Facts about the file that was written.

    Args:
        tracks: the places of the sounds, in the order that they were given; None where each band has its own.
        own_sound: the clip's own sound is among them.
        notices: sentences for people.
    """

    path: Path
    order: int
    sample_rate_hz: int
    duration_s: float
    tracks: tuple[SourceTrack | None, ...]
    own_sound: bool
    notices: tuple[str, ...]


def place_alone(
    sounds: Sequence[PlacedSound], out: str | os.PathLike[str], settings: PlaceSettings | None = None, *,
    views: ViewSounds | None = None, progress: Progress | None = None,
) -> Placed:  # fmt: skip
    """Write sounds around the listener as a WAV: AmbiX of 4, 9 or 16 channels, 32-bit floats.

    Args:
        sounds: with points or tracks as places.
        out: the WAV to write; it appears when it is complete.
        settings: its order is used.
        views: sounds of views, joined to one field and mixed in.
        progress: told of each second; may raise to cancel, which leaves no file.

    Raises:
        InputError: a file, a place or the order cannot be used.
    """
    if Path(out).suffix.lower() != ".wav":
        raise InputError(f"{Path(out).name} does not end in .wav, the format of a field without a picture. Rename it.")
    check_writable(out)
    if any(isinstance(sound.place, Following | Finding) for sound in sounds):
        raise InputError("a region is followed or found in a clip alone; name the clip, or give a direction.")
    sources = _sources(sounds, out, None, views)
    tracks = _tracks(sources, iter(()))
    every = _with_views(sources, views)
    order = (settings or PlaceSettings()).order or _highest_order(every)
    field = _Field(every, order, max(source.rate_hz for source in every), math.inf, progress)
    gain = 1.0 / max(field.measure(), 1.0)
    with wav_stream(out, channels_of(order), field.rate_hz) as wav:
        for block in field.blocks("writing the sound"):
            wav.add((block * gain).numpy())
    notices = field.notices(field.length_s, gain)
    return Placed(Path(out), order, field.rate_hz, field.length_s, tracks, False, notices)


def place_on_clip(
    clip: str | os.PathLike[str], sounds: Sequence[PlacedSound], out: str | os.PathLike[str],
    settings: PlaceSettings | None = None, *, views: ViewSounds | None = None, detector: FaceDetector | None = None,
    device: torch.device | str = "cpu", progress: Progress | None = None,
) -> Placed:  # fmt: skip
    """Write a 360° clip with sounds placed in it: the picture's packets are copied, the sound becomes Ambisonics.

    Convention: the sound lasts as long as the picture. Spherical metadata is kept, or written where the file has none.
    The clip's own Ambisonic sound is mixed with the placed ones; mono comes from everywhere, loudspeakers from their
    nominal places.

    Args:
        clip: a 360° video. sounds: what to place, and where.
        out: the MP4 to write; it appears when it is complete.
        settings: order, own sound, and how the clip is read; None takes the defaults.
        views: sounds of the clip's views, joined to one field and mixed in.
        detector: finds faces for `Following`; None does without. device: computes its saliency.
        progress: told of each second; may raise to cancel, which leaves no file.

    Returns:
        Facts about the file, and the notices.

    Raises:
        InputError: a file, a place or an option cannot be used.
    """
    settings = settings or PlaceSettings()
    kind = file_kind(settings.preset)
    kind.check_path(out)
    info = probe(clip)
    stream = PanoramaStream(
        info, settings.eye, settings.audio_track, settings.ambisonics, settings.head_locked, hdr="keep"
    )  # fmt: skip
    sources = _sources(sounds, out, info, views)
    _check_starts([*sounds, *([views] if views else [])], info)
    own = _own_source(stream, settings)
    stream.notices += kind.copied_notices(info.codec)
    pair = head_locked_of(own) if kind.shape.pair else None
    every = _with_views((*(() if pair and pair.takes_all else own), *sources), views)
    order = settings.order or kind.shape.order or _highest_order(every)
    channels = channels_of(order) + PAIR * (pair is not None)
    rate_hz = kind.sound.rate_for(channels, max(source.rate_hz for source in (*own, *every)))
    field = _Field(every, order, rate_hz, info.duration_s or math.inf, progress, pair=pair)
    # Opened first: a picture that cannot be copied is refused before minutes are spent on the sound.
    packing = packing_of(info, settings.eye)
    with copied_clip(info, out, (channels, rate_hz), packing, sound_coding=kind.sound) as copied:
        estimator = Estimator(settings.saliency, detector, device)
        tracks = _tracks(sources, _followed(stream, sounds, estimator, progress))
        _find(sources, stream, settings.saliency, device, progress)
        gain = kind.sound.gain_for(field.measure())
        end_s = copied.copy_with((block * gain).numpy() for block in field.blocks("writing"))
    notices = (*stream.sentences, *field.notices(end_s, gain))
    return Placed(Path(out), order, rate_hz, end_s, tracks, bool(own), notices)


# Sources --------------------------------------------------------------------------------------------------------------


def _sources(
    sounds: Sequence[PlacedSound], out: str | os.PathLike[str], clip: MediaInfo | None, views: ViewSounds | None
) -> tuple[Source, ...]:
    if not (views is None) <= len(sounds) <= MAX_SOUNDS:
        raise InputError(f"{len(sounds)} sounds were given; 1 to {MAX_SOUNDS} can be placed at once.")
    for sound in sounds:
        check_times(sound.start_s, None)
    sources = tuple(Source(open_sound(sound.path), None, sound.place, sound.start_s) for sound in sounds)
    files = [source.file for source in sources] + (list(views.files.values()) if views else [])
    check_not_read(out, [file.info.path for file in files] + ([clip.path] if clip else []))
    return sources


def _with_views(sources: Sequence[Source], views: ViewSounds | None) -> tuple[Source | ViewSounds, ...]:
    return (*sources, views) if views else tuple(sources)


def _highest_order(every: Sequence[Source | ViewSounds]) -> int:
    return max(1, *(source.order for source in every))


def _check_starts(sounds: Sequence[PlacedSound | ViewSounds], info: MediaInfo) -> None:
    for sound in sounds:
        if info.duration_s is not None and sound.start_s >= info.duration_s:
            raise InputError(
                f"{Path(sound.path).name} would begin at {sound.start_s:g} s, but {info.path.name} ends at "
                f"{info.duration_s:.2f} s. Choose an earlier start."
            )


def _own_source(stream: PanoramaStream, settings: PlaceSettings) -> tuple[Source, ...]:
    """The clip's own sound, as it is; none where it has none or is to be left out."""
    if stream.track is None:
        return ()
    if not settings.own_sound:
        stream.notices.append("the clip's own sound is left out")
        return ()
    return (
        Source(open_sound(stream.info, settings.audio_track, settings.ambisonics, settings.head_locked)),
    )  # fmt: skip


def _followed(
    stream: PanoramaStream, sounds: Sequence[PlacedSound], estimator: Estimator, progress: Progress | None
) -> Iterator[np.ndarray]:
    """Directions of the regions that sounds follow, in their order; the picture is looked through once."""
    ranks = [sound.place.rank for sound in sounds if isinstance(sound.place, Following)]
    return iter(follow_paths(stream, ranks, 0.0, math.inf, estimator, progress) if ranks else ())


def _tracks(sources: Sequence[Source], followed: Iterator[np.ndarray]) -> tuple[SourceTrack | None, ...]:
    """Give each source its track; those that are to be found get none."""
    tracks: list[SourceTrack | None] = []
    for source in sources:
        place = source.place
        if isinstance(place, Finding):
            tracks.append(None)
            continue
        if isinstance(place, SourcePoint):
            track = SourceTrack.still(place)
        elif isinstance(place, Following):
            track = _track_along(next(followed), place)
        elif isinstance(place, Panned):
            track = panning_of(source, place.gain_db)
        else:
            assert place is not None
            track = place
        source.track = check_track(track)
        tracks.append(track)
    return tuple(tracks)


def _find(
    sources: Sequence[Source], stream: PanoramaStream, method: str | Path, device: torch.device | str,
    progress: Progress | None,
) -> None:  # fmt: skip
    """Look for the places of the sources that ask for it; the picture is looked through once."""
    asking = [(source, source.place) for source in sources if isinstance(source.place, Finding)]
    if not asking:
        return
    windows = tuple(movement_of_stream(stream, method=method, device=device, progress=progress))
    for source, place in asking:
        rule, least = (movement_alone, 1.0) if place.most_moving else (synchrony, CONFIDENCE)
        found = find_in_blocks(windows, source.mono(source.file.rate_hz), source.file.rate_hz, rule, least)
        source.found = found.field
        source.file.notices += [f"{one[:1].lower()}{one[1:].rstrip('.')}" for one in found.notices]


def _track_along(path: np.ndarray, place: Following) -> SourceTrack:
    yaws, pitches = (angle.tolist() for angle in angles(torch.from_numpy(path)))
    points = tuple(
        SourcePoint(yaw, pitch, place.distance_m, place.spread_deg, place.gain_db)
        for yaw, pitch in zip(yaws, pitches, strict=True)
    )
    return SourceTrack(tuple(i / SALIENCY_FPS for i in range(len(points))), points)


def packing_of(info: MediaInfo, eye: Eye | None) -> Packing:
    """Packing of the eyes: as the file says, else as the chosen eye tells."""
    said = info.spherical.stereo
    if said == "custom":  # a mesh would tell, and only panoramas are labelled
        return "mono"
    if said or eye in (None, "whole"):
        return said or "mono"
    return "left-right" if info.aspect >= 3 else "top-bottom"


# Field ----------------------------------------------------------------------------------------------------------------


@dataclass
class _Field:
    """The sum of all sources, read as often as it is asked for."""

    sources: Sequence[Source | ViewSounds]
    order: int
    rate_hz: int
    stop_s: float
    progress: Progress | None
    length_s: float = 0.0
    pair: HeadLocked | None = None

    def blocks(self, what: str) -> Iterator[Tensor]:
        """Yield `[C, n]` up to about `stop_s`."""
        count, total = 0, 0 if self.stop_s == math.inf else math.ceil(self.stop_s)
        parts = [source.blocks(self.rate_hz, self.order) for source in self.sources]
        if self.pair is not None:
            parts = [with_silent_pair(blocks) for blocks in parts]
            parts.append(self.pair.blocks(self.rate_hz, self.order))
        for block in sum_blocks(parts):
            yield block
            count += block.shape[1]
            self.length_s = count / self.rate_hz
            if self.progress is not None:
                self.progress(int(self.length_s), max(int(self.length_s), total, 1), what)
            if self.length_s > self.stop_s + 1:
                return

    def measure(self) -> float:
        """Read all of it; return its true peak.

        Raises:
            InputError: a source has no sound at all.
        """
        peak = peak_of(self.blocks("measuring the sound"))
        for source in self.sources:
            if not source.length_s > source.start_s:
                raise InputError(f"{source.name} has no sound that can be decoded. Copy it again, or leave it out.")
        return peak

    def notices(self, end_s: float, gain: float) -> tuple[str, ...]:
        """Sentences about each source and about the gain, once all of it has been read."""
        said = [notice for source in self.sources for notice in source.said(end_s)]
        said += [self.pair.said] if self.pair is not None else []
        said += [f"{loud_notice(gain)}: its peaks were above full scale"] if gain < 1 else []
        return sentences(said)
