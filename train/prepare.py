"""Prepare training data: turn 360° clips or procedural scenes into shards of latents, maps, views and text.

    python train/prepare.py CLIPS --out DATA                      # a folder of clips, or a .csv or .jsonl manifest
    python train/prepare.py MEDIA --sphere360 LISTS --out DATA    # Sphere360's lists, the clips in MEDIA
    python train/prepare.py --scenes 1000 --split train --out DATA
    python train/prepare.py CLIPS --out DATA --executor ray --workers 8
    python train/prepare.py CLIPS --benchmark                     # measure the cost, and plan for a cluster

Each clip is cut into segments; each segment gives one example per viewpoint. After a kill, the same command continues
and repeats nothing that is stored. DATA/failures.jsonl lists failures with their reasons.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# When run as a script, sys.path starts with this folder, where `train` would mean `train/train.py`.
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

from con360.devices import AUTO, describe_device, resolve_device  # noqa: E402
from con360.errors import InputError  # noqa: E402
from con360.sound.channels import AMBISONICS  # noqa: E402
from con360.weights.catalog import BUILT_IN_MODEL  # noqa: E402
from train.preparation.cleaning import RULES  # noqa: E402
from train.preparation.model import field_facts, model_facts  # noqa: E402
from train.preparation.settings import TRUTH, Settings  # noqa: E402
from train.preparation.sources import SPLITS, ClipSource, procedural_scenes, read_source, read_sphere360  # noqa: E402


def make_parser() -> argparse.ArgumentParser:
    """Build the command's options; defaults are those of `Settings` and `Executor`."""
    from train.preparation.run import Executor

    made, runs = Settings.__dataclass_fields__, Executor()
    parser = argparse.ArgumentParser(
        prog="prepare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("input", nargs="?", type=Path, help="folder of clips, or manifest (.csv, .jsonl)")
    parser.add_argument("--out", type=Path, help="folder for the shards; an unfinished run in it is continued")
    source = parser.add_argument_group("source")
    source.add_argument("--sphere360", type=Path, metavar="LISTS", help="folder of train.txt and test.txt")
    source.add_argument("--scenes", type=int, metavar="N", help="N procedural scenes instead of clips")
    source.add_argument("--split", choices=SPLITS, default="train", help="split of the scenes")
    source.add_argument("--first", type=int, default=0, help="number of the first scene")
    what = parser.add_argument_group("content")
    what.add_argument("--model", default=BUILT_IN_MODEL, help="model name or folder whose encoders are used")
    what.add_argument("--seconds", type=float, default=made["seconds"].default, help="length of a segment")
    what.add_argument("--starts", type=float, nargs="+", default=made["starts_s"].default, help="segment starts, s")
    what.add_argument("--height", type=int, default=0, help="rows of the panorama as read (default: by the model)")
    what.add_argument(
        "--saliency", help="multi-cue (default), training-free, SalViT360's weights, or truth (the default for scenes)"
    )
    what.add_argument("--viewpoints", type=int, default=made["viewpoints"].default, help="most views per segment")
    what.add_argument("--fov", default=made["fov_deg"].default, help="degrees, or 'box' for each region's width")
    what.add_argument("--mode", choices=("still", "track"), default="still", help="views stand still, or follow")
    what.add_argument("--sound", choices=("view", "omni"), default="view", help="microphone towards the view, or mono")
    what.add_argument(
        "--ambisonics",
        choices=AMBISONICS,
        default="auto",
        help="meaning of 4, 9 or 16 channels; none: loudspeakers; auto: by metadata, else AmbiX",
    )
    what.add_argument(
        "--head-locked",
        action="store_true",
        help="the last two of 6, 11 or 18 channels are a stereo pair that does not turn with the head",
    )
    what.add_argument(
        "--field-model",
        help="also store latents of Ambisonics and features of pictures, for train/omniaudio.yaml: con360-small, "
        "omniaudio, a small model's folder, or OmniAudio's file",
    )
    what.add_argument("--field-pictures", default="", help="OmniAudio's picture encoder, a MetaCLIP folder")
    what.add_argument("--no-crops", dest="crops", action="store_false", help="do not store the true pictures")
    what.add_argument(
        "--split-by",
        choices=("video", "random", "given"),
        default="video",
        help="video: no video in two splits; random: the paper's 85/15 by clip; given: as in the source",
    )
    what.add_argument("--split-seed", type=int, default=0)
    clean = parser.add_argument_group("cleaning, as in OmniAudio")
    clean.add_argument("--clean", nargs="+", choices=RULES, default=(), help="rules for segments to leave out")
    clean.add_argument("--speech-model", default="", help="folder of a sound classifier, for --clean speech")
    clean.add_argument(
        "--match-model",
        default="",
        help="for --clean match: built-in, pe-av, imagebind, a file or a folder, by which picture and sound are "
        "compared; or a folder of CLAP, for sound and caption",
    )
    clean.add_argument("--min-match", type=float, default=0.0, help="least cosine of both")
    words = parser.add_argument_group("captions, for clips without one in the manifest or beside the file")
    words.add_argument("--caption-model", default="", help="folder of a captioner (BLIP or BLIP-2)")
    words.add_argument("--caption-writer", default="", help="folder of a language model that merges the faces")
    words.add_argument("--caption-times", type=int, default=made["caption_times"].default, help="moments captioned")
    how = parser.add_argument_group("execution")
    how.add_argument("--executor", choices=("process", "ray"), default=runs.name)
    how.add_argument("--workers", type=int, default=runs.workers, help="cores for Ray on this machine")
    how.add_argument("--ray-address", default="", help="address of a running cluster, for example 'auto'")
    how.add_argument(
        "--device",
        default=AUTO,
        help="encoders' device: cuda, cuda:1, mps or cpu; auto: the first available, "
        "on Ray the CPU unless --encoders is given (default: auto)",
    )
    how.add_argument(
        "--encoders",
        type=int,
        default=runs.encoders,
        help="Ray processes that only encode, one per GPU; 0: the workers encode",
    )
    how.add_argument("--shard-segments", type=int, default=runs.shard_segments, help="segments per shard")
    how.add_argument("--retry-failed", action="store_true", help="try failed segments again")
    how.add_argument("--benchmark", action="store_true", help="measure the stages on a few segments; keeps nothing")
    how.add_argument("--segments", type=int, default=12, help="segments of the benchmark")
    how.add_argument("--nodes", type=int, default=8, help="machines in the benchmark's plan")
    how.add_argument("--cores", type=int, default=32, help="cores per machine in the benchmark's plan")
    return parser


def source_of(args: argparse.Namespace) -> ClipSource:
    """List the clips that the options name."""
    if args.scenes is not None:
        return procedural_scenes(args.scenes, args.split, args.first)
    if args.input is None:
        raise InputError("there is nothing to prepare; give a folder of clips, a manifest, or --scenes N.")
    return read_sphere360(args.sphere360, args.input) if args.sphere360 else read_source(args.input)


def settings_of(args: argparse.Namespace) -> Settings:
    """Build the settings from the options."""
    scenes = args.scenes is not None
    saliency = args.saliency or (TRUTH if scenes else Settings.saliency)
    if saliency == TRUTH and not scenes:
        raise InputError("--saliency truth works only for procedural scenes; use another method, or weights.")
    try:
        fov = args.fov if args.fov == "box" else float(args.fov)
    except ValueError as error:
        raise InputError(f"--fov is {args.fov!r}; give degrees, or 'box'.") from error
    return Settings(
        model_facts(args.model), args.seconds, tuple(args.starts), args.height, saliency, args.viewpoints, fov,
        args.mode, args.sound, args.crops, tuple(args.clean), args.speech_model, args.match_model, args.min_match,
        args.caption_model, args.caption_writer, args.caption_times,
        "given" if scenes else args.split_by, args.split_seed, args.ambisonics, args.head_locked,
        field_facts(args.field_model, args.field_pictures) if args.field_model else None,
    )  # fmt: skip


def device_of(args: argparse.Namespace) -> str:
    """Choose the encoders' device.

    On Ray each worker checks a named device itself. Workers default to the CPU: waiting for one GPU would leave their
    cores idle.

    Raises:
        InputError: the device is missing.
    """
    if args.executor == "process":
        return resolve_device(args.device)
    if args.device != AUTO:
        return args.device
    return resolve_device() if args.encoders else "cpu"


def run(args: argparse.Namespace) -> None:
    """Prepare data or run the benchmark, and print a report."""
    from train.preparation.report import counts_text, stage_costs, stages_text
    from train.preparation.run import Executor, prepare

    source, settings = source_of(args), settings_of(args)
    if args.benchmark:
        from train.preparation.benchmark import benchmark

        return benchmark(source, settings, args.segments, args.nodes, args.cores)
    if args.out is None:
        raise InputError("--out is missing; name the folder for the shards.")
    executor = Executor(
        args.executor, args.workers, device_of(args), args.encoders, args.ray_address, args.shard_segments
    )
    print(f"device: {executor.device if executor.name == 'ray' else describe_device(executor.device)}")
    account = prepare(source, args.out, settings, executor, retry_failed=args.retry_failed)
    print(counts_text(account))
    costs = stage_costs(account.outcomes.values())
    if costs:
        print(stages_text(costs))


def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    try:
        run(args)
    except InputError as error:
        print(f"prepare: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # for example a full disk, or a folder without write permission
        print(f"prepare: {error}; finished shards are kept; the same command continues.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
