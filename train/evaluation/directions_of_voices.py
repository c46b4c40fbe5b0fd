"""Measure a direction head: where does a field have each voice, beside what the caption or the maps alone say?

    python -m train.evaluation.directions_of_voices --control CONTROL.safetensors --out runs/field/evaluation
    python -m train.evaluation.directions_of_voices --control CONTROL.safetensors --out DIR --scenes 64 --generated 32
    python -m train.evaluation.directions_of_voices --control CONTROL.safetensors --out DIR --data FOLDER

CONTROL is a control file that carries a head, or the head by itself. Each scene's result is a file in `--out`: a killed
run resumes, and a longer run uses the results of a shorter one. `--generated` samples the sound of so many scenes with
the model; `--data` measures real 360° clips with true Ambisonics, too.

Shape legend: T frames, H W map rows and columns, V voices, R rows of 40 ms, K bands.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from con360.caption import typed_caption
from con360.choices import BUILT_IN_MODEL
from con360.control import LoadedControl
from con360.control.directions import directions_of
from con360.control.field_file import load_head
from con360.control.field_head import FieldHead
from con360.door import load_model
from con360.geometry.erp import erp_directions
from con360.media.info import probe
from con360.media.reader import read_panorama
from con360.metrics.directions import angular_errors
from con360.metrics.sectors import sector_errors_db
from con360.models.joint import JointModel
from con360.pipeline import default_settings, generate
from con360.placing.finding import find_rhythms, most_moving
from con360.placing.movement import MOVEMENT_FPS, PICTURE_HEIGHT, movement_of_clip
from con360.records import Conditions, DirectionField, PanoramaClip, SaliencyMaps, Sound, View, ViewTrack
from con360.saliency.colours import unusual_colours
from con360.saliency.predict import predict_saliency
from con360.scenes import DIRECTION_WORDS, Scene
from con360.sound.band_powers import band_powers
from con360.sound.bands import BANDS
from con360.sound.fields import ROW_S, analyse, synthesise
from con360.sound.levels import fit_length
from con360.sound.views import view_sound
from con360.timing import ClipSpec
from con360.viewpoint.basd import basd_maps
from train.evaluation.field_clips import clips_of, video_of
from train.evaluation.probes import level, rng_of
from train.evaluation.store import Store, write_json
from train.examples import ESTIMATOR, MAP_HEIGHT, random_view, scene_of
from train.field.cache import SILENT_DB, render, voices_of
from train.field.draws import azimuth_errors_deg
from train.field.scenes import bands_of, with_other_rates, words_of
from train.loop import exit_status

SPEC = ClipSpec()
VIEWS = 6
# Sectors are compared over the whole band.
ALL_HZ = (0.0, 8000.0)
FOV_DEG = 90.0
# Names of rows: who is asked, with which words, which maps and which sound.
WORD, ANOTHER, FOUND = "the caption's word alone", "another scene's field", "phase-free find the place"
OTHER_RATES = "rates redrawn: "


@dataclass(frozen=True)
class Stage:
    """Hold a test scene with what is asked about it.

    Args:
        maps: of its panorama by kind, `[T, H, W]`: `estimated` as users have it, `seen` without its sound, `true`.
        voices: of each voice alone: powers in decibels `[V, R, K]` and yaws `[V, R]`.
    """

    scene: Scene
    maps: dict[str, Tensor]
    colours: Tensor
    voices: tuple[Tensor, Tensor]
    mono: Sound

    @property
    def silence(self) -> Sound:
        return replace(self.mono, waveform=torch.zeros_like(self.mono.waveform))


def stage(scene: Scene) -> Stage:
    """Render a scene of 4 s."""
    rendered = render(scene, SPEC)
    rays = erp_directions(2 * MAP_HEIGHT)
    frames = torch.stack([scene.render(rays, t) for t in SPEC.frame_times_s()])
    seen = predict_saliency(frames, ESTIMATOR, fps=SPEC.fps, height=MAP_HEIGHT).maps
    count = len(scene.performers)
    maps = {"estimated": rendered.estimated.float() / 255, "seen": seen, "true": rendered.true.float() / 255}
    voices = (rendered.powers_db[:count].float(), rendered.yaws_deg[:count])
    return Stage(scene, maps, rendered.colours.float() / 255, voices, omni(scene))


def omni(scene: Scene) -> Sound:
    """The scene's W."""
    return Sound(scene.foa(SPEC).waveform[:1], SPEC.sample_rate_hz)


