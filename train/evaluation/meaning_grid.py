"""Guide by meaning in every way on unseen scenes, and measure whether meaning, voices and colours gain.

    python -m train.evaluation.meaning_grid --out runs/meaning/grid --judge runs/meaning/judge.safetensors
    ... --scenes 4 --rate-scenes 2        # a first look
    ... --minutes 5                       # as far as 5 minutes go
    ... --untold                          # only the guide reads the caption: what it can say by itself

Strengths of sound and picture are chosen on other scenes first, one for all losses. Each clip's result is a file in
`--out`: a killed run resumes, and the table is written from what is there. The judge has another architecture and other
scenes than the encoder that guides; figures by the guide's own encoder are marked.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from con360.anew.best import Candidate
from con360.choices import GUIDE_STEERS, GuideLoss, GuideSteer
from con360.errors import InputError
from con360.meaning.guide import MeaningGuideSettings
from con360.metrics.figure import bootstrap_interval
from con360.metrics.frechet import frechet_distance
from train.evaluation.markdown import markdown_table
from train.evaluation.meaning_subject import SECONDS, Subject, Turned, add_subject, asked_scene, subject_of
from train.evaluation.store import Store, write_json

TRUE, UNGUIDED, ANOTHER = "true clips", "unguided", "another seed"
BEST, CONDITIONED = "best of 4", "class vector"
LOSSES: tuple[GuideLoss, ...] = ("pairwise", "volume", "safe")
# Tried for sound and picture each.
STRENGTHS = (0.3, 1.0, 3.0)
CANDIDATES = 4
# Each seed of the next candidate lies so far on.
APART = 1000
# Share of the named voices that a strength may cost.
LEAST_VOICES = 0.02
# An interval less wide than this has no width.
ROUNDING = 1e-6
JUDGED = ("V", "ta", "tv", "va")
TRUTHS = ("voices", "weakest", "colours")
Results = dict[int, dict[str, dict[str, Any]]]


def row_name(loss: GuideLoss, steer: GuideSteer) -> str:
    return f"{loss}, {steer}"


TURNED = (BEST, CONDITIONED, *(row_name(loss, steer) for loss in LOSSES for steer in GUIDE_STEERS))
ROWS = (TRUE, UNGUIDED, ANOTHER, *TURNED)


# The control alone, as in every row.
UNTURNED = Turned()


# Clips ----------------------------------------------------------------------------------------------------------------


def measured(subject: Subject, split: str, index: int, seed: int, turned: Turned) -> dict[str, Any]:
    """Make and measure one clip."""
    clip, seconds = subject.clip(split, index, seed, turned)
    return {**subject.figures(clip, asked_scene(split, index)), "seconds": round(seconds, 3)}


def measured_truth(subject: Subject, index: int) -> dict[str, Any]:
    """Measure a test scene's true clip: what a perfect model would reach."""
    scene = asked_scene("test", index)
    return {**subject.figures(subject.true_clip(scene), scene), "seconds": 0.0}


