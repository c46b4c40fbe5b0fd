"""Tell what browsers do not play."""

from __future__ import annotations

from pathlib import Path

from .info import MediaInfo

# Browsers of every kind play these, inside MP4 and WebM.
PICTURE_CODECS = ("h264", "vp8", "vp9", "av1")
SOUND_CODECS = ("aac", "opus", "libopus", "mp3", "mp3float", "vorbis")
MAX_CHANNELS = 8


def mime_type_of(path: Path) -> str:
    """Tell the MIME type of a video by its content: MP4, WebM, or empty."""
    with open(path, "rb") as file:
        head = file.read(64)
    if head[4:8] == b"ftyp" and head[8:12] != b"qt  ":
        return "video/mp4"
    return "video/webm" if head[:4] == b"\x1a\x45\xdf\xa3" and b"webm" in head else ""


def why_not_played(info: MediaInfo) -> str:
    """Say why not every browser plays a video; empty where all do."""
    if info.codec not in PICTURE_CODECS:
        return f"not every browser plays its codec, {info.codec}"
    if not mime_type_of(info.path):
        return "it is neither MP4 nor WebM"
    unplayed = [track.codec for track in info.audio_tracks if track.codec not in SOUND_CODECS]
    if unplayed:
        return f"browsers do not play its sound, {unplayed[0]}"
    most = max((track.channels for track in info.audio_tracks), default=0)
    return f"browsers play {MAX_CHANNELS} channels at most, and its sound has {most}" if most > MAX_CHANNELS else ""
