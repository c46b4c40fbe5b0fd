"""Prove that a change left every result as it was, bit for bit: `python -m tests.equality record|compare FILE`.

Record before a rewrite and compare after it, on one machine with one number of threads. FILE holds digests of
decoded frames and sound of the built-in model, one per sampler, start, hold, guidance and memory mode. It also holds
digests of losses and weights of short trainings, and of every node's outputs when the stand-in runs the shipped
workflows. All runs go through the command line and the workflows, which a rewrite does not change.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

SHORT = ("--duration", "0.5", "--steps", "4", "--seed", "3", "--caption", "a red disc hums in front")
# A third guidance pass and control in some steps only take code paths of their own in the sampler.
GENERATIONS: dict[str, tuple[str, ...]] = {
    "ddim": (),
    "dpm++": ("--sampler", "dpm++"),
    "no control": ("--control", "none"),
    "no guidance": ("--cfg-video", "off", "--cfg-audio", "off"),
    "control guided": ("--cfg-control", "2"),
    "control in the middle": ("--control-start", "0.25", "--control-end", "0.75", "--basd-strength", "0.5"),
    "started": ("--start-from", "view", "--denoise", "0.6", "--denoise-sound", "0.3"),
    "picture held": ("--start-from", "view", "--hold", "picture"),
    "sound held": ("--start-from", "view", "--hold", "sound", "--sampler", "dpm++"),
    "low memory": ("--memory", "low"),
    "followed": ("--track", "follow", "--choose-by", "centroid", "--saliency", "training-free"),
}
TRAINING = ("steps=3", "pool=3", "held_out=2", "seconds=0.5", "batch_size=2", "checkpoint_every=0", "seed=5")
REGIMES = ("control", "control+cmcpe", "all")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.equality", description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("record", "compare"))
    parser.add_argument("file", type=Path, help="the JSON file of digests")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        found = dict(results(Path(folder)))
    if options.what == "record":
        options.file.write_text(json.dumps(found, indent=1), encoding="utf-8")
        print(f"{len(found)} results recorded in {options.file}")
        return 0
    before = json.loads(options.file.read_text(encoding="utf-8"))
    changed = [name for name in {**before, **found} if before.get(name) != found.get(name)]
    for name in changed:
        print(f"differs: {name}" if name in before and name in found else f"on one side alone: {name}")
    print(f"{len(found) - len(changed)} of {len(found)} results are equal")
    return 1 if changed else 0


def results(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (name, digest) of every result that must stay equal."""
    yield from generations(folder)
    yield from trainings(folder)
    yield from workflows(folder)


def digest(value: Any) -> str:
    """Hash tensors' bytes and shapes, numbers and texts, alone or in containers; models and files are left out."""
    import torch

    hashed = hashlib.sha256()

    def add(part: Any) -> None:
        if isinstance(part, torch.Tensor):
            whole = part.detach().cpu().contiguous()
            hashed.update(f"{whole.dtype}{tuple(whole.shape)}".encode())
            hashed.update(whole.flatten().view(torch.uint8).numpy().tobytes() if whole.numel() else b"")
        elif isinstance(part, dict):
            for key in sorted(part, key=str):
                add(key)
                add(part[key])
        elif isinstance(part, (list, tuple)):
            for one in part:
                add(one)
        elif isinstance(part, (str, int, float, type(None))):
            hashed.update(repr(part).encode())

    add(value)
    return hashed.hexdigest()[:16]


def generations(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield digests of frames and sound before they are encoded."""
    import con360.media.writer as writer
    from con360.cli import main as con360
    from con360.scenes import demo_scene
    from con360.timing import ClipSpec

    clip, made = demo_scene().panorama(128, ClipSpec(1.0)), []
    writer.write_clip(folder / "scene.mp4", clip.frames, clip.fps, clip.sound, panorama="mono")
    real = writer.write_clip

    def note(path: Any, frames: Any, fps: float, sound: Any, **options: Any) -> Any:
        made.append((frames, sound.waveform))
        return real(path, frames, fps, sound, **options)

    for name, options in GENERATIONS.items():
        with patch.object(writer, "write_clip", note), open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            status = con360(["generate", str(folder / "scene.mp4"), "-o", str(folder / "made.mp4"), *SHORT, *options])
        assert status == 0, f"{name}: the command failed"
        yield f"generate, {name}: picture", digest(made[-1][0])
        yield f"generate, {name}: sound", digest(made[-1][1])


def trainings(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield digests of weights and losses of each regime, each trained in a process of its own."""
    from safetensors.torch import load_file

    for regime in REGIMES:
        place = folder / f"train-{regime}"
        settings = (f"out={place / 'c.safetensors'}", f"train={regime}", *TRAINING)
        command = [sys.executable, str(ROOT / "train" / "train.py"), *settings]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, f"training {regime}: {done.stderr[-600:]}"
        for weights in sorted(place.rglob("*.safetensors")):
            if "cache" not in weights.parts:
                yield f"train, {regime}: {weights.relative_to(place)}", digest(load_file(weights))
        for log in sorted(place.rglob("log.jsonl")):
            rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
            losses = [{key: row[key] for key in row if "loss" in key} for row in rows]
            yield f"train, {regime}: losses", digest(losses)


def workflows(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield digests of every output of every node that a shipped workflow runs."""
    from shipped_runs import RUNNABLE, prepared, read

    from tools.host import Host

    for path in RUNNABLE:
        prompt = prepared(read(ROOT / "tests" / "workflows_api" / f"{path.stem}.api.json"), path.stem)
        for node in prompt.values():
            if node["class_type"] == "JointAVSampler":
                node["inputs"]["steps"] = 2
        run = Host(folder / path.stem).run(prompt)
        assert run.status == "done", f"{path.stem}: {run.error or run.complaints}"
        for node_id, outputs in sorted(run.outputs.items()):
            yield f"{path.stem}, {prompt[node_id]['class_type']} {node_id}", digest(outputs)


if __name__ == "__main__":
    sys.exit(main())
