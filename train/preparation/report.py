"""Report a run: counts, seconds per stage, the cost of a data set, and a plan for a cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from train.preparation.run import Account
from train.shards import Outcome

# In the order in which they run.
STAGES = ("render", "read", "caption", "clean", "saliency", "views", "encode")
SEGMENTS_PER_CLIP = 3


@dataclass(frozen=True)
class StageCost:
    """Hold a stage's mean cost over `count` finished segments, in core seconds and in wall-clock seconds."""

    stage: str
    core_seconds: float
    seconds: float
    count: int


def stage_costs(outcomes: Iterable[Outcome]) -> list[StageCost]:
    """Average the cost of each stage that ran over the finished segments; model loading is not counted."""
    done = [outcome for outcome in outcomes if outcome.status == "done"]
    costs = []
    for stage in STAGES:
        ran = [outcome for outcome in done if stage in outcome.seconds]
        if ran:
            cores, clock = (
                sum(o[stage] for o in of) / len(ran) for of in ([o.core_seconds for o in ran], [o.seconds for o in ran])
            )
            costs.append(StageCost(stage, cores, clock, len(ran)))
    return costs


def counts_text(account: Account) -> str:
    """Count the segments by outcome, and list the most frequent reasons for segments without examples."""
    lines = [
        f"{account.planned} segments planned: {account.count('done')} done, {account.count('rejected')} rejected, "
        f"{account.count('failed')} failed; {sum(o.examples for o in account.outcomes.values())} examples"
    ]
    reasons = Counter(
        f"{outcome.status} at {outcome.stage}: {outcome.reason.split(':')[0][:100]}"
        for outcome in account.outcomes.values() if outcome.status != "done"
    )  # fmt: skip
    lines += [f"  {count} x {reason}" for reason, count in reasons.most_common(12)]
    left_out = sum(not problem.kept for problem in account.problems)
    if account.problems:
        lines.append(f"the source: {left_out} entries left out, {len(account.problems) - left_out} noted and kept")
    if account.doubled:
        lines.append(f"WARNING: {len(account.doubled)} segments are in two shards, the first {account.doubled[0]}")
    return "\n".join(lines)


def stages_text(costs: list[StageCost]) -> str:
    """Write a Markdown table: core seconds per segment, segments per core second, wall-clock seconds."""
    head = [
        "| stage | core s per segment | segments per s and core | s on the clock | measured over |",
        "|---|---|---|---|---|",
    ]
    whole = StageCost("all", sum(c.core_seconds for c in costs), sum(c.seconds for c in costs), 0)
    rows = [
        f"| {c.stage} | {c.core_seconds:.3f} | {_rate(c.core_seconds)} | {c.seconds:.3f} | {c.count or ''} |"
        for c in (*costs, whole)
    ]
    return "\n".join([*head, *rows])


def _rate(seconds: float) -> str:
    return f"{1 / seconds:.2f}" if seconds > 1e-3 else "over 1000"


def price_text(costs: list[StageCost], bytes_per_segment: float, clips: int, nodes: int, cores: int) -> str:
    """Estimate the cost of `clips` clips at the measured stage times, and their time on `nodes` machines."""
    segments = clips * SEGMENTS_PER_CLIP
    total = sum(c.core_seconds for c in costs)
    hours = segments * total / 3600
    encode = sum(c.core_seconds for c in costs if c.stage == "encode")
    views = total - encode
    lines = [
        f"{clips:,} clips are {segments:,} segments: {hours:,.0f} core-hours at {total:.2f} core seconds per segment, "
        f"and {segments * bytes_per_segment / 1e9:,.0f} GB of shards.",
        f"{nodes} nodes of {cores} cores: {hours / (nodes * cores):.1f} h if every core is kept busy "
        f"({segments / nodes:,.0f} segments a node).",
    ]
    if encode:
        before = segments * views / 3600
        lines.append(
            f"Of that, {before:,.0f} core-hours come before encoding: {before / (nodes * cores):.1f} h on those cores. "
            f"Encoding is {100 * encode / total:.0f} %, which accelerators take over (--device cuda --encoders N)."
        )
    return "\n".join(lines)
