"""`con360 reframe`: make a flat video out of a 360° one."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..choices import MULTICUE, aspect_of
from ..devices import AUTO, resolve_device
from ..errors import InputError
from .report import Report, stage_table, table
from .requests import ReframeRequest

if TYPE_CHECKING:
    from ..records import View
    from ..reframing.aim import Follow
    from ..reframing.run import Reframed
    from ..viewpoint.keyframes import Keyframe


def run_reframe(options: ReframeRequest, started: float) -> None:
    """Check every option, then reframe."""
    size = None if options.size is None else parse_size(options.size)
    aspect = None if options.aspect is None else aspect_of(options.aspect)
    look = _look(options)
    from ..media.files import existing_file
    from ..reframing.aim import Follow
    from ..reframing.run import ReframeSettings, reframe
    from .common import check_saliency, face_detector

    settings = ReframeSettings(
        size=size, sound=options.sound, start_s=options.start, duration_s=options.duration, fps=options.fps,
        eye=options.eye, audio_track=options.audio_track, ambisonics=options.ambisonics,
        head_locked=options.head_locked, saliency=options.saliency or MULTICUE, hrtf=options.hrtf,
        stereo=options.stereo, aspect=aspect, preset=options.preset, hdr=options.hdr, reading=options.reading,
    )  # fmt: skip
    existing_file(options.input)
    if options.write_keyframes is not None:
        _check_keyframes_file(options.write_keyframes, options.input, options.output)
    check_saliency(options.saliency)
    # A view by hand computes nothing on a device: only a wrong name has to be found.
    device = resolve_device(options.device) if isinstance(look, Follow) or options.device != AUTO else None
    detector = face_detector(options.faces) if isinstance(look, Follow) else None
    report = Report(started, device)
    with report.stage("reframe") as progress:
        made = reframe(
            options.input, options.output, look, settings, detector=detector, device=device or "cpu", progress=progress
        )
    report.notice(*made.notices)
    if options.write_keyframes is not None:
        _write_keyframes(made, options.write_keyframes)
    if options.json:
        print(json.dumps({**_facts(made), "notices": report.notices, "seconds": report.seconds,
                          "device": report.device}))  # fmt: skip
        return
    rows = [("size", f"{made.width}x{made.height}"), ("frames", str(made.num_frames)),
            ("length", f"{made.duration_s:.2f} s"), ("sound", made.sound)]  # fmt: skip
    print(table(rows), end="\n\n")
    print(stage_table(report), end="\n\n")
    print("\n".join(filter(None, (os.fspath(options.output), options.write_keyframes))))


def _facts(made: Reframed) -> dict[str, Any]:
    return {
        "path": str(made.path), "width": made.width, "height": made.height, "num_frames": made.num_frames,
        "duration_s": made.duration_s, "sound": made.sound, "first_view": asdict(made.first_view),
    }  # fmt: skip


def _check_keyframes_file(name: str, *taken: str) -> None:
    """Refuse a file of keyframes that cannot be written, or that is one of the others, before minutes are spent."""
    from ..media.files import check_writable

    if check_writable(name).resolve() in (Path(other).expanduser().resolve() for other in taken):
        raise InputError(f"--write-keyframes names {name}, which is a video here; choose another file.")


def _write_keyframes(made: Reframed, out: str) -> None:
    from ..media.files import atomic_path
    from ..viewpoint.keyframes import keyframes_to_json

    rows = keyframes_to_json(made.keyframes).replace("}, {", "},\n {")
    with atomic_path(Path(out)) as temporary:
        temporary.write_text(rows + "\n", encoding="utf-8")


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
        "--follow": options.follow is not None, "--yaw/--pitch": options.by_hand,
        "--keyframes": options.path is not None,
    }  # fmt: skip
    ways = [name for name, is_given in given.items() if is_given]
    if len(ways) > 1:
        raise InputError(f"{' and '.join(ways)} exclude each other; choose one way to say where to look.")
    if options.path is not None:
        if options.fov is not None or options.roll is not None:
            raise InputError("--fov and --roll do not go with --keyframes: each keyframe has its own.")
        from .common import keyframes_of_file

        return keyframes_of_file(options.path)
    from ..viewpoint.choose import DEFAULT_FOV_DEG, manual_viewpoint

    fov, roll = DEFAULT_FOV_DEG if options.fov is None else options.fov, options.roll or 0.0
    if options.by_hand:
        return manual_viewpoint(options.yaw or 0.0, options.pitch or 0.0, fov, 1, roll).track.views[0]
    from ..reframing.aim import Follow

    return Follow(1 if options.follow is None else options.follow, fov, roll)
