"""Level, turn and re-centre a whole 360° video: picture and sound turn together, and it stays a 360° video.

Needs no weights. Takes files of any length: memory holds one frame and a fraction of a second of sound.

Convention: the turn is a camera's. What lies where it looks comes to the middle; where it leans to its right, the
picture turns to the left. A tilt that the file states is undone first, then comes the turn by hand, then the new
front. The written file states no tilt.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ..choices import Eye, Hdr, PresetName
from ..errors import InputError
from ..geometry.sphere import angles, directions, rotation, rotation_angles
from ..media.coders import PictureCoding
from ..media.copying import copied_clip
from ..media.files import check_not_read
from ..media.info import AudioTrack, MediaInfo, pose_notices, probe
from ..media.layouts import AS_TAGGED, Reading
from ..media.presets import FileKind, file_kind
from ..media.reader import PanoramaStream, check_times
from ..media.spherical import LEVEL, SphericalTags
from ..media.unfolding import unfolding_of
from ..media.writer import clip_stream
from ..records import PanoramaClip, Progress, View
from .in_memory import HeldPanorama
from .run import Job, check_hdr
from .sound import Heard, Mix, sound_blocks, sound_gain, whole_mix
from .turning import Turner

# Less than this is rounding: such a turn changes nothing that could be seen.
NO_TURN_DEG = 0.01
INITIAL: Literal["initial"] = "initial"


@dataclass(frozen=True)
class LevelSettings:
    """Choose the turn of a 360° video.

    Args:
        yaw_deg, pitch_deg, roll_deg: direction that comes to the middle, and by how much the camera leans to its right.
        auto: first undo the tilt of the camera that the file states.
        recentre: yaw in the levelled picture that becomes its middle; "initial" takes the view that the file asks
            players to begin with; None leaves it.
        start_s: where to begin. duration_s: how long; None goes to the end.
        eye: one eye of stereo video, or `whole`; None keeps both where metadata says stereo, each turned by itself.
        audio_track, ambisonics, head_locked, reading: as in `read_panorama`. These and the eye are about files.
        coding: codec and quality of the picture; a preset has a codec of its own.
        preset: kind of file (`media.presets`); None writes what `coding` says, with AAC or Opus.
        hdr: tone-map HDR, or keep it with 10 bits.

    Raises:
        InputError: an angle that is not finite, or another word.
    """

    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    roll_deg: float = 0.0
    auto: bool = False
    recentre: float | Literal["initial"] | None = None
    start_s: float = 0.0
    duration_s: float | None = None
    eye: Eye | None = None
    audio_track: int | None = None
    ambisonics: str = "auto"
    head_locked: bool = False
    coding: PictureCoding = PictureCoding()
    reading: Reading = AS_TAGGED
    preset: PresetName | None = None
    hdr: Hdr = "tone-map"

    def __post_init__(self) -> None:
        number = 0.0 if self.recentre in (None, INITIAL) else self.recentre
        for angle in (self.yaw_deg, self.pitch_deg, self.roll_deg, number):
            if not isinstance(angle, int | float) or not math.isfinite(angle):
                raise InputError(f"a turn by {angle!r} degrees was asked for; wanted a finite number.")
        check_times(self.start_s, self.duration_s)
        check_hdr(self.hdr)
        if self.reading.upright:
            raise InputError("a tilt that the file states is undone by auto here; leave upright out.")

    @property
    def is_whole(self) -> bool:
        """Tell whether every picture stays, with all of its pixels."""
        return self.start_s == 0 and self.duration_s is None and self.eye in (None, "whole")

    @property
    def stop_s(self) -> float:
        """End of the excerpt in seconds of the source; infinite without a duration."""
        return math.inf if self.duration_s is None else self.start_s + self.duration_s


@dataclass(frozen=True)
class Levelled:
    """Facts about the file that was written.

    Args:
        turn: the camera's yaw, pitch and roll in the source, all steps together; its field of view says nothing.
        sound: "ambisonics" where it was turned, else as in `Reframed.sound`.
        notices: sentences for people.
    """

    path: Path
    width: int
    height: int
    num_frames: int
    duration_s: float
    sound: str
    turn: View
    notices: tuple[str, ...]


def level(
    source: str | os.PathLike[str] | PanoramaClip, out: str | os.PathLike[str], settings: LevelSettings | None = None,
    *, tags: Mapping[str, str] | None = None, progress: Progress | None = None,
) -> Levelled:  # fmt: skip
    """Write a 360° video turned, levelled or re-centred, as an MP4 (AAC; Opus above first order).

    Convention: the module's text. Size, time of each frame, packing of the eyes and order of the Ambisonics stay.

    Args:
        source: a 360° video, or a clip that is held. out: the MP4 to write; it appears when it is complete.
        settings: the turn, eye and sound; None takes the defaults.
        tags: further metadata of the file. progress: told of each frame; may raise to cancel, which leaves no file.

    Returns:
        Facts about the file and the notices.

    Raises:
        InputError: a file or option cannot be used, or the file states no tilt and `auto` asks for it.
    """
    settings = settings or LevelSettings()
    kind = file_kind(settings.preset, settings.coding)
    kind.check_path(out)
    stream = _open(source, out, settings)
    kind = kind.showing(stream.info.colour, settings.hdr)
    turn, said = turn_of(stream.info, settings)
    stream.notices += said
    return _write(stream, out, turn, settings, kind, tags or {}, progress)


def _open(
    source: str | os.PathLike[str] | PanoramaClip, out: str | os.PathLike[str], settings: LevelSettings
) -> PanoramaStream:  # fmt: skip
    if isinstance(source, PanoramaClip):
        return HeldPanorama(source)
    info = probe(source).taken_as(settings.reading)
    check_not_read(out, [info.path])
    # `turn_of` says more of the tilt.
    others = tuple(notice for notice in info.notices if notice not in pose_notices(info.spherical))
    return PanoramaStream(
        replace(info, notices=others), settings.eye, settings.audio_track, settings.ambisonics, settings.head_locked,
        both_eyes=True, hdr=settings.hdr,
    )  # fmt: skip


def turn_of(info: MediaInfo, settings: LevelSettings) -> tuple[View, tuple[str, ...]]:
    """Join the steps of a turn to one; return it and the notices of what was done.

    Raises:
        InputError: the file does not state what the settings ask for.
    """
    tags, name = info.spherical, info.path.name
    turn, said = _undone_tilt(info) if settings.auto else (_camera(0.0), _kept_tilt(tags))
    turn = turn @ _camera(settings.yaw_deg, settings.pitch_deg, settings.roll_deg)
    if settings.recentre is not None:
        front = _initial_yaw(tags, name, turn) if settings.recentre == INITIAL else float(settings.recentre)
        said = (*said, f"yaw {front:.4g} of the levelled picture is its new middle")
        turn = turn @ _camera(front)
    return _view(turn), said


def tilt_of(info: MediaInfo) -> View | None:
    """The turn that undoes the tilt that a file states; None where it states none."""
    return _view(_camera(*info.spherical.pose_deg).T) if any(info.spherical.pose_deg) else None


def _view(turn: Tensor) -> View:
    yaw, pitch, roll = (float(angle) for angle in rotation_angles(turn))
    return View(yaw, pitch, roll_deg=roll)


def _camera(yaw_deg: float, pitch_deg: float = 0.0, roll_deg: float = 0.0) -> Tensor:
    return rotation(yaw_deg, pitch_deg, roll_deg, dtype=torch.float64)


def check_tilt(info: MediaInfo) -> None:
    """Check that a file states a tilt of its camera.

    Raises:
        InputError: it does not.
    """
    if not any(info.spherical.pose_deg):
        raise InputError(
            f"{info.path.name} states no tilt of its camera, so nothing can be levelled by itself. Set pitch and roll "
            f"by hand until the horizon is level, and leave auto out."
        )


def _undone_tilt(info: MediaInfo) -> tuple[Tensor, tuple[str, ...]]:
    check_tilt(info)
    said = f"the camera's tilt that the file states was undone: {_pose_words(info.spherical)}"
    # The pose brings the picture to the world. Seen from the level world, the picture lies the other way round.
    return _camera(*info.spherical.pose_deg).T, (said,)


def _kept_tilt(tags: SphericalTags) -> tuple[str, ...]:
    dropped = f"the file states a tilt of its camera ({_pose_words(tags)}) that was dropped, not undone; auto undoes it"
    return (dropped,) if any(tags.pose_deg) else ()


def _pose_words(tags: SphericalTags) -> str:
    yaw, pitch, roll = tags.pose_deg
    return f"yaw {yaw:.4g}, pitch {pitch:.4g}, roll {roll:.4g} degrees"


def _initial_yaw(tags: SphericalTags, name: str, turn: Tensor) -> float:
    """Yaw of the file's initial view in the turned picture."""
    if tags.initial_deg is None:
        raise InputError(f"{name} names no view to begin with; give the new front as a yaw in degrees.")
    heading, pitch, _ = tags.initial_deg
    yaw, _ = angles(directions(heading, pitch, dtype=torch.float64) @ turn)
    return float(yaw)


