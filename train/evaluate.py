"""Evaluate on unseen procedural scenes: paired figures and probes, as a table, JSON and pictures.

    python train/evaluate.py --out runs/evaluation                      # paired, as many scenes as fit 15 minutes
    python train/evaluate.py --out runs/evaluation --probes all --minutes 120
    python train/evaluate.py --out runs/evaluation --scenes 256 --probes all
    python train/evaluate.py --out runs/evaluation --only turn --scenes 64
    python train/evaluate.py --out runs/meaning/evaluation --only meaning --scenes 64 --meaning pe-av
    python train/evaluate.py --out runs/evaluation --scenes 256 --probes all --before runs/earlier   # two side by side
    python train/evaluate.py --out runs/evaluation --scenes 256 --share 1/2 & # two processes (or machines) on one
    python train/evaluate.py --out runs/evaluation --scenes 256 --share 2/2   # folder; the last writes the full table
    python train/evaluate.py --out runs/evaluation --minutes 0          # only write the table of the results so far
    python train/evaluate.py --config train/omniaudio.yaml --data clips --out runs/bench   # directions of real clips

Each scene's result is a file in `--out`: a killed run resumes, and a longer run uses the results of a shorter one.
The baseline is the same model with its maps off, or another model (`--baseline FOLDER`).
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# When run as a script, sys.path starts with this folder, where `train` would mean `train/train.py`.
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

from con360.choices import BUILT_IN_MODEL  # noqa: E402
from con360.control import fingerprint, load_control  # noqa: E402
from con360.errors import InputError  # noqa: E402
from con360.meaning.built_in import BUILT_IN_MEANING  # noqa: E402
from con360.meaning.load import load_meaning  # noqa: E402
from con360.media.files import existing_file  # noqa: E402
from con360.metrics.audio import load_clap, load_classifier  # noqa: E402
from con360.metrics.saliency import load_tempsal  # noqa: E402
from con360.metrics.video import load_i3d  # noqa: E402
from con360.pipeline import default_settings  # noqa: E402
from con360.weights.find import control_file, model_folder  # noqa: E402
from con360.weights.load import load_joint_model  # noqa: E402
from train.evaluation import field_clips, plots  # noqa: E402
from train.evaluation.bench import Bench  # noqa: E402
from train.evaluation.embeddings import joint_space  # noqa: E402
from train.evaluation.judges import BAND_CLASSIFIER, Judges  # noqa: E402
from train.evaluation.part import Metrics, Part, Tools  # noqa: E402
from train.evaluation.parts import PARTS  # noqa: E402
from train.evaluation.report import markdown  # noqa: E402
from train.evaluation.row import Row  # noqa: E402
from train.evaluation.store import Store, read_json, write_json  # noqa: E402

DEFAULT_MINUTES = 15.0
MAPS_OFF = "the same model with maps off (it was trained with its maps dropped in part of the examples)"
TEMPSAL = (
    "S_KL's saliency is the training-free estimator of con360/metrics/saliency.py, not the paper's TempSAL (--tempsal "
    "FILE, its network as TorchScript)"
)


PART_NAMES = tuple(part.name for part in PARTS)


@dataclass(frozen=True)
class Share:
    """Choose one process's scenes: every `of`-th, from `number` (1 to `of`) on."""

    number: int = 1
    of: int = 1

    @property
    def first(self) -> int:
        return self.number - 1


WHOLE = Share()


class Clock:
    """Choose the next scene and part, while time is left."""

    def __init__(
        self, store: Store, parts: dict[str, Part], scenes: int | None, minutes: float | None, share: Share = WHOLE
    ) -> None:
        self.store, self.parts, self.scenes, self.share = store, parts, scenes, share
        self.started, self.budget_s = time.monotonic(), math.inf if minutes is None else 60 * minutes
        # Count the time of earlier runs, so that a continued run ends with the same shares.
        self.spent = {name: [row["seconds"] for row in store.rows(name)] for name in parts}
        self.next_index = dict.fromkeys(parts, share.first)

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started

    def next(self) -> tuple[str, int] | None:
        """Return the next (part, scene index), or None at the end."""
        for name in sorted(self.parts, key=lambda n: sum(self.spent[n]) / self.parts[n].share):
            index = self._first_missing(name)
            if self.scenes is not None and index >= self.parts[name].count(self.scenes):
                continue
            mean_s = sum(self.spent[name]) / max(len(self.spent[name]), 1)
            if self.elapsed_s < self.budget_s and self.elapsed_s + mean_s <= self.budget_s:
                return name, index
        return None

    def _first_missing(self, name: str) -> int:
        while self.store.has(name, self.next_index[name]):
            self.next_index[name] += self.share.of
        return self.next_index[name]


