"""Ease a movement from one moment to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

from ..choices import Ease

if TYPE_CHECKING:
    import numpy as np

# A number, or an array of them.
Share = TypeVar("Share", float, "np.ndarray")


class Move(NamedTuple):
    """The way from one moment to the next: the change of each number, its time in seconds, and its ease."""

    change: tuple[float, ...]
    seconds: float
    ease: Ease = "linear"


def eased(move: Move, share: Share, before: Move | None = None, after: Move | None = None) -> tuple[Share, ...]:
    """Change of each number at a share of a move.

    Convention: `linear` moves evenly, `hold` not at all. `smooth` is a cubic without a jump in speed: it starts and
    ends at rest, passes a moment between two smooth moves at the harmonic mean of their speeds, and at rest where a
    number turns back there. So it never overshoots; alone it is 3 s² - 2 s³ of the way.

    Args:
        share: in [0, 1), one or several. before, after: the moves beside it; None where there is none.
    """
    if move.ease == "hold":
        return (0.0 * share,) * len(move.change)
    if move.ease == "linear":
        return tuple(share * whole for whole in move.change)
    speeds = zip(move.change, _speeds(before, move), _speeds(move, after), strict=True)
    return tuple(_cubic(share, whole, v * move.seconds, w * move.seconds) for whole, v, w in speeds)


def _speeds(a: Move | None, b: Move | None) -> tuple[float, ...]:
    """Change per second at which a smooth movement passes from one move to the next."""
    if a is None or b is None or {a.ease, b.ease} != {"smooth"}:
        return (0.0,) * len((a or b or Move((), 1.0)).change)
    pairs = zip(a.change, b.change, strict=True)
    return tuple(_mean_speed(was / a.seconds, will / b.seconds) for was, will in pairs)


def _mean_speed(a: float, b: float) -> float:
    """The harmonic mean of two speeds; 0 where they differ in sign."""
    return 2 * a * b / (a + b) if a * b > 0 else 0.0


def _cubic(share: Share, whole: float, start: float, end: float) -> Share:
    """Hermite's cubic from 0 to `whole`, with its slopes at share 0 and 1."""
    s, rest = share, 1.0 - share
    return whole * s * s * (3 - 2 * s) + start * s * rest * rest - end * s * s * rest
