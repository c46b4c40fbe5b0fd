"""A span of a clip: what lies in it, and how a remade span joins the clip around it.

Convention: seconds from the clip's start. What does not lie wholly inside the span is outside.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError

# Shorter ones hold no two frames at 8 fps, and hardly more sound than the joins take.
SHORTEST_S = 0.25
# Length of a join: a row of the sound's latents at the published rates.
JOIN_S = 0.04
# Ends that a rounded number of seconds misses.
_NEAR_S = 1e-3


@dataclass(frozen=True)
class Span:
    """Seconds from `start_s` to `end_s`."""

    start_s: float
    end_s: float

    def inside(self, count: int, unit_s: float) -> range:
        """Those of `count` frames, rows or samples of `unit_s` seconds that lie wholly inside."""
        first, last = math.ceil(self.start_s / unit_s - 1e-6), math.floor(self.end_s / unit_s + 1e-6)
        return range(max(0, first), max(0, first, min(count, last)))

    def __str__(self) -> str:
        return f"{self.start_s:g}-{self.end_s:g}"


def span_of_text(text: str) -> Span:
    """Read a span such as 1.5-2.5.

    Raises:
        InputError: it is written in another way.
    """
    number = r"\s*(\d+\.?\d*|\.\d+)\s*"
    found = re.fullmatch(f"{number}-{number}", text)
    if found is None:
        raise InputError(f"the span {text!r} cannot be read; write its two ends in seconds, such as 1.5-2.5.")
    return Span(float(found[1]), float(found[2]))


def check_span(span: Span, seconds: float) -> Span:
    """Check a span of a clip of so many seconds; ends within a millisecond of the clip's own become them.

    Raises:
        InputError: reversed, empty, shorter than a quarter of a second, outside the clip, or not a number.
    """
    start, end = span.start_s, span.end_s
    if end < start:
        raise InputError(f"the span {span} ends before it begins; write {end:g}-{start:g}.")
    # Written so that NaN fails too.
    if not -_NEAR_S <= start <= end <= seconds + _NEAR_S:
        raise InputError(f"the span {span} reaches outside the clip; choose one within 0-{seconds:g} s.")
    if end - start < min(SHORTEST_S, seconds) - 1e-9:
        raise InputError(f"the span {span} lasts {end - start:g} s; the shortest that fits is {SHORTEST_S:g} s.")
    return Span(start if start > _NEAR_S else 0.0, end if end < seconds - _NEAR_S else seconds)


def joined_sound(first: Tensor, made: Tensor, span: range, join: int) -> Tensor:
    """Put the samples of `span` from `made` into `first`, both `[C, N]`; the joins lie inside the span.

    A join fades from one to the other. Its gains keep the power of what they mix, however alike both are.

    Args:
        join: samples that one join takes, at most a third of the span. A span that begins or ends with the clip has no
            join there.
    """
    count = first.shape[-1]
    mixed, join = first.clone(), min(join, len(span) // 3)
    mixed[..., span.start : span.stop] = made[..., span.start : span.stop]
    if span.start > 0:
        at = slice(span.start, span.start + join)
        mixed[..., at] = _faded(first[..., at], made[..., at])
    if span.stop < count:
        at = slice(span.stop - join, span.stop)
        mixed[..., at] = _faded(made[..., at], first[..., at])
    return mixed


def _faded(before: Tensor, after: Tensor) -> Tensor:
    """Fade from one piece to another of the same length, at the power of their mixture."""
    count = before.shape[-1]
    risen = (torch.arange(count, dtype=torch.float64) + 0.5) / max(count, 1)
    likeness = (before * after).sum() / (before.square().sum() * after.square().sum()).sqrt().clamp(min=1e-12)
    alike = float(likeness.clamp(0, 1))
    power = (1 - risen) ** 2 + risen**2 + 2 * alike * risen * (1 - risen)
    return ((before * (1 - risen) + after * risen) / power.sqrt()).to(before.dtype)


def joined_frames(first: Tensor, made: Tensor, span: range) -> Tensor:
    """Put the frames of `span` from `made` into `first`, both `[T, ...]`."""
    frames = first.clone()
    frames[span.start : span.stop] = made[span.start : span.stop]
    return frames