def run(
    store: Store, parts: dict[str, Part], tools: Tools, scenes: int | None, minutes: float | None, share: Share = WHOLE
) -> None:
    """Measure until the scenes or the time are used up."""
    clock = Clock(store, parts, scenes, minutes, share)
    while (job := clock.next()) is not None:
        name, index = job
        before = time.monotonic()
        result, clips = parts[name].measure(tools, index)
        seconds = time.monotonic() - before
        store.put(name, index, {**result, "seconds": seconds}, clips)
        clock.spent[name].append(seconds)
        tools.say(f"{name} {index}: {seconds:.1f} s, {clock.elapsed_s / 60:.1f} min in all")


def collect(store: Store, tools: Tools, request: dict[str, Any], baseline_is: str) -> Metrics:
    """Build `metrics.json` from all results in the folder."""
    metrics: Metrics = {"num_scenes": 0, "baseline_is": baseline_is, "request": request, "seconds": {}}
    for part in PARTS:
        if found := store.rows(part.name):
            metrics |= part.reduce(tools, found)
            metrics["seconds"][part.name] = round(sum(row["seconds"] for row in found), 1)
    metrics["not_measured"] = _not_measured(request)
    return metrics


def _not_measured(request: dict[str, Any]) -> dict[str, str]:
    missing = {} if "tempsal" in request else {"S_KL by TempSAL": TEMPSAL}
    if not request["clap"]:
        missing["CLAP score, FAD, FAVD"] = "no CLAP model was given (--clap FOLDER); fad_tiny and text_sound stand in"
    if not request["i3d"]:
        missing["FVD, FAVD"] = "no I3D was given (--i3d FILE); fvd_tiny stands in"
    if not request["classifier"]:
        missing["KL and IS by a trained classifier"] = f"none was given (--classifier FOLDER); {BAND_CLASSIFIER}"
    return missing


def write(store: Store, metrics: Metrics, before: Metrics) -> list[Path]:
    """Write metrics.json, table.md and the pictures; return their paths."""
    out = store.folder
    write_json(out / "metrics.json", metrics)
    text = markdown(metrics, rows_of(metrics), {row.name: row for row in rows_of(before)})
    (out / "table.md").write_text(text, encoding="utf-8")
    written = [out / "metrics.json", out / "table.md"]
    shown, turned = store.clips("paired"), store.clips("turn")
    pictures: list[tuple[str, Callable[[Path], None]]] = [("metrics.png", lambda p: plots.metrics_plot(metrics, p))]
    if shown:
        pictures.append(("contact_sheet.png", lambda p: plots.contact_sheet(shown, p)))
        pictures.append(("spectrograms.png", lambda p: plots.spectrograms(shown[:4], p)))
    if turned:
        pictures.append(("turn.png", lambda p: plots.turn_sheet(turned, p)))
    for name, draw in pictures:
        draw(out / name)
        written.append(out / name)
    return written


def rows_of(metrics: Metrics) -> list[Row]:
    """Give the table's rows of what was measured, part by part."""
    return [row for part in PARTS for row in part.rows(metrics)]


def read_before(folder: Path | None) -> Metrics:
    """Read the figures of an earlier evaluation; none without a folder.

    Raises:
        InputError: the folder holds no `metrics.json`, or a damaged one.
    """
    return {} if folder is None else read_json(existing_file(folder / "metrics.json"))


def make_bench(args: argparse.Namespace) -> tuple[Bench, dict[str, Any], str]:
    """Return (models, request that the folder belongs to, description of the baseline)."""
    name = args.model
    if args.config is not None:
        from train.config import from_yaml

        name = name or from_yaml(args.config).base
    model = load_joint_model(model_folder(name or BUILT_IN_MODEL))
    path = control_file(args.control, Path(model.folder))
    if path is None:
        raise InputError(f"{model.name} has no control.safetensors; give a control file with --control FILE.")
    control = load_control(path)
    baseline = load_joint_model(model_folder(args.baseline)) if args.baseline else None
    settings = default_settings(model, steps=args.steps, seed=args.seed)
    request = {
        "model": model.name, "weights": fingerprint(model.unet.unet_v, model.unet.unet_a),
        "control": fingerprint(control.module),
        "baseline": fingerprint(baseline.unet.unet_v, baseline.unet.unet_a) if baseline else "maps off",
        "steps": settings.steps, "cfg_video": settings.cfg_video, "cfg_audio": settings.cfg_audio,
        "seed": settings.seed, "saliency": args.saliency, "clap": _name(args.clap), "i3d": _name(args.i3d),
        "classifier": _name(args.classifier),
    }  # fmt: skip
    # Leave it out unless given, so that folders made before this option existed can be continued.
    request |= {"tempsal": _name(args.tempsal)} if args.tempsal else {}
    request |= {"meaning": args.meaning} if args.meaning != BUILT_IN_MEANING else {}
    baseline_is = f"{baseline.name}, a model of its own, without maps" if baseline else MAPS_OFF
    return Bench(model, control, baseline, settings, args.saliency, args.batch), request, baseline_is


def _name(path: Path | None) -> str:
    return path.resolve().name if path else ""


