"""Weights, noise, clips and sounds from names alone, equal bit for bit to what the published code was recorded with.

A value is a hash of its tensor's name and its place, by integer arithmetic only. With it a recorded run needs no stored
weight and no stored input: both are made again from their names.
"""

from __future__ import annotations

import math
import re
import zlib

import numpy as np
import torch
from torch import Tensor, nn

BLOCK = 1 << 20  # values hashed at a time: 8 MiB, which stays in the cache's reach
FIELD_MEAN = 4 * 65535 / 2
FIELD_STD = math.sqrt(4 * (65536**2 - 1) / 12)
# LayerNorms of SalViT360 whose gains have several axes; elsewhere a gain is known by having one.
WIDE_GAIN = re.compile(
    r"((^|\.)resnet_layernorm|(^|\.)decoders?(\.\d+)?\.\d+\.block\.1|(^|\.)posemb\.posemb\.[14])\.weight$"
)


def hashes(name: str, count: int, start: int = 0) -> np.ndarray:
    """`count` 64-bit hashes: splitmix64's finaliser over a counter whose upper half is the name's CRC-32."""
    first = (zlib.crc32(name.encode()) << 32) + 0x9E3779B97F4A7C15 + start & 0xFFFFFFFFFFFFFFFF
    z = np.arange(count, dtype=np.uint64)
    z += np.uint64(first)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z ^= z >> np.uint64(shift)
        z *= np.uint64(factor)
    z ^= z >> np.uint64(31)
    return z


def noise(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Nearly normal float64 values: the sum of a hash's four 16-bit fields, brought to mean 0 and deviation 1."""
    values = np.empty(math.prod(shape))
    for start in range(0, values.size, BLOCK):
        part = values[start : start + BLOCK]
        fields = hashes(name, part.size, start).view(np.uint16).reshape(-1, 4)
        part[:] = (fields.sum(axis=1, dtype=np.int64) - FIELD_MEAN) / FIELD_STD
    return values.reshape(shape)


def normal(name: str, *shape: int) -> Tensor:
    """`noise` as a float32 tensor."""
    return torch.from_numpy(noise(name, shape).astype(np.float32))


def fill(name: str, shape: tuple[int, ...]) -> Tensor:
    """Value of the parameter, or batch-norm statistic, called `name`; the name tells its kind."""
    shape = tuple(shape)
    values, leaf = noise(name, shape), name.rpartition(".")[2]
    if leaf in ("bias", "running_mean"):
        values *= 0.1
    elif leaf in ("g", "running_var") or (leaf == "weight" and len(shape) == 1) or WIDE_GAIN.search(name):
        values = 1 + 0.1 * values
    else:
        values /= math.sqrt(math.prod(shape[1:]) if len(shape) > 1 else shape[0])
    return torch.from_numpy(values.astype(np.float32))


@torch.no_grad()
def fill_module(module: nn.Module, prefix: str) -> nn.Module:
    """Every parameter and batch-norm statistic from `prefix` and its name; other buffers stay. Frozen, in eval mode."""
    statistics = ((n, b) for n, b in module.named_buffers() if n.endswith(("running_mean", "running_var")))
    for name, tensor in (*module.named_parameters(), *statistics):
        tensor.copy_(fill(prefix + name, tensor.shape))
    return module.eval().requires_grad_(False)


def clip_u8(name: str, frames: int, height: int, width: int, cell: int = 64) -> np.ndarray:
    """A smooth colour panorama clip, uint8 `[T, 3, H, W]`: two coarse random lattices, blended in time and space.

    Linear in time between first and last frame, bilinear in space (columns wrap, rows do not), 4 levels of grain.
    """
    rows, columns = height // cell, width // cell
    ends = (hashes(f"{name}/lattice", 2 * 3 * rows * columns) >> np.uint64(56)).astype(np.int64)
    first, last = ends.reshape(2, 3, rows, columns)
    (top, down), (left, right) = np.divmod(np.arange(height), cell), np.divmod(np.arange(width), cell)
    bottom = np.minimum(top + 1, rows - 1)
    clip, span = np.empty((frames, 3, height, width), np.uint8), max(frames - 1, 1)
    for t in range(frames):
        lattice = (first * (span - t) + last * t) // span
        across = lattice[..., left] * (cell - right) + lattice[..., (left + 1) % columns] * right
        smooth = (across[:, top] * (cell - down)[:, None] + across[:, bottom] * down[:, None]) // cell**2
        grain = hashes(f"{name}/jitter/{t}", smooth.size) % np.uint64(9)
        clip[t] = (smooth + grain.astype(np.int64).reshape(smooth.shape) - 4).clip(0, 255)
    return clip


def wave(name: str, samples: int) -> Tensor:
    """A mono sound at 16 kHz, float32: two chirps, four decaying clicks, some noise, a quarter second of silence."""
    t = np.arange(samples) / 16000.0
    x = 0.3 * np.sin(2 * np.pi * (200.0 * t + 300.0 * t * t))
    x += 0.1 * np.sin(2 * np.pi * (5000.0 * t - 400.0 * t * t))
    for k in range(4):
        since = t - (0.5 + 0.9 * k)
        click = 0.4 * np.exp(-30.0 * np.maximum(since, 0.0)) * np.sin(2 * np.pi * (900.0 + 500.0 * k) * since)
        x += np.where(since >= 0, click, 0.0)
    x += 0.01 * noise(name, (samples,))
    x[(t >= 2.0) & (t < 2.25)] = 0.0
    return torch.from_numpy(x.astype(np.float32))
