"""`con360 page`: write a page to send."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict
from typing import TYPE_CHECKING

from ..errors import InputError
from .reframe import parse_size
from .report import Report, stage_table, table
from .requests import PageRequest

if TYPE_CHECKING:
    from ..placing.page import PageView

_VIEW = re.compile(r"(?P<file>.+?)(?:@(?P<yaw>[^,=@]*),(?P<pitch>[^,=@]*))?(?:=(?P<caption>.*))?", re.DOTALL)


def run_page(options: PageRequest, started: float) -> None:
    """Check every option, then write the page."""
    size = None if options.size is None else parse_size(options.size)
    from ..placing.page import PageSettings, views_of_folder, write_page

    settings = PageSettings(
        title=options.title, size=size, start_s=options.start, duration_s=options.duration, eye=options.eye,
        audio_track=options.audio_track, ambisonics=options.ambisonics, head_locked=options.head_locked,
    )  # fmt: skip
    views = [page_view(text) for text in options.view]
    views += [] if options.views is None else views_of_folder(options.views)
    report = Report(started)
    with report.stage("page") as progress:
        made = write_page(options.input, options.output, views, settings, progress=progress)
    report.notice(*made.notices)
    if options.json:
        facts = {**asdict(made), "path": str(made.path), "notices": report.notices, "seconds": report.seconds}
        print(json.dumps(facts))
        return
    rows = [("size", f"{made.num_bytes / 1e6:.1f} MB"), ("views", str(made.views)),
            ("sound", "turns with the view" if made.ambisonic else "does not turn")]  # fmt: skip
    print(table(rows), end="\n\n")
    print(stage_table(report), end="\n\n")
    print(os.fspath(options.output))


def page_view(text: str) -> PageView:
    """Read `FILE[@YAW,PITCH][=CAPTION]`.

    Raises:
        InputError: another form.
    """
    from ..placing.page import PageView

    found = _VIEW.fullmatch(text)
    if os.path.exists(text) or found is None:
        return PageView(text)
    try:
        yaw, pitch = (None if found[name] is None else float(found[name]) for name in ("yaw", "pitch"))
    except ValueError:
        raise InputError(f"--view {text}: the direction is not understood; write FILE@YAW,PITCH=CAPTION.") from None
    return PageView(found["file"], found["caption"] or "", yaw, pitch)