class Runner:
    """Measure what a store lacks, until the time is over."""

    def __init__(self, subject: Subject, store: Store, minutes: float | None, say: Callable[[str], object]) -> None:
        self.subject, self.store, self.say = subject, store, say
        self.end = None if minutes is None else time.monotonic() + 60 * minutes

    @property
    def over(self) -> bool:
        return self.end is not None and time.monotonic() >= self.end

    def result(self, part: str, split: str, index: int, seed: int, turned: Turned = UNTURNED) -> dict[str, Any] | None:
        """A clip's figures from the store, else made now; None once the time is over."""
        return self._kept(part, index, lambda: measured(self.subject, split, index, seed, turned))

    def true(self, index: int) -> dict[str, Any] | None:
        """The true clip's figures, likewise."""
        return self._kept(TRUE, index, lambda: measured_truth(self.subject, index))

    def _kept(self, part: str, index: int, make: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        if not self.store.has(part, index):
            if self.over:
                return None
            self.store.put(part, index, make())
            self.say(f"scene {index}: {part}")
        return self.store.get(part, index)


def choose_strength(runner: Runner, steer: GuideSteer, scenes: int) -> tuple[float | None, dict[str, Any]]:
    """Choose the strength that raises the judged cosines of what moves most, within what another seed changes.

    A strength that costs voices, or takes clips further from the unguided ones than another seed, is left out: cosines
    alone would choose one at which a picture falls into patches.

    Returns:
        The strength, None where time was over first, and the figures of all: change of the cosines, voices, distance.
    """
    pair, embedding = ("ta", "embedding_a") if steer == "sound" else ("tv", "embedding_v")
    found: dict[float, list[tuple[float, float, float]]] = {}
    by_seed: list[float] = []
    for index in range(scenes):
        plain = runner.result(f"rate: {UNGUIDED}", "validation", index, 0)
        another = runner.result(f"rate: {ANOTHER}", "validation", index, APART)
        if plain is None or another is None:
            return None, {}
        by_seed.append(_distance(another, plain, embedding))
        for strength in STRENGTHS:
            for loss in LOSSES:
                turned = Turned(what=MeaningGuideSettings(loss, steer, strength))
                part = f"rate: {row_name(loss, steer)}, {strength:g}"
                made = runner.result(part, "validation", index, 0, turned)
                if made is None:
                    return None, {}
                gain = sum(made["judge"][c] - plain["judge"][c] for c in (pair, "va"))
                figures = (gain, made["voices"] - plain["voices"], _distance(made, plain, embedding))
                found.setdefault(strength, []).append(figures)
    means = {strength: np.mean(values, axis=0).tolist() for strength, values in found.items()}
    limit = float(np.mean(by_seed))
    kept = {s: gain for s, (gain, voices, far) in means.items() if voices >= -LEAST_VOICES and far <= limit}
    chosen = max(kept, key=lambda s: kept[s]) if kept else min(STRENGTHS)
    by = {f"{s:g}": dict(zip(("gain", "voices", "distance"), figures, strict=True)) for s, figures in means.items()}
    return chosen, {"by": by, ANOTHER: limit}


def _distance(one: dict[str, Any], other: dict[str, Any], embedding: str) -> float:
    """Measure how far two clips lie apart, by statistics of their latents."""
    return float(np.linalg.norm(np.subtract(one[embedding], other[embedding])))


def clips_of(runner: Runner, index: int, strengths: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Every row of one scene, as far as the time goes."""
    rows: dict[str, dict[str, Any]] = {}
    plain = [
        runner.result(f"seed {k}", "test", index, k * APART) for k in range(CANDIDATES)
    ]  # fmt: skip
    seeds = [one for one in plain if one is not None]
    rows |= dict(zip((UNGUIDED, ANOTHER), seeds, strict=False))
    if len(seeds) == CANDIDATES:
        rows[BEST] = {**best_by_guide(seeds), "seconds": sum(one["seconds"] for one in seeds)}
    asked = {} if runner.subject.conditioned is None else {CONDITIONED: Turned(conditioned=True)}
    for loss in LOSSES:
        for steer in GUIDE_STEERS:
            strength = strengths["picture" if steer == "picture" else "sound"]
            asked[row_name(loss, steer)] = Turned(what=MeaningGuideSettings(loss, steer, strength))
    made = {row: runner.result(row, "test", index, 0, turned) for row, turned in asked.items()}
    made[TRUE] = runner.true(index)
    return rows | {row: found for row, found in made.items() if found is not None}


def best_by_guide(seeds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The clip that the guide's own encoder ranks first, as `--best-of` does."""

    def key(one: dict[str, Any]) -> tuple[bool, bool, float]:
        own = one["guide"]
        return Candidate(0, own["V"], own["ta"], own["tv"], own["va"]).rank_key

    return min(seeds, key=key)


# The table ------------------------------------------------------------------------------------------------------------


def summary(results: Results) -> dict[str, dict[str, Any]]:
    """Bring together each row's figures over the scenes that have it and an unguided clip."""
    found: dict[str, dict[str, Any]] = {}
    for row in ROWS:
        pairs = [(rows[row], rows[UNGUIDED]) for rows in results.values() if row in rows and UNGUIDED in rows]
        if pairs:
            found[row] = _row(pairs)
    return found


def _row(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    made = {name: np.array([[_value(one, name) for one in pair] for pair in pairs]) for name in (*JUDGED, *TRUTHS)}
    figure: dict[str, Any] = {"clips": len(pairs), "seconds": float(np.median([one["seconds"] for one, _ in pairs]))}
    for name, values in made.items():
        change = values[:, 0] - values[:, 1]
        figure[name] = {
            "mean": float(values[:, 0].mean()), "change": float(change.mean()), "interval": bootstrap_interval(change),
        }  # fmt: skip
    figure["own_V"] = float(np.mean([one["guide"]["V"] for one, _ in pairs]))
    figure["drift"] = {half: _drift(pairs, f"embedding_{half}") for half in ("v", "a")}
    return figure


def _value(one: dict[str, Any], name: str) -> float:
    return float(one["judge"][name] if name in JUDGED else one[name])


def _drift(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]], name: str) -> float | None:
    """Fréchet distance to the unguided set; None for fewer than two clips."""
    if len(pairs) < 2:
        return None
    return frechet_distance(*(np.array([pair[i][name] for pair in pairs]) for i in (0, 1)))


def verdicts(found: Mapping[str, Mapping[str, Any]], results: Results) -> list[str]:
    """Say what the table allows to say, and no more."""
    if ANOTHER not in found:
        return []
    lines = []
    for row in TURNED:
        if row in found:
            up = [name for name in ("ta", "va") if _apart(found[row][name], found[ANOTHER][name])]
            lost = [name for name in ("voices", "colours") if _below(found[row][name])]
            lines.append(
                f"{row}: up, apart from another seed: {', '.join(up) or 'none'}; fewer: {', '.join(lost) or 'none'}"
            )
    for steer in GUIDE_STEERS:
        change = _between(results, row_name("volume", steer), row_name("pairwise", steer))
        if len(change) > 1:
            low, high = bootstrap_interval(change) or (0.0, 0.0)
            lines.append(f"volume minus pairwise, {steer}: ta + va {change.mean():+.3f} [{low:+.3f}, {high:+.3f}]")
    return lines


def _apart(own: Mapping[str, Any], chance: Mapping[str, Any]) -> bool:
    """False where chance has no width: untold, another seed is one clip in all scenes, and tells nothing of others."""
    if not own["interval"] or not chance["interval"] or np.ptp(chance["interval"]) < ROUNDING:
        return False
    return bool(own["interval"][0] > chance["interval"][1])


def _below(own: Mapping[str, Any]) -> bool:
    return bool(own["interval"] and own["interval"][1] < 0)


def _between(results: Results, one: str, other: str) -> np.ndarray:
    both = [rows for rows in results.values() if one in rows and other in rows]
    return np.array([sum(_value(r[one], c) - _value(r[other], c) for c in ("ta", "va")) for r in both])


def text_of(found: Mapping[str, Mapping[str, Any]], lines: Sequence[str], chosen: Mapping[str, Any]) -> str:
    """Write the table as Markdown."""
    judged = [
        (row, str(f["clips"]), *(_cell(f[name]) for name in JUDGED), f"{f['own_V']:.3f}") for row, f in found.items()
    ]
    truths = [
        (row, *(_cell(f[name]) for name in TRUTHS), *(_number(f["drift"][half]) for half in ("v", "a")),
         f"{f['seconds']:.1f}") for row, f in found.items()
    ]  # fmt: skip
    first = markdown_table(("", "N", "V", "text-sound", "text-picture", "picture-sound", "V by the guide*"), judged)
    second = markdown_table(("", *TRUTHS, "drift, picture", "drift, sound", "seconds"), truths)
    tried = [
        (name, f"**{strength}**" if float(strength) == value["strength"] else strength, f"{figures['gain']:+.3f}",
         f"{figures['voices']:+.3f}", f"{figures['distance']:.2f}", f"{value[ANOTHER]:.2f}")
        for name, value in chosen.items() for strength, figures in value["by"].items()
    ]  # fmt: skip
    third = markdown_table(("", "strength", "gain of cosines", "voices", "distance", "another seed's"), tried)
    notes = "\n".join(f"- {line}" for line in lines)
    return (
        f"# Guides by meaning\n\n{first}\n\n{second}\n\n{third}\n\n"
        f"Clips of {SECONDS:g} s, paired by seed; mean, and in brackets the change against the unguided clip with its "
        f"95 % interval over scenes. V and cosines by the judge. Voices: share of the named ones with more than 5 % of "
        f"the energy; weakest: its share. Colours: share of those in the view. Drift: Fréchet distance to the unguided "
        f"set. Seconds: medians. Strengths: means over losses and other scenes; the gain adds up picture-sound and "
        f"text-sound, or text-picture; distances are to the unguided clip, by statistics of latents.\n\\* The "
        f"encoder that guides and ranks; its figures flatter.\n\n{notes}\n"
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _cell(figure: Mapping[str, Any]) -> str:
    around = figure["interval"]
    change = "" if around is None else f" ({figure['change']:+.3f} [{around[0]:+.3f}, {around[1]:+.3f}])"
    return f"{figure['mean']:.3f}{change}"


# The command ----------------------------------------------------------------------------------------------------------


def run(runner: Runner, scenes: int, rate_scenes: int) -> str:
    """Measure what is missing, as far as the time goes; write and return the table."""
    chosen: dict[str, Any] = {}
    for steer in ("sound", "picture"):
        strength, figures = choose_strength(runner, steer, rate_scenes)
        if strength is None:
            return "The time was over before strengths were chosen; give the same command again.\n"
        chosen[steer] = {"strength": strength, **figures}
    strengths = {name: value["strength"] for name, value in chosen.items()}
    results = {index: clips_of(runner, index, strengths) for index in range(scenes)}
    found = summary(results)
    lines = verdicts(found, results)
    write_json(runner.store.folder / "grid.json", {"rows": found, "said": lines, "strengths": chosen})
    text = text_of(found, lines, chosen)
    (runner.store.folder / "grid.md").write_text(text, encoding="utf-8")
    return text


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="meaning_grid", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_subject(parser.add_argument)
    parser.add_argument("--rate-scenes", type=int, default=8, help="scenes on which strengths are chosen (default: 8)")
    parser.add_argument("--untold", action="store_true", help="leave the sampler without caption and control")
    args = parser.parse_args(argv)
    try:
        if args.rate_scenes < 1:
            raise InputError(f"{args.rate_scenes} scenes for strengths were asked for; wanted 1 or more.")
        subject, request = subject_of(args, told=not args.untold)
        runner = Runner(subject, Store(args.out, {**request, "rate_scenes": args.rate_scenes}), args.minutes, print)
        print(run(runner, args.scenes, args.rate_scenes))
    except InputError as error:
        print(f"meaning_grid: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
