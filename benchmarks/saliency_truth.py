"""`python -m benchmarks.saliency_truth [FOLDER ...]`: saliency without weights beside measured gazes and trivial maps.

A pair is a still panorama NAME.jpg (or .png) with a grey map NAME_gt.png or NAME_gt_gray.png, the density of people's
gazes over the same panorama; subfolders are searched too. Without a folder: `data/saliency` of the tests' shared data.
Measures: `con360.metrics.saliency.panorama_agreement`. CC and NSS are better when higher, KL when lower.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from con360.choices import MULTICUE, TRAINING_FREE
from con360.geometry.erp import erp_angles
from con360.geometry.smoothing import smooth_on_sphere
from con360.metrics.saliency import panorama_agreement
from con360.saliency.multicue import WORK_HEIGHT, shrunk, spectral_residual
from con360.saliency.predict import predict_saliency

ROOT = Path(__file__).resolve().parent.parent
# Blur maps of single points by the width of a gaze.
GAZE_DEG = 3.0
WANTED = (0.50, 0.60, 0.80)


def main() -> int:
    shared = Path(os.environ.get("CON360_TEST_DATA") or ROOT.parent / "shared")
    folders = [Path(name) for name in sys.argv[1:]] or [shared / "data" / "saliency"]
    pairs = {path.stem: (path, truth) for folder in folders for path, truth in find_pairs(folder)}
    if not pairs:
        print(f"no pairs of NAME.jpg and NAME_gt.png in {', '.join(map(str, folders))}", file=sys.stderr)
        return 2
    print(table({name: _agreements(*pair) for name, pair in pairs.items()}))
    return 0


def find_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """(picture, map) below a folder."""
    found = []
    for truth in sorted([*folder.rglob("*_gt_gray.png"), *folder.rglob("*_gt.png")]):
        stem = truth.stem.removesuffix("_gray").removesuffix("_gt")
        found += [(path, truth) for path in (truth.with_name(f"{stem}{end}") for end in (".jpg", ".png"))
                  if path.is_file()][:1]  # fmt: skip
    return found


def methods() -> dict[str, Callable[[Tensor], Tensor]]:
    """Name to a function from a frame `[1, 3, H, 2 H]` to a map `[h, 2 h]`."""
    return {
        MULTICUE: lambda frame: predict_saliency(frame, height=128).maps[0],
        TRAINING_FREE: lambda frame: predict_saliency(frame, TRAINING_FREE, height=128).maps[0],
        "trivial: residual": _residual,
        "trivial: residual x equator 20": lambda frame: _residual(frame) * _equator(20.0),
        **{f"trivial: equator {sigma:g}": lambda frame, sigma=sigma: _equator(sigma) for sigma in (15.0, 20.0, 30.0)},
        "trivial: centre": lambda frame: _equator(30.0) * _across(30.0),
        "random": lambda frame: torch.rand(WORK_HEIGHT, 2 * WORK_HEIGHT, generator=torch.Generator().manual_seed(0)),
    }


def _residual(frame: Tensor) -> Tensor:
    return spectral_residual(shrunk(frame.mean(1, keepdim=True), WORK_HEIGHT))[0]


def _equator(sigma_deg: float) -> Tensor:
    pitch = erp_angles(WORK_HEIGHT)[1]
    return torch.exp(-0.5 * (pitch / sigma_deg) ** 2)[:, None].expand(-1, 2 * WORK_HEIGHT)


def _across(sigma_deg: float) -> Tensor:
    return torch.exp(-0.5 * (erp_angles(WORK_HEIGHT)[0] / sigma_deg) ** 2)


def _agreements(picture: Path, truth: Path) -> dict[str, tuple[float, float, float]]:
    pixels = np.asarray(Image.open(picture).convert("RGB"), dtype=np.float32) / 255
    frame = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    if frame.shape[-1] != 2 * frame.shape[-2]:
        frame = torch.nn.functional.interpolate(frame, size=(frame.shape[-2], 2 * frame.shape[-2]), mode="area")
    gazes = torch.from_numpy(np.asarray(Image.open(truth).convert("L"), dtype=np.float32))
    if float((gazes == 0).float().mean()) > 0.5:
        small = torch.nn.functional.interpolate(gazes[None, None], size=(128, 256), mode="area")[0, 0]
        gazes = smooth_on_sphere(small, GAZE_DEG).clamp_min(0.0)
    return {name: panorama_agreement(method(frame), gazes) for name, method in methods().items()}


def table(results: dict[str, dict[str, tuple[float, float, float]]]) -> str:
    """One row per method: CC, KL and NSS of the mean, then the CC of each pair."""
    names = list(results)
    lines = [f"| CC, KL, NSS; {len(names)} pairs | mean | lowest CC | CC of {', '.join(names)} |", "|---|---|---|---|"]
    for method in methods():
        values = np.array([results[name][method] for name in names])
        mean = " / ".join(f"{value:.3f}" for value in values.mean(0))
        lines.append(f"| {method} | {mean} | {values[:, 0].min():.3f} | {' '.join(f'{v:.2f}' for v in values[:, 0])} |")
    lines.append(f"| wanted | {' / '.join(f'{value:.2f}' for value in WANTED)} | 0.42 | |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
