"""Take the panorama of a node from a file of the input folder, or from a VIDEO or IMAGE that is connected."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import InputImpl, io

from ..con360.errors import InputError
from ..con360.records import PanoramaClip
from . import previews, sockets
from .host import files
from .load_video import file_of, sample_clip, video_input

if TYPE_CHECKING:
    from torch import Tensor

    from ..con360.media.layouts import Reading
    from ..con360.records import Sound


@dataclass(frozen=True)
class Source:
    """A panorama, the excerpt of it in seconds (None goes to the end), and what the node's panel shows of it."""

    panorama: Path | PanoramaClip
    start: float
    duration: float | None
    shown: dict[str, Any]


def file_input() -> io.Combo.Input:
    """The choice of a file."""
    return video_input("An equirectangular video of the input folder, or a procedural sample scene.")


def inputs() -> list[io.Input]:
    """The sockets beside the choice of a file, and the frame rate of frames."""
    return [
        io.Video.Input("clip", optional=True, tooltip="A 360° video in place of the file, as Load Video gives it."),
        io.Image.Input("frames", optional=True, tooltip="Equirectangular frames in place of the file."),
        io.Audio.Input("audio", optional=True, tooltip="The sound of the frames; four channels are Ambisonics."),
        io.Float.Input("fps", default=8.0, min=1.0, max=120.0, step=1.0, optional=True,
                       tooltip="Frame rate of the frames."),
    ]  # fmt: skip


def source_of(
    video: str, start: float, duration: float, ambisonics: str, head_locked: bool, clip: Any = None,
    frames: Tensor | None = None, audio: dict[str, Any] | None = None, fps: float = 8.0,
    reading: Reading | None = None,
) -> Source:  # fmt: skip
    """Find the panorama: what is connected, else the file.

    Args:
        duration: 0 goes to the end.
        reading: how a file's picture is read; None as its metadata says.

    Raises:
        InputError: both a clip and frames are connected, or sound without frames; what is given cannot be read.
    """
    if clip is not None and frames is not None:
        raise InputError("clip and frames are both connected, and one panorama is cut; disconnect one of them.")
    if audio is not None and frames is None:
        raise InputError("audio is the sound of frames, and no frames are connected; a video brings its own sound.")
    excerpt = (start, duration or None)
    if frames is not None:
        heard = None if audio is None else sockets.sound_from_audio(audio, ambisonics, head_locked)
        return _held(video, frames, fps, heard, excerpt)
    if clip is not None:
        return _of_clip(video, clip, excerpt, ambisonics, head_locked, reading)
    path = file_of(video)
    if path is None:
        path, sample = _sample_file()
        return Source(path, *excerpt, {"video": video, "sample": sample})
    return Source(path, *excerpt, {"video": video, **_facts(path, excerpt, ambisonics, head_locked, reading)})


def _held(
    video: str, frames: Tensor, fps: float, heard: Sound | None, excerpt: tuple[float, float | None]
) -> Source:  # fmt: skip
    preview = previews.panorama_preview(frames, fps, previews.ROUND_PX, sound=heard)
    held = PanoramaClip(sockets.frames_view(frames), fps, heard, source="the frames")
    return Source(held, *excerpt, {"video": video, "linked": "frames", "panorama": preview})


def _of_clip(
    video: str, clip: Any, excerpt: tuple[float, float | None], ambisonics: str, head_locked: bool,
    reading: Reading | None,
) -> Source:  # fmt: skip
    """A VIDEO: from its file on disk frame by frame, else as it is held."""
    path = file_of_clip(clip)
    if path is None:
        parts = clip.get_components()
        heard = None if parts.audio is None else sockets.sound_from_audio(parts.audio, ambisonics, head_locked)
        return _held(video, parts.images, float(parts.frame_rate), heard, excerpt)
    part = trimmed(clip, *excerpt)
    shown = {"video": video, "linked": "clip", **_facts(path, part, ambisonics, head_locked, reading)}
    address = files.address_of(path)
    if address is not None:
        shown["sample"] = {**address, "ambisonic": shown["ambisonic"]}
    return Source(path, *part, shown)


def file_of_clip(clip: Any) -> Path | None:
    """The file that shows what a VIDEO shows; None where it is held in memory or edited."""
    file = None if _is_edited(clip) else clip.get_stream_source()
    return Path(file) if isinstance(file, str) else None


def _is_edited(clip: Any) -> bool:
    """Tell whether the file on disk is not what a VIDEO shows: newer cores crop one without writing it anew."""
    if not isinstance(clip, InputImpl.VideoFromFile):
        return True
    return hasattr(clip, "has_pending_frame_edits") and clip.has_pending_frame_edits()


def _facts(
    path: Path, excerpt: tuple[float, float | None], ambisonics: str, head_locked: bool, reading: Reading | None
) -> dict[str, Any]:  # fmt: skip
    from ..con360.media.info import probe
    from ..con360.media.layouts import AS_TAGGED

    info = probe(path).taken_as(reading or AS_TAGGED)
    shown = previews.file_facts(info, ambisonics, head_locked)
    return {**shown, **previews.unfolded_preview(info, *excerpt)}


def trimmed(clip: Any, start: float, duration: float | None) -> tuple[float, float | None]:
    """The excerpt in the file's own time, inside the part that core's Video Slice left of it."""
    begin, length = _trim_of(clip)
    if not length:
        return begin + start, duration
    left = length - start
    if left <= 0:
        raise InputError(
            f"a start of {start:g} s was asked for, and the clip lasts {length:g} s; choose an earlier one."
        )
    return begin + start, left if duration is None else min(duration, left)


def _trim_of(clip: Any) -> tuple[float, float]:
    """Start and length in seconds of a VIDEO that was trimmed; a length of 0 goes to the end."""
    if hasattr(clip, "get_active_trim_window"):
        begin, length = clip.get_active_trim_window()
        return float(begin), float(length)
    # Between 0.3.64, which knows no trimming, and the cores that tell it, it can be read from the object alone.
    begin, length = (float(getattr(clip, f"_VideoFromFile__{name}", 0)) for name in ("start_time", "duration"))
    return (max(0.0, clip._get_raw_duration() + begin) if begin < 0 else begin), length


def _sample_file() -> tuple[Path, dict[str, Any]]:
    """Write the sample scene as a 360° camera does, with Ambisonic sound."""
    from ..con360.media.writer import write_clip

    clip, _ = sample_clip(start=0.0, duration=4.0, fps=8.0, height=512)
    path, saved = files.temp_file("con360_sample", ".mp4")
    write_clip(path, clip.frames, clip.fps, clip.sound, panorama="mono")
    return path, {**saved, "ambisonic": clip.sound is not None and clip.sound.layout == "ambix"}
