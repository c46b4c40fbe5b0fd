"""Compare few steps with fifty: distance of each sampler's latents from DDIM's at 50 steps, same seed, and the time.

`python -m benchmarks.few_steps [--model FOLDER] [--seconds 1] [--seeds 3]`. Distances are root mean squares of the
difference over that of the reference, mean over seeds; `other seed` is the distance between two different clips.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from con360.devices import describe_device, resolve_device
from con360.weights.catalog import BUILT_IN_MODEL
from con360.weights.find import control_file, model_folder

STEPS = (12, 15, 20, 50)
REFERENCE_STEPS = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=BUILT_IN_MODEL)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--gamma", type=float)
    options = parser.parse_args()
    options.device = resolve_device(options.device)
    if options.seeds < 2:
        parser.error("--seeds must be at least 2: the distance between two clips is the scale")
    print(f"{options.model}, {options.seconds:g} s, {options.seeds} seeds, gamma {options.gamma}")
    print(f"device: {describe_device(options.device)}")
    print(f"{'sampler, steps':<16}{'picture':>9}{'sound':>9}{'seconds':>9}", flush=True)
    for name, (picture, sound, seconds) in measure(options):
        took = "" if seconds != seconds else f"{seconds:.1f}"
        print(f"{name:<16}{picture:>9.3f}{sound:>9.3f}{took:>9}", flush=True)


def measure(options: argparse.Namespace) -> Iterator[tuple[str, tuple[float, float, float]]]:
    """Yield each row once measured: name, (distance of the picture, of the sound, median seconds)."""
    sample = sampler(options)
    seeds = range(options.seeds)
    reference = [sample("ddim", REFERENCE_STEPS, seed) for seed in seeds]
    yield "other seed", (*summary(reference[1:] + reference[:1], reference)[:2], float("nan"))
    for name in ("ddim", "dpm++"):
        for steps in STEPS:
            if (name, steps) == ("ddim", REFERENCE_STEPS):
                made = reference
            else:
                made = [sample(name, steps, seed) for seed in seeds]
            yield f"{name} {steps}", summary(made, reference)


def summary(made: list[tuple], reference: list[tuple]) -> tuple[float, float, float]:
    distances = [
        statistics.mean(relative_rms(a[m], b[m]) for a, b in zip(made, reference, strict=True)) for m in (0, 1)
    ]
    return distances[0], distances[1], statistics.median(result[2] for result in made)


def relative_rms(a: Tensor, b: Tensor) -> float:
    return float((a - b).square().mean().sqrt() / b.square().mean().sqrt())


def sampler(options: argparse.Namespace) -> Callable[[str, int, int], tuple[Tensor, Tensor, float]]:
    """`sample(name, steps, seed)`: (video latents, audio latents, seconds) of the demo scene's front view."""
    from con360.control import encode_control, load_control
    from con360.pipeline import conditions_of, default_settings
    from con360.scenes import demo_scene
    from con360.viewpoint.choose import manual_viewpoint
    from con360.weights.load import load_joint_model

    folder = model_folder(options.model)
    model = load_joint_model(folder, device=options.device)
    path, spec, scene = control_file(None, folder), model.clip_spec(options.seconds), demo_scene()
    viewpoint = manual_viewpoint(0.0, 0.0, 90.0, spec.num_frames)
    panorama, saliency = scene.panorama(128, spec), scene.saliency(64, spec)
    conditions = conditions_of(panorama, saliency, viewpoint, scene.caption())
    with torch.no_grad():
        inputs = model.encode(conditions)
        if path is not None:
            film = encode_control(
                load_control(path, device=options.device).module, conditions, model.site_shapes(spec), fps=spec.fps,
                audio_seconds=spec.latent_seconds_a,
            )  # fmt: skip
            inputs = replace(inputs, film=film)

    def sample(name: str, steps: int, seed: int) -> tuple[Tensor, Tensor, float]:
        settings = default_settings(model, sampler=name, steps=steps, seed=seed, gamma=options.gamma)
        started = time.perf_counter()
        latents = model.sample(inputs, spec, settings)
        made = tuple(x.cpu() for x in latents)
        return made[0], made[1], time.perf_counter() - started

    return sample


if __name__ == "__main__":
    main()
