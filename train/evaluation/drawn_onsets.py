"""Draw onsets that no map knows, and measure whether the sound obeys.

    python -m train.evaluation.drawn_onsets --out runs/when                          # 64 scenes, 3 seeds
    python -m train.evaluation.drawn_onsets --out runs/when --scenes 6 --seeds 1     # a first look
    python -m train.evaluation.drawn_onsets --out runs/when --minutes 5              # as far as 5 minutes go

Each sound's result is a file in `--out`: a killed run resumes, and the table is written from what is there.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from con360.choices import BUILT_IN_MODEL
from con360.control import LoadedControl, fingerprint, load_control
from con360.errors import InputError
from con360.metrics.figure import bootstrap_interval
from con360.metrics.onsets import OnsetScore, onset_score
from con360.models.joint import JointModel
from con360.pipeline import default_settings, generate
from con360.records import Conditions, OnsetTrack, SaliencyMaps, Sound, TimeTrack, View, ViewTrack
from con360.sampling.settings import SamplerSettings
from con360.sampling.when import TimeGuideSettings
from con360.scenes import Scene
from con360.sound.envelopes import RATE_HZ, envelope_of, shape_sound
from con360.sound.onsets import find_onsets
from con360.sound.time_tracks import envelope_of_track
from con360.viewpoint.basd import basd_maps
from con360.weights.find import control_file, model_folder
from con360.weights.load import load_joint_model
from train.evaluation.bench import saliency_maps
from train.evaluation.markdown import markdown_table
from train.evaluation.probes import level
from train.evaluation.store import Store, write_json
from train.examples import MAP_HEIGHT, scene_of

SECONDS = 4.0
# Drawn onsets: how many, how far apart, and between which times; with the shift, all lie inside the clip.
ONSETS, APART_S, FIRST_S, LAST_S, SHIFT_S = 5, 0.35, 0.15, 3.6, 0.2
# A detector that the guidance's loss does not share: rises of the RMS alone.
RISE_DB, RISE_S, RANGE_DB, GAP_S = 3.0, 0.03, 40.0, 0.06
# A lag between two envelopes is looked for up to here.
MOST_LAG_S = 0.4
UNGUIDED, GAIN, SILENCE = "unguided", "gain riding", "silence"
GUIDED, TRAINED, BOTH = "training-free", "trained", "trained and training-free"
LATER = ", later"
ROWS = (GUIDED, TRAINED, BOTH, UNGUIDED, GAIN, SILENCE)


@dataclass(frozen=True)
class Way:
    """A way to follow a track: how firmly the sampler is guided, and whether the control reads the track."""

    guidance: float
    by_control: bool = False


WAYS = {GUIDED: Way(TimeGuideSettings.strength), TRAINED: Way(0.0, True), BOTH: Way(TimeGuideSettings.strength, True)}


@dataclass(frozen=True)
class Subject:
    """The model under test."""

    model: JointModel
    control: LoadedControl | None
    settings: SamplerSettings

    @property
    def reads_tracks(self) -> bool:
        return self.control is not None and self.control.module.config.time_channels > 0

    @property
    def ways(self) -> dict[str, Way]:
        """The ways that this model has."""
        return {name: way for name, way in WAYS.items() if self.reads_tracks or not way.by_control}

    def sound(self, index: int, seed: int, track: TimeTrack | None, way: Way | None = None) -> Sound:
        """Generate a scene's clip; `way` None follows no track."""
        scene, spec = scene_of("test", index), self.model.clip_spec(SECONDS)
        views = ViewTrack.still(View(float(scene.performers[0].yaw_at(SECONDS / 2))), spec.num_frames)
        method = "" if self.control is None else self.control.saliency
        saliency = SaliencyMaps(saliency_maps(scene, spec, "truth", method), "truth")
        conditions = Conditions(
            saliency, basd_maps(views, MAP_HEIGHT), scene.caption(), when=None if way is None else track
        )
        strengths = {"when": float(way is not None and way.by_control)} if self.reads_tracks else {}
        settings = SamplerSettings(**{**vars(self.settings), "seed": self.settings.seed + seed})
        return generate(
            self.model, self.control, conditions, settings, seconds=SECONDS, strengths=strengths,
            when=None if way is None else TimeGuideSettings(way.guidance),
        ).sound  # fmt: skip


# What is measured -----------------------------------------------------------------------------------------------------


def drawn_track(index: int, seed: int) -> TimeTrack:
    """Draw the onsets of one scene and seed."""
    rng = np.random.default_rng([index, seed, 31])
    times: list[float] = []
    while len(times) < ONSETS:
        time_s = round(float(rng.uniform(FIRST_S, LAST_S)), 3)
        if all(abs(time_s - other) >= APART_S for other in times):
            times.append(time_s)
    return TimeTrack(OnsetTrack(tuple(sorted(times))))


