"""Probes that only scenes with a known truth allow: turn, off-screen level and presence, entry and exit, moving view.

Every `measure_*` makes the clips of one test scene and returns plain values, with clips to show where there are any;
every `reduce_*` turns the scenes' values into figures.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from con360.geometry.perspective import inside_view, view_directions
from con360.geometry.sphere import directions
from con360.metrics.audio import band_level_db
from con360.metrics.figure import bootstrap_interval
from con360.metrics.frechet import frechet_distance
from con360.metrics.video import (
    codec_video_embedding,
    first_and_last_crossing,
    match_candidates,
    picture_correlation,
    picture_distance,
)
from con360.models.codecs import decode_frames, decode_mel, encode_frames, encode_mel, log_mel, vocode
from con360.records import Sound, View, ViewTrack
from con360.scenes import VOICES, Performer, Scene
from con360.timing import ClipSpec
from train.evaluation.bench import Ask, Bench, Clip
from train.examples import scene_of

FOV_DEG = 90.0
CANDIDATES = 12
STEP_DEG = 360.0 / CANDIDATES
SHOWN = 4

TURN_SECONDS = 0.5
# The slowest rhythms have whole periods in 2 s (chirps 3, hum and bell 2); in 1 s chirps have one and a half.
LEVEL_SECONDS = 2.0
PRESENCE_SECONDS = 1.0
CLIP_SECONDS = 4.0
PRESENCE_SEEDS = 4
LEVEL_FLOOR_DB = -80.0

CROSSING_RATE_DEG_S = 10.0
CROSSING_FRAMES = 2
LEAST_AREA = 0.3
BROKEN_DB = 6.0
PAN_RATE_DEG_S = 14.0
PAN_EVERY = 2

Measured = tuple[dict[str, Any], dict[str, Tensor]]


def rng_of(index: int, probe: int) -> np.random.Generator:
    """Choices of a probe on a scene: the same in every run."""
    return np.random.default_rng([index, probe, 360])


def yaws_from(offset_deg: float) -> list[float]:
    """The twelve yaws, 30 degrees apart, that start at an offset."""
    return [(offset_deg + k * STEP_DEG + 180.0) % 360.0 - 180.0 for k in range(CANDIDATES)]


def holds(view: View, performers: tuple[Performer, ...], time_s: float) -> bool:
    """Whether the centre of any of these stands in the view, a little inside its edge."""
    narrow = replace(view, fov_deg=view.fov_deg - 10.0)
    return any(bool(inside_view(directions(p.yaw_at(time_s), p.pitch_deg), narrow)) for p in performers)


def true_views(scene: Scene, tracks: list[ViewTrack], size: int, spec: ClipSpec) -> Tensor:
    """`[K, T, 3, s, s]`."""
    return torch.stack([scene.view_frames(track, size, spec) for track in tracks])


# Turn -----------------------------------------------------------------------------------------------------------------


def measure_turn(bench: Bench, index: int) -> Measured:
    """Two of twelve yaws whose views hold a source: which of the twelve true views is the clip most like?"""
    scene, rng, spec = scene_of("test", index), rng_of(index, 1), bench.spec(TURN_SECONDS)
    tracks = [ViewTrack.still(View(y, 0.0, FOV_DEG), spec.num_frames) for y in yaws_from(rng.uniform(0, STEP_DEG))]
    seen = [k for k in range(CANDIDATES) if holds(tracks[k].views[0], scene.performers, 0.25)]
    first = int(rng.choice(seen))
    second = max(seen, key=lambda k: min((k - first) % CANDIDATES, (first - k) % CANDIDATES))
    chosen = list(dict.fromkeys((first, second)))
    candidates = true_views(scene, tracks, bench.size, spec)
    asks = [bench.ask(scene, tracks[k], index, seconds=TURN_SECONDS) for k in chosen]
    clips = bench.generate([*asks, replace(asks[0], use="caption")], TURN_SECONDS)
    ours, baseline = [c.frames for c in clips[:-1]], clips[-1].frames
    through = [_through_vae(bench, candidates[k]) for k in chosen]
    result: dict[str, Any] = {
        "chosen": chosen,
        "con360": [_rank(f, candidates, k) for f, k in zip(ours, chosen, strict=True)],
        "baseline": [_rank(baseline, candidates, k) for k in chosen],
        "vae": [_rank(f, candidates, k) for f, k in zip(through, chosen, strict=True)],
    }
    if len(chosen) == 2:
        result["viewpoints"] = _viewpoints(bench, ours, [candidates[k] for k in chosen])
    kept = {}
    if index < SHOWN:
        rows = {"true views": candidates[:, 0], "con360": torch.stack([f[0] for f in ours]), "baseline": baseline[:1]}
        kept = {name: (frames * 255).round().byte() for name, frames in rows.items()}
    return result, kept


def _rank(frames: Tensor, candidates: Tensor, right: int) -> int:
    """1 where the right candidate fits best."""
    cosines = match_candidates(frames, candidates)
    return 1 + int((cosines > cosines[right]).sum())


@torch.no_grad()
def _through_vae(bench: Bench, frames: Tensor) -> Tensor:
    return decode_frames(bench.model.vae_v, encode_frames(bench.model.vae_v, frames))


@torch.no_grad()
def _viewpoints(bench: Bench, ours: list[Tensor], true: list[Tensor]) -> dict[str, Any]:
    """The paper's comparison of two viewpoints of one scene: same maps and caption, another BASD."""
    own = [picture_distance(f, t) for f, t in zip(ours, true, strict=True)]
    other = [picture_distance(f, t) for f, t in zip(ours, reversed(true), strict=True)]
    embeddings = [codec_video_embedding(encode_frames(bench.model.vae_v, f)).tolist() for f in (*ours, *true)]
    return {
        "to_own_target": float(np.mean(own)), "to_other_target": float(np.mean(other)),
        "between": picture_distance(*ours), "between_true": picture_distance(*true), "embeddings": embeddings,
    }  # fmt: skip


