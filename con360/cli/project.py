"""`con360 project`: lay a flat video or picture onto a panorama."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING

from ..choices import VIDEO_CODECS
from ..errors import InputError
from .report import Report, stage_table, table
from .requests import ProjectRequest

if TYPE_CHECKING:
    from ..reframing.project_frames import Place


def run_project(options: ProjectRequest, started: float) -> None:
    """Check every option, then project."""
    place = _place(options)
    from ..media.coders import PictureCoding
    from ..reframing.project import ProjectSettings, project

    settings = ProjectSettings(
        options.feather,
        options.height,
        options.begin,
        options.sound,
        options.eye,
        PictureCoding(options.codec or VIDEO_CODECS[0], options.quality),
    )
    report = Report(started)
    with report.stage("project") as progress:
        made = project(
            options.input, options.output, place, options.panorama, settings, mask=options.mask, progress=progress
        )
    report.notice(*made.notices)
    if options.json:
        facts = {**asdict(made), "path": str(made.path), "mask": options.mask}
        print(json.dumps({**facts, "notices": report.notices, "seconds": report.seconds}))
        return
    rows = [("size", f"{made.width}x{made.height}"), ("frames", str(made.num_frames)),
            ("length", f"{made.duration_s:.2f} s"), ("sound", made.sound)]  # fmt: skip
    print(table(rows), end="\n\n")
    print(stage_table(report), end="\n\n")
    print("\n".join(os.fspath(path) for path in (options.output, options.mask) if path is not None))


def _place(options: ProjectRequest) -> Place:
    from ..records import View

    angles = (options.yaw, options.pitch, options.fov, options.roll)
    if options.path is None:
        fov = 90.0 if options.fov is None else options.fov
        return View(options.yaw or 0.0, options.pitch or 0.0, fov, options.roll or 0.0)
    if any(angle is not None for angle in angles):
        raise InputError("--yaw, --pitch, --roll and --fov do not go with --keyframes: each keyframe has its own.")
    from .common import keyframes_of_file

    return keyframes_of_file(options.path)
