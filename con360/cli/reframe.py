"""`con360 reframe`: make a flat video out of a 360° one."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict
from typing import TYPE_CHECKING

from ..choices import MULTICUE
from ..devices import resolve_device
from ..errors import InputError
from .report import Report, stage_table, table
from .requests import ReframeRequest

if TYPE_CHECKING:
    from ..records import View
    from ..reframing.aim import Follow
    from ..viewpoint.keyframes import Keyframe


def run_reframe(options: ReframeRequest, started: float) -> None:
    """Check every option, then reframe."""
    size = None if options.size is None else parse_size(options.size)
    look = _look(options)
    from ..media.files import existing_file
    from ..reframing.aim import Follow
    from ..reframing.run import ReframeSettings, reframe
    from .common import check_saliency, face_detector

    settings = ReframeSettings(
        size=size, sound=options.sound, start_s=options.start, duration_s=options.duration, fps=options.fps,
        eye=options.eye, audio_track=options.audio_track, ambisonics=options.ambisonics,
        head_locked=options.head_locked, saliency=options.saliency or MULTICUE, hrtf=options.hrtf,
        stereo=options.stereo,
    )  # fmt: skip
    existing_file(options.input)
    check_saliency(options.saliency)
    device = resolve_device(options.device)
    detector = face_detector(options.faces) if isinstance(look, Follow) else None
    report = Report(started, device)
    with report.stage("reframe") as progress:
        made = reframe(
            options.input, options.output, look, settings, detector=detector, device=device, progress=progress
        )
    report.notice(*made.notices)
    if options.json:
        facts = {**asdict(made), "path": str(made.path), "notices": report.notices, "seconds": report.seconds}
        print(json.dumps({**facts, "device": report.device}))
        return
    rows = [("size", f"{made.width}x{made.height}"), ("frames", str(made.num_frames)),
            ("length", f"{made.duration_s:.2f} s"), ("sound", made.sound)]  # fmt: skip
    print(table(rows), end="\n\n")
    print(stage_table(report), end="\n\n")
    print(os.fspath(options.output))


def parse_size(text: str) -> tuple[int, int]:
    """`WIDTHxHEIGHT` as two numbers.

    Raises:
        InputError: another form.
    """
    found = re.fullmatch(r"(\d{1,5})[xX×](\d{1,5})", text.strip())
    if found is None:
        raise InputError(f"the size {text!r} is not understood; write WIDTHxHEIGHT in pixels, such as 1920x1080.")
    return int(found[1]), int(found[2])


def _look(options: ReframeRequest) -> Follow | View | tuple[Keyframe, ...]:
    given = {
        "--follow": options.follow is not None, "--yaw/--pitch": options.by_hand, "--path": options.path is not None,
    }  # fmt: skip
    ways = [name for name, is_given in given.items() if is_given]
    if len(ways) > 1:
        raise InputError(f"{' and '.join(ways)} exclude each other; choose one way to say where to look.")
    if options.path is not None:
        if options.fov is not None:
            raise InputError("--fov does not go with --path: each keyframe has its own field of view.")
        return _keyframes(options.path)
    from ..viewpoint.choose import DEFAULT_FOV_DEG, manual_viewpoint

    fov = DEFAULT_FOV_DEG if options.fov is None else options.fov
    if options.by_hand:
        return manual_viewpoint(options.yaw or 0.0, options.pitch or 0.0, fov, 1).track.views[0]
    from ..reframing.aim import Follow

    return Follow(1 if options.follow is None else options.follow, fov)


def _keyframes(path: str) -> tuple[Keyframe, ...]:
    from ..media.files import existing_text
    from ..viewpoint.keyframes import keyframes_from_json

    return keyframes_from_json(existing_text(path))
