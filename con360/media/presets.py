"""Kinds of files that are written: codecs, container and channels, each named for the players that need it.

Source: YouTube Help, "Use spatial audio in 360-degree and VR videos" (48 kHz; first order in four channels as AAC of
256 kbit/s or more; with a head-locked pair in six channels as Opus of mapping family 2 in MP4 and 768 kbit/s or more,
or as PCM in MOV); RFC 8486 (Ambisonics in Opus); VLC 3 (Ambisonics up to order 3 by its SA3D box); Meta, "Encoding
High-Resolution 360 and 180 Video" (H.265 up to 4096 pixels).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..choices import PRESETS, Hdr, PresetName
from ..errors import InputError
from ..sound.shaping import KEPT, FieldShape, shape_matrix
from .coders import PictureCoding, check_codec
from .colour import Colour
from .sound_coders import USUAL_SOUND, SoundCoding
from .writer import check_clip_path, fit_sound

if TYPE_CHECKING:
    from ..records import Sound

# FFmpeg's names of what the codecs write.
_NAMES = {"H.264": "h264", "H.265": "hevc", "ProRes": "prores"}
PLAYED_BY_ALL = frozenset({"h264", "hevc", "vp9"})
# 512 kbit/s for four channels, 768 for six, which YouTube asks for.
OPUS = SoundCoding("Opus", 48000, 128_000)


@dataclass(frozen=True)
class FileKind:
    """Codings, channels and name of a kind of file.

    Args:
        picture, sound: their codings. shape: of the sound's channels.
        suffix: that the file must have; empty for any that clips have.
        copied: FFmpeg's names of codecs of pictures that are copied where nothing changes them.
        name: of the preset; empty for none.
    """

    picture: PictureCoding = PictureCoding()
    sound: SoundCoding = USUAL_SOUND
    shape: FieldShape = KEPT
    suffix: str = ""
    copied: frozenset[str] = frozenset()
    name: str = ""

    def check_path(self, path: str | os.PathLike[str]) -> None:
        """Check that such a file can be written at `path`, and its codec by this PyAV. Creates nothing.

        Raises:
            InputError: another suffix, a place that cannot be written to, or a codec that is missing.
        """
        if self.suffix and Path(path).suffix.lower() != self.suffix:
            raise InputError(
                f"{Path(path).name} does not end in {self.suffix}, as files of the preset {self.name!r} do. Rename it."
            )
        check_clip_path(path, self.sound)
        check_codec(self.picture.codec)

    def showing(self, colour: Colour, hdr: Hdr) -> FileKind:
        """Return the kind that keeps HDR of this colour where it is to be kept; itself for any other picture."""
        if not colour.hdr or hdr != "keep":
            return self
        picture = self.picture.keeping(colour)
        return replace(self, picture=picture, copied=self.copied | {_NAMES[picture.codec]})

    def copied_notices(self, codec: str) -> tuple[str, ...]:
        """Say that a picture is copied in another codec (FFmpeg's name) than the preset's players are sure to show."""
        if not self.name or codec in self.copied:
            return ()
        return (
            f"the picture is copied as it is, in {codec}; the preset's own codec is {self.picture.codec}, in which "
            f"`con360 level --preset {self.name}` codes it",
        )

    def copies(self, codec: str, colour: Colour) -> bool:
        """Tell whether a picture of this codec (FFmpeg's name) and colour can be copied into such a file."""
        return codec in self.copied and colour.hdr == self.picture.colour.hdr


PLAIN = FileKind()
_KINDS: dict[PresetName, FileKind] = {
    "youtube": FileKind(PictureCoding("H.264"), SoundCoding("AAC", 48000), FieldShape(1, False), ".mp4",
                        PLAYED_BY_ALL | {"av1"}),
    "quest": FileKind(PictureCoding("H.265"), OPUS, FieldShape(1), ".mp4", PLAYED_BY_ALL),
    "headlocked": FileKind(PictureCoding("H.264"), replace(OPUS, steady=True), FieldShape(1, True), ".mp4",
                           PLAYED_BY_ALL | {"av1"}),
    "third-order": FileKind(PictureCoding("H.264"), OPUS, FieldShape(3, needs_field=True), ".mp4", PLAYED_BY_ALL),
    "master": FileKind(PictureCoding("ProRes"), SoundCoding("PCM"), KEPT, ".mov", frozenset({"prores"})),
}  # fmt: skip


def file_kind(preset: PresetName | None, coding: PictureCoding | None = None) -> FileKind:
    """Return the kind of a preset, or of no preset and a picture's coding.

    Args:
        coding: its quality is taken for a preset, whose codec stays.

    Raises:
        InputError: an unknown preset.
    """
    coding = coding or PictureCoding()
    if preset is None:
        copied = {_NAMES[coding.codec]} if coding.quality == "high" else set[str]()
        return FileKind(coding, copied=frozenset(copied))
    if preset not in PRESETS:
        raise InputError(f"the preset {preset!r} is unknown; choose one of {', '.join(PRESETS)}.")
    kind = _KINDS[preset]
    return replace(kind, name=preset, picture=replace(kind.picture, quality=coding.quality))


def sound_for(kind: FileKind, sound: Sound) -> tuple[Sound, tuple[str, ...]]:
    """Bring a sound to the channels, rate and level of a kind of file; notices say what was done.

    Raises:
        InputError: the kind needs Ambisonics, and the sound has no directions.
    """
    from ..sound.levels import for_clip

    said: tuple[str, ...] = ()
    if sound.layout != "ambix" or not kind.name:
        sound, said = for_clip(sound)
    matrix, shaped = shape_matrix(kind.shape, sound.layout, sound.waveform.shape[0])
    if matrix is not None:
        sound = replace(sound, waveform=matrix.to(sound.waveform) @ sound.waveform, layout="ambix", speakers=())
    fitted, changed = fit_sound(sound, kind.sound)
    return fitted, (*said, *shaped, *changed)