def reduce_turn(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Shares of views whose own true view fits best; chance is 1 in 12."""
    figure: dict[str, Any] = {
        "text": f"best of {CANDIDATES} true views, {STEP_DEG:g} degrees apart, by cosine after subtracting their mean, "
        f"on decoded frames; views that hold a source; {TURN_SECONDS:g} s clips",
        "chance": 1 / CANDIDATES, "num_scenes": len(rows), "num_views": sum(len(r["con360"]) for r in rows),
    }  # fmt: skip
    names = {"con360": "best_of_12_fraction", "baseline": "baseline_fraction", "vae": "true_views_through_vae_fraction"}
    for who, name in names.items():
        shares = np.array([np.mean([rank == 1 for rank in row[who]]) for row in rows])
        figure[name], figure[f"{name}_interval"] = float(shares.mean()), bootstrap_interval(shares)
    figure["within_one_step_note"] = "neighbouring views overlap by two thirds"
    figure["mean_rank"] = float(np.mean([rank for row in rows for rank in row["con360"]]))
    figure["viewpoints"] = _reduce_viewpoints([r["viewpoints"] for r in rows if "viewpoints" in r])
    return figure


def _reduce_viewpoints(rows: list[dict[str, Any]]) -> dict[str, Any]:
    if not rows:
        return {"not_measured": "no scene had two views that hold a source"}
    names = ("to_own_target", "to_other_target", "between", "between_true")
    figure: dict[str, Any] = {
        "text": "two viewpoints of one scene, same saliency, caption and seed, another BASD: picture distances, and "
        "Frechet distance between the two sets (tiny bundle's VAE embeddings)",
        "num_scenes": len(rows), **{name: float(np.mean([row[name] for row in rows])) for name in names},
    }  # fmt: skip
    if len(rows) > 1:
        sets = np.array([row["embeddings"] for row in rows])
        figure["frechet_between"] = frechet_distance(sets[:, 0], sets[:, 1])
        figure["frechet_between_true"] = frechet_distance(sets[:, 2], sets[:, 3])
    return figure


# Off-screen level -----------------------------------------------------------------------------------------------------


def measure_level(bench: Bench, index: int) -> Measured:
    """The BASD turns through twelve yaws, nothing else changes: each source's level in its band, true and made."""
    scene, spec = scene_of("test", index), bench.spec(LEVEL_SECONDS)
    yaws = yaws_from(rng_of(index, 2).uniform(0, STEP_DEG))
    tracks = [ViewTrack.still(View(y, 0.0, FOV_DEG), spec.num_frames) for y in yaws]
    asks = [bench.ask(scene, track, index, seconds=LEVEL_SECONDS) for track in tracks]
    clips = bench.generate([*asks, replace(asks[0], use="saliency")], LEVEL_SECONDS)
    true = [scene.view_sound(track, spec) for track in tracks]
    codec = {k: _through_mel(bench, true[k]) for k in range(0, CANDIDATES, 3)}
    sources = []
    for p in scene.performers:
        levels = [_level(clip.sound, p) for clip in clips]
        sources.append(
            {
                "voice": p.voice, "true": [_level(s, p) for s in true], "con360": levels[:-1], "no_basd": levels[-1],
                "codec": {str(k): _level(s, p) for k, s in codec.items()},
            }
        )  # fmt: skip
    return {"yaws": yaws, "sources": sources}, {}


def _level(sound: Sound, performer: Performer) -> float:
    return band_level_db(sound, VOICES[performer.voice].band_hz, LEVEL_FLOOR_DB)


@torch.no_grad()
def _through_mel(bench: Bench, sound: Sound) -> Sound:
    mel = decode_mel(bench.model.vae_a, encode_mel(bench.model.vae_a, log_mel(sound.waveform)))
    return Sound(vocode(bench.model.vocoder, mel, sound.waveform.shape[-1]), sound.sample_rate_hz)


def reduce_level(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Median absolute error of levels in decibels, ours and without BASD, and how well the turn is followed."""
    errors: dict[str, list[list[float]]] = {"": [], "_no_basd": [], "_codecs": [], "_behind_codecs": []}
    centred: dict[str, list[list[float]]] = {"": [], "_no_basd": []}
    true_gain, made_gain = [], []
    for row in rows:
        scene: dict[str, list[float]] = {name: [] for name in errors}
        around: dict[str, list[float]] = {name: [] for name in centred}
        for source in row["sources"]:
            true, made = np.array(source["true"]), np.array(source["con360"])
            scene[""] += list(np.abs(made - true))
            scene["_no_basd"] += list(np.abs(source["no_basd"] - true))
            scene["_codecs"] += [abs(level - true[int(k)]) for k, level in source["codec"].items()]
            lost = np.mean([level - true[int(k)] for k, level in source["codec"].items()])
            scene["_behind_codecs"] += list(np.abs(made - (true + lost)))
            around[""] += list(np.abs((made - made.mean()) - (true - true.mean())))
            around["_no_basd"] += list(np.abs(true - true.mean()))
            true_gain += list(true - true.mean())
            made_gain += list(made - made.mean())
        for table, values in ((errors, scene), (centred, around)):
            for name in table:
                table[name].append(values[name])
    figure: dict[str, Any] = {
        "level_text": f"|level made - true level| of each source's band, median over sources and {CANDIDATES} yaws; "
        f"{LEVEL_SECONDS:g} s clips; no_basd: the same model with the saliency alone; codecs: the true sound encoded "
        "and decoded; behind_codecs: against the true level as it comes out of the codecs; followed: each source's "
        "mean over yaws subtracted on both sides; slope: of the level made on the true level (1 follows, 0 ignores)",
        "level_num_scenes": len(rows), "level_num_sources": sum(len(row["sources"]) for row in rows),
    }  # fmt: skip
    for label, table in (("level", errors), ("followed", centred)):
        for name, values in table.items():
            padded = _padded(values)
            figure[f"{label}_abs_db_median{name}"] = float(np.nanmedian(padded))
            interval = bootstrap_interval(padded, lambda t: float(np.nanmedian(t)))
            figure[f"{label}_abs_db_median{name}_interval"] = interval
    x, y = np.array(true_gain), np.array(made_gain)
    figure["slope"] = float(x @ y / (x @ x))
    return figure


def _padded(rows: list[list[float]]) -> np.ndarray:
    width = max(len(row) for row in rows)
    return np.array([row + [np.nan] * (width - len(row)) for row in rows])


# Off-screen presence --------------------------------------------------------------------------------------------------


def measure_presence(bench: Bench, index: int) -> Measured:
    """A source off screen is there or not, same seed: what changes in its band, and does the picture stay?"""
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
    level = [_level(clip.sound, performer) for clip in clips]
    correlation = [picture_correlation(clip.frames, true.frames) for clip in clips]
    return {
        "voice": performer.voice, "true_level_db": _level(true.sound, performer),
        "maps_db": level[0] - level[1], "caption_db": level[2] - level[3],
        "maps_level_db": level[0], "caption_level_db": level[2],
        "correlation_with": correlation[0], "correlation_without": correlation[1],
        "correlation_seeds": [correlation[1], *correlation[4:]],
    }, {}  # fmt: skip


def _off_screen(scene: Scene, rng: np.random.Generator) -> tuple[int, View] | None:
    """(a performer, a view that does not see it but sees another), by chance; None where there is none."""
    choices = []
    for i, hidden in enumerate(scene.performers):
        others = scene.without(i).performers
        for yaw in yaws_from(0.0):
            gap = abs((yaw - hidden.yaw_at(PRESENCE_SECONDS / 2) + 180) % 360 - 180)
            if gap > FOV_DEG / 2 + 35.0 and holds(View(yaw, 0.0, FOV_DEG), others, PRESENCE_SECONDS / 2):
                choices.append((i, View(yaw, 0.0, FOV_DEG)))
    return choices[int(rng.integers(len(choices)))] if choices else None


def reduce_presence(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over scenes of what adding the source does."""
    answered = [row for row in rows if "no_answer" not in row]
    if not answered:
        return {"presence": {"num_scenes": 0, "not_measured": "no scene had a performer to hide"}}
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
    return {"presence": figure}


# Entry and exit -------------------------------------------------------------------------------------------------------


def crossing_scene(index: int) -> tuple[Scene, int, View, str]:
    """A scene whose performers turn together so that one crosses the view's edge in mid-clip.

    Returns:
        (scene, which performer, view, "entry" or "exit").
    """
    rng, base = rng_of(index, 4), scene_of("test", index)
    rate = CROSSING_RATE_DEG_S * float(rng.choice([-1, 1]))
    scene = replace(base, performers=tuple(replace(p, yaw_rate_deg_s=rate) for p in base.performers))
    chosen, kind = int(rng.integers(len(scene.performers))), ("entry", "exit")[index % 2]
    p = scene.performers[chosen]
    # Leaving, it moves towards the edge that lies ahead of it; entering, the view lies ahead.
    side = np.sign(rate) * (1 if kind == "exit" else -1)
    yaw = (p.yaw_at(CLIP_SECONDS / 2) - side * FOV_DEG / 2 + 180.0) % 360.0 - 180.0
    return scene, chosen, View(float(yaw), p.pitch_deg, FOV_DEG), kind


def measure_entry_exit(bench: Bench, index: int) -> Measured:
    """A source crosses the edge of a still view: when does the clip show it come or go, and does its sound hold?"""
    scene, chosen, view, kind = crossing_scene(index)
    spec = bench.spec(CLIP_SECONDS)
    track = ViewTrack.still(view, spec.num_frames)
    true = bench.truth(scene, track)
    empty = scene.without(chosen).view_frames(track, bench.size, spec)
    ask = bench.ask(scene, track, index)
    con360, baseline = bench.generate([ask, replace(ask, use="caption")])
    result: dict[str, Any] = {"kind": kind, "voice": scene.performers[chosen].voice}
    through = Clip(_through_vae(bench, true.frames), _through_mel(bench, true.sound))
    for who, clip in (("con360", con360), ("baseline", baseline), ("codecs", through)):
        result[who] = {
            "frames_off": crossing_error(clip.frames, true.frames, empty, kind),
            "sound_off_db": sound_break_db(clip.sound, true.sound, scene.performers[chosen]),
        }
    return result, {}


def covered(frames: Tensor, true: Tensor, empty: Tensor) -> np.ndarray:
    """Per frame, the covered share of the region in which the source is ever seen.

    A pixel is covered where it differs from the view without the source by more than half of the source's contrast.

    Args:
        frames, true, empty: `[T, 3, s, s]`: the clip, the true view with and without the source.
    """
    contrast = (true - empty).square().mean(1).sqrt()
    region = contrast.amax(0) > 0.05
    usual = contrast[contrast > 0.05].median()
    apart = (frames - empty).square().mean(1).sqrt()
    share = (apart[:, region] > 0.5 * usual).float().mean(1).numpy()
    # The median over three frames: a flicker is neither coming nor going.
    held = np.concatenate((share[:1], share, share[-1:]))
    return np.median(np.stack((held[:-2], held[1:-1], held[2:])), axis=0)


def crossing_error(frames: Tensor, true: Tensor, empty: Tensor, kind: str) -> int | None:
    """Frames between the clip's crossing and the true one; None where the source is hardly ever seen.

    The crossing is where the covered area passes half of its maximum, up for an entry, down for an exit.
    """
    made, wanted = covered(frames, true, empty), covered(true, true, empty)
    if made.max() < LEAST_AREA * wanted.max():
        return None
    at = [first_and_last_crossing(c.tolist(), 0.5 * float(c.max())) for c in (made, wanted)]
    which = 0 if kind == "entry" else 1
    return int(abs(at[0][which] - at[1][which]))


def sound_break_db(made: Sound, true: Sound, performer: Performer) -> float:
    """Largest difference, over the seconds of the clip, of the band's course about its mean from the true course."""
    courses = []
    for sound in (made, true):
        parts = sound.waveform[..., : len(sound.waveform[0]) // 4 * 4].chunk(4, dim=-1)
        levels = np.array([_level(Sound(part, sound.sample_rate_hz), performer) for part in parts])
        courses.append(levels - levels.mean())
    return float(np.abs(courses[0] - courses[1]).max())


def reduce_entry_exit(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Shares of scenes in which the source comes or goes in time with unbroken sound."""
    figure: dict[str, Any] = {
        "text": f"a source crosses the edge of a still view at {CROSSING_RATE_DEG_S:g} degrees per second; in time: "
        f"its covered area passes half of its maximum within {CROSSING_FRAMES} frames of the true view's; unbroken: "
        f"the band's course over the four seconds stays within {BROKEN_DB:g} dB of the true course",
        "num_scenes": len(rows),
    }  # fmt: skip
    for who in ("con360", "baseline", "codecs"):
        # A source that is never seen neither comes nor goes.
        in_time = [r[who]["frames_off"] is not None and r[who]["frames_off"] <= CROSSING_FRAMES for r in rows]
        unbroken = [r[who]["sound_off_db"] <= BROKEN_DB for r in rows]
        both = np.array([a and b for a, b in zip(in_time, unbroken, strict=True)], dtype=float)
        figure[who] = {
            "fraction": float(both.mean()), "interval": bootstrap_interval(both),
            "in_time_fraction": float(np.mean(in_time)), "sound_unbroken_fraction": float(np.mean(unbroken)),
            "never_seen": sum(r[who]["frames_off"] is None for r in rows),
        }  # fmt: skip
    return figure


# Moving view ----------------------------------------------------------------------------------------------------------


def measure_moving(bench: Bench, index: int) -> Measured:
    """A panning BASD track: which of twelve true views is each frame most like?"""
    scene, rng, spec = scene_of("test", index), rng_of(index, 5), bench.spec(CLIP_SECONDS)
    p = scene.performers[int(rng.integers(len(scene.performers)))]
    rate = PAN_RATE_DEG_S * float(rng.choice([-1, 1]))
    centre, half = p.yaw_at(CLIP_SECONDS / 2), CLIP_SECONDS / 2
    yaws = [(centre + rate * (t - half) + 180.0) % 360.0 - 180.0 for t in spec.frame_times_s()]
    track = ViewTrack(tuple(View(float(y), 0.0, FOV_DEG) for y in yaws))
    ask = bench.ask(scene, track, index)
    clips = bench.generate([ask, replace(ask, use="caption")])
    ranks: dict[str, list[int]] = {"con360": [], "baseline": []}
    follows: dict[str, list[bool]] = {"con360": [], "baseline": []}
    for t in range(0, spec.num_frames, PAN_EVERY):
        time_s, view = spec.frame_times_s()[t], track.views[t]
        if not holds(view, scene.performers, time_s):
            continue
        # The first view is what a clip would show that ignores the track's motion.
        views = [replace(view, yaw_deg=y) for y in yaws_from(view.yaw_deg)] + [track.views[0]]
        true = torch.stack([_view_at(scene, v, bench.size, time_s) for v in views])[:, None]
        for who, clip in zip(ranks, clips, strict=True):
            frame = clip.frames[t : t + 1]
            ranks[who].append(_rank(frame, true[:-1], 0))
            if t >= spec.num_frames // 2:
                pair = match_candidates(frame, true[[0, CANDIDATES]])
                follows[who].append(bool(pair[0] > pair[1]))
    return {"ranks": ranks, "follows": follows}, {}


def _view_at(scene: Scene, view: View, size: int, time_s: float) -> Tensor:
    return scene.render(view_directions(view.yaw_deg, view.pitch_deg, view.fov_deg, size), time_s)


def reduce_moving(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Shares of frames whose own true view fits best."""
    figure: dict[str, Any] = {
        "text": f"the view pans at {PAN_RATE_DEG_S:g} degrees per second; each frame that shows a source against the "
        f"{CANDIDATES} true views of its time; follows: in the second half, more like its own view than the first one",
        "chance": 1 / CANDIDATES, "num_scenes": len(rows), "num_frames": sum(len(r["ranks"]["con360"]) for r in rows),
    }  # fmt: skip
    for who in ("con360", "baseline"):
        shares = np.array([np.mean([k == 1 for k in r["ranks"][who]]) for r in rows if r["ranks"][who]])
        follows = [f for r in rows for f in r["follows"][who]]
        figure[who] = {
            "best_of_12_fraction": float(shares.mean()) if len(shares) else None,
            "interval": bootstrap_interval(shares), "follows_fraction": float(np.mean(follows)) if follows else None,
        }  # fmt: skip
    return figure