def asked(
    head: FieldHead, of: Stage, maps: str | None, caption: str, sound: Sound, colours: bool = True
) -> DirectionField:
    """Ask the head; without maps it gets flat ones and no colours."""
    saliency = torch.ones_like(of.colours) if maps is None else of.maps[maps]
    named = {"colours": of.colours} if colours and maps is not None else {}
    basd = basd_maps(ViewTrack.still(View(0.0), SPEC.num_frames), 8)
    conditions = Conditions(SaliencyMaps(saliency, ""), basd, typed_caption(caption), named)
    return directions_of(head, conditions, sound, SPEC.fps)[0]


def captions(scene: Scene, index: int) -> tuple[str, str]:
    """The scene's caption, and one without direction words whose phrases stand in any order."""
    return scene.caption().short, words_of(scene, rng_of(index, 31), told=False, shuffled=True)


# Scenes ---------------------------------------------------------------------------------------------------------------


def measure_scene(head: FieldHead, index: int) -> dict[str, Any]:
    """Errors of each voice by row, in degrees, and levels of some rows, of a scene and of it with other rates."""
    of = stage(scene_of("test", index))
    told, untold = captions(of.scene, index)
    fields = {
        "caption, estimated maps": asked(head, of, "estimated", told, of.mono),
        "caption, true maps": asked(head, of, "true", told, of.mono),
        "caption, estimated maps, no sound": asked(head, of, "estimated", told, of.silence),
        "caption, true maps, no sound": asked(head, of, "true", told, of.silence),
        "caption and bands, no sound": asked(head, of, None, told, of.silence),
        WORD: field_of_words(of),
        ANOTHER: another_field(head, index),
        "caption, maps of the picture alone": asked(head, of, "seen", told, of.mono),
        "caption, estimated maps without colours": asked(head, of, "estimated", told, of.mono, colours=False),
        "no directions, estimated maps": asked(head, of, "estimated", untold, of.mono),
        "no directions, true maps": asked(head, of, "true", untold, of.mono),
        "no directions, maps of the picture alone": asked(head, of, "seen", untold, of.mono),
        "no directions, estimated maps without colours": asked(head, of, "estimated", untold, of.mono, colours=False),
        "no directions, estimated maps, no sound": asked(head, of, "estimated", untold, of.silence),
    }  # fmt: skip
    errors = {name: errors_of(field, *of.voices) for name, field in fields.items()}
    judged = [name for name in fields if name in LEVELLED]
    levels = {name: level_errors_db(fields[name], of) for name in judged} | {"analysis of the truth": floor_db(of)}
    views = {name: view_levels(fields[name], of) for name in judged}
    return {"errors": errors | _with_other_rates(head, of.scene, index), "levels": levels, "views": views}


LEVELLED = ("caption, estimated maps", "caption, true maps", "no directions, estimated maps", WORD, ANOTHER)


def _with_other_rates(head: FieldHead, scene: Scene, index: int) -> dict[str, list[float]]:
    of = stage(with_other_rates(scene, rng_of(index, 32)))
    told, untold = captions(of.scene, index)
    fields = {
        "caption, estimated maps": asked(head, of, "estimated", told, of.mono),
        "no directions, estimated maps": asked(head, of, "estimated", untold, of.mono),
        "no directions, true maps": asked(head, of, "true", untold, of.mono),
        "no directions, maps of the picture alone": asked(head, of, "seen", untold, of.mono),
        "no directions, estimated maps, no sound": asked(head, of, "estimated", untold, of.silence),
    }  # fmt: skip
    return {OTHER_RATES + name: errors_of(field, *of.voices) for name, field in fields.items()}


def errors_of(field: DirectionField, powers_db: Tensor, yaws_deg: Tensor) -> list[float]:
    """Azimuth error of each voice."""
    return azimuth_errors_deg(field.vectors[: powers_db.shape[1]], powers_db, yaws_deg).tolist()


