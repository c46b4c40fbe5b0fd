"""Probe the control on scenes of known truth: turn, entry and exit, moving view. Sound probes: `off_screen.py`.

Each `measure_*` generates the clips of one test scene and returns (plain values, clips to show).
Each `reduce_*` turns the values of all scenes into figures, each `rows_*` those into rows of the table.
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
from con360.metrics.video import first_and_last_crossing, match_candidates
from con360.models.codecs import decode_frames, encode_frames
from con360.records import Sound, View, ViewTrack
from con360.scenes import VOICES, Performer, Scene
from con360.timing import ClipSpec
from train.evaluation.bench import Bench, Clip
from train.evaluation.part import Measured, Metrics, probe
from train.evaluation.row import Bar, Row, percent
from train.examples import scene_of

FOV_DEG = 90.0
CANDIDATES = 12
STEP_DEG = 360.0 / CANDIDATES
SHOWN = 4

TURN_SECONDS = 0.5
CLIP_SECONDS = 4.0
LEVEL_FLOOR_DB = -80.0

CROSSING_RATE_DEG_S = 10.0
CROSSING_FRAMES = 2
LEAST_AREA = 0.3
BROKEN_DB = 6.0
PAN_RATE_DEG_S = 14.0
PAN_EVERY = 2


def rng_of(index: int, probe: int) -> np.random.Generator:
    """Return the random generator of a probe on a scene, the same in every run."""
    return np.random.default_rng([index, probe, 360])


def yaws_from(offset_deg: float) -> list[float]:
    """Return twelve yaws, 30 degrees apart, from an offset on."""
    return [(offset_deg + k * STEP_DEG + 180.0) % 360.0 - 180.0 for k in range(CANDIDATES)]


def holds(view: View, performers: tuple[Performer, ...], time_s: float) -> bool:
    """Return True if a performer's centre is in the view, a little inside its edge."""
    narrow = replace(view, fov_deg=view.fov_deg - 10.0)
    return any(bool(inside_view(directions(p.yaw_at(time_s), p.pitch_deg), narrow)) for p in performers)


def true_views(scene: Scene, tracks: list[ViewTrack], size: int, spec: ClipSpec) -> Tensor:
    """Render the true views along K tracks: `[K, T, 3, s, s]`."""
    return torch.stack([scene.view_frames(track, size, spec) for track in tracks])


def level(sound: Sound, performer: Performer) -> float:
    """Measure a sound's level in the band of a performer's voice, in decibels, at least `LEVEL_FLOOR_DB`."""
    return band_level_db(sound, VOICES[performer.voice].band_hz, LEVEL_FLOOR_DB)


@torch.no_grad()
def through_vae(bench: Bench, frames: Tensor) -> Tensor:
    """Encode and decode frames `[T, 3, s, s]` in [0, 1]."""
    return decode_frames(bench.model.vae_v, encode_frames(bench.model.vae_v, frames))


# Turn -----------------------------------------------------------------------------------------------------------------


def measure_turn(bench: Bench, index: int) -> Measured:
    """Generate clips of two views that hold a source; rank the twelve true views by likeness to each."""
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
    through = [through_vae(bench, candidates[k]) for k in chosen]
    result: dict[str, Any] = {
        "chosen": chosen,
        "con360": [_rank(f, candidates, k) for f, k in zip(ours, chosen, strict=True)],
        "baseline": [_rank(baseline, candidates, k) for k in chosen],
        "vae": [_rank(f, candidates, k) for f, k in zip(through, chosen, strict=True)],
    }
    kept = {}
    if index < SHOWN:
        rows = {"true views": candidates[:, 0], "con360": torch.stack([f[0] for f in ours]), "baseline": baseline[:1]}
        kept = {name: (frames * 255).round().byte() for name, frames in rows.items()}
    return result, kept


def _rank(frames: Tensor, candidates: Tensor, right: int) -> int:
    """Return the rank of the right candidate; 1 is the best fit."""
    cosines = match_candidates(frames, candidates)
    return 1 + int((cosines > cosines[right]).sum())


