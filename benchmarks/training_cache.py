"""Measure the speedup of training steps from cached latents over rendering and encoding inside the loop.

    python benchmarks/training_cache.py                      # the built-in model, clips of 1 s
    python benchmarks/training_cache.py --base MODEL --seconds 4 --batch 2

Both ways run the same loop over the same clips. Saliency is estimated (training-free), as for real footage.

`speedup` is for a data set of files: (cached step + reading + saliency + encoding by VAEs and text encoders) over
(cached step), each measured by itself. Reading decodes 1920x960 H.264 at 30 fps and cuts out the view;
`speedup_without_reading` leaves it out. `speedup_with_rendering` is the ratio of both loops over procedural scenes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from con360.geometry.perspective import erp_to_perspective
from con360.media.reader import read_panorama
from con360.media.writer import write_clip
from con360.models.codecs import encode_frames, encode_mel
from con360.models.text import encode_captions
from con360.records import View, ViewTrack
from con360.saliency.predict import predict_saliency
from con360.sound.mels import log_mel
from con360.timing import ClipSpec
from con360.weights.find import model_folder
from con360.weights.load import load_joint_model
from train.config import TrainConfig
from train.dataset import Cached, ProceduralScenes
from train.devices import OneProcess
from train.examples import MAP_HEIGHT, make_example, scene_of
from train.loop import Loop, Window
from train.trainee import make_trainee

FILE_HEIGHT, FILE_FPS = 960, 30.0
# As preparation reads it for small models.
READ_HEIGHT = 256


def median_seconds(call: Callable[[], Any], repeats: int, clock: Callable[[], float]) -> float:
    """Median of `repeats` calls, after one warm-up call."""
    call()
    times = []
    for _ in range(repeats):
        started = clock()
        call()
        times.append(clock() - started)
    return statistics.median(times)


def measure(
    base: str, seconds: float, batch: int, repeats: int, folder: Path, clock: Callable[[], float] = time.perf_counter
) -> dict[str, Any]:
    """Seconds per step of both ways, and of the encoding alone."""
    config = TrainConfig(
        base=base, out=folder / "control.safetensors", seconds=seconds, batch_size=batch, steps=1000, pool=batch,
        estimate_every=1,
    )  # fmt: skip
    model, spec = load_joint_model(model_folder(base)), config.spec()
    net, scenes = make_trainee(model, config), ProceduralScenes(model, "train", config.pool, spec, estimate_every=1)
    cached = Cached(scenes, folder)
    result: dict[str, Any] = {"base": model.name, "seconds": seconds, "batch": batch, "repeats": repeats}
    for name, source in (("cached", cached), ("rendered_and_encoded", scenes)):
        loop = Loop(config, model, net, source, cached, OneProcess())
        result[name] = median_seconds(partial(loop._step, loop.batches(), Window(loop.accelerator)), repeats, clock)
    size = model.picture_size_px
    examples = [make_example("train", i, num_frames=spec.num_frames, spec=spec, size=size) for i in range(batch)]
    result["encoding"] = median_seconds(lambda: encode_batch(model, examples), repeats, clock)
    panoramas = [scene_of("train", i).panorama(2 * MAP_HEIGHT, spec).frames for i in range(batch)]
    result["saliency"] = median_seconds(lambda: [predict_saliency(p) for p in panoramas], repeats, clock)
    files = [clip_file(folder / f"{i}.mp4", i, seconds) for i in range(batch)]
    result["reading"] = median_seconds(lambda: [read_view(file, seconds, size) for file in files], repeats, clock)
    encoded = result["saliency"] + result["encoding"]
    result["speedup"] = (result["cached"] + encoded + result["reading"]) / result["cached"]
    result["speedup_without_reading"] = (result["cached"] + encoded) / result["cached"]
    result["speedup_with_rendering"] = result["rendered_and_encoded"] / result["cached"]
    return result


def clip_file(path: Path, index: int, seconds: float) -> Path:
    """Write a scene as a 360° camera would record it."""
    clip = scene_of("train", index).panorama(FILE_HEIGHT, ClipSpec(seconds, fps=FILE_FPS))
    write_clip(path, clip.frames, clip.fps, clip.sound, panorama="mono")
    return path


def read_view(path: Path, seconds: float, size: int) -> None:
    """Read a file as `train/prepare.py` does: the panorama, and the view that the model learns to make."""
    clip = read_panorama(path, duration_s=seconds, height=READ_HEIGHT)
    erp_to_perspective(clip.frames, ViewTrack.still(View(30.0), clip.num_frames), size)


@torch.no_grad()
def encode_batch(model: Any, examples: list[Any]) -> None:
    encode_frames(model.vae_v, torch.stack([e.frames for e in examples]))
    encode_mel(model.vae_a, log_mel(torch.stack([e.waveform for e in examples])))
    encode_captions(model, [e.caption for e in examples])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="con360-tiny")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cpu-time", action="store_true", help="processor seconds, for a machine that others use too")
    args = parser.parse_args()
    clock = time.process_time if args.cpu_time else time.perf_counter
    with tempfile.TemporaryDirectory() as folder:
        result = measure(args.base, args.seconds, args.batch, args.repeats, Path(folder), clock)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
