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

if TYPE_CHECKING:
    from ..anew.latents_file import LatentsFile
    from ..anew.span import Span
    from ..control import LoadedControl
    from ..models.joint import JointModel
    from ..models.system import Placement
    from ..records import Conditions, TimeTrack, View, ViewpointClip
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
            raise InputError(f"--{name.replace('_', '-')} is for a span that is made anew; give --redo 1.5-2.5 as well.")


def _track(options: GenerateRequest, what: str) -> TimeTrack | None:
    if options.redo_when is None:
        return None
    if what == "picture":
        raise InputError("--redo-when says when the sound strikes, and --redo-what picture keeps the sound; drop one.")
    from ..media.timelines import read_time_track
    from ..sound.time_tracks import check_time_track

    return check_time_track(read_time_track(options.redo_when, options.duration), options.duration)


def _file(options: GenerateRequest) -> LatentsFile | None:
    if options.latents is None:
        return None
    for name in ("start_from", "hold", "denoise", "denoise_sound"):
        if getattr(options, name) is not None:
            raise InputError(f"--latents brings the clip, so it starts from nothing; leave --{name.replace('_', '-')} out.")
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
