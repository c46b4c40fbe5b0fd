"""`con360 generate --start-from`, `--denoise`, `--hold`: read what a clip starts from."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .option_groups import StartOptions
from .report import Report

if TYPE_CHECKING:
    from ..models.joint import JointModel
    from ..records import PanoramaClip, StartClip, ViewTrack
    from ..sampling.settings import SamplerSettings

VIEW = "view"
# Keep part of the start and change part; 1 ignores it.
DEFAULT_DENOISE = 0.6


def check_start(options: StartOptions) -> None:
    """Check that the options fit together, and that a named file exists."""
    from ..media.files import existing_file

    source = start_source(options)
    strengths = {"--denoise": options.denoise, "--denoise-sound": options.denoise_sound}
    for name, value in strengths.items():
        if value is None:
            continue
        if source is None:
            raise InputError(f"{name} needs something to start from; give --start-from {VIEW}, or a file.")
        if not 0 < value <= 1 or math.isnan(value):
            raise InputError(f"{name} is {value:g}; wanted above 0, up to 1 (from noise).")
    if source not in (None, VIEW):
        existing_file(source)


def start_source(options: StartOptions) -> str | None:
    """`view`, a file, or None; --hold alone means the view."""
    return options.start_from or (VIEW if options.hold else None)


def start_settings(options: StartOptions) -> dict[str, Any]:
    """Strengths and hold for `SamplerSettings`; with --hold, the other modality starts from noise by default."""
    if start_source(options) is None:
        return {}
    denoise = options.denoise if options.denoise is not None else 1.0 if options.hold else DEFAULT_DENOISE
    sound = denoise if options.denoise_sound is None else options.denoise_sound
    return {"denoise_video": denoise, "denoise_audio": sound, "hold": options.hold}


def read_start(
    options: StartOptions, settings: SamplerSettings, clip: PanoramaClip, track: ViewTrack, model: JointModel,
    report: Report,
) -> tuple[StartClip | None, SamplerSettings]:  # fmt: skip
    """Read the start, and fit the settings to it: a modality that the file lacks starts from noise."""
    from ..media.reader import read_view
    from ..pipeline import crop_view
    from ..records import StartClip

    source = start_source(options)
    if source is None:
        return None, settings
    seconds = clip.num_frames / clip.fps
    with report.stage("start") as progress:
        if source == VIEW:
            view = crop_view(clip, track, model.picture_size_px)
            start, notices = StartClip(view.frames, view.sound), view.notices[len(clip.notices) :]
        else:
            start, notices = read_view(
                source, duration_s=seconds, fps=clip.fps, size=model.picture_size_px, progress=progress
            )
    report.notice(*notices)
    return start, _what_it_has(start, source, settings, report)


def _what_it_has(start: StartClip, source: str, settings: SamplerSettings, report: Report) -> SamplerSettings:
    missing = [name for name, part in (("picture", start.frames), ("sound", start.sound)) if part is None]
    if settings.hold in missing:
        raise InputError(f"{source} has no {settings.hold} to hold; choose another file, or --start-from {VIEW}.")
    if "picture" in missing and settings.denoise_video < 1:
        settings = replace(settings, denoise_video=1.0)
        report.notice(f"the file {source} has no picture: it is generated from noise")
    if "sound" in missing and settings.denoise_audio < 1:
        settings = replace(settings, denoise_audio=1.0)
        report.notice(f"the file {source} has no sound: it is generated from noise")
    return settings
