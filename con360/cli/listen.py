"""`con360 listen`: make of Ambisonics what two ears hear."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING

from ..errors import InputError
from .report import Report, stage_table, table
from .requests import ListenRequest

if TYPE_CHECKING:
    from ..records import SourceTrack


def run_listen(options: ListenRequest, started: float) -> None:
    """Check every option, then listen."""
    head = _head(options)
    from ..placing.listen import ListenSettings, listen

    settings = ListenSettings(head, options.hrtf, options.audio_track, options.ambisonics, options.head_locked)
    report = Report(started)
    with report.stage("listen") as progress:
        made = listen(options.input, options.output, settings, progress=progress)
    report.notice(*made.notices)
    if options.json:
        facts = {**asdict(made), "path": str(made.path), "notices": report.notices, "seconds": report.seconds}
        print(json.dumps(facts))
        return
    rows = [("order", str(made.order)), ("rate", f"{made.sample_rate_hz} Hz"), ("length", f"{made.duration_s:.2f} s"),
            ("ears", made.ears)]  # fmt: skip
    print(table(rows), end="\n\n")
    print(stage_table(report), end="\n\n")
    print(os.fspath(options.output))


def _head(options: ListenRequest) -> SourceTrack:
    by_hand = options.yaw is not None or options.pitch is not None
    if options.path is None:
        from ..records import SourcePoint, SourceTrack

        return SourceTrack.still(SourcePoint(options.yaw or 0.0, options.pitch or 0.0))
    if by_hand:
        raise InputError("--yaw/--pitch and --path exclude each other; choose one way to say where the head points.")
    from .common import track_of_file

    return track_of_file(options.path)
