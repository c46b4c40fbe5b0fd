"""Turn where, when and what together, and measure whether each still does what it does alone.

    python -m train.evaluation.three_dials --out runs/meaning/dials --judge runs/meaning/judge.safetensors
    ... --scenes 3 --minutes 5            # a first look

Each scene has nine clips: no dial, each dial alone, each pair, all three, and all three with another seed. Where: the
control, by the true view among twelve. When: a drawn track, by the onsets within 50 ms. What: the guide by meaning, by
the judge's cosine of caption and sound. Each clip's result is a file in `--out`: a killed run resumes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from con360.errors import InputError
from con360.meaning.guide import MeaningGuideSettings
from con360.metrics.figure import bootstrap_interval
from con360.metrics.onsets import onset_score
from con360.metrics.video import match_candidates
from con360.records import OnsetTrack, TimeTrack, View, ViewpointClip, ViewTrack
from con360.scenes import Scene
from con360.sound.onsets import find_onsets
from train.evaluation.markdown import markdown_table
from train.evaluation.meaning_subject import (
    SECONDS,
    Subject,
    Turned,
    add_subject,
    asked_scene,
    meaning_values,
    subject_of,
)
from train.evaluation.probes import CANDIDATES, STEP_DEG, true_views
from train.evaluation.store import Store, write_json

DIALS = ("where", "when", "what")
NONE, ALL, ANOTHER = "none", "where, when, what", "where, when, what; another seed"
SETS = [", ".join(dials) for count in range(1, 4) for dials in combinations(DIALS, count)]
CLIPS = (NONE, *SETS, ANOTHER)
# Drawn onsets: how many, how far apart, and between which times.
ONSETS, APART_S, FIRST_S, LAST_S = 3, 0.35, 0.1, 1.6
# Each dial's figure, together with the others, over what it is alone.
KEPT = 0.8
ANOTHER_SEED = 1000
Results = dict[int, dict[str, dict[str, float]]]


def drawn_track(index: int) -> TimeTrack:
    """Draw the onsets of one scene."""
    rng = np.random.default_rng([index, 47])
    times: list[float] = []
    while len(times) < ONSETS:
        time_s = round(float(rng.uniform(FIRST_S, LAST_S)), 3)
        if all(abs(time_s - other) >= APART_S for other in times):
            times.append(time_s)
    return TimeTrack(OnsetTrack(tuple(sorted(times))))


def measure(subject: Subject, guide: MeaningGuideSettings, name: str, index: int) -> dict[str, float]:
    """Make one clip of a scene, with the dials that its name lists, and measure all three."""
    dials, track = name.partition(";")[0].split(", "), drawn_track(index)
    turned = Turned("where" in dials, track if "when" in dials else None, guide if "what" in dials else None)
    clip, seconds = subject.clip("test", index, ANOTHER_SEED if name == ANOTHER else 0, turned)
    scene = asked_scene("test", index)
    onsets = track.onsets
    assert onsets is not None
    return {
        **where(subject, clip, scene), "when": onset_score(find_onsets(clip.sound), onsets).f,
        "what": meaning_values(subject.judge, scene.caption().short, clip)["ta"], "seconds": round(seconds, 3),
    }  # fmt: skip


def where(subject: Subject, clip: ViewpointClip, scene: Scene) -> dict[str, float]:
    """Fit of the true view: its cosine, apart from what twelve views all around have in common, and if it is best."""
    track = subject.track(scene)
    spec = subject.model.clip_spec(SECONDS)
    yaws = [track.views[0].yaw_deg + k * STEP_DEG for k in range(CANDIDATES)]
    tracks = [ViewTrack.still(View((yaw + 180) % 360 - 180), len(track)) for yaw in yaws]
    cosines = match_candidates(clip.frames, true_views(scene, tracks, subject.model.picture_size_px, spec))
    return {"where": float(cosines[0]), "best": float(cosines.argmax() == 0)}


# The table ------------------------------------------------------------------------------------------------------------


def summary(results: Results) -> dict[str, Any]:
    """Bring together the scenes that have all nine clips."""
    whole = [clips for clips in results.values() if all(name in clips for name in CLIPS)]
    if not whole:
        return {"scenes": 0}
    values = {
        dial: {name: np.array([clips[name][dial] for clips in whole]) for name in CLIPS} for dial in (*DIALS, "best")
    }
    return {
        "scenes": len(whole),
        "means": {dial: {name: float(found.mean()) for name, found in by.items()} for dial, by in values.items()},
        "kept": {dial: _kept(values[dial], dial) for dial in DIALS},
        "crossed": {dial: _crossed(values, dial) for dial in DIALS},
        "seconds": {name: float(np.median([clips[name]["seconds"] for clips in whole])) for name in CLIPS},
    }


def _kept(of: Mapping[str, np.ndarray], dial: str) -> dict[str, Any]:
    """A dial's figure with all dials over its figure alone, with its interval over scenes."""
    pairs = np.stack([of[ALL], of[dial]], axis=1)

    def ratio(rows: np.ndarray) -> float:
        together, alone = rows.mean(axis=0)
        return float(together / alone) if alone > 0 else float("nan")

    gain = float((of[ALL] - of[NONE]).mean())
    return {"ratio": ratio(pairs), "interval": bootstrap_interval(pairs, ratio), "gain": gain,
            "gain_alone": float((of[dial] - of[NONE]).mean())}  # fmt: skip


