"""Compare two views of one scene, as the paper's Table 1 does in its third row: the same scene, another view.

The sound is sampled once and held for the second view. Where the control gives its directions, each view's microphone
hears it in its own way.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from con360.geometry.perspective import to_camera, view_directions
from con360.metrics.figure import bootstrap_interval
from con360.metrics.frechet import frechet_distance
from con360.records import Sound, View, ViewpointClip, ViewTrack
from con360.sound.fields import synthesise
from con360.sound.levels import to_mono
from con360.sound.views import view_sound
from train.evaluation.bench import Bench, Clip
from train.evaluation.part import Measured, Metrics, probe
from train.evaluation.probes import FOV_DEG, rng_of
from train.evaluation.row import Row, number
from train.examples import scene_of

SECONDS = 2.0
# Views 90 degrees wide that share half of their width.
APART_DEG = 45.0
OTHER_SEED = 7919
# Between views over own to truth, FAD 4.12 over 3.21 and FVD 1594 over 1327.
PAPER = {"sound": 1.28, "picture": 1.20}


def measure_two_views(bench: Bench, index: int) -> Measured:
    """Generate two overlapping views of a scene over one sound, and the first again from another seed."""
    scene, rng, spec = scene_of("test", index), rng_of(index, 8), bench.spec(SECONDS)
    shown = scene.performers[int(rng.integers(len(scene.performers)))]
    middle = float(shown.yaw_at(SECONDS / 2))
    views = [View((middle + side * APART_DEG / 2 + 180.0) % 360.0 - 180.0, 0.0, FOV_DEG) for side in (-1, 1)]
    tracks = [ViewTrack.still(view, spec.num_frames) for view in views]
    first = bench.clip(bench.ask(scene, tracks[0], index, seconds=SECONDS), SECONDS)
    second = bench.clip(bench.ask(scene, tracks[1], index, seconds=SECONDS), SECONDS, first.sound)
    again = bench.clip(bench.ask(scene, tracks[0], index + OTHER_SEED, seconds=SECONDS), SECONDS, first.sound)
    ours = [Clip(c.frames, heard(first, t)) for c, t in zip((first, second), tracks, strict=True)]
    # The truth of a view's sound is what its microphone hears, whatever the control was trained towards.
    true = [Clip(scene.view_frames(t, bench.size, spec), scene.view_sound(t, spec)) for t in tracks]
    picture, sound = zip(*(bench.embeddings(clip) for clip in (*ours, *true)), strict=True)
    seen = {"views": second.frames, "seeds": seen_from(again.frames, *views)[0]}
    shared = {name: shared_distance(first.frames, frames, *views) for name, frames in seen.items()}
    shared["true"] = shared_distance(true[0].frames, true[1].frames, *views)
    embeddings = {"picture": [e.tolist() for e in picture], "sound": [e.tolist() for e in sound]}
    return {"embeddings": embeddings, "shared": shared, "directions": first.directions is not None}, {}


def heard(clip: ViewpointClip, track: ViewTrack) -> Sound:
    """Hear a clip's sound from a view: by its microphone where the sound has directions, else as it is."""
    if clip.directions is None:
        return clip.sound
    return view_sound(synthesise(to_mono(clip.sound), clip.directions), track, clip.fps)


def seen_from(frames: Tensor, view: View, other: View) -> tuple[Tensor, Tensor]:
    """Show a view's frames as another view sees them.

    Returns:
        Frames `[T, 3, s, s]`, and `[s, s]` true where the first view reaches.
    """
    size = frames.shape[-1]
    x, y, z = to_camera(view_directions(other.yaw_deg, other.pitch_deg, other.fov_deg, size), view).unbind(-1)
    half = math.tan(math.radians(view.fov_deg / 2))
    # Rows run downwards, y up. Behind the camera nothing is seen.
    grid = torch.stack((x, -y), -1) / (z.clamp_min(1e-6) * half)[..., None]
    inside = (z > 0) & (grid.abs() <= 1.0).all(-1)
    shown = F.grid_sample(frames, grid.expand(len(frames), -1, -1, -1).to(frames), align_corners=False)
    return shown, inside


