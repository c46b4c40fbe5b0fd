"""Hear an Ambisonic field by virtual microphones of any direction and pattern.

Source: Zotter and Frank, "Ambisonics", 2019 (max-rE weights); Elko, "Superdirectional Microphone Arrays", 2000
(hypercardioids of any order have the highest directivity index).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..records import Sound
from .ambisonics import channels_of, harmonics
from .moving import mix_blocks

# `cardioid` of order n is ((1 + cos) / 2)^n, `figure-of-eight` cos^n, `max-re` the beam with the longest energy vector.
Pattern = Literal["omni", "cardioid", "hypercardioid", "figure-of-eight", "max-re"]
PATTERNS: tuple[Pattern, ...] = get_args(Pattern)


def pattern_weights(pattern: Pattern, order: int) -> Tensor:
    """Weights of the Legendre polynomials whose sum, by the angle from the axis, is the pattern; 1 on the axis.

    Returns:
        `[order + 1]` float64.

    Raises:
        InputError: an unknown pattern, or an order outside 0 to 3.
    """
    if pattern not in PATTERNS:
        raise InputError(f"microphone {pattern!r} is unknown; choose one of {', '.join(PATTERNS)}.")
    if order not in (0, 1, 2, 3):
        raise InputError(f"a microphone of order {order} was asked for; wanted 0 to 3.")
    degrees = np.arange(order + 1)
    if pattern == "omni":
        weights = np.where(degrees == 0, 1.0, 0.0)
    elif pattern == "hypercardioid":
        weights = 2.0 * degrees + 1
    elif pattern == "max-re":
        cosine = math.cos(math.radians(137.9 / (order + 1.51)))
        weights = (2 * degrees + 1) * np.array([np.polynomial.Legendre.basis(n)(cosine) for n in degrees])
    else:
        offset = 0.5 if pattern == "cardioid" else 0.0
        weights = np.polynomial.legendre.poly2leg((np.polynomial.Polynomial([offset, 1 - offset]) ** order).coef)
    return torch.from_numpy(weights / weights.sum())


def microphone(yaw_deg: Tensor | float, pitch_deg: Tensor | float, pattern: Pattern, order: int = 1) -> Tensor:
    """Gains by which a field sounds as this microphone hears it.

    Args:
        yaw_deg, pitch_deg: direction of its axis, `[...]`.

    Returns:
        `[..., (order + 1)²]` float64, ACN, for SN3D.
    """
    yaw, pitch = (torch.as_tensor(angle, dtype=torch.float64) for angle in (yaw_deg, pitch_deg))
    yaw, pitch = torch.broadcast_tensors(yaw, pitch)
    repeats = 2 * torch.arange(order + 1) + 1
    return harmonics(yaw, pitch, order) * pattern_weights(pattern, order).repeat_interleave(repeats)


def hear(
    sound: Sound, yaw_deg: float, pitch_deg: float = 0.0, pattern: Pattern = "cardioid", order: int | None = None
) -> Sound:  # fmt: skip
    """Hear Ambisonics by one microphone that stands still; a head-locked pair is left out.

    Args:
        order: of the microphone; None takes the sound's.

    Returns:
        Mono, as long as the sound.

    Raises:
        InputError: the sound is not Ambisonics or of a lower order, or the microphone is unknown.
    """
    own = sound.ambisonic_order
    if own is None or own < (order or 0):
        wanted = "Ambisonics" if order is None else f"Ambisonics of order {order} or more"
        raise InputError(
            f"a virtual microphone needs {wanted}; this is {sound.layout} with {sound.waveform.shape[0]} channels."
        )
    gains = microphone(yaw_deg, pitch_deg, pattern, own if order is None else order)
    return Sound(gains[None].to(sound.waveform) @ sound.waveform[: len(gains)], sound.sample_rate_hz)


def hear_blocks(
    blocks: Iterable[Tensor], rate_hz: int, aim: Callable[[np.ndarray], tuple[Tensor, Tensor]],
    pattern: Pattern = "cardioid", order: int = 1,
) -> Iterator[Tensor]:  # fmt: skip
    """Hear Ambisonics that comes in blocks `[C, n]` by a microphone that moves.

    Args:
        aim: maps times `[M]`, in seconds from the first sample and up to a second past the last one, to yaws `[M]` and
            pitches `[M]`.

    Yields:
        `[1, n]`.
    """
    field = (block[: channels_of(order)] for block in blocks)
    return mix_blocks(field, rate_hz, lambda times_s: microphone(*aim(times_s), pattern, order)[..., None, :])
