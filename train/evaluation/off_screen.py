"""Probe sources off screen: does the sound follow the view, and does a hidden source change only the sound?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from con360.metrics.figure import bootstrap_interval
from con360.metrics.video import picture_correlation
from con360.records import View, ViewTrack
from con360.scenes import Scene
from train.evaluation.bench import Ask, Bench
from train.evaluation.part import Measured, Metrics, probe
from train.evaluation.probes import CANDIDATES, FOV_DEG, LEVEL_FLOOR_DB, STEP_DEG, holds, level, rng_of, yaws_from
from train.evaluation.row import Row, decibels, percent
from train.examples import scene_of

# 2 s hold whole periods of the slowest rhythms (chirps 3, hum and bell 2); 1 s holds one and a half chirps.
LEVEL_SECONDS = 2.0
PRESENCE_SECONDS = 1.0
PRESENCE_SEEDS = 4


# Level ----------------------------------------------------------------------------------------------------------------


def measure_level(bench: Bench, index: int) -> Measured:
    """Turn only the BASD through twelve yaws; measure each source's level in its band, generated and true.

    The true level is always what the view's microphone hears, whatever the control was trained towards.
    """
    scene, spec = scene_of("test", index), bench.spec(LEVEL_SECONDS)
    yaws = yaws_from(rng_of(index, 2).uniform(0, STEP_DEG))
    tracks = [ViewTrack.still(View(y, 0.0, FOV_DEG), spec.num_frames) for y in yaws]
    asks = [bench.ask(scene, track, index, seconds=LEVEL_SECONDS) for track in tracks]
    clips = bench.generate([*asks, replace(asks[0], use="saliency")], LEVEL_SECONDS)
    true = [scene.view_sound(track, spec) for track in tracks]
    codec = {k: bench.sound_through_codec(true[k]) for k in range(0, CANDIDATES, 3)}
    sources = []
    for p in scene.performers:
        levels = [level(clip.sound, p) for clip in clips]
        sources.append(
            {
                "voice": p.voice, "true": [level(s, p) for s in true], "con360": levels[:-1], "no_basd": levels[-1],
                "codec": {str(k): level(s, p) for k, s in codec.items()},
            }
        )  # fmt: skip
    return {"yaws": yaws, "sources": sources}, {}


def reduce_level(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Compute median absolute errors of levels in dB, with and without BASD, and how well levels follow the turn."""
    errors: dict[str, list[list[float]]] = {"": [], "_no_basd": [], "_codecs": [], "_behind_codecs": []}
    centred: dict[str, list[list[float]]] = {"": [], "_no_basd": []}
    true_levels, made_levels = [], []
    for row in rows:
        scene: dict[str, list[float]] = {name: [] for name in errors}
        around: dict[str, list[float]] = {name: [] for name in centred}
        for source in row["sources"]:
            true, made = np.array(source["true"]), np.array(source["con360"])
            scene[""] += list(np.abs(made - true))
            scene["_no_basd"] += list(np.abs(source["no_basd"] - true))
            scene["_codecs"] += [abs(coded - true[int(k)]) for k, coded in source["codec"].items()]
            lost = np.mean([coded - true[int(k)] for k, coded in source["codec"].items()])
            scene["_behind_codecs"] += list(np.abs(made - (true + lost)))
            around[""] += list(np.abs((made - made.mean()) - (true - true.mean())))
            around["_no_basd"] += list(np.abs(true - true.mean()))
            true_levels.append(true)
            made_levels.append(made)
        for table, values in ((errors, scene), (centred, around)):
            for name, of_scene in values.items():
                table[name].append(of_scene)
    figure: dict[str, Any] = {
        "text": f"|level made - true level| of each source's band, median over sources and {CANDIDATES} yaws; "
        f"{LEVEL_SECONDS:g} s clips; no_basd: the same model with the saliency alone; codecs: the true sound encoded "
        "and decoded; behind_codecs: against the true level as it comes out of the codecs; followed: each source's "
        "mean over yaws subtracted on both sides; slope: of the level made on the true level (1 follows, 0 ignores)",
        "level_num_scenes": len(rows), "level_num_sources": sum(len(row["sources"]) for row in rows),
    }  # fmt: skip
    for label, table in (("level", errors), ("followed", centred)):
        for name, rows_of_scenes in table.items():
            filled = padded(rows_of_scenes)
            figure[f"{label}_abs_db_median{name}"] = float(np.nanmedian(filled))
            interval = bootstrap_interval(filled, lambda t: float(np.nanmedian(t)))
            figure[f"{label}_abs_db_median{name}_interval"] = interval
    figure["slope"] = slope_on_truth(np.array(true_levels), np.array(made_levels))
    return figure


def slope_on_truth(true: np.ndarray, made: np.ndarray) -> float:
    """Fit levels made on true ones `[..., views]`, each source's mean over views subtracted: 1 follows, 0 ignores."""
    x, y = (levels - levels.mean(-1, keepdims=True) for levels in (true, made))
    return float(np.nansum(x * y) / np.nansum(x * x))


def rows_level(figure: Metrics) -> list[Row]:
    n = f"{figure['level_num_sources']} sources of {figure['level_num_scenes']} scenes"
    error, away = (f"level_abs_db_median{key}" for key in ("", "_no_basd"))
    beside = (
        f"against the truth behind the codecs {decibels(figure['level_abs_db_median_behind_codecs'])}; each source's "
        f"mean subtracted {decibels(figure['followed_abs_db_median'])}, without BASD "
        f"{decibels(figure['followed_abs_db_median_no_basd'])}"
    )
    return [
        Row("off-screen level, generated for each view: slope on truth", figure["slope"], n=n),
        Row(
            "off-screen level, generated for each view: median error", figure[error], decibels,
            figure[f"{error}_interval"], floor=figure["level_abs_db_median_codecs"],
            beside=f"without BASD {decibels(figure[away])}; {beside}", n=n,
        ),
    ]  # fmt: skip


