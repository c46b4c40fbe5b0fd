"""Sound of a generated clip: what its file holds, and the field around the listener."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..choices import ClipSound
from .report import Report
from .requests import GenerateRequest

if TYPE_CHECKING:
    from ..control import LoadedControl
    from ..placing.movement import Movement
    from ..records import Progress, ViewpointClip, ViewTrack


def sound_of_clip(
    options: GenerateRequest, made: ViewpointClip, track: ViewTrack, control: LoadedControl | None,
    field: Path | None, device: str, report: Report,
) -> ViewpointClip:  # fmt: skip
    """Write the field where it is asked for; return the clip with the sound that its own file is to hold."""
    kind = options.sound or _usual(control)
    learned = None if control is None else control.module.config.sound
    as_made = kind == "omni" or (kind == "view" and learned == "view")
    if as_made and field is None:
        return made
    from ..placing.generated import heard_from, sound_around

    with report.stage("placing the sound") as progress:
        around, notices = sound_around(made, lambda: _movement(options, device, progress))
    report.notice(*notices)
    if field is not None:
        from ..media.writer import write_wav

        report.notice(*write_wav(field, around))
    return made if as_made else replace(made, sound=heard_from(around, kind, track, made.fps))


def _usual(control: LoadedControl | None) -> ClipSound:
    """The view's sound where a head places the scene's; otherwise the sound as the model makes it."""
    turns = control is not None and control.field_head is not None and control.module.config.sound == "omni"
    return "view" if turns else "omni"


def _movement(options: GenerateRequest, device: str, progress: Progress) -> Iterable[Movement]:
    """Watch the panorama at the rate that movement needs."""
    from ..media.info import probe
    from ..media.reader import read_panorama
    from ..placing.movement import PICTURE_HEIGHT, movement_fps, movement_of_clip

    clip = read_panorama(
        options.input, start_s=options.start, duration_s=options.duration, eye=options.eye, height=PICTURE_HEIGHT,
        fps=movement_fps(probe(options.input).fps),
    )  # fmt: skip
    return movement_of_clip(clip, device=device, progress=progress)
