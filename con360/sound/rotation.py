"""Turn Ambisonic sound of any order.

Convention: as `ambisonics`; W and the levels of each order stay.

Source: Ivanic and Ruedenberg, "Rotation Matrices for Real Spherical Harmonics", J. Phys. Chem. 1996, with its 1998
correction.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..geometry.sphere import rotation
from ..records import Sound
from .ambisonics import channels_of, field_and_pair
from .channels import PAIR
from .moving import mix_blocks


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


def turn_blocks(
    blocks: Iterable[Tensor], rate_hz: int, cameras: Callable[[np.ndarray], Tensor], order: int = 1
) -> Iterator[Tensor]:  # fmt: skip
    """Turn Ambisonics that comes in blocks `[C, n]` as a listener hears it who looks where a camera looks.

    Args:
        blocks: of the order; a head-locked pair behind the field stays as it is.
        cameras: maps times `[M]`, in seconds from the first sample, to rotations `[M, 3, 3]` of the camera. It is asked
            every 10 ms, up to a second past the last sample.

    Yields:
        Blocks of the same shapes.

    Raises:
        InputError: channels of another order.
    """

    def turns(times_s: np.ndarray) -> Tensor:
        return turn_matrices(cameras(times_s), order)

    return mix_blocks((_of_order(block, order) for block in blocks), rate_hz, turns)


def turn(sound: Sound, yaw_deg: float, pitch_deg: float = 0.0, roll_deg: float = 0.0) -> Sound:
    """Turn Ambisonics as a listener hears it who looks to yaw and pitch: what lay there is in front.

    Convention: angles of a camera, as in `geometry.sphere.rotation`; yaw 90 brings what lay at the right to the front.
    A head-locked pair stays as it is.

    Raises:
        InputError: the sound is not Ambisonics, or an angle is not finite.
    """
    order = sound.ambisonic_order
    if order is None:
        raise InputError(
            f"only Ambisonics can be turned; this sound is {sound.layout} with {sound.waveform.shape[0]} channels. "
            f"Place it on the sphere first."
        )
    if not all(map(math.isfinite, (yaw_deg, pitch_deg, roll_deg))):
        raise InputError(f"a turn by {yaw_deg}, {pitch_deg}, {roll_deg} degrees was asked for; wanted finite angles.")
    matrix = turn_matrices(rotation(yaw_deg, pitch_deg, roll_deg, dtype=torch.float64), order)
    field, pair = field_and_pair(sound.waveform)
    turned = matrix.to(field) @ field
    return replace(sound, waveform=turned if pair is None else torch.cat((turned, pair)))


def _of_order(block: Tensor, order: int) -> Tensor:
    channels = channels_of(order)
    if block.shape[0] - channels not in (0, PAIR):
        raise InputError(f"Ambisonics of order {order} has {channels} channels; the sound has {block.shape[0]}.")
    return block


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