def field_of_words(of: Stage) -> DirectionField:
    """Put each voice's bands in the middle of the sector that the caption names."""
    vectors = torch.zeros(of.voices[0].shape[1], BANDS, 3)
    for performer in of.scene.performers:
        sector = next(i for i, words in enumerate(DIRECTION_WORDS) if performer.phrase.endswith(f"s {words}"))
        yaw = np.radians(45.0 * sector)
        vectors[:, bands_of(performer)] = torch.tensor([-np.sin(yaw), 0.0, np.cos(yaw)]).float()
    return DirectionField(vectors, (1.0 - vectors.square().sum(-1)).clamp(0.0, 1.0), ROW_S)


def another_field(head: FieldHead, index: int) -> DirectionField:
    """The field of the next scene, with its own true maps, caption and sound."""
    scene = scene_of("test", index + 1)
    rays = erp_directions(MAP_HEIGHT)
    frames = torch.stack([scene.render(rays, t) for t in SPEC.frame_times_s()])
    maps = torch.stack([scene.saliency_at(rays, t) for t in SPEC.frame_times_s()])
    powers, yaws, _ = voices_of(scene, SPEC)
    of = Stage(scene, {"true": maps}, unusual_colours(frames).clamp_max(1.0), (powers, yaws), omni(scene))
    return asked(head, of, "true", scene.caption().short, of.mono)


# Levels ---------------------------------------------------------------------------------------------------------------


def level_errors_db(field: DirectionField, of: Stage) -> list[float]:
    """Differences of each sector's level relative to W from the truth, absolute."""
    return sector_errors_db(synthesise(of.mono, field), of.scene.foa(SPEC), [ALL_HZ]).tolist()


def floor_db(of: Stage) -> list[float]:
    return level_errors_db(analyse(of.scene.foa(SPEC)), of)


def view_levels(field: DirectionField, of: Stage) -> dict[str, list[float]]:
    """Level of each voice by the view's microphone, at six yaws: made and true, each voice after the other."""
    made, true = synthesise(of.mono, field), of.scene.foa(SPEC)
    tracks = [View(yaw, 0.0, FOV_DEG) for yaw in np.arange(VIEWS) * 360.0 / VIEWS - 180.0]
    heard = {"made": made, "true": true}
    sounds = {name: [view_sound(sound, view, SPEC.fps) for view in tracks] for name, sound in heard.items()}
    return {name: [level(s, p) for p in of.scene.performers for s in every] for name, every in sounds.items()}


# Generated sound ------------------------------------------------------------------------------------------------------


def measure_generated(
    head: FieldHead, model: JointModel, control: LoadedControl | None, steps: int | None, index: int
) -> dict[str, Any]:
    """The same of a sound that the model makes of a scene, and of the true sound through its codec."""
    of = stage(scene_of("test", index))
    told, untold = captions(of.scene, index)
    rows: dict[str, list[float]] = {}
    for name, sound in {
        "codec": through_codec(model, of.mono),
        "generated": generated(model, control, of, steps, index),
    }.items():
        voices = powers_of(sound, of.scene), of.voices[1]
        asking = {f"{words}, {maps} maps": asked(head, of, maps, caption, sound)
                  for words, caption in (("caption", told), ("no directions", untold))
                  for maps in ("estimated", "true")}  # fmt: skip
        asking[FOUND] = found_field(of.scene, sound)
        rows |= {f"{name}: {row}": errors_of(field, *voices) for row, field in asking.items()}
    return {"errors": rows}


def through_codec(model: JointModel, sound: Sound) -> Sound:
    with torch.no_grad():
        return model.codecs.audio.decode(model.codecs.audio.encode(sound, SPEC)[0], SPEC)


def generated(model: JointModel, control: LoadedControl | None, of: Stage, steps: int | None, index: int) -> Sound:
    """Sample the scene's sound with the model's own control, from true maps and caption, for a random view."""
    track = ViewTrack.still(random_view(of.scene, rng_of(index, 33)), SPEC.num_frames)
    conditions = Conditions(of.scene.saliency(MAP_HEIGHT, SPEC), basd_maps(track, MAP_HEIGHT), of.scene.caption())
    return generate(model, control, conditions, default_settings(model, steps=steps, seed=index)).sound


