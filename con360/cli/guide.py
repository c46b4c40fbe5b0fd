"""`con360 generate --guide`: pull a clip towards its caption's meaning; and `--best-of`: keep the best of several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..choices import GUIDE_LOSSES, GUIDE_STEERS, HOLDS
from ..errors import InputError
from .options import number, whole
from .report import Report, table
from .requests import GenerateRequest

if TYPE_CHECKING:
    from ..anew.best import Candidate
    from ..meaning.guide import MeaningGuideSettings
    from ..meaning.guiding import Guiding
    from ..models.joint import JointModel
    from ..protocols import MeaningEncoder
    from ..records import ViewpointClip
    from ..sampling.settings import SamplerSettings

# The encoder that lies in the model's folder, and what else may be named.
BUILT_IN, OTHERS = "built-in", "pe-av, imagebind, clap+clip, a file or a folder"
SELF_PRAISE = "the encoder that guides also ranks the clips, so its figures flatter them; name another one with --judge"


@dataclass
class MeaningPlan:
    """Whose meaning guides, and who ranks how many clips; `ranked` holds the candidates once they are made.

    Args:
        guiding: None where nothing guides. judge: None where one clip is made. seeds: of the candidates.
    """

    guiding: Guiding | None = None
    judge: MeaningEncoder | None = None
    seeds: tuple[int, ...] = ()
    ranked: tuple[Candidate, ...] = field(default=())


def add_meaning(group: Any) -> None:
    """Add the options of a guide by meaning, and of a choice by it."""
    group.add_argument(
        "--guide", choices=GUIDE_LOSSES,
        help="pull the clip towards the caption's meaning: safe, pairwise cosines, or their volume alone (off)",
    )  # fmt: skip
    group.add_argument("--guide-steer", choices=GUIDE_STEERS, help="what the guide moves (sound)")
    group.add_argument("--guide-strength", type=number, metavar="X", help="how far it moves it, 0 to 10 (1)")
    group.add_argument("--guide-start", type=number, metavar="X", help="fraction of the steps before it (0.2)")
    group.add_argument("--guide-end", type=number, metavar="X", help="fraction of the steps after which it stops (1)")
    group.add_argument(
        "--encoder", metavar="NAME|PATH", help=f"whose meaning guides: {OTHERS} ({BUILT_IN}, the model's own)"
    )
    group.add_argument("--best-of", type=whole, metavar="N", help="make N seeds, 2 to 64, and write the best")
    group.add_argument("--judge", metavar="NAME|PATH", help=f"encoder that ranks them, not the guide's ({BUILT_IN})")


def check_meaning(options: GenerateRequest, seed: int) -> MeaningGuideSettings | None:
    """Check the options against each other and their ranges; return the guide's settings, None without one.

    Raises:
        InputError: they contradict each other or cannot be used, or there is no such encoder.
    """
    _check_best(options, seed)
    _check_encoders(options)
    if options.guide is None:
        for name in ("guide_steer", "guide_strength", "guide_start", "guide_end", "encoder"):
            if getattr(options, name) is not None:
                raise InputError(f"--{name.replace('_', '-')} is for a guide; give --guide safe as well.")
        return None
    from ..meaning.guide import MeaningGuideSettings

    names = {"loss": "guide", **{name: f"guide_{name}" for name in ("steer", "strength", "start", "end")}}
    given = {name: getattr(options, option) for name, option in names.items()}
    settings = MeaningGuideSettings(**{name: value for name, value in given.items() if value is not None})
    if options.hold == settings.steer:
        other = next(name for name in HOLDS if name != options.hold)
        raise InputError(
            f"the guide would move the {options.hold}, which --hold keeps as it is; write --guide-steer {other}."
        )
    return settings


def _check_best(options: GenerateRequest, seed: int) -> None:
    if options.best_of is None:
        if options.judge is not None:
            raise InputError("--judge ranks several clips; give --best-of 4 as well.")
        return
    from ..anew.best import seeds_from

    seeds_from(seed, options.best_of)
    for name in ("viewpoints", "latents"):
        if getattr(options, name) is not None:
            raise InputError(f"--best-of and --{name} exclude each other; rank the clips of one view, made anew.")
    if options.guide is not None and options.judge is not None and options.judge == (options.encoder or BUILT_IN):
        raise InputError(
            f"the encoder {options.judge} guides and cannot judge what it made; name another one with --judge."
        )


def _check_encoders(options: GenerateRequest) -> None:
    """Find the encoders that are named, before a long video is read."""
    named = [name for name in (options.encoder, options.judge) if name is not None]
    if named:
        from ..meaning.load import places_of

        for name in named:
            places_of(name)


def plan_meaning(
    options: GenerateRequest, settings: MeaningGuideSettings | None, model: JointModel, seed: int, report: Report
) -> MeaningPlan:
    """Load the encoders that are asked for.

    Raises:
        InputError: an encoder is missing or cannot be used, or guides and judges at once.
    """
    plan = MeaningPlan()
    if settings is None and options.best_of is None:
        return plan
    from ..meaning.load import load_meaning

    if settings is not None:
        from ..meaning.guiding import Guiding

        plan.guiding = Guiding(load_meaning(options.encoder, model, model.device), settings)
    if options.best_of is not None:
        from ..anew.best import seeds_from
        from ..meaning.guiding import check_judge

        plan.seeds = seeds_from(seed, options.best_of)
        plan.judge = load_meaning(options.judge, model, model.device)
        if options.judge is not None:
            check_judge(plan.guiding, plan.judge)
        elif plan.guiding is not None and plan.guiding.encoder.name == plan.judge.name:
            report.notice(SELF_PRAISE)
    return plan


def make_best(
    plan: MeaningPlan, make: Callable[..., ViewpointClip], settings: SamplerSettings, caption: str, report: Report
) -> tuple[ViewpointClip, SamplerSettings]:
    """Make the one clip, or one per seed, of which the best stays; return it with its settings.

    Args:
        make: generates a clip from `settings`, telling `progress`.
    """

    def one(seed: int, name: str = "generation") -> ViewpointClip:
        with report.stage(name) as progress:
            made = make(replace(settings, seed=seed), progress=progress)
        for stage, seconds in made.stage_seconds.items():
            report.seconds[stage] = report.seconds.get(stage, 0.0) + seconds
        del report.seconds[name]
        return made

    if plan.judge is None:
        return one(settings.seed), settings
    from ..anew.best import best_of

    names = {seed: f"clip {i} of {len(plan.seeds)}" for i, seed in enumerate(plan.seeds, 1)}
    best = best_of(lambda seed: one(seed, names[seed]), plan.seeds, plan.judge, caption)
    plan.ranked = best.ranked
    return best.clip, replace(settings, seed=best.ranked[0].seed)


def candidate_table(plan: MeaningPlan) -> str:
    """List the candidates, the best first."""
    rows: list[tuple[str, ...]] = [("seed", "V", "text-sound", "text-picture", "picture-sound", "")]
    for place, one in enumerate(plan.ranked):
        values = (f"{value:.3f}" if value is not None else "-" for value in (one.volume, one.ta, one.tv, one.va))
        rows.append((str(one.seed), *values, one.said or ("written" if place == 0 else "")))
    assert plan.judge is not None  # there are candidates
    return f"{table(rows)}\nV: smaller is better aligned; clips with a negative cosine to the text stand behind\n" + (
        f"judge: {plan.judge.name}"
    )


def meaning_facts(plan: MeaningPlan, made: ViewpointClip) -> dict[str, Any] | None:
    """Tell `--json` of the guide and of the choice."""
    if plan.guiding is None and plan.judge is None:
        return None
    guide = plan.guiding and {"encoder": plan.guiding.encoder.name, **asdict(plan.guiding.settings)}
    return {
        "guide": guide, "guided_steps": [dict(row) for row in made.guided],
        "judge": plan.judge and plan.judge.name, "candidates": [asdict(one) for one in plan.ranked],
    }  # fmt: skip