def padded(rows: list[list[float]]) -> np.ndarray:
    """Fill rows with NaN to the length of the longest."""
    width = max(len(row) for row in rows)
    return np.array([row + [np.nan] * (width - len(row)) for row in rows])


# Presence -------------------------------------------------------------------------------------------------------------


def measure_presence(bench: Bench, index: int) -> Measured:
    """Add a source off screen with the same seed; measure the change in its band and in the picture."""
    scene, rng, spec = scene_of("test", index), rng_of(index, 3), bench.spec(PRESENCE_SECONDS)
    found = _off_screen(scene, rng)
    if found is None:
        return {"no_answer": "no view shows one performer and hides another"}, {}
    hidden, view = found
    track, without = ViewTrack.still(view, spec.num_frames), scene.without(hidden)
    base = bench.ask(without, track, index, seconds=PRESENCE_SECONDS)
    added = bench.ask(scene, track, index, seconds=PRESENCE_SECONDS)
    asks: list[Ask] = [added, base, replace(added, use="caption"), replace(base, use="caption")]
    asks += [replace(base, seed=index + 7919 * (k + 1)) for k in range(PRESENCE_SEEDS - 1)]
    clips = bench.generate(asks, PRESENCE_SECONDS)
    true, performer = bench.truth(scene, track, PRESENCE_SECONDS), scene.performers[hidden]
    levels = [level(clip.sound, performer) for clip in clips]
    correlation = [picture_correlation(clip.frames, true.frames) for clip in clips]
    return {
        "voice": performer.voice, "true_level_db": level(true.sound, performer),
        "maps_db": levels[0] - levels[1], "caption_db": levels[2] - levels[3],
        "maps_level_db": levels[0], "caption_level_db": levels[2],
        "correlation_with": correlation[0], "correlation_without": correlation[1],
        "correlation_seeds": [correlation[1], *correlation[4:]],
    }, {}  # fmt: skip


def _off_screen(scene: Scene, rng: np.random.Generator) -> tuple[int, View] | None:
    """Draw (performer, view), where the view shows another performer but not this one; None if there is none."""
    choices = []
    for i, hidden in enumerate(scene.performers):
        others = scene.without(i).performers
        for yaw in yaws_from(0.0):
            gap = abs((yaw - hidden.yaw_at(PRESENCE_SECONDS / 2) + 180) % 360 - 180)
            if gap > FOV_DEG / 2 + 35.0 and holds(View(yaw, 0.0, FOV_DEG), others, PRESENCE_SECONDS / 2):
                choices.append((i, View(yaw, 0.0, FOV_DEG)))
    return choices[int(rng.integers(len(choices)))] if choices else None


def reduce_presence(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Average over scenes the change that the source makes."""
    answered = [row for row in rows if "no_answer" not in row]
    if not answered:
        return {"num_scenes": 0, "not_measured": "no scene had a performer to hide"}
    figure: dict[str, Any] = {
        "text": "a source added off screen, same seed: change of the level in its band; maps_and_caption against "
        f"caption_only; levels not below {LEVEL_FLOOR_DB:g} dB; picture: correlation with the true view, inside the "
        f"mean +- 2 standard deviations over {PRESENCE_SEEDS} seeds; {PRESENCE_SECONDS:g} s clips",
        "num_scenes": len(answered), "without_answer": len(rows) - len(answered),
    }  # fmt: skip
    for name, key in (("maps_and_caption_db", "maps_db"), ("caption_only_db", "caption_db")):
        values = np.array([row[key] for row in answered])
        figure[name], figure[f"{name}_interval"] = float(values.mean()), bootstrap_interval(values)
    for name, key in (("maps_and_caption", "maps_level_db"), ("caption_only", "caption_level_db")):
        errors = [abs(row[key] - row["true_level_db"]) for row in answered]
        figure[f"{name}_level_error_db_median"] = float(np.median(errors))
    inside = []
    for row in answered:
        seeds = np.array(row["correlation_seeds"])
        inside.append(abs(row["correlation_with"] - seeds.mean()) <= 2 * seeds.std(ddof=1))
    figure["picture_inside_seed_interval_fraction"] = float(np.mean(inside))
    for name in ("correlation_with", "correlation_without"):
        figure[name] = float(np.mean([row[name] for row in answered]))
    return figure


def rows_presence(figure: Metrics) -> list[Row]:
    name = "off-screen presence: what an added source gains in its band"
    if not figure["num_scenes"]:
        return [Row(name, None, beside=figure["not_measured"])]
    inside = percent(figure["picture_inside_seed_interval_fraction"])
    return [
        Row(
            name, figure["maps_and_caption_db"], decibels, figure["maps_and_caption_db_interval"],
            baseline=figure["caption_only_db"], beside=f"picture inside the seeds' interval in {inside}",
            n=f"{figure['num_scenes']} scenes",
        )
    ]  # fmt: skip


LEVEL = probe("level", measure_level, reduce_level, rows_level, share=0.15, one_in=8)
PRESENCE = probe("presence", measure_presence, reduce_presence, rows_presence, share=0.06, one_in=8)