def _is_turned(turn: View) -> bool:
    return max(abs(turn.yaw_deg), abs(turn.pitch_deg), abs(turn.roll_deg)) > NO_TURN_DEG


def _write(
    stream: PanoramaStream, out: str | os.PathLike[str], turn: View, settings: LevelSettings, kind: FileKind,
    tags: Mapping[str, str], progress: Progress | None,
) -> Levelled:  # fmt: skip
    mix = whole_mix(stream, kind)
    start_s, stop_s, aim = settings.start_s, settings.stop_s, lambda _: turn
    job = Job(stream, start_s, stop_s, None, progress, "turning")
    shape, shots = job.shots()
    turner = Turner(stream.packing)
    size = turner.size(shape)
    if _stays(stream, turn, settings, kind) and size == shape[::-1]:
        facts, said = _copied(stream, out, mix, kind, tags, progress)
        return Levelled(Path(out), *size, *facts, mix.name, turn, (*stream.sentences, said))
    gain = sound_gain(stream, mix, aim, start_s, stop_s, progress)
    with clip_stream(
        out, size, job.time_base, job.rate, mix.shape, panorama=stream.packing, tags=tags, coding=kind.picture,
        sound_coding=kind.sound,
    ) as clip:  # fmt: skip
        heard = Heard(sound_blocks(stream, mix, aim, start_s, stop_s), mix, gain, clip)
        job.write(shots, clip, heard, lambda shot: turner.picture(shot.pixels, turn))
    stream.notices += mix.coding.notices(mix.rate_hz, gain, mix.channels) if mix.shape else ()
    notices = (*stream.sentences, *job.notices(), *_told(stream, turn, mix.name))
    return Levelled(Path(out), *size, job.count, job.end_s, mix.name, turn, notices)