def reduce_turn(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Compute the share of clips whose own true view fits best; chance is 1 in 12."""
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
    return figure


def rows_turn(figure: Metrics) -> list[Row]:
    around = figure["best_of_12_fraction_interval"]
    return [
        Row(
            "turn: true view best of 12", figure["best_of_12_fraction"], percent, around,
            Bar(), figure["baseline_fraction"], figure["true_views_through_vae_fraction"], figure["chance"],
            n=f"{figure['num_views']} views",
        )
    ]  # fmt: skip


# Entry and exit -------------------------------------------------------------------------------------------------------


def crossing_scene(index: int) -> tuple[Scene, int, View, str]:
    """Make a scene whose performers turn together, so that one crosses the view's edge in mid-clip.

    Returns:
        (scene, index of the performer, view, "entry" or "exit").
    """
    rng, base = rng_of(index, 4), scene_of("test", index)
    rate = CROSSING_RATE_DEG_S * float(rng.choice([-1, 1]))
    scene = replace(base, performers=tuple(replace(p, yaw_rate_deg_s=rate) for p in base.performers))
    chosen, kind = int(rng.integers(len(scene.performers))), ("entry", "exit")[index % 2]
    p = scene.performers[chosen]
    # On exit, the edge lies ahead of the performer; on entry, the view does.
    side = np.sign(rate) * (1 if kind == "exit" else -1)
    yaw = (p.yaw_at(CLIP_SECONDS / 2) - side * FOV_DEG / 2 + 180.0) % 360.0 - 180.0
    return scene, chosen, View(float(yaw), p.pitch_deg, FOV_DEG), kind


def measure_entry_exit(bench: Bench, index: int) -> Measured:
    """Let a source cross the edge of a still view; measure when the clip shows it and if its sound continues."""
    scene, chosen, view, kind = crossing_scene(index)
    spec = bench.spec(CLIP_SECONDS)
    track = ViewTrack.still(view, spec.num_frames)
    true = bench.truth(scene, track)
    empty = scene.without(chosen).view_frames(track, bench.size, spec)
    ask = bench.ask(scene, track, index)
    con360, baseline = bench.generate([ask, replace(ask, use="caption")])
    result: dict[str, Any] = {"kind": kind, "voice": scene.performers[chosen].voice}
    through = Clip(through_vae(bench, true.frames), bench.sound_through_codec(true.sound))
    for who, clip in (("con360", con360), ("baseline", baseline), ("codecs", through)):
        result[who] = {
            "frames_off": crossing_error(clip.frames, true.frames, empty, kind),
            "sound_off_db": sound_break_db(clip.sound, true.sound, scene.performers[chosen]),
        }
    return result, {}


def covered(frames: Tensor, true: Tensor, empty: Tensor) -> np.ndarray:
    """Compute per frame the covered share of the region where the source is seen at any time.

    A pixel is covered if it differs from the view without the source by more than half of the source's contrast.

    Args:
        frames, true, empty: `[T, 3, s, s]`: the clip, the true view with the source, and without.
    """
    contrast = (true - empty).square().mean(1).sqrt()
    region = contrast.amax(0) > 0.05
    usual = contrast[contrast > 0.05].median()
    apart = (frames - empty).square().mean(1).sqrt()
    share = (apart[:, region] > 0.5 * usual).float().mean(1).numpy()
    # Median over three frames: ignore flicker.
    held = np.concatenate((share[:1], share, share[-1:]))
    return np.median(np.stack((held[:-2], held[1:-1], held[2:])), axis=0)


def crossing_error(frames: Tensor, true: Tensor, empty: Tensor, kind: str) -> int | None:
    """Count the frames between the clip's crossing and the true one; None if the source is hardly seen.

    The crossing is the frame where the covered area passes half of its maximum: upwards on entry, downwards on exit.
    """
    made, wanted = covered(frames, true, empty), covered(true, true, empty)
    if made.max() < LEAST_AREA * wanted.max():
        return None
    which = 0 if kind == "entry" else 1
    at, true_at = (first_and_last_crossing(c.tolist(), 0.5 * float(c.max()))[which] for c in (made, wanted))
    assert at is not None and true_at is not None, "a course reaches half of its own maximum"
    return abs(at - true_at)


def sound_break_db(made: Sound, true: Sound, performer: Performer) -> float:
    """Compare the band's level per quarter of the clip, minus its mean, with the true one; return the maximum."""
    courses = []
    for sound in (made, true):
        parts = sound.waveform[..., : len(sound.waveform[0]) // 4 * 4].chunk(4, dim=-1)
        levels = np.array([level(Sound(part, sound.sample_rate_hz), performer) for part in parts])
        courses.append(levels - levels.mean())
    return float(np.abs(courses[0] - courses[1]).max())


def reduce_entry_exit(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Compute the share of scenes whose source enters or leaves in time, with unbroken sound."""
    figure: dict[str, Any] = {
        "text": f"a source crosses the edge of a still view at {CROSSING_RATE_DEG_S:g} degrees per second; in time: "
        f"its covered area passes half of its maximum within {CROSSING_FRAMES} frames of the true view's; unbroken: "
        f"the band's course over the four seconds stays within {BROKEN_DB:g} dB of the true course",
        "num_scenes": len(rows),
    }  # fmt: skip
    for who in ("con360", "baseline", "codecs"):
        # A source that is never seen counts as late.
        in_time = [r[who]["frames_off"] is not None and r[who]["frames_off"] <= CROSSING_FRAMES for r in rows]
        unbroken = [r[who]["sound_off_db"] <= BROKEN_DB for r in rows]
        both = np.array([a and b for a, b in zip(in_time, unbroken, strict=True)], dtype=float)
        figure[who] = {
            "fraction": float(both.mean()), "interval": bootstrap_interval(both),
            "in_time_fraction": float(np.mean(in_time)), "sound_unbroken_fraction": float(np.mean(unbroken)),
            "never_seen": sum(r[who]["frames_off"] is None for r in rows),
        }  # fmt: skip
    return figure


def rows_entry_exit(figure: Metrics) -> list[Row]:
    ours = figure["con360"]
    beside = (
        f"in time {percent(ours['in_time_fraction'])}, sound unbroken {percent(ours['sound_unbroken_fraction'])}, "
        f"never seen {ours['never_seen']}"
    )
    return [
        Row(
            f"entry and exit within {CROSSING_FRAMES} frames", ours["fraction"], percent, ours["interval"],
            Bar(low=0.8), figure["baseline"]["fraction"], figure["codecs"]["fraction"], beside=beside,
            n=f"{figure['num_scenes']} scenes",
        )
    ]  # fmt: skip


# Moving view ----------------------------------------------------------------------------------------------------------


def measure_moving(bench: Bench, index: int) -> Measured:
    """Pan the BASD track and rank twelve true views by likeness to each frame."""
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
        # Add the first view: a clip that ignores the track's motion would show it throughout.
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
    """Compute the share of frames whose own true view fits best."""
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


def rows_moving(figure: Metrics) -> list[Row]:
    ours, base = figure["con360"], figure["baseline"]
    beside = (
        f"follows rather than rests {percent(ours['follows_fraction'])}, baseline {percent(base['follows_fraction'])}"
    )
    return [
        Row(
            "moving view: frames whose true view is best of 12", ours["best_of_12_fraction"], percent,
            ours["interval"], Bar(), base["best_of_12_fraction"], chance=figure["chance"], beside=beside,
            n=f"{figure['num_frames']} frames",
        )
    ]  # fmt: skip


TURN = probe("turn", measure_turn, reduce_turn, rows_turn, share=0.15)
ENTRY_EXIT = probe("entry_exit", measure_entry_exit, reduce_entry_exit, rows_entry_exit, share=0.09, one_in=4)
MOVING = probe("moving", measure_moving, reduce_moving, rows_moving, share=0.05, one_in=8)
