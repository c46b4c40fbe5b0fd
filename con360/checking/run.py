"""Check files and clips: is it really 360°, and what has to be mended?

Few pictures and seconds of sound are read, spread over the clip, so a long file takes seconds and little memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..media.info import MediaInfo, pose_notices, probe
from ..media.track import choose_track
from ..records import PanoramaClip, Sound
from ..reframing.in_memory import HeldPanorama, track_of
from ..sound.channels import check_ambisonics
from .findings import Checked, Finding, in_order, sentence, unreadable
from .metadata import metadata_finding
from .picture_findings import Look, picture_findings
from .samples import PICTURES, Heard, Pictures, reduced, sampled_pictures, sampled_sound
from .sound_findings import sound_findings

SUFFIXES = frozenset(
    ".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .ts .jpg .jpeg .png .webp .tif .tiff .bmp .wav .flac .ogg .opus .mp3 "
    ".m4a .aac .caf .aiff .w64".split()
)


def check(
    path: str | os.PathLike[str], *, audio_track: int | None = None, ambisonics: str = "auto", head_locked: bool = False
) -> Checked:
    """Check one file: a video, still picture or sound.

    Args:
        path: of the file. What cannot be read of it becomes the finding `file`.
        audio_track, ambisonics, head_locked: as in `read_panorama`; what a file's sound cannot be is its finding too.

    Returns:
        The findings.

    Raises:
        InputError: there is no such file, or an unknown word.
    """
    check_ambisonics(ambisonics, head_locked)
    try:
        return _check_readable(probe(path), audio_track, ambisonics, head_locked)
    except InputError as error:
        if not Path(path).is_file():
            raise
        return unreadable(Path(path), error)


def check_folder(
    folder: str | os.PathLike[str],
    *,
    audio_track: int | None = None,
    ambisonics: str = "auto",
    head_locked: bool = False,
) -> Iterator[Checked]:
    """Check the media files of a folder, sorted by name, one after another; the folders inside are left out.

    Args:
        audio_track, ambisonics, head_locked: as in `check`, of every file.

    Raises:
        InputError: no such folder, it holds no media file, or an unknown word.
    """
    check_ambisonics(ambisonics, head_locked)
    paths = media_files(Path(folder))
    for path in paths:
        yield check(path, audio_track=audio_track, ambisonics=ambisonics, head_locked=head_locked)


def media_files(folder: Path) -> list[Path]:
    """List the files of a folder whose names end as those of media do.

    Raises:
        InputError: no such folder, or none of them.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder that can be read; give a file or a folder.")
    paths = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix.lower() in SUFFIXES)
    if not paths:
        raise InputError(f"{folder} holds no media file; give a folder of videos, pictures or sounds.")
    return paths


def check_clip(clip: PanoramaClip) -> Checked:
    """Check a clip that is held: its frames and its sound; it has no metadata.

    Raises:
        InputError: no frame, or values that are not finite.
    """
    sounds = findings_of_sound(clip.sound)
    return Checked(HeldPanorama(clip).info.path.name, "video", in_order([*findings_of_pictures(clip), *sounds]))


def findings_of_pictures(clip: PanoramaClip) -> tuple[Finding, ...]:
    """Check the frames of a clip that is held."""
    held, at = HeldPanorama(clip), np.unique(np.linspace(0, clip.num_frames - 1, PICTURES).round())
    images = [reduced(pixels()) for i, (_, pixels) in enumerate(held.frames()) if i in at]
    return tuple(picture_findings(Look(held.info, tuple(images))))


def findings_of_sound(sound: Sound | None) -> tuple[Finding, ...]:
    """Check a sound that is held: it says itself what its channels are."""
    if sound is None:
        return tuple(sound_findings(None, None))
    heard = Heard(sound.waveform.float().cpu().numpy(), sound.sample_rate_hz)
    return tuple(sound_findings(track_of(sound), heard))


def _check_readable(info: MediaInfo, audio_track: int | None, ambisonics: str, head_locked: bool) -> Checked:
    track, _ = choose_track(info, audio_track, ambisonics, head_locked)
    sounds = []
    if info.kind != "picture":
        sounds = list(sound_findings(track, None if track is None else sampled_sound(info, track)))
    if info.kind == "sound":
        return Checked(
            info.path.name, info.kind, in_order([_file(info, ("there is no picture, only sound",)), *sounds])
        )
    pictures = sampled_pictures(info)
    look = Look(info, pictures.images)
    findings = [_damage(pictures) or _file(info), *picture_findings(look), *sounds]
    named = {finding.name: finding for finding in findings}
    return Checked(info.path.name, info.kind, in_order([*findings, metadata_finding(look, named, track)]))


def _damage(pictures: Pictures) -> Finding | None:
    if not pictures.notices:
        return None
    return Finding("file", "mend", f"{sentence('; '.join(pictures.notices))}.", "Copy or download it again.")


def _file(info: MediaInfo, more: tuple[str, ...] = ()) -> Finding:
    """Say what is peculiar of a file that reads well."""
    said = [*more, *(notice for notice in info.notices if notice not in pose_notices(info.spherical))]
    if len(info.audio_tracks) > 1:
        said.append(f"there are {len(info.audio_tracks)} sound tracks; the default one is checked")
    length = "" if info.duration_s is None else f", {info.duration_s:.1f} s"
    size = f", {info.width}x{info.height}" if info.width else ""
    facts = f"{sentence(info.kind)}{size}{length}."
    if said:
        return Finding("file", "look", f"{facts} {sentence('; '.join(said))}.")
    return Finding("file", "good", facts)
