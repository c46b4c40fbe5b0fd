"""Sounds of generated clips: what each file holds, and the field around the listener."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from .report import Report
from .requests import GenerateRequest

if TYPE_CHECKING:
    from pathlib import Path

    from ..control import LoadedControl
    from ..placing.movement import Movement
    from ..records import Progress, Sound, ViewpointClip, ViewTrack


class Hearing:
    """Render what is heard of a scene, whose clips share one sound."""

    def __init__(self, options: GenerateRequest, control: LoadedControl | None, device: str, report: Report) -> None:
        from ..placing.generated import usual_sound

        self.options, self.device, self.report = options, device, report
        # A sound that was given and held comes out as it went in.
        self.kind = options.sound or ("omni" if options.hold == "sound" else usual_sound(control))
        learned = None if control is None else control.module.config.sound
        self.as_made = self.kind == "omni" or (self.kind == "view" and learned == "view")
        self._around: Sound | None = None

    def of(self, made: ViewpointClip, track: ViewTrack) -> ViewpointClip:
        """The clip with the sound that its own file is to hold."""
        if self.as_made:
            return made
        from ..placing.generated import heard_from

        return replace(made, sound=heard_from(self.around(made), self.kind, track, made.fps))

    def around(self, made: ViewpointClip) -> Sound:
        """The scene's sound as Ambisonics in the panorama's directions; placed once."""
        if self._around is None:
            from ..placing.generated import sound_around

            with self.report.stage("placing the sound") as progress:
                self._around, notices = sound_around(made, lambda: _movement(self.options, self.device, progress))
            self.report.notice(*notices)
        return self._around

    def write_field(self, path: Path, made: ViewpointClip) -> None:
        from ..media.writer import write_wav

        self.report.notice(*write_wav(path, self.around(made)))


def _movement(options: GenerateRequest, device: str, progress: Progress) -> Iterable[Movement]:
    """Watch the panorama at the rate that movement needs."""
    from ..media.info import probe
    from ..media.reader import read_panorama
    from ..placing.movement import PICTURE_HEIGHT, movement_fps, movement_of_clip

    clip = read_panorama(
        options.input, start_s=options.start, duration_s=options.duration, eye=options.eye, height=PICTURE_HEIGHT,
        fps=movement_fps(probe(options.input).fps), reading=options.reading,
    )  # fmt: skip
    return movement_of_clip(clip, device=device, progress=progress)