def powers_of(sound: Sound, scene: Scene) -> Tensor:
    """Powers `[V, R, K]` of each voice's bands in a sound."""
    sound = fit_length(sound, SPEC.num_samples)
    fine = torch.cat(list(band_powers([sound.waveform], sound.sample_rate_hz)))
    powers = 10 * fine.unflatten(0, (-1, 4)).mean(1).clamp_min(1e-12).log10()
    own = torch.stack([bands_of(p) for p in scene.performers])[:, None]
    return torch.where(own, powers, SILENT_DB)


def found_field(scene: Scene, sound: Sound) -> DirectionField:
    """Field of 'find the place' by rhythm, at 15 frames a second; each band goes somewhere."""
    rays, count = erp_directions(PICTURE_HEIGHT), round(SPEC.seconds * MOVEMENT_FPS)
    frames = torch.stack([scene.render(rays, i / MOVEMENT_FPS) for i in range(count)])
    return find_rhythms(movement_of_clip(PanoramaClip(frames, MOVEMENT_FPS)), sound, 0.01).field


# Real clips -----------------------------------------------------------------------------------------------------------


def measure_clip(head: FieldHead, path: Path) -> dict[str, Any]:
    """Angle of the first seconds' mean direction to the true one, by row; maps are of the picture alone."""
    info = probe(path)
    seconds = min(SPEC.seconds, info.duration_s or SPEC.seconds)
    clip = read_panorama(path, duration_s=seconds, fps=SPEC.fps, height=2 * MAP_HEIGHT)
    moving = read_panorama(path, duration_s=seconds, fps=MOVEMENT_FPS, height=PICTURE_HEIGHT)
    assert clip.sound is not None, "clips_of lists clips with Ambisonics"
    true = replace(clip.sound, waveform=clip.sound.waveform[:4])
    mono = Sound(true.waveform[:1], true.sample_rate_hz)
    maps = predict_saliency(clip.frames, ESTIMATOR, fps=clip.fps, height=MAP_HEIGHT).maps
    basd = basd_maps(ViewTrack.still(View(0.0), clip.num_frames), 8)
    colours = {"colours": unusual_colours(clip.frames).clamp_max(1.0)}
    conditions = Conditions(SaliencyMaps(maps, ESTIMATOR), basd, typed_caption(""), colours)
    vectors = torch.tensor([0.0, 0.0, 1.0]).expand(round(seconds / ROW_S), BANDS, 3)
    fields = {
        "the head": directions_of(head, conditions, mono, clip.fps)[0],
        "straight ahead": DirectionField(vectors, torch.zeros(vectors.shape[:2])),
        "most moving": most_moving(movement_of_clip(moving), mono).field,
    }  # fmt: skip
    errors = {name: angular_errors(synthesise(mono, field), true, "clip").mean_deg for name, field in fields.items()}
    return {"clip": path.name, "video": video_of(path.stem.removeprefix("sph360_")), "errors": errors}


# Tables ---------------------------------------------------------------------------------------------------------------


