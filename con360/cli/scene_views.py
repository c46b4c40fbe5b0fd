"""`con360 generate --viewpoints`: several views of one scene over one sound, a file each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .report import Report
from .requests import GenerateRequest

if TYPE_CHECKING:
    from ..records import Conditions, Viewpoint, ViewpointClip, ViewTrack

SAME_SOUND = "every view has the scene's sound as it was made; --sound view turns it with the view"


@dataclass(frozen=True)
class SceneView:
    """One written view: `clip` has the scene's own sound, `heard` that of the file."""

    viewpoint: Viewpoint
    conditions: Conditions
    clip: ViewpointClip
    heard: ViewpointClip
    path: Path


def ranks_of(options: GenerateRequest) -> tuple[int, ...]:
    """The ranks of the viewpoints that were asked for, one with --viewpoint.

    Raises:
        InputError: ranks that cannot be read, twice the same, too many, or beside options for one view.
    """
    if options.viewpoints is None:
        return (options.viewpoint or 1,)
    from ..anew.views import MOST_VIEWS

    if not re.fullmatch(r"\s*\d+\s*(,\s*\d+\s*)*", options.viewpoints):
        raise InputError(f"--viewpoints {options.viewpoints} cannot be read; write ranks, such as 1,2.")
    ranks = tuple(int(rank) for rank in options.viewpoints.split(","))
    if len(ranks) > MOST_VIEWS:
        raise InputError(f"--viewpoints asks for {len(ranks)} views; choose up to {MOST_VIEWS}.")
    if 0 in ranks:
        raise InputError("viewpoint 0 was asked for; ranks count from 1, the most salient.")
    twice = next((rank for rank in ranks if ranks.count(rank) > 1), None)
    if twice is not None:
        raise InputError(f"--viewpoints names {twice} twice; name each viewpoint once.")
    _check_alone(options)
    return ranks


def _check_alone(options: GenerateRequest) -> None:
    """Refuse what is for one view."""
    beside = {
        "--viewpoint": options.viewpoint is not None, "--yaw or --pitch": options.by_hand,
        "--hold": options.hold is not None, "--start-from": options.start_from is not None,
        "--redo": options.redo is not None, "--latents": options.latents is not None,
        "--save-latents": options.save_latents is not None,
    }  # fmt: skip
    for name, given in beside.items():
        if given:
            raise InputError(f"--viewpoints and {name} exclude each other; views of one scene share the first's sound.")


def numbered(path: Path, rank: int) -> Path:
    """Name a view's own file: views.mp4 becomes views-2.mp4."""
    return path.with_name(f"{path.stem}-{rank}{path.suffix}")


def write_views(
    views: Callable[..., Iterator[ViewpointClip]], chosen: Sequence[Viewpoint], scene: Sequence[Conditions], out: Path,
    heard: Callable[[ViewpointClip, ViewTrack], ViewpointClip], report: Report,
) -> list[SceneView]:  # fmt: skip
    """Generate the views and write each as soon as it is there; where one fails, say which are written.

    Args:
        views: makes the clips of `scene`, with `progress`. heard: gives a clip the sound of its file.
    """
    from ..media.writer import write_clip

    written: list[SceneView] = []
    clips = report.stages(["generation"] * len(chosen), lambda progress: views(progress=progress))
    try:
        for viewpoint, conditions, clip in zip(chosen, scene, clips, strict=True):
            del report.seconds["generation"]
            for name, seconds in clip.stage_seconds.items():
                report.seconds[name] = report.seconds.get(name, 0.0) + seconds
            view = SceneView(viewpoint, conditions, clip, heard(clip, conditions.track), numbered(out, viewpoint.rank))
            report.notice(*clip.notices, *((SAME_SOUND,) if view.heard is clip else ()))
            with report.stage("writing", steps=False):
                report.notice(*write_clip(view.path, view.heard.frames, view.heard.fps, view.heard.sound))
            written.append(view)
    except BaseException:
        report.notice(f"written before this failed: {', '.join(view.path.name for view in written) or 'no view'}")
        raise
    return written


def view_facts(view: SceneView, picture: Path | None) -> dict[str, Any]:
    """Tell `--json` of a view."""
    track = view.viewpoint.track
    return {
        "output": str(view.path),
        "conditions": picture and str(picture),
        "view": {"rank": view.viewpoint.rank, "still": track.is_still, **asdict(track.views[0])},
        "caption": view.conditions.caption.short,
        "sound": "the scene's own" if view.heard is view.clip else "heard from the view",
        "stages_s": {name: round(seconds, 3) for name, seconds in view.clip.stage_seconds.items()},
    }
