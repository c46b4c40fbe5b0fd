"""`con360 level`: turn, level or re-centre a 360° video."""

from __future__ import annotations

import json
import os
from dataclasses import asdict

from ..choices import VIDEO_CODECS
from ..errors import InputError
from .report import Report, stage_table, table
from .requests import LevelRequest


def run_level(options: LevelRequest, started: float) -> None:
    """Check every option, then turn."""
    from ..media.coders import PictureCoding
    from ..reframing.level import LevelSettings, level

    if options.preset is not None and options.codec is not None:
        raise InputError(f"the preset {options.preset!r} has a codec of its own; leave --codec {options.codec} out.")
    settings = LevelSettings(
        yaw_deg=options.yaw, pitch_deg=options.pitch, roll_deg=options.roll, auto=options.auto,
        recentre=options.recentre, start_s=options.start, duration_s=options.duration, eye=options.eye,
        audio_track=options.audio_track, ambisonics=options.ambisonics, head_locked=options.head_locked,
        coding=PictureCoding(options.codec or VIDEO_CODECS[0], options.quality), preset=options.preset, hdr=options.hdr,
        reading=options.reading,
    )  # fmt: skip
    report = Report(started)
    with report.stage("level") as progress:
        made = level(options.input, options.output, settings, progress=progress)
    report.notice(*made.notices)
    turn = {"yaw_deg": made.turn.yaw_deg, "pitch_deg": made.turn.pitch_deg, "roll_deg": made.turn.roll_deg}
    if options.json:
        facts = {**asdict(made), "path": str(made.path), "turn": turn}
        print(json.dumps({**facts, "notices": report.notices, "seconds": report.seconds}))
        return
    angles = ", ".join(f"{name.removesuffix('_deg')} {angle:.2f}°" for name, angle in turn.items())
    rows = [("turn", angles), ("size", f"{made.width}x{made.height}"), ("frames", str(made.num_frames)),
            ("length", f"{made.duration_s:.2f} s"), ("sound", made.sound)]  # fmt: skip
    print(table(rows), end="\n\n")
    print(stage_table(report), end="\n\n")
    print(os.fspath(options.output))
