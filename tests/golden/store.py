"""`published.json`: what the published code gave, as samples and moments small enough to ship.

Per tensor: shape, mean, deviation, peak, two sums over random signs, and values at random places, all decided by the
tensor's name. A value in the wrong place, at the wrong scale or in the wrong order moves one of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from shared_data import fixture_path
from torch import Tensor

from .filler import hashes

PATH = Path(__file__).with_name("published.json")
SAMPLES, SIGNED_SUMS = 24, 2
TOLERANCE = 1e-4  # of a tensor's peak; the published code itself moves by 2e-5 between settings
HALF_TOLERANCE = 1e-3
# Cubic filters differ between versions of OpenCV and Pillow by two grey levels, and features of the pictures with them.
FILTERED = {r"omniaudio_video/(view/.*u8.*|pixels/.*)": 0.012, r"omniaudio_video/clip/.*": 0.002}


@cache
def published() -> dict[str, Any]:
    return json.loads(PATH.read_text())


def summarise(name: str, tensor: Tensor) -> dict[str, Any]:
    """Summarise a tensor; small ones, and those of whole numbers, are kept entirely."""
    values = tensor.detach().double().flatten().numpy()
    size = values.size
    summary: dict[str, Any] = {"shape": list(tensor.shape)}
    if tensor.dtype == torch.float16:
        summary["half"] = True
    if size <= SAMPLES:
        return summary | {"values": _digits(values)}
    places = (hashes(f"{name}#places", SAMPLES) % np.uint64(size)).astype(np.int64)
    signs = (hashes(f"{name}#signs", SIGNED_SUMS * size) >> np.uint64(63)).astype(np.int8).reshape(SIGNED_SUMS, size)
    sums = ((1.0 - 2.0 * signs) @ values) / size**0.5
    moments = [values.mean(), values.std(), np.abs(values).max()]
    return summary | {"moments": _digits(moments), "signed": _digits(sums), "values": _digits(values[places])}


def _digits(values: Iterable[float]) -> list[float]:
    return [float(f"{v:.7g}") for v in values]


def compare(name: str, tensor: Tensor) -> float:
    """Largest difference between a tensor and what is kept of the recorded one, as a part of the latter's peak.

    Raises:
        AssertionError: the difference is beyond the tolerance, or the shape is another.
    """
    kept = published()["tensors"][name]
    assert list(tensor.shape) == kept["shape"], f"{name}: shape {list(tensor.shape)}, recorded {kept['shape']}"
    assert torch.isfinite(tensor).all(), f"{name}: not finite"
    ours = summarise(name, tensor)
    peak = kept["moments"][2] if "moments" in kept else max(map(abs, kept["values"]))
    parts = {key: kept[key] for key in ("moments", "signed", "values") if key in kept}
    errors = {key: max(abs(a - b) for a, b in zip(ours[key], wanted, strict=True)) for key, wanted in parts.items()}
    worst = max(errors.values()) / max(peak, 1e-30)
    assert worst < bound_of(name), (
        f"{name}: {worst:.1e} of its peak ({', '.join(f'{k} {e:.1e}' for k, e in errors.items())})"
    )
    return worst


def bound_of(name: str) -> float:
    """Largest difference allowed for a recorded tensor, as a part of its peak."""
    for pattern, bound in FILTERED.items():
        if re.fullmatch(pattern, name):
            return bound
    return HALF_TOLERANCE if published()["tensors"][name].get("half") else TOLERANCE


def names_matching(pattern: str) -> set[str]:
    return {name for name in published()["tensors"] if re.fullmatch(pattern, name)}


@cache
def _recorded_file(name: str) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(fixture_path(f"{name}.safetensors"))


def recorded(name: str) -> Tensor:
    """The whole recorded tensor; skips the test where the recorded outputs are not at hand."""
    file, _, key = name.partition("/")
    return _recorded_file(file)[key]


def relative_error(got: Tensor, wanted: Tensor) -> float:
    assert got.shape == wanted.shape, (got.shape, wanted.shape)
    return float((got.double() - wanted.double()).abs().max() / wanted.double().abs().max().clamp_min(1e-30))
