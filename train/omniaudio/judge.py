"""Judge models of Ambisonics on unseen procedural scenes: their decoded sound against the scene's own.

    python -m train.omniaudio.judge --out runs/judged                          # the built-in model, 256 scenes a set
    python -m train.omniaudio.judge --out runs/judged --model runs/omniaudio/bundle --beside runs/omniaudio/published
    python -m train.omniaudio.judge --out runs/judged --no-model --scenes 64   # only the rows that stand beside
    python -m train.omniaudio.judge --out runs/judged --clips FOLDER           # real clips with Ambisonics, too

`--beside` names further models: the published branches, or one that was trained without pictures. Each result is a
file in `--out`: a killed run goes on, and results of a model serve later runs.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from con360.choices import VOICE_FOLLOWS, VoiceFollows
from con360.errors import InputError
from con360.metrics.figure import bootstrap_interval
from con360.models.waveform_codec import WaveformCodec
from con360.placing.movement import MOVEMENT_FPS, PICTURE_HEIGHT, Movement, movement_of_clip
from con360.records import Sound
from con360.scenes import VOICES, Scene
from con360.sound.levels import resample
from con360.sounding.model import AmbisonicsModel, load_ambisonics_model
from con360.sounding.run import ambisonics_for_frames
from con360.sounding.settings import AmbisonicsSettings
from con360.timing import ClipSpec
from train.evaluation.field_clips import Clips, clips_of, evaluate, from_model
from train.evaluation.field_tables import DIRECTIONS, MAPS, Rows, definitions, degrees, summaries, table
from train.evaluation.fields import BESIDE, as_found, beside, figures
from train.evaluation.row import interval, number
from train.evaluation.store import Store, write_json
from train.examples import SPLIT_FIRST_SEED
from train.omniaudio.scenes import moving_scene

SPEC = ClipSpec()
# Pictures that models read: 8 a second, so high.
FPS, HEIGHT = 8.0, 112
BANDS_HZ = tuple(voice.band_hz for voice in VOICES.values())
RATES = {"drawn": None, "still": 0.0, "30": 30.0}
MODEL_ROWS = {
    "shuffled": "{}, another scene's pictures", "found": "cascade: W of {} where `placing.finding` finds it",
    "codec": "the true sound through the codec of {}",
}  # fmt: skip


@dataclass(frozen=True)
class Scenes:
    """Unseen scenes of one kind.

    Args:
        follows: what tells a performer's voice. rate: a key of `RATES`: how fast everything moves.
    """

    follows: VoiceFollows
    rate: str

    @property
    def part(self) -> str:
        return f"{self.follows}-{self.rate}"

    @property
    def title(self) -> str:
        moves = {"drawn": "half still, half moving", "still": "all still"}.get(
            self.rate, f"all moving {self.rate} degrees a second"
        )
        return f"voice follows {self.follows}, {moves}"

    def scene(self, index: int) -> Scene:
        return moving_scene(SPLIT_FIRST_SEED["test"] + index, self.follows, rate=RATES[self.rate])

    def true(self, index: int) -> Sound:
        return self.scene(index).foa(SPEC)


@lru_cache(maxsize=4)
def watched(scenes: Scenes, index: int) -> tuple[Movement, ...]:
    """Watch a scene's picture, without its sound."""
    clip = scenes.scene(index).panorama(PICTURE_HEIGHT, ClipSpec(fps=MOVEMENT_FPS))
    return tuple(movement_of_clip(replace(clip, sound=None)))


def measure_beside(scenes: Scenes, index: int) -> dict[str, Any]:
    """Measure the rows that need no model."""
    true = scenes.true(index)
    sounds = beside(true, scenes.true(index + 1), watched(scenes, index), index)
    return _measured(scenes, index, true, sounds)


def _measured(scenes: Scenes, index: int, true: Sound, sounds: dict[str, Sound]) -> dict[str, Any]:
    rows = {name: figures(sound, true, BANDS_HZ) for name, sound in sounds.items()}
    return {"sources": len(scenes.scene(index).performers), "rows": rows}


