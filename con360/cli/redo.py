"""`con360 generate --redo`: make a span of the clip anew; write and read the latents that this needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..choices import HOLDS, REDO_PARTS, RedoPart
from ..errors import InputError
from .options import whole
from .report import Report
from .requests import GenerateRequest
from .when import track_to_follow

if TYPE_CHECKING:
    from ..anew.latents_file import LatentsFile
    from ..anew.span import Span
    from ..control import LoadedControl
    from ..models.joint import JointModel
    from ..records import Conditions, SceneCaption, TimeTrack, View, ViewpointClip
    from ..sampling.settings import SamplerSettings


@dataclass(frozen=True)
class RedoPlan:
    """A span to make anew, checked; `file` holds the first result's latents, None makes it from the settings."""

    span: Span
    what: RedoPart
    track: TimeTrack | None
    file: LatentsFile | None


def add_redo(group: Any) -> None:
    """Add the options of a span that is made anew."""
    group.add_argument("--redo", metavar="A-B", help="make seconds A to B anew, such as 1.5-2.5; the rest stays")
    group.add_argument("--redo-seed", type=whole, metavar="N", help="seed of the span (the clip's own plus one)")
    group.add_argument("--redo-what", choices=REDO_PARTS, help="what to make anew (both)")
    group.add_argument("--redo-caption", metavar="TEXT", help="another caption for the span (the clip's own)")
    group.add_argument("--redo-when", metavar="TRACK", help="a time track that the span's sound follows (the clip's)")
    group.add_argument(
        "--save-latents", metavar="FILE.safetensors", help="also write what --latents reads, to redo spans later"
    )
    group.add_argument(
        "--latents", metavar="FILE.safetensors",
        help="redo a span of that clip, with its seed, settings and caption unless you type others (made again)",
    )  # fmt: skip


def check_redo(options: GenerateRequest) -> RedoPlan | None:
    """Check span, files and options against each other; None where nothing is made anew.

    Raises:
        InputError: they contradict each other or cannot be used.
    """
    if options.redo is None:
        _check_no_more(options)
        return None
    from ..anew.span import check_span, span_of_text
    from ..sampling.settings import SamplerSettings

    span = check_span(span_of_text(options.redo), options.duration)
    SamplerSettings(seed=redo_seed(options, options.seed))
    what = options.redo_what or "both"
    if options.hold is not None and what != other_than(options.hold):
        raise InputError(
            f"--hold {options.hold} keeps the {options.hold}, so no span of it can be made anew; add "
            f"--redo-what {other_than(options.hold)}."
        )
    return RedoPlan(span, what, _track(options, what), _file(options))


def other_than(hold: str) -> str:
    """The modality that is not held."""
    return next(name for name in HOLDS if name != hold)


def redo_seed(options: GenerateRequest, first: int | None) -> int:
    """The span's seed: as typed, else the one after the clip's."""
    return ((first or 0) + 1) % 2**64 if options.redo_seed is None else options.redo_seed


def _check_no_more(options: GenerateRequest) -> None:
    for name in ("redo_seed", "redo_what", "redo_caption", "redo_when", "latents"):
        if getattr(options, name) is not None:
            raise InputError(
                f"--{name.replace('_', '-')} is for a span that is made anew; give --redo 1.5-2.5 as well."
            )


def _track(options: GenerateRequest, what: str) -> TimeTrack | None:
    if options.redo_when is None:
        return None
    if what == "picture":
        raise InputError("--redo-when says when the sound strikes, and --redo-what picture keeps the sound; drop one.")
    return track_to_follow(options.redo_when, options.duration)


def _file(options: GenerateRequest) -> LatentsFile | None:
    if options.latents is None:
        return None
    for name in ("start_from", "hold", "denoise", "denoise_sound"):
        if getattr(options, name) is not None:
            raise InputError(
                f"--latents brings the clip, so it starts from nothing; leave --{name.replace('_', '-')} out."
            )
    from ..anew.latents_file import read_latents_header
    from ..media.files import check_not_read

    file = read_latents_header(options.latents)
    if options.save_latents is not None:
        check_not_read(options.save_latents, [file.path])
    if abs(file.seconds - options.duration) > 1e-3:
        raise InputError(
            f"{file.path.name} holds a clip of {file.seconds:g} s and --duration is {options.duration:g}; write "
            f"--duration {file.seconds:g}."
        )
    return file


# Of the file's settings, those that belonged to the first run alone.
_FIRST_ALONE = ("seed", "hold", "denoise_video", "denoise_audio", "memory")


def settings_given(plan: RedoPlan | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The typed settings, over those of the clip's file."""
    if plan is None or plan.file is None:
        return dict(given)
    kept = {name: value for name, value in plan.file.settings.items() if name not in _FIRST_ALONE}
    return {**kept, **{name: value for name, value in given.items() if value != ""}}


def caption_given(plan: RedoPlan | None, caption: SceneCaption | None) -> SceneCaption | None:
    """The caption, else that of the clip's file."""
    if caption is not None or plan is None or plan.file is None or not plan.file.caption:
        return caption
    from ..caption import typed_caption

    return typed_caption(plan.file.caption)


def first_clip(
    file: LatentsFile, model: JointModel, view: View, device: str, settings: SamplerSettings, report: Report
) -> ViewpointClip:
    """Read the first result from its latents, which must be of the same view."""
    import torch

    from ..anew.latents_file import read_latents
    from ..models.system import Placement

    file.check_view(view)
    with report.stage("reading the latents", steps=False):
        return read_latents(file, model, Placement(torch.device(device), settings.memory == "low"))


def remake(
    plan: RedoPlan, options: GenerateRequest, model: JointModel, control: LoadedControl | None, conditions: Conditions,
    first: ViewpointClip, settings: SamplerSettings, how: Mapping[str, Any], report: Report,
) -> ViewpointClip:  # fmt: skip
    """Make the span anew, `how` the first clip was made."""
    from ..anew.redo import redo
    from ..caption import typed_caption

    if options.redo_caption is not None:
        conditions = replace(conditions, caption=typed_caption(options.redo_caption))
    if plan.track is not None:
        conditions = replace(conditions, when=plan.track)
    seed = redo_seed(options, first.seed)
    with report.stage("redo") as progress:
        return redo(
            model, control, conditions, first, plan.span, replace(settings, seed=seed), what=plan.what,
            strengths=how["strengths"], when=how["when"], meaning=how["meaning"], device=how["device"],
            progress=progress,
        )  # fmt: skip


def redo_facts(plan: RedoPlan | None, options: GenerateRequest, made: ViewpointClip) -> dict[str, Any] | None:
    """Tell `--json` of the span."""
    if plan is None:
        return None
    return {
        "from_s": plan.span.start_s, "to_s": plan.span.end_s, "what": plan.what, "seed": redo_seed(options, made.seed),
        "caption": options.redo_caption, "latents": plan.file and str(plan.file.path),
    }  # fmt: skip