def make_judges(args: argparse.Namespace, bench: Bench, say: Callable) -> Callable[[], Judges]:
    """Return a function that loads the judges on first use: fitting takes a minute, and the probes need none."""
    made: list[Judges] = []

    def judges() -> Judges:
        if not made:
            estimator: dict[str, Any] = {}
            if args.tempsal:
                estimator = {"saliency_method": load_tempsal(args.tempsal), "saliency_name": _name(args.tempsal)}
            else:
                say(f"{TEMPSAL}.")
            classifier = load_classifier(args.classifier) if args.classifier else None
            made.append(
                Judges(
                    joint_space(bench, args.out / "joint_space.safetensors"),
                    clap=load_clap(args.clap) if args.clap else None,
                    i3d=load_i3d(args.i3d) if args.i3d else None, i3d_name=_name(args.i3d), classifier=classifier,
                    classifier_name=_name(args.classifier) or BAND_CLASSIFIER, **estimator,
                )
            )  # fmt: skip
        return made[0]

    return judges


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder for results, table and pictures")
    add("--config", type=Path, help="training configuration whose base model is evaluated, such as train/tiny.yaml")
    add("--model", help=f"model name or folder (default: the configuration's, else {BUILT_IN_MODEL})")
    add("--control", help="control file (default: the model's own)")
    add("--baseline", type=Path, help="model folder of a baseline (default: the same model with maps off)")
    add("--before", type=Path, help="folder of an earlier evaluation, whose figures stand in the table, too")
    add("--scenes", type=int, help="paired scenes and turns; the other probes take one in four or eight of them")
    add("--minutes", type=float, help=f"time of this run (default: {DEFAULT_MINUTES:g}; no limit with --scenes)")
    add("--only", type=_part_list, help=f"measure only these parts, separated by commas: {', '.join(PART_NAMES)}")
    add("--probes", type=_part_list, default=(), help="probes to run beside the paired figures: names, or all")
    add("--steps", type=int, help="sampler steps (default: the model's)")
    add("--seed", type=int, default=0, help="of the noise")
    add("--saliency", choices=("truth", "estimated"), default="truth", help="saliency that the control reads")
    add("--share", type=_share, default=WHOLE, metavar="K/N", help="measure only every N-th scene, from the K-th on")
    add("--batch", type=int, default=2, help="clips sampled together")
    add("--clap", type=Path, help="local ClapModel folder, for CLAP score, FAD and FAVD")
    add("--tempsal", type=Path, help="TempSAL's network as a local TorchScript file, for S_KL as in the paper")
    add("--i3d", type=Path, help="local I3D TorchScript file, for FVD and FAVD")
    add("--meaning", default=BUILT_IN_MEANING, help="encoder of the part 'meaning': a name, a file or a folder")
    add("--classifier", type=Path, help="local audio classifier folder (transformers), for KL and IS")
    field_clips.add_options(parser)
    return parser


def _part_list(text: str) -> tuple[str, ...]:
    names = PART_NAMES if text.strip() == "all" else tuple(name.strip() for name in text.split(","))
    unknown = [name for name in names if name not in PART_NAMES]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is no part; choose from {', '.join(PART_NAMES)}")
    return names


def _share(text: str) -> Share:
    number, slash, of = text.partition("/")
    if not (slash and number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise argparse.ArgumentTypeError(f"{text!r} is no share; wanted K/N with K from 1 to N, such as 1/2")
    return Share(int(number), int(of))


def _check(args: argparse.Namespace) -> None:
    if args.scenes is not None and args.scenes < 1:
        raise InputError(f"--scenes is {args.scenes}; wanted 1 or more.")
    if args.minutes is not None and not args.minutes >= 0:
        raise InputError(f"--minutes is {args.minutes}; wanted 0 or more.")
    if args.batch < 1:
        raise InputError(f"--batch is {args.batch}; wanted 1 or more.")


def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)

    def say(line: str) -> None:
        print(line, flush=True)

    try:
        _check(args)
        if args.data is not None:
            say(field_clips.evaluate_folder(args, say))
            return 0
        plots.check_matplotlib()
        before = read_before(args.before)
        bench, request, baseline_is = make_bench(args)
        store = Store(args.out, request)
        meaning = lru_cache(lambda: load_meaning(args.meaning, bench.model))
        tools = Tools(bench, make_judges(args, bench, say), args.out, say, meaning)
        wanted = args.only or ("paired", *args.probes)
        parts = {part.name: part for part in PARTS if part.name in wanted}
        minutes = DEFAULT_MINUTES if args.minutes is None and args.scenes is None else args.minutes
        run(store, parts, tools, args.scenes, minutes, args.share)
        written = write(store, collect(store, tools, request, baseline_is), before)
    except InputError as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 2
    say((args.out / "table.md").read_text(encoding="utf-8"))
    say("wrote " + ", ".join(str(path) for path in written))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