def shared_distance(first: Tensor, second: Tensor, view: View, other: View) -> float:
    """Measure the root mean squared colour difference where two views of one scene overlap, mean over frames.

    Args:
        first, second: `[T, 3, s, s]` as `view` and as `other` see the scene.
    """
    shown, inside = seen_from(first, view, other)
    return float((shown - second)[..., inside].square().mean((1, 2)).sqrt().mean())


def reduce_two_views(rows: list[dict[str, Any]]) -> Metrics:
    """Compute the distance between the sets of first and of second views over that of a set to its truth."""
    figure: Metrics = {
        "text": f"two views of one scene, {APART_DEG:g} degrees apart, over one sound: Frechet distance between the "
        "sets of first and second views over the mean distance of each to its true views (the bundle's own VAE "
        "embeddings); shared: picture distance where the views overlap, beside the same view from another seed; "
        f"{SECONDS:g} s clips",
        "num_scenes": len(rows), "with_directions": all(row["directions"] for row in rows),
    }  # fmt: skip
    for kind in ("picture", "sound"):
        sets = np.array([row["embeddings"][kind] for row in rows])
        figure[kind] = _ratio(sets) if len(rows) > 1 else {"not_measured": "a Frechet distance needs two scenes"}
    for name in ("views", "seeds", "true"):
        values = np.array([row["shared"][name] for row in rows])
        figure[f"shared_{name}"], figure[f"shared_{name}_interval"] = float(values.mean()), bootstrap_interval(values)
    return figure


def _ratio(sets: np.ndarray) -> Metrics:
    """Reduce embeddings `[scenes, (first, second, first's truth, second's truth), D]`."""
    between, own = _between(sets), _own(sets)
    true = frechet_distance(sets[:, 2], sets[:, 3])
    interval = bootstrap_interval(sets, _over_own, resamples=200)
    return {"ratio": _over_own(sets), "ratio_interval": interval, "between": between, "own": own, "between_true": true}


def _between(sets: np.ndarray) -> float:
    return frechet_distance(sets[:, 0], sets[:, 1])


def _own(sets: np.ndarray) -> float:
    return 0.5 * (frechet_distance(sets[:, 0], sets[:, 2]) + frechet_distance(sets[:, 1], sets[:, 3]))


def _over_own(sets: np.ndarray) -> float:
    # Views that equal their truth have no ratio.
    return _between(sets) / own if (own := _own(sets)) > 0 else math.nan


def rows_two_views(figure: Metrics) -> list[Row]:
    n = f"{figure['num_scenes']} scenes"
    same = "" if figure["with_directions"] else "the control gives no directions, so both views hear the same; "
    rows = [_frechet_row(figure, kind, said, n) for kind, said in (("picture", ""), ("sound", same))]
    shared = Row(
        "shared part of two views: picture distance", figure["shared_views"], around=figure["shared_views_interval"],
        floor=figure["shared_true"], chance=figure["shared_seeds"], beside="floor: the true views; chance: two seeds "
        "of one view", n=n,
    )  # fmt: skip
    return [*rows, shared]


def _frechet_row(figure: Metrics, kind: str, said: str, n: str) -> Row:
    name, found = f"two views of one scene, {kind}s: Fréchet distance over own to truth", figure[kind]
    if "ratio" not in found:
        return Row(name, None, beside=found["not_measured"], n=n)
    beside = (
        f"{said}between {number(found['between'])}, own to truth {number(found['own'])}, between true views "
        f"{number(found['between_true'])}; paper {PAPER[kind]:.2f}"
    )
    return Row(name, found["ratio"], around=found["ratio_interval"], beside=beside, n=n)


TWO_VIEWS = probe("two_views", measure_two_views, reduce_two_views, rows_two_views, share=0.1, one_in=8)