@dataclass(frozen=True)
class Judged:
    """A model under test.

    Args:
        name: of its rows. settings: of the sampler; its seed is added to each scene's.
    """

    name: str
    model: AmbisonicsModel
    settings: AmbisonicsSettings

    @property
    def request(self) -> dict[str, Any]:
        """Tell results of models and settings apart."""
        field = self.settings.of_model(self.model)
        return {"model": self.model.identity, "steps": field.steps, "cfg": field.cfg, "seed": field.seed}

    def measure(self, scenes: Scenes, index: int) -> dict[str, Any]:
        """Measure its sound for a scene, as it is and with W placed anew, its sound for the next, and its codec."""
        true, made = scenes.true(index), self.made(scenes, index)
        sounds = {
            "made": made, "shuffled": self.made(scenes, index + 1), "found": as_found(made, watched(scenes, index)),
            "codec": through_codec(self.model.network.codec, true),
        }  # fmt: skip
        return _measured(scenes, index, true, sounds)

    # A scene's sound is heard again, as the shuffled one of the scene before; other kinds of scenes come between.
    @lru_cache(maxsize=64)  # noqa: B019
    def made(self, scenes: Scenes, index: int) -> Sound:
        frames = scenes.scene(index).panorama(HEIGHT, ClipSpec(fps=FPS)).frames
        pictures = (frames * 255).round().byte().movedim(1, -1)
        settings = replace(self.settings, seed=self.settings.seed + index)
        return ambisonics_for_frames(pictures, FPS, self.model, settings)

    def __hash__(self) -> int:
        return hash(self.name)


@torch.no_grad()
def through_codec(codec: WaveformCodec, true: Sound) -> Sound:
    """Encode a sound and decode it again: the best that a model over this codec could make."""
    mean, _ = codec.vae.moments(resample(true, codec.sample_rate_hz).waveform[None].to(codec.vae.device))
    waveform = torch.cat(list(codec.decode_tiles([mean[0]])), 1)
    return replace(true, waveform=waveform, sample_rate_hz=codec.sample_rate_hz)


# Results that are kept, and what makes those of a scene.
Job: TypeAlias = tuple[Store, Callable[[Scenes, int], dict[str, Any]]]


def run(
    sets: Sequence[Scenes], count: int, minutes: float, jobs: Mapping[str, Job],
    say: Callable[[str], object],
) -> None:  # fmt: skip
    """Measure what is missing until the scenes or the time are used up."""
    end = time.monotonic() + 60 * minutes
    for index in range(count):
        for scenes in sets:
            for name, (store, measure) in jobs.items():
                if store.has(scenes.part, index):
                    continue
                if time.monotonic() > end:
                    return
                store.put(scenes.part, index, measure(scenes, index))
                say(f"{name}, {scenes.title}: {index + 1} of {count}")


def gathered(
    scenes: Scenes, stores: dict[str, Store], count: int
) -> tuple[dict[str, list[dict[str, float]]], dict[str, str], list[int]]:
    """Collect the scenes that every store has: rows by sound, their names, and each scene's number of sources."""
    results = {name: store.rows(scenes.part)[:count] for name, store in stores.items()}
    shared = min(len(found) for found in results.values())
    rows: dict[str, list[dict[str, float]]] = {}
    names = dict(BESIDE)
    for name, found in results.items():
        for key in found[0]["rows"] if found else ():
            own = key if name == "beside" else {"made": name}.get(key, f"{name} {key}")
            names |= {} if name == "beside" else {own: MODEL_ROWS.get(key, "**{}**").format(name)}
            rows[own] = [result["rows"][key] for result in found[:shared]]
    return rows, names, [result["sources"] for result in next(iter(results.values()))[:shared]]


def report(sets: Sequence[Scenes], stores: dict[str, Store], count: int) -> tuple[str, dict[str, Any]]:
    """Write all sets as Markdown, and as plain values."""
    parts, values = ["# Directions on procedural scenes\n", "Intervals: 95 %, bootstrap over scenes.\n"], {}
    models = [name for name in stores if name != "beside"]
    for scenes in sets:
        rows, names, sources = gathered(scenes, stores, count)
        if not sources:
            continue
        found = summaries(rows, (*DIRECTIONS, *MAPS))
        values[scenes.part] = {"scenes": len(sources), "figures": found}
        parts += [f"## {scenes.title}\n", table(found, DIRECTIONS, names), by_sources(rows, names, sources)]
        floor = f"{models[0]} codec" if models else ""
        parts += [table(found, MAPS, names), *(above_floor(rows, models[0], other, floor) for other in models[1:])]
    return "\n".join([*parts, definitions(published=False)]), values


