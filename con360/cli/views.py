"""`con360 views`: cut views around a 360° video, for any model that makes a sound for a video."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..choices import MULTICUE
from ..devices import resolve_device
from ..errors import InputError
from .reframe import parse_size
from .report import Report, stage_table, table
from .requests import ViewsRequest

if TYPE_CHECKING:
    from ..records import View
    from ..reframing.run import ReframeSettings


def run_views(options: ViewsRequest, started: float) -> None:
    """Check every option, choose the views, cut them one after the other, list them."""
    size = None if options.size is None else parse_size(options.size)
    _check_ways(options)
    from ..media.files import check_writable, existing_file
    from ..placing.views import LIST
    from ..reframing.run import ReframeSettings
    from .common import check_saliency

    settings = ReframeSettings(
        size=size, sound="mono" if options.with_sound else "none", start_s=options.start, duration_s=options.duration,
        fps=options.fps, eye=options.eye, audio_track=options.audio_track, ambisonics=options.ambisonics,
        head_locked=options.head_locked, saliency=options.saliency or MULTICUE, reading=options.reading,
    )  # fmt: skip
    existing_file(options.input)
    check_saliency(options.saliency)
    folder = Path(options.out).expanduser().absolute()
    check_writable(folder / LIST)
    device = resolve_device(options.device)
    report = Report(started, None if options.regions is None else device)
    views = _views(options, settings, device, report)
    facts = _write(options, settings, views, folder, report)
    if options.json:
        print(json.dumps({"folder": str(folder), **facts, "notices": report.notices, "seconds": report.seconds}))
        return
    rows = [("view", "looks", "yaw", "pitch", "fov")]
    rows += [(row["name"], row["caption"], *(f"{row[angle]:.0f}°" for angle in ("yaw", "pitch", "fov")))
             for row in facts["views"]]  # fmt: skip
    print(table(rows), end="\n\n")
    print(stage_table(report), end="\n\n")
    print(folder / LIST)


def _check_ways(options: ViewsRequest) -> None:
    if options.regions is None:
        if options.saliency is not None or options.faces is not None:
            raise InputError("--saliency and --faces choose regions; give --regions K as well.")
        return
    if options.count is not None or options.above_below:
        raise InputError("--regions and --count or --above-below exclude each other; choose one way to place views.")
    if options.regions < 1:
        raise InputError(f"{options.regions} regions were asked for; ask for at least one.")


def _views(options: ViewsRequest, settings: ReframeSettings, device: str, report: Report) -> tuple[View, ...]:
    from ..placing.views import DEFAULT_COUNT, views_around
    from ..viewpoint.choose import DEFAULT_FOV_DEG, check_fov_deg

    fov_deg = check_fov_deg(DEFAULT_FOV_DEG if options.fov is None else options.fov)
    if options.regions is None:
        count = DEFAULT_COUNT if options.count is None else options.count
        return views_around(count, above_below=options.above_below, fov_deg=fov_deg)
    from ..media.info import probe
    from ..media.reader import PanoramaStream
    from ..reframing.aim import SALIENCY_FPS, Estimator, mean_saliency
    from ..viewpoint.choose import viewpoint_notices, viewpoints
    from .common import face_detector

    stream = PanoramaStream(
        probe(options.input).taken_as(options.reading),
        options.eye,
        options.audio_track,
        options.ambisonics,
        options.head_locked,
    )
    estimator = Estimator(settings.saliency, face_detector(options.faces), device)
    with report.stage("saliency") as progress:
        saliency = mean_saliency(stream, settings.start_s, settings.stop_s, estimator, progress)
        found = viewpoints(saliency, SALIENCY_FPS, fov_deg=fov_deg, max_viewpoints=options.regions)
    report.notice(*stream.sentences, *viewpoint_notices(found))
    if len(found) < options.regions:
        report.notice(f"{len(found)} of {options.regions} regions were found")
    return views_around(found)


def _from(folder: Path, path: str) -> str:
    """Path of a file as seen from a folder, so that both can be moved together."""
    try:
        return Path(os.path.relpath(Path(path).expanduser().absolute(), folder)).as_posix()
    except ValueError:  # another drive
        return Path(path).expanduser().absolute().as_posix()


def _write(
    options: ViewsRequest, settings: ReframeSettings, views: tuple[View, ...], folder: Path, report: Report
) -> dict[str, Any]:  # fmt: skip
    """Cut the views, then write their list; return what stands in it."""
    from ..media.files import atomic_path
    from ..media.info import probe
    from ..placing.views import LIST, view_name, views_to_json
    from ..reframing.run import reframe

    for number, view in enumerate(views, 1):
        name = view_name(number)
        with report.stage(name) as progress:
            made = reframe(options.input, folder / f"{name}.mp4", view, settings, progress=progress)
        report.notice(*made.notices)
    if options.with_sound and made.sound == "as recorded":
        report.notice("the sound has no directions, so it is the same for every view")
    text = views_to_json(
        views, source=_from(folder, options.input), start_s=options.start, duration_s=round(made.duration_s, 6),
        fps=options.fps or probe(options.input).fps,
    )  # fmt: skip
    with atomic_path(folder / LIST) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return json.loads(text)
