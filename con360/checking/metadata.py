"""Find where metadata contradicts the picture and the sound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..media.info import AudioTrack, MediaInfo
from ..sound.channels import FIRST_ORDER, PAIR
from .findings import Finding
from .picture_findings import LEVEL_DEG, Look

# A stated tilt of less than this is a sensor's rest.
STATED_TILT_DEG = 5.0


def metadata_finding(look: Look, findings: Mapping[str, Finding], track: AudioTrack | None) -> Finding:
    """Judge a file's metadata by what was found of its picture and sound."""
    against = [*_against_picture(look, findings), *_against_sound(track)]
    if against:
        said = "; ".join(against)
        return Finding("metadata", "mend", f"{said[:1].upper()}{said[1:]}.", "Write metadata that tells what is there.")
    lacks = list(_lacking(look.info, findings, track))
    if lacks:
        said = "; ".join(lacks)
        mend = "`con360 level IN -o OUT.mp4` writes them." if look.info.kind == "video" else ""
        return Finding("metadata", "look", f"{said[:1].upper()}{said[1:]}.", mend)
    return Finding("metadata", "good", "Nothing that the metadata says contradicts the file.")


def _against_picture(look: Look, findings: Mapping[str, Finding]) -> Iterator[str]:
    tags, seen = look.info.spherical, look.seen[0]

    def is_state(name: str, state: str) -> bool:
        return name in findings and findings[name].state == state

    if tags.projection == "equirectangular" and is_state("projection", "mend"):
        yield "the metadata says equirectangular, and the picture is not"
    if tags.stereo not in ("", "mono") and seen not in (None, tags.stereo):
        yield f"the metadata says {tags.stereo} stereo, and the halves differ"
    if tags.stereo == "mono" and seen not in (None, "mono"):
        yield f"the metadata says one eye, and the halves are two eyes, {seen}"
    if look.info.rotation_deg and look.info.kind == "video":
        yield f"the file asks players to turn the picture by {look.info.rotation_deg}°, which no panorama needs"
    if _stated_tilt(look.info) >= STATED_TILT_DEG and is_state("horizon", "good"):
        yield f"the metadata says a tilted camera, and the horizon is level within {LEVEL_DEG:g}°"


def _stated_tilt(info: MediaInfo) -> float:
    _, pitch, roll = info.spherical.pose_deg
    return max(abs(pitch), abs(roll))


def _against_sound(track: AudioTrack | None) -> Iterator[str]:
    if track is None or track.tags is None:
        return
    wanted = (track.tags.order + 1) ** 2 + PAIR * track.tags.head_locked
    if wanted != track.channels:
        yield f"the sound's metadata says {wanted} channels, and there are {track.channels}"


def _lacking(info: MediaInfo, findings: Mapping[str, Finding], track: AudioTrack | None) -> Iterator[str]:
    whole = "projection" in findings and findings["projection"].state in ("good", "unknown")
    if whole and not info.spherical.projection:
        yield "no metadata says that the picture is 360°: players show it flat"
    named = track is not None and any(name.startswith("AMBI") for name in track.names)
    if track is not None and track.layout == "ambix" and track.channels >= FIRST_ORDER and not track.tags and not named:
        yield "no metadata says that the sound is Ambisonics: players take it for loudspeakers"