def by_sources(rows: Rows, names: dict[str, str], sources: Sequence[int]) -> str:
    """Write the median error of clips by the number of sources."""
    counts = sorted(set(sources))
    titles = [f"{n} source{'s' * (n > 1)} ({sources.count(n)})" for n in counts]  # type: ignore[attr-defined]
    lines = [f"| clip, median, degrees | {' | '.join(titles)} |", f"|{'---|' * (len(counts) + 1)}"]
    column = degrees("clip", "")
    for name, clips in rows.items():
        cells = []
        for n in counts:
            own = {name: [clip for clip, m in zip(clips, sources, strict=True) if m == n]}
            cells.append(column.shown(summaries(own, [column])[name]["clip"]))
        lines.append(f"| {' | '.join((names.get(name, name), *cells))} |")
    return "\n".join(lines) + "\n"


def above_floor(rows: Rows, ours: str, other: str, floor: str) -> str:
    """Say how W's log-mel distances compare once the codec's own, the row `floor`, is taken off."""
    mels = np.array([[clip["log_mel"] for clip in rows[name]] for name in (ours, other, floor)]).T

    def ratio(table: np.ndarray) -> float:
        made, theirs, floor = table.mean(0)
        return float((made - floor) / (theirs - floor)) if theirs > floor else math.nan

    around = interval(bootstrap_interval(mels, ratio))
    return f"log-mel of W above the codec's floor, {ours} to {other}: {number(ratio(mels))} {around}\n"


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="judge", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder for results and tables")
    add("--model", type=Path, help="model folder or file (default: the built-in small one)")
    add("--no-model", action="store_true", help="measure only the rows that need no model")
    add("--beside", type=Path, nargs="*", default=[], help="further models, a row each")
    add("--pictures", type=Path, help="OmniAudio's picture encoder, a MetaCLIP folder")
    add("--scenes", type=int, default=256, help="scenes of each set (default: 256)")
    add("--minutes", type=float, default=math.inf, help="time for scenes (default: until all are measured)")
    add("--clips", type=Path, nargs="+", help="real clips with true Ambisonics, or folders of them")
    add("--follows", nargs="+", choices=VOICE_FOLLOWS, default=["colour", "none"], help="what tells a voice")
    add("--rates", nargs="+", choices=tuple(RATES), default=list(RATES), help="how fast everything moves")
    add("--steps", type=int, help="sampler steps (default: the model's)")
    add("--cfg", type=float, help="guidance (default: the model's)")
    add("--seed", type=int, default=0, help="of the noise")
    return parser


def _entrants(args: argparse.Namespace) -> dict[str, Judged]:
    """Load the models under test, by the names of their rows."""
    found: dict[str, Judged] = {}
    settings = AmbisonicsSettings(steps=args.steps, cfg=args.cfg, seed=args.seed, limiter=False, keep=False)
    for path in [] if args.no_model else [args.model, *args.beside]:
        model = load_ambisonics_model(path, args.pictures if path and path.is_file() else None)
        name = path.resolve().name if path else model.name
        if name in found or name == "beside":
            raise InputError(f"two models are called {name}, or one is called beside; rename its folder.")
        found[name] = Judged(name, model, settings)
    return found


def _scenes(args: argparse.Namespace, entrants: dict[str, Judged]) -> str:
    sets = [Scenes(follows, rate) for follows in args.follows for rate in args.rates]
    stores = {name: Store(args.out / name, one.request) for name, one in entrants.items()}
    stores["beside"] = Store(args.out / "beside", {"split": "test"})
    measures = {name: one.measure for name, one in entrants.items()} | {"beside": measure_beside}
    jobs = {name: (store, measures[name]) for name, store in stores.items()}
    run(sets, args.scenes, args.minutes, jobs, _say)
    text, values = report(sets, stores, args.scenes)
    write_json(args.out / "judged.json", values)
    (args.out / "judged.md").write_text(text, encoding="utf-8")
    return text


def _clips(args: argparse.Namespace, entrants: dict[str, Judged]) -> str:
    paths = clips_of(args.clips)
    request = {"clips": [path.name for path in paths], **{name: one.request for name, one in entrants.items()}}
    makers = {name: from_model(one.model, one.settings) for name, one in entrants.items()}
    return evaluate(Clips(paths, makers), Store(args.out / "-".join(("clips", *entrants)), request), _say)


def _say(line: str) -> None:
    print(line, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    try:
        if args.scenes < 1:
            raise InputError(f"--scenes is {args.scenes}; wanted 1 or more.")
        entrants = _entrants(args)
        _say(_scenes(args, entrants))
        if args.clips:
            _say(_clips(args, entrants))
    except InputError as error:
        print(f"judge: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
