"""Read and write files that say when something sounds: onset tracks, envelopes, and both in one."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ..errors import InputError
from ..records import Envelope, OnsetTrack, TimeTrack
from ..sound.envelopes import envelope_of
from ..sound.onset_text import TextKind, envelope_from_text, envelope_to_text, onsets_from_text, onsets_to_text
from ..sound.time_tracks import time_track_from_text, time_track_of_sound, time_track_to_text
from .files import atomic_path, existing_file
from .reader import read_sound

# SyncFusion's tables are called NAME.times.csv.
KINDS: dict[str, TextKind] = {".json": "json", ".csv": "table", ".txt": "labels"}
MAX_BYTES = 2**28


def read_onsets(path: str | os.PathLike) -> OnsetTrack:
    """Read onsets by the file's suffix: .json, .csv (SyncFusion's NAME.times.csv) or .txt (Audacity's labels).

    Raises:
        InputError: no such file, another suffix, or content that cannot be used.
    """
    return onsets_from_text(_text(path), kind_of_file(path))


def write_onsets(path: str | os.PathLike, track: OnsetTrack) -> None:
    """Write onsets in the kind that the suffix names, as `read_onsets` reads them.

    Raises:
        InputError: another suffix, a track that cannot be used, or a place that cannot be written to.
    """
    _write(path, onsets_to_text(track, kind_of_file(path)))


def read_envelope(path: str | os.PathLike) -> Envelope:
    """Read an envelope from .json, or measure it on a file with sound.

    Raises:
        InputError: no such file, or content that cannot be used.
    """
    if Path(path).suffix.lower() == ".json":
        return envelope_from_text(_text(path))
    sound, _ = read_sound(path)
    return envelope_of(sound)


def write_envelope(path: str | os.PathLike, envelope: Envelope) -> None:
    """Write an envelope as .json.

    Raises:
        InputError: another suffix, values that cannot be used, or a place that cannot be written to.
    """
    if Path(path).suffix.lower() != ".json":
        raise InputError(f"{Path(path).name} does not end in .json, the format of envelopes. Rename it.")
    _write(path, envelope_to_text(envelope))


def read_time_track(path: str | os.PathLike, duration_s: float | None = None) -> TimeTrack:
    """Read a time track by the file's suffix.

    Convention: .json is what `sound.time_tracks.time_track_from_text` reads, .csv and .txt are onsets as `read_onsets`
    reads them, and any other file's own sound gives its onsets and its envelope.

    Args:
        duration_s: of the clip that shall follow; no more is read of a sound. Onsets past it stay in the track.

    Raises:
        InputError: no such file, no sound in it, or content that cannot be used.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".json":
        return time_track_from_text(_text(path), duration_s)
    if suffix in KINDS:
        return TimeTrack(read_onsets(path))
    sound, _ = read_sound(path)
    if duration_s is not None:
        sound = replace(sound, waveform=sound.waveform[:, : round(duration_s * sound.sample_rate_hz)])
    return time_track_of_sound(sound)


def write_time_track(path: str | os.PathLike, track: TimeTrack) -> None:
    """Write a time track as .json, or its onsets alone as .csv or .txt.

    Raises:
        InputError: another suffix, no onsets where they alone are written, a track that cannot be used, or a place
            that cannot be written to.
    """
    if kind_of_file(path) == "json":
        return _write(path, time_track_to_text(track))
    if track.onsets is None:
        raise InputError(f"the track has no onsets, and {Path(path).name} would hold nothing else; choose .json.")
    write_onsets(path, track.onsets)


def kind_of_file(path: str | os.PathLike) -> TextKind:
    """Tell the kind of onsets, or of a time track, that a file's suffix names.

    Raises:
        InputError: another suffix.
    """
    kind = KINDS.get(Path(path).suffix.lower())
    if kind is None:
        raise InputError(f"{Path(path).name} is no file of onsets by its name; wanted one of {', '.join(KINDS)}.")
    return kind


def _text(path: str | os.PathLike) -> str:
    found = existing_file(path)
    if found.stat().st_size > MAX_BYTES:
        raise InputError(f"{found.name} has {found.stat().st_size} bytes; wanted text of at most {MAX_BYTES}.")
    try:
        return found.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{found.name} is no text in UTF-8 ({error.reason}). Save it as such.") from None


def _write(path: str | os.PathLike, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
