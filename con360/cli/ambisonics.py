"""`con360 ambisonics`: make sound around the listener that fits a 360° video."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING

from ..choices import MULTICUE
from ..devices import resolve_device
from .common import check_saliency, face_detector
from .report import Report, stage_table, table
from .requests import AmbisonicsRequest

if TYPE_CHECKING:
    from ..sounding.run import AmbisonicsSettings, MadeAmbisonics


def run_ambisonics(options: AmbisonicsRequest, started: float) -> None:
    """Check every option, then make the sound."""
    from ..models.precision import working_dtype
    from ..placing.listen import check_ears_path, listen
    from ..sounding.model import load_ambisonics_model
    from ..sounding.run import ambisonics_for_clip

    settings = _settings(options)
    if options.headphones is not None:
        check_ears_path(options.headphones)
    check_saliency(options.saliency)
    detector = face_detector(options.faces) if options.view == "salient" else None
    device = resolve_device(options.device)
    report = Report(started, device)
    with report.stage("loading the model", steps=False):
        dtype = working_dtype(options.dtype, device)
        model = load_ambisonics_model(options.model, options.pictures, device=device, dtype=dtype)
    with report.stage("ambisonics") as progress:
        made = ambisonics_for_clip(
            options.input, options.output, model, settings, detector=detector, progress=progress
        )  # fmt: skip
    report.notice(*made.notices)
    if options.headphones is not None:
        with report.stage("headphones") as progress:
            report.notice(*listen(made.path, options.headphones, progress=progress).notices)
    _tell(made, options, report)


def _settings(options: AmbisonicsRequest) -> AmbisonicsSettings:
    from ..sounding.run import AmbisonicsSettings

    return AmbisonicsSettings(
        steps=options.steps, cfg=options.cfg, seed=options.seed, start_s=options.start, duration_s=options.duration,
        own_sound=options.keep_original, eye=options.eye, audio_track=options.audio_track,
        ambisonics=options.ambisonics, head_locked=options.head_locked, view=options.view,
        saliency=options.saliency or MULTICUE, gain_db=options.gain, limiter=not options.no_limiter,
        published_jpeg=options.published_jpeg, keep=not options.fresh, preset=options.preset,
    )  # fmt: skip


def _tell(made: MadeAmbisonics, options: AmbisonicsRequest, report: Report) -> None:
    if options.json:
        facts = {**asdict(made), "path": str(made.path), "headphones": options.headphones}
        print(json.dumps({**facts, "notices": report.notices, "seconds": report.seconds}))
        return
    cfg = "off" if made.cfg in (None, 1) else f"{made.cfg:g}"
    rows = [("model", made.model), ("seed", str(made.seed)), ("steps", str(made.steps)), ("guidance", cfg),
            ("rate", f"{made.sample_rate_hz} Hz"), ("length", f"{made.duration_s:.2f} s"),
            ("groups", str(made.groups))]  # fmt: skip
    print(table(rows), end="\n\n")
    print(made.knows, end="\n\n")
    print(stage_table(report), end="\n\n")
    print(os.fspath(options.output))
    if options.headphones is not None:
        print(options.headphones)