def _crossed(values: Mapping[str, Mapping[str, np.ndarray]], dial: str) -> dict[str, Any]:
    """By how much turning a dial changes the others' figures, beside what another seed changes; means over scenes."""
    without = ", ".join(other for other in DIALS if other != dial)
    found = {}
    for other in DIALS:
        if other != dial:
            by_dial = np.abs(values[other][ALL] - values[other][without])
            by_seed = np.abs(values[other][ALL] - values[other][ANOTHER])
            found[other] = {
                "by_dial": float(by_dial.mean()), "by_seed": float(by_seed.mean()),
                "difference": float((by_dial - by_seed).mean()), "interval": bootstrap_interval(by_dial - by_seed),
            }  # fmt: skip
    return found


def text_of(found: Mapping[str, Any]) -> str:
    """Write the tables as Markdown."""
    if not found["scenes"]:
        return "No scene has all its clips yet; give the same command again.\n"
    clips = markdown_table(
        ("dials", "where: cosine", "where: best of 12", "when: F", "what: text-sound", "seconds"),
        [(name, *(f"{found['means'][k][name]:.3f}" for k in ("where", "best", "when", "what")),
          f"{found['seconds'][name]:.1f}") for name in CLIPS],
    )  # fmt: skip
    kept = markdown_table(
        ("dial", f"together over alone (wanted {KEPT:g})", "gain over none, together", "alone"),
        [(dial, f"{k['ratio']:.2f} {_around(k['interval'])}", f"{k['gain']:+.3f}", f"{k['gain_alone']:+.3f}")
         for dial, k in found["kept"].items()],
    )  # fmt: skip
    crossed = markdown_table(
        ("turning", "changes", "by", "another seed does by", "difference"),
        [(dial, other, f"{c['by_dial']:.3f}", f"{c['by_seed']:.3f}",
          f"{c['difference']:+.3f} {_around(c['interval'], '+.3f')}")
         for dial, others in found["crossed"].items() for other, c in others.items()],
    )  # fmt: skip
    return (
        f"# Three dials, {found['scenes']} scenes\n\n{clips}\n\n{kept}\n\n{crossed}\n\nClips of {SECONDS:g} s. Chance "
        f"of the best of {CANDIDATES} views is {1 / CANDIDATES:.3f}. F: {ONSETS} drawn onsets within 50 ms. Text-"
        f"sound: cosine by the judge. Changes are means of each scene's absolute change, brackets 95 % "
        f"intervals over scenes, seconds medians.\n"
    )


def _around(interval: Sequence[float] | None, form: str = ".2f") -> str:
    return "" if interval is None else f"[{interval[0]:{form}}, {interval[1]:{form}}]"


# The command ----------------------------------------------------------------------------------------------------------


def run(
    subject: Subject, store: Store, guide: MeaningGuideSettings, scenes: int, minutes: float | None,
    say: Callable[[str], object],
) -> str:  # fmt: skip
    """Measure what is missing, as far as the time goes; write and return the tables."""
    end = None if minutes is None else time.monotonic() + 60 * minutes
    wanted = [(name, index) for index in range(scenes) for name in CLIPS]
    for name, index in wanted:
        if end is not None and time.monotonic() >= end:
            break
        if not store.has(name, index):
            store.put(name, index, measure(subject, guide, name, index))
            say(f"scene {index}: {name}")
    results: Results = {}
    for name, index in wanted:
        if store.has(name, index):
            results.setdefault(index, {})[name] = store.get(name, index)
    found = summary(results)
    write_json(store.folder / "dials.json", found)
    (store.folder / "dials.md").write_text(text_of(found), encoding="utf-8")
    return text_of(found)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="three_dials", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_subject(parser.add_argument)
    parser.add_argument("--strength", type=float, default=1.0, help="of the guide, as the grid chose it (default: 1)")
    args = parser.parse_args(argv)
    try:
        guide = MeaningGuideSettings(strength=args.strength)
        subject, request = subject_of(args)
        if subject.control is None:
            raise InputError("the model has no control, by which a view is chosen; name one with --control.")
        store = Store(args.out, {**request, "guide": vars(guide)})
        print(run(subject, store, guide, args.scenes, args.minutes, print))
    except InputError as error:
        print(f"three_dials: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