def summary(results: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Shares within 20 and 10 degrees and the median error of each row, over all voices."""
    names = dict.fromkeys(name for result in results for name in result["errors"])
    found = {}
    for name in names:
        errors = np.array([error for result in results for error in result["errors"].get(name, [])])
        found[name] = {
            "within_20": float((errors <= 20).mean()), "within_10": float((errors <= 10).mean()),
            "median_deg": float(np.median(errors)), "voices": len(errors),
        }  # fmt: skip
    return found


def level_summary(results: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean error of sector levels; slope and median error of the levels that the view's microphone hears."""
    found: dict[str, dict[str, float]] = {}
    for name in dict.fromkeys(name for result in results for name in result["levels"]):
        found[name] = {"sector_db": float(np.mean([result["levels"][name] for result in results]))}
        views = [result["views"][name] for result in results if name in result["views"]]
        if not views:
            continue
        made, true = (
            np.concatenate([np.reshape(view[who], (-1, VIEWS)) for view in views]) for who in ("made", "true")
        )
        x, y = (levels - levels.mean(1, keepdims=True) for levels in (true, made))
        found[name] |= {"slope": float((x * y).sum() / (x * x).sum()), "view_db": float(np.median(np.abs(made - true)))}
    return found


def text_of(figures: dict[str, Any]) -> str:
    """Write the tables."""
    lines = [f"# Directions of voices: {figures['scenes']} scenes", ""]
    lines += ["| field | within 20, % | within 10, % | median, degrees | voices |", "|---|---|---|---|---|"]
    lines += [
        f"| {name} | {100 * f['within_20']:.0f} | {100 * f['within_10']:.0f} | {f['median_deg']:.1f} | {f['voices']} |"
        for part in ("voices", "generated") for name, f in figures[part].items()
    ]  # fmt: skip
    lines += ["", "| field | sectors, dB | view's microphone: slope | median, dB |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {f['sector_db']:.2f} | {f.get('slope', float('nan')):.2f} | {f.get('view_db', float('nan')):.2f} |"
        for name, f in figures["levels"].items()
    ]
    lines += ["", "| real clips | median, degrees | mean | clips | videos |", "|---|---|---|---|---|"]
    lines += [
        f"| {name} | {f['median_deg']:.0f} | {f['mean_deg']:.0f} | {f['clips']} | {f['videos']} |"
        for name, f in figures["real"].items()
    ]
    return "\n".join(lines) + "\n"


def real_summary(results: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    names = results[0]["errors"] if results else {}
    columns = {name: np.array([result["errors"][name] for result in results]) for name in names}
    videos = len({result["video"] for result in results})
    return {
        name: {
            "median_deg": float(np.nanmedian(e)),
            "mean_deg": float(np.nanmean(e)),
            "clips": len(e),
            "videos": videos,
        }
        for name, e in columns.items()
    }


# The command ----------------------------------------------------------------------------------------------------------


def evaluate(args: argparse.Namespace, say: Callable[[str], object] = print) -> str:
    """Measure what is asked for and not yet measured; write `metrics.json` and `table.md`; return the tables."""
    head = load_head(args.control)
    store = Store(args.out, {"control": args.control.name, "bytes": args.control.stat().st_size, "steps": args.steps})
    _fill(store, "scenes", range(args.scenes), functools.partial(measure_scene, head), say)
    if args.generated:
        making = functools.partial(measure_generated, head, *load_model(args.model), args.steps)
        _fill(store, "generated", range(args.generated), making, say)
    paths = clips_of([args.data]) if args.data else []
    paths = [path for path in paths if probe(path).width]
    _fill(store, "real", range(len(paths)), lambda index: measure_clip(head, paths[index]), say)
    scenes = store.rows("scenes")
    figures = {
        "scenes": len(scenes), "voices": summary(scenes), "generated": summary(store.rows("generated")),
        "levels": level_summary(scenes), "real": real_summary(store.rows("real")),
    }  # fmt: skip
    write_json(args.out / "metrics.json", figures)
    text = text_of(figures)
    (args.out / "table.md").write_text(text, encoding="utf-8")
    return text


def _fill(
    store: Store, part: str, numbers: range, measure: Callable[[int], dict[str, Any]], say: Callable[[str], object]
) -> None:
    for number in numbers:
        if not store.has(part, number):
            store.put(part, number, measure(number))
            say(f"{part}: {number + 1} of {len(numbers)}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--control", type=Path, required=True, help="control file with a head, or a head")
    parser.add_argument("--out", type=Path, required=True, help="folder of results")
    parser.add_argument("--scenes", type=int, default=32, help="number of unseen scenes (32)")
    parser.add_argument("--generated", type=int, default=0, help="number of scenes whose sound the model makes (0)")
    parser.add_argument("--model", default=BUILT_IN_MODEL, help="model that makes it (%(default)s)")
    parser.add_argument("--steps", type=int, help="sampling steps (as the model recommends)")
    parser.add_argument("--data", type=Path, help="folder of 360° clips with true Ambisonics")
    args = parser.parse_args(argv)
    return exit_status(lambda: print(evaluate(args)))


if __name__ == "__main__":
    raise SystemExit(main())