def _stays(stream: PanoramaStream, turn: View, settings: LevelSettings, kind: FileKind) -> bool:
    """Tell whether the file's picture can go into the new file as it is."""
    info = stream.info
    as_stored = not info.rotation_deg and unfolding_of(info) is None
    return (
        not _is_turned(turn) and settings.is_whole and as_stored and not isinstance(stream, HeldPanorama)
        and kind.copies(info.codec, info.colour)
    )  # fmt: skip


def _copied(
    stream: PanoramaStream, out: str | os.PathLike[str], mix: Mix, kind: FileKind, tags: Mapping[str, str],
    progress: Progress | None,
) -> tuple[tuple[int, float], str]:  # fmt: skip
    """Write the file with its picture copied, and its sound where that fits; return frames, seconds and a sentence."""
    # A tilt that the file states is dropped, as it is of pictures that are coded anew.
    info = replace(stream.info, spherical=replace(stream.info.spherical, pose_deg=LEVEL))
    track = stream.track
    if track is not None and _sound_stays(track, mix, kind, info):
        with copied_clip(info, out, None, stream.packing, tags=tags, track=track) as clip:
            end_s = clip.copy_all(progress)
        return (clip.count, end_s), "Nothing is turned: picture and sound are copied as they are."
    gain = sound_gain(stream, mix, _ahead, 0.0, math.inf, progress)
    blocks = sound_blocks(stream, mix, _ahead, 0.0, math.inf)
    with copied_clip(info, out, mix.shape, stream.packing, sound_coding=kind.sound, tags=tags) as clip:
        end_s = clip.copy_with(((gain * block).numpy() for block in blocks), progress)
    stream.notices += mix.coding.notices(mix.rate_hz, gain, mix.channels) if mix.shape else ()
    return (clip.count, end_s), "Nothing is turned: the picture is copied as it is."


def _ahead(time_s: float) -> View:
    return View(0.0)


def _sound_stays(track: AudioTrack, mix: Mix, kind: FileKind, info: MediaInfo) -> bool:
    """Tell whether the file's sound can go into the new file as it is; WebM's has no edit list to cut its beginning."""
    as_stored = track.heard.picks is None and mix.flat is None and mix.channels == track.channels
    is_mp4 = info.path.suffix.lower() in (".mp4", ".m4v", ".mov")
    return as_stored and is_mp4 and kind.sound.copies(track.codec, track.label, track.channels, track.sample_rate_hz)


def _told(stream: PanoramaStream, turn: View, sound: str) -> tuple[str, ...]:
    """Notices about the turn, once the picture's eyes and the sound are known."""
    is_plain = unfolding_of(stream.info) is None
    plain = "the file is coded again as it is" if is_plain else "the picture is laid out as a panorama"
    said = [] if _is_turned(turn) else [f"Nothing is turned: the angles are 0, and {plain}."]
    if _is_turned(turn) and sound not in ("ambisonics", "none"):
        said.append(f"The sound ({sound}) has no directions that could turn with the picture.")
    if stream.packing != "mono" and max(abs(turn.pitch_deg), abs(turn.roll_deg)) > NO_TURN_DEG:
        said.append("Each eye was turned by itself: away from level, large tilts of stereo pictures tire the eyes.")
    return tuple(said)
