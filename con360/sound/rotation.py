"""Turn Ambisonic sound of any order.

Convention: as `ambisonics`; W and the levels of each order stay.

Source: Ivanic and Ruedenberg, "Rotation Matrices for Real Spherical Harmonics", J. Phys. Chem. 1996, with its 1998
correction.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

import torch
from torch import Tensor


def turn_matrices(rotations: Tensor, order: int = 1) -> Tensor:
    """Make matrices that turn Ambisonics so that a camera's forward axis becomes its front.

    Convention: W stays; the direction (right, up, forward) of AmbiX's dipoles is (-Y, Z, X).

    Args:
        rotations: `[..., 3, 3]` of the camera, as `geometry.sphere.rotation` makes them.

    Returns:
        `[..., C, C]`, C = (order + 1)²; turned = matrix @ waveform `[C, N]`.
    """
    signs = rotations.new_tensor([-1.0, 1.0, 1.0])
    # Rows: dipoles Y, Z, X in the camera's frame; columns: the same in the world's.
    dipoles = signs[:, None] * rotations.transpose(-1, -2) * signs
    channels = (order + 1) ** 2
    whole = rotations.new_zeros(*rotations.shape[:-2], channels, channels)
    whole[..., 0, 0] = 1.0
    below = dipoles
    for n in range(1, order + 1):
        below = dipoles if n == 1 else _next(dipoles, below, n)
        whole[..., n * n : (n + 1) ** 2, n * n : (n + 1) ** 2] = below
    return whole


def _next(dipoles: Tensor, below: Tensor, degree: int) -> Tensor:
    """Matrices `[..., 2n + 1, 2n + 1]` of a degree from those of degree 1 and of the degree below."""
    targets, firsts, seconds, factors = _terms(degree)
    factor = torch.tensor(factors, dtype=dipoles.dtype, device=dipoles.device)
    products = dipoles.flatten(-2)[..., firsts] * below.flatten(-2)[..., seconds] * factor
    size = 2 * degree + 1
    flat = dipoles.new_zeros(*dipoles.shape[:-2], size * size)
    index = torch.tensor(targets, device=dipoles.device)
    return flat.index_add(-1, index, products).unflatten(-1, (size, size))


@functools.lru_cache(maxsize=16)
def _terms(degree: int) -> tuple[list[int], list[int], list[int], list[float]]:
    """Flat indices into the result, the first-order matrices and those one degree below, and factors."""
    size, lower = 2 * degree + 1, 2 * degree - 1
    targets, firsts, seconds, factors = [], [], [], []
    for m in range(-degree, degree + 1):
        for n in range(-degree, degree + 1):
            for row, column, a, b, factor in _entry(degree, m, n):
                targets.append((m + degree) * size + n + degree)
                firsts.append((row + 1) * 3 + column + 1)
                seconds.append((a + degree - 1) * lower + b + degree - 1)
                factors.append(factor)
    return targets, firsts, seconds, factors


def _entry(degree: int, m: int, n: int) -> Iterator[tuple[int, int, int, int, float]]:
    """Products whose sum is the entry (m, n): the paper's u U + v V + w W."""
    k, at_middle = abs(m), float(m == 0)
    below = (degree + n) * (degree - n) if abs(n) < degree else 2 * degree * (2 * degree - 1)
    u = math.sqrt((degree + m) * (degree - m) / below)
    v = 0.5 * math.sqrt((1 + at_middle) * (degree + k - 1) * (degree + k) / below) * (1 - 2 * at_middle)
    w = -0.5 * math.sqrt((degree - k - 1) * (degree - k) / below) * (1 - at_middle)
    sign, beside = (1 if m > 0 else -1), float(k == 1)
    pieces = [(u, 0, m)]
    if m == 0:
        pieces += [(v, 1, 1), (v, -1, -1)]
    elif m > 0:
        pieces += [(v * math.sqrt(1 + beside), 1, m - 1), (-v * (1 - beside), -1, 1 - m)]
    else:
        pieces += [(v * (1 - beside), 1, m + 1), (v * math.sqrt(1 + beside), -1, -m - 1)]
    pieces += [(w, 1, m + sign), (w * sign, -1, -m - sign)]
    for factor, row, a in pieces:
        if factor:
            yield from ((row, column, a, b, factor * own) for column, b, own in _neighbours(degree, n))


def _neighbours(degree: int, n: int) -> tuple[tuple[int, int, float], ...]:
    """The paper's P: columns of the first-order matrix and of the one below, with signs."""
    if n == degree:
        return ((1, degree - 1, 1.0), (-1, 1 - degree, -1.0))
    if n == -degree:
        return ((1, 1 - degree, 1.0), (-1, degree - 1, 1.0))
    return ((0, n, 1.0),)
