"""Simulate running out of memory where a run allocates most: saliency, the joint step, decoding.

Large batches raise the errors of torch, a GPU or numpy; small ones run. The run must then finish in smaller pieces,
with the same clip. If no batch is small enough, it must end in one sentence that says what to do.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from .bad_files import command, tiny_model_folder
from .figures import Effort, Figure, timed

# Other batch sizes round differently.
TOLERANCE = 2e-4


@dataclass(frozen=True)
class Place:
    """A place where memory runs out: the function called there, and the argument whose first axis is the batch."""

    name: str
    module: str
    owner: str
    function: str
    argument: int
    fits: int


PLACES = (
    Place("saliency", "con360.saliency.multicue", "", "_structure", 0, 3),
    Place("the joint step", "con360.models.dual_unet", "DualUNet", "forward_video", 1, 1),
    Place("decoding frames", "con360.models.codecs", "", "_decode", 1, 1),
)


def raisers() -> dict[str, Callable[[], BaseException]]:
    """Return the out-of-memory errors of the libraries, by name."""
    import numpy as np
    import torch

    cpu = "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 by"
    return {
        "GPU": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nGPU 0 has ..."),
        "processor": lambda: RuntimeError(cpu),
        "numpy": lambda: np.exceptions._ArrayMemoryError((9, 9), np.dtype("f4"))
        if hasattr(np.exceptions, "_ArrayMemoryError") else MemoryError("Unable to allocate 9 GiB"),
    }  # fmt: skip


@contextmanager
def full(
    place: Place, raiser: Callable[[], BaseException], fits: int | None = None, package: str = ""
) -> Iterator[list[int]]:
    """Let memory run out at a place for every batch larger than fits there; yield the requested batch sizes.

    Args:
        package: prefix of the library's modules, which ComfyUI imports under names of its own.
    """
    from importlib import import_module

    owner = import_module(package + place.module)
    owner = getattr(owner, place.owner) if place.owner else owner
    real, asked, most = getattr(owner, place.function), [], place.fits if fits is None else fits

    def limited(*arguments: Any, **named: Any) -> Any:
        asked.append(len(arguments[place.argument]))
        if asked[-1] > most:
            raise raiser()
        return real(*arguments, **named)

    with patch.object(owner, place.function, limited), _quiet_log():
        yield asked


@contextmanager
def _quiet_log() -> Iterator[None]:
    log = logging.getLogger("con360")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def run_once() -> Any:
    """Return the saliency of ten frames, and the picture and sound of a view of them."""
    from con360.pipeline import conditions_of, default_settings, generate
    from con360.saliency.predict import predict_saliency
    from con360.viewpoint.choose import viewpoints

    model, clip = _given()
    saliency = predict_saliency(clip.frames)
    conditions = conditions_of(clip, saliency, viewpoints(saliency, clip.fps)[0])
    made = generate(model, None, conditions, default_settings(model, steps=2, seed=3, cfg_video=3.0), seconds=1.25)
    return saliency.maps, made.frames, made.sound.waveform


@cache
def _given() -> tuple[Any, Any]:
    from tiny_model import make_tiny_joint_model

    from con360.scenes import demo_scene
    from con360.timing import ClipSpec

    return make_tiny_joint_model(0), demo_scene().panorama(48, ClipSpec(seconds=1.25))


def figures(effort: Effort) -> Iterator[Figure]:
    yield _recovers(all_kinds=effort.all_files)
    with tempfile.TemporaryDirectory() as folder:
        yield _says_what_to_do(Path(folder), PLACES[1:2] if effort.name == "test" else PLACES)


def _recovers(all_kinds: bool) -> Figure:
    with timed("memory that runs out in saliency, a step or decoding: goes on in smaller pieces, same clip") as figure:
        usual, worst, tried = run_once(), 0.0, 0
        for number, place in enumerate(PLACES):
            kinds = list(raisers().items())
            for kind, raiser in kinds if all_kinds else kinds[number : number + 1]:
                with full(place, raiser) as asked:
                    tried += 1
                    try:
                        again = run_once()
                    except Exception as error:
                        figure.failures.append(f"{place.name}, {kind}: {type(error).__name__}: {error}")
                        continue
                figure.expect(max(asked) > place.fits, f"{place.name}: nothing was too large, nothing was tried")
                # One refusal, then the smaller size to the end.
                refused = sum(size > place.fits for size in asked)
                figure.expect(refused == 1, f"{place.name}, {kind}: {refused} attempts with too much")
                off = max(float((a - b).abs().max()) for a, b in zip(usual, again, strict=True))
                worst = max(worst, off)
                figure.expect(off < TOLERANCE, f"{place.name}, {kind}: the clip differs by {off:.2g}")
        figure.tried, figure.outcome = f"{tried} faults at 3 places", f"recovered, at most {worst:.1g} off"
    return figure


def _says_what_to_do(place_for_files: Path, at_doors: tuple[Place, ...]) -> Figure:
    from synthetic_clips import noise, write_video

    from con360.memory import TooLittleMemory

    wanted = {"saliency": "smaller height", "the joint step": "memory", "decoding frames": "memory"}
    with timed("memory too small for the smallest pieces: one sentence names the setting to change") as figure:
        clip = write_video(place_for_files / "clip.mp4", [i / 8 for i in range(8)], sound=noise(2, 48000))
        model = tiny_model_folder(place_for_files)
        (out := place_for_files / "out").mkdir()
        for place in PLACES:
            with full(place, raisers()["GPU"], fits=0):
                try:
                    run_once()
                    figure.failures.append(f"{place.name}: gave a result")
                except TooLittleMemory as error:
                    figure.expect(wanted[place.name] in str(error) and "\n" not in str(error), f"{place.name}: {error}")
                except Exception as error:
                    figure.failures.append(f"{place.name}: {type(error).__name__}: {error}")
                if place not in at_doors:
                    continue
                status, _, errors = command(
                    "generate", clip, "-o", out / "v.mp4", "--model", model, "--duration", "0.5", "--steps", "1"
                )
            clean = status == 1 and wanted[place.name] in errors and "Traceback" not in errors
            figure.expect(clean, f"con360 generate, {place.name}: status {status}, {errors[-200:]}")
            figure.expect(not list(out.iterdir()), f"con360 generate, {place.name}: left {list(out.iterdir())}")
        _in_comfyui(place_for_files, at_doors, figure)
        figure.tried = f"3 places; {len(at_doors)} of them from the command line and in nodes"
        figure.outcome = "said so; the next prompt ran"
    return figure


def _in_comfyui(folder: Path, places: tuple[Place, ...], figure: Figure) -> None:
    """Check that the node shows the sentence, ComfyUI unloads its other models, and the next prompt runs."""
    from tiny_workflow import by_subject, tiny_workflow, write_model_files

    from tools.host import Host

    host, freed = Host(folder / "comfy"), []
    write_model_files(host.base / "models")
    host._modules["comfy.model_management"].unload_all_models = lambda: freed.append(1)
    for place in places:
        host.free()
        with full(place, raisers()["GPU"], fits=0, package=f"{host.module.__name__}."):
            run = host.run(by_subject(tiny_workflow(steps=1)))
        figure.expect(run.status == "error" and "memory ran out" in str(run.error), f"{place.name}: {run.error!r}")
    figure.expect(len(freed) == len(places), f"ComfyUI's memory was given back {len(freed)} times of {len(places)}")
    host.free()
    run = host.run(by_subject(tiny_workflow(steps=1)))
    figure.expect(run.status == "done", f"the next prompt: {run.status} {run.error!r}")
