"""Print how well an encoder finds captions, pictures and sounds of unseen scenes, beside chance.

    python -m train.meaning.judge runs/meaning/meaning.safetensors --judge runs/meaning/judge.safetensors --scenes 256

R@K is the share of queries whose own answer is among the K best. *V* ranks captions and clips by the volume of caption,
picture and sound, *sum* by the two cosines with the caption. Cosines and volume of true triples stand beside those of
captions, pictures and sounds of three scenes. Intervals are of resampled scenes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from con360.choices import BUILT_IN_MODEL
from con360.errors import InputError
from con360.meaning.built_in import BuiltInMeaning, load_built_in
from con360.meaning.measure import CaptionVectors, meaning_of, read_captions
from con360.metrics.figure import bootstrap_interval
from con360.metrics.gram import pair_volumes_squared
from con360.metrics.retrieval import ranks, recall
from con360.models.joint import JointModel
from con360.weights.find import model_folder
from con360.weights.load import load_joint_model
from train.meaning.job import SECONDS, cut
from train.meaning.judge_network import JudgeNetwork
from train.meaning.scenes import Scenes, ScenesAsked, scenes

BEST = (1, 5)


def load_judge(path: str | Path, model: JointModel) -> BuiltInMeaning:
    """Load the judge of `train.meaning.run judge`, an encoder that shares neither architecture nor scenes.

    Raises:
        InputError: as `con360.meaning.built_in.load_built_in`.
    """
    return load_built_in(model, path, kind=JudgeNetwork, name="con360-meaning-judge")


@torch.no_grad()
def vectors(encoder: BuiltInMeaning, found: Scenes, seconds: int) -> tuple[Tensor, Tensor, Tensor]:
    """Read captions, pictures and sounds of scenes, `[N, D]` each, from their first seconds."""
    read = []
    for rows in torch.arange(len(found)).split(64):
        picture, sound = cut(found.pictures[rows].float(), found.sounds[rows].float(), 0, seconds)
        text = read_captions(encoder, [found.captions[i] for i in rows.tolist()])
        read.append((text.sound, encoder.read_latents_v(picture), encoder.read_latents_a(sound)))
    t, v, a = (torch.cat(column) for column in zip(*read, strict=True))
    return t, v, a


def scores(t: Tensor, v: Tensor, a: Tensor) -> dict[str, Tensor]:
    """Score each query with each answer, `[N, N]`, higher is closer."""
    volume, both = -pair_volumes_squared(t, v, a), t @ v.T + t @ a.T
    ways = {"text to sound": t @ a.T, "text to picture": t @ v.T, "picture to sound": v @ a.T}
    ways |= {"sound to text": a @ t.T, "picture to text": v @ t.T, "sound to picture": a @ v.T}
    ways |= {"text to clip, V": volume, "clip to text, V": volume.T}
    return ways | {"text to clip, sum": both, "clip to text, sum": both.T}


def recalls(t: Tensor, v: Tensor, a: Tensor) -> dict[str, dict[str, Any]]:
    """R@1 and R@5 of each direction, with intervals."""
    own = torch.eye(len(t), dtype=torch.bool)
    return {way: _figures(ranks(score, own)) for way, score in scores(t, v, a).items()}


def _figures(found: Tensor) -> dict[str, Any]:
    return {f"R@{k}": _mean(recall(found, k)) for k in BEST}


def _mean(values: Tensor) -> dict[str, Any]:
    rows = values.double().numpy()
    return {"value": float(rows.mean()), "interval": bootstrap_interval(rows)}


def cosines(encoder: BuiltInMeaning, t: Tensor, v: Tensor, a: Tensor) -> dict[str, dict[str, Any]]:
    """Cosines and volume of true triples, and of captions, pictures and sounds of three scenes."""

    def of(v: Tensor, a: Tensor) -> dict[str, Any]:
        found = meaning_of(encoder, CaptionVectors(t, t, t), v, a)
        assert found.va is not None and found.volume is not None, "it has one space"
        return {n: _mean(x) for n, x in (("ta", found.ta), ("tv", found.tv), ("va", found.va), ("V", found.volume))}

    return {"true triples": of(v, a), "of three scenes": of(v.roll(1, 0), a.roll(2, 0))}


def figures(encoder: BuiltInMeaning, found: Scenes, seconds: int = SECONDS) -> dict[str, Any]:
    """Compute all figures of an encoder on unseen scenes."""
    t, v, a = vectors(encoder, found, seconds)
    return {"scenes": len(t), "recalls": recalls(t, v, a), "triples": cosines(encoder, t, v, a)}


def text_of(name: str, figure: dict[str, Any]) -> str:
    """Write an encoder's figures as two Markdown tables."""
    count = figure["scenes"]
    lines = [f"{name}, {count} unseen scenes", "", "| direction | R@1, % | R@5, % |", "|---|---|---|"]
    lines += [f"| {way} | {_percent(f['R@1'])} | {_percent(f['R@5'])} |" for way, f in figure["recalls"].items()]
    lines += [
        f"| chance | {100 / count:.1f} | {500 / count:.1f} |",
        "",
        "| | ta | tv | va | V |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| {kind} | {' | '.join(map(_number, f.values()))} |" for kind, f in figure["triples"].items()]
    return "\n".join(lines)


def _shown(figure: dict[str, Any], show: Callable[[float], str]) -> str:
    low, high = figure["interval"] or (figure["value"],) * 2
    return f"{show(figure['value'])} [{show(low)}, {show(high)}]"


def _percent(figure: dict[str, Any]) -> str:
    return _shown(figure, lambda value: f"{100 * value:.1f}")


def _number(figure: dict[str, Any]) -> str:
    return _shown(figure, lambda value: f"{value:.2f}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="file of `train.meaning.run encoder`")
    parser.add_argument("--judge", type=Path, help="file of `train.meaning.run judge`, whose figures are printed, too")
    parser.add_argument("--model", default=BUILT_IN_MODEL, help="model name or folder whose latents are read")
    parser.add_argument("--scenes", type=int, default=256, help="unseen scenes")
    parser.add_argument("--cache", type=Path, default=Path("runs/meaning/scenes"), help="folder of encoded scenes")
    parser.add_argument("--seconds", type=int, default=SECONDS, choices=range(2, SECONDS + 1), help="of each clip")
    args = parser.parse_args(argv)
    try:
        if args.scenes < max(BEST):
            raise InputError(f"--scenes is {args.scenes}; wanted {max(BEST)} or more.")
        model = load_joint_model(model_folder(args.model))
        encoders = [load_built_in(model, args.weights), *([load_judge(args.judge, model)] if args.judge else [])]
        found = scenes(args.cache, ScenesAsked("test", 0, args.scenes), model)
        print("\n\n".join(text_of(one.name, figures(one, found, args.seconds)) for one in encoders))
    except InputError as error:
        print(f"judge: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