def later(track: TimeTrack) -> TimeTrack:
    assert track.onsets is not None
    return TimeTrack(OnsetTrack(tuple(time_s + SHIFT_S for time_s in track.onsets.times_s)))


def rms_rises(sound: Sound) -> OnsetTrack:
    """Find onsets by the RMS alone: it rises by 3 dB in 32 ms or more; the stronger of two within 60 ms stays."""
    levels = 20 * np.log10(envelope_of(sound).values.double().numpy() + 1e-9)
    levels = levels.clip(min=levels.max() - RANGE_DB)
    frames = round(RISE_S * RATE_HZ)
    rise, free, times = levels[frames:] - levels[:-frames], np.ones(len(levels), dtype=bool), []
    gap = round(GAP_S * RATE_HZ)
    for i in np.argsort(-rise, kind="stable"):
        if rise[i] < RISE_DB:
            break
        if free[i]:
            times.append((i + (frames + 1) / 2) / RATE_HZ)
            free[max(i - gap, 0) : i + gap + 1] = False
    return OnsetTrack(tuple(sorted(float(time_s) for time_s in times)))


def figures(sound: Sound, track: TimeTrack, scene: Scene) -> dict[str, Any]:
    """Measure one sound against a drawn track: onsets by two detectors, E-L1, level of each voice, and its curve."""
    assert track.onsets is not None
    found = envelope_of(sound).values
    scores = {"ours": onset_score(find_onsets(sound), track.onsets), "rms": onset_score(rms_rises(sound), track.onsets)}
    return {
        **{name: [s.hits, s.found, s.true, list(s.offsets_s)] for name, s in scores.items()},
        "e_l1": float((found - envelope_of_track(track, SECONDS).values).abs().mean()),
        "levels_db": [level(sound, performer) for performer in scene.performers],
        "curve": [round(float(value), 5) for value in found],
    }


def lag_s(before: Sequence[float], after: Sequence[float]) -> float:
    """Seconds by which a curve has to be delayed to fit another best."""
    a, b = (np.asarray(curve) - np.mean(curve) for curve in (before, after))
    most = round(MOST_LAG_S * RATE_HZ)
    fits = [
        float(a[max(-k, 0) : len(a) - max(k, 0)] @ b[max(k, 0) : len(b) - max(-k, 0)]) for k in range(-most, most + 1)
    ]
    return (int(np.argmax(fits)) - most) / RATE_HZ


def measure(subject: Subject, part: str, index: int, seed: int) -> dict[str, Any]:
    """Make and measure the sounds of one part: the unguided one with its gain ridden, or a way's."""
    track, scene = drawn_track(index, seed), scene_of("test", index)
    if part == UNGUIDED:
        sound = subject.sound(index, seed, None)
        ridden, _ = shape_sound(sound, envelope_of_track(track, SECONDS))
        silence = Sound(sound.waveform * 0, sound.sample_rate_hz)
        return {
            UNGUIDED: figures(sound, track, scene),
            GAIN: figures(ridden, track, scene),
            SILENCE: figures(silence, track, scene),
        }
    if part.endswith(LATER):
        track = later(track)
    return {part: figures(subject.sound(index, seed, track, WAYS[part.removesuffix(LATER)]), track, scene)}


# The table ------------------------------------------------------------------------------------------------------------


