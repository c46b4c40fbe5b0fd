"""`con360 views`: cut views around a 360° video, for any model that makes a sound for a video."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..choices import MULTICUE
from ..devices import resolve_device
from .reframe import parse_size
from .report import Report, stage_table, table
from .requests import ViewsRequest

if TYPE_CHECKING:
    pass


def run_views(options: ViewsRequest, started: float) -> None:
    """Check every option, choose the views, cut them one after the other, list them."""
    size = None if options.size is None else parse_size(options.size)
    _check_ways(options)
    from ..media.files import atomic_path, check_writable, existing_file
    from ..media.info import probe
    from ..placing.views import LIST, direction_words, view_name, views_to_json
    from ..reframing.run import ReframeSettings, reframe
    from .common import check_saliency

    settings = ReframeSettings(
        size=size, sound="mono" if options.with_sound else "none", start_s=options.start, duration_s=options.duration,
        fps=options.fps, eye=options.eye, audio_track=options.audio_track, ambisonics=options.ambisonics,
        head_locked=options.head_locked, saliency=options.saliency or MULTICUE,
    )  # fmt: skip
    existing_file(options.input)
    check_saliency(options.saliency)
    folder = Path(options.out).expanduser().absolute()
    check_writable(folder / LIST)
    report = Report(started, resolve_device(options.device) if options.regions else None)
    views = _views(options, settings, report)
    for number, view in enumerate(views, 1):
        name = view_name(number)
        with report.stage("views") as progress:
            made = reframe(
                options.input, folder / f"{name}.mp4", view, settings,
                progress=lambda done, total, what, name=name: progress(done, total, f"views: {name}, {what}"),
            )  # fmt: skip
        report.notice(*made.notices)
    if options.with_sound and made.sound == "as recorded":
        report.notice("the sound has no directions, so it is the same for every view")
    facts = {"source": Path(options.input).name, "start_s": options.start, "duration_s": round(made.duration_s, 6),
             "fps": options.fps or probe(options.input).fps}  # fmt: skip
    with atomic_path(folder / LIST) as temporary:
        temporary.write_text(views_to_json(views, **facts), encoding="utf-8")
    if options.json:
        print(json.dumps({"folder": str(folder), **json.loads((folder / LIST).read_text(encoding="utf-8")),
                          "notices": report.notices, "seconds": report.seconds}))  # fmt: skip
        return
    rows = [("view", "direction", "yaw", "pitch", "fov")]
    rows += [(view_name(i), direction_words(v), f"{v.yaw_deg:.0f}°", f"{v.pitch_deg:.0f}°", f"{v.fov_deg:.0f}°")
             for i, v in enumerate(views, 1)]  # fmt: skip
    print(table(rows), end="\n\n")
    print(stage_table(report), end="\n\n")
    print(folder / LIST)