def summary(results: dict[tuple[int, int], dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Bring together the figures of each row over scenes and seeds.

    Args:
        results: by scene and seed, then by row.
    """
    found: dict[str, dict[str, Any]] = {}
    for row in ROWS:
        answered = [rows for rows in results.values() if row in rows and UNGUIDED in rows]
        if answered:
            found[row] = _row(row, answered)
    return found


def _row(row: str, answered: list[dict[str, Any]]) -> dict[str, Any]:
    errors = np.array([[rows[row]["e_l1"], rows[UNGUIDED]["e_l1"]] for rows in answered])
    changes = [
        abs(a - b)
        for rows in answered
        for a, b in zip(rows[row]["levels_db"], rows[UNGUIDED]["levels_db"], strict=True)
    ]
    lags = [lag_s(rows[row]["curve"], rows[row + LATER]["curve"]) for rows in answered if row + LATER in rows]
    own = [_score(rows[row]["ours"]) for rows in answered]
    return {
        "clips": len(answered),
        "f_ours": _f(own), "f_ours_interval": bootstrap_interval(np.array([s.f for s in own])),
        "f_rms": _f([_score(rows[row]["rms"]) for rows in answered]),
        "count": float(np.mean([s.found == s.true for s in own])),
        "e_l1": float(errors[:, 0].mean()), "e_l1_of_unguided": float(errors[:, 0].mean() / errors[:, 1].mean()),
        "level_db_median": float(np.median(changes)), "level_db_most": float(np.max(changes)),
        "shift_s": float(np.median(lags)) if lags else None,
        "shift_right": float(np.mean([abs(lag - SHIFT_S) <= 0.025 for lag in lags])) if lags else None,
    }  # fmt: skip


def _score(kept: Sequence[Any]) -> OnsetScore:
    return OnsetScore(kept[0], kept[1], kept[2], tuple(kept[3]))


def _f(scores: list[OnsetScore]) -> float:
    return sum(scores, OnsetScore(0, 0, 0)).f


def text_of(found: dict[str, dict[str, Any]]) -> str:
    """Write the table as Markdown."""
    head = ("", "F, 50 ms", "F by RMS", "count", "E-L1", "of unguided", "levels, median; most", "shift by 200 ms")
    rows = []
    for row, f in found.items():
        moved = "" if f["shift_s"] is None else f"{1000 * f['shift_s']:.0f} ms; {f['shift_right']:.0%} within 25"
        rows.append((
            row, f"{f['f_ours']:.2f}", f"{f['f_rms']:.2f}", f"{f['count']:.0%}", f"{f['e_l1']:.4f}",
            f"{f['e_l1_of_unguided']:.2f}", f"{f['level_db_median']:.1f}; {f['level_db_most']:.1f} dB", moved,
        ))  # fmt: skip
    clips = max((f["clips"] for f in found.values()), default=0)
    return (
        f"# Drawn onsets, {clips} clips\n\n{markdown_table(head, rows)}\n\n{ONSETS} onsets at random times in "
        f"{SECONDS:g} s. F: our detector, and rises of the RMS, which the guidance's loss does not share. E-L1: to the "
        f"drawn level. Levels: change of each voice's band against the unguided clip of the same seed. Shift: lag "
        f"between the envelopes of two clips whose onsets lie 200 ms apart.\n"
    )


# The command ----------------------------------------------------------------------------------------------------------


def run(
    subject: Subject, store: Store, scenes: int, seeds: int, minutes: float | None, say: Callable[[str], object]
) -> str:
    """Measure what is missing, as far as the time goes; write and return the table."""
    end = None if minutes is None else time.monotonic() + 60 * minutes
    parts = (UNGUIDED, *(name + suffix for name in subject.ways for suffix in ("", LATER)))
    wanted = [(f"{part}, seed {seed}", part, i, seed) for i in range(scenes) for seed in range(seeds) for part in parts]
    for place, part, index, seed in wanted:
        if end is not None and time.monotonic() >= end:
            break
        if not store.has(place, index):
            store.put(place, index, measure(subject, part, index, seed))
            say(f"scene {index}: {place}")
    results: dict[tuple[int, int], dict[str, Any]] = {}
    for place, _, index, seed in wanted:
        if store.has(place, index):
            results.setdefault((index, seed), {}).update(store.get(place, index))
    found = summary(results)
    write_json(store.folder / "drawn_onsets.json", found)
    (store.folder / "drawn_onsets.md").write_text(text_of(found), encoding="utf-8")
    return text_of(found)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="drawn_onsets", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder for results and table")
    add("--model", default=BUILT_IN_MODEL, help=f"model name or folder (default: {BUILT_IN_MODEL})")
    add("--control", help="control file (default: the model's own)")
    add("--scenes", type=int, default=64, help="number of scenes (default: 64)")
    add("--seeds", type=int, default=3, help="seeds for each (default: 3)")
    add("--steps", type=int, help="sampler steps (default: the model's)")
    add("--minutes", type=float, help="stop before the next clip after so long (default: no limit)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    try:
        if args.scenes < 1 or args.seeds < 1:
            raise InputError(f"{args.scenes} scenes and {args.seeds} seeds were asked for; wanted 1 or more of both.")
        model = load_joint_model(model_folder(args.model))
        path = control_file(args.control, model_folder(args.model))
        control = None if path is None else load_control(path)
        settings = default_settings(model, steps=args.steps)
        request = {
            "model": fingerprint(*model.backbones()), "settings": vars(settings), "guide": vars(TimeGuideSettings()),
            "control": control and fingerprint(control.module),
        }  # fmt: skip
        subject, store = Subject(model, control, settings), Store(args.out, request)
        print(run(subject, store, args.scenes, args.seeds, args.minutes, print))
    except InputError as error:
        print(f"drawn_onsets: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
