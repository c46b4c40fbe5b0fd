"""Set the level of a sound that a model makes group by group: one gain for all of it, and a limiter.

The model's own level stays, louder by the gain that was asked for; where the first group would pass the ceiling, all
of the sound is turned down by what that takes, and later peaks are limited. Nothing is ever turned up by itself:
silence stays silence. The published program divides by the peak instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from torch import Tensor

from ..errors import InputError
from ..media.sound_coders import loud_notice
from ..sound.limiter import CEILING, decibels, limit_blocks
from ..sound.peaks import PeakMeter, peak_of

# A sound whose peak is lower is called quiet.
QUIET_DB = -30.0


class Level:
    """One gain and a limiter.

    Args:
        rate_hz: of the sound.
        gain_db: on top of its own level.
        limiter: whether the ceiling holds.
    """

    def __init__(self, rate_hz: int, gain_db: float = 0.0, limiter: bool = True) -> None:
        self.rate_hz, self.limiter = rate_hz, limiter
        self.asked = self.gain = 10 ** (gain_db / 20)
        self._meter = PeakMeter()

    @property
    def peak_db(self) -> float | None:
        """Peak of the sound as it came, in dBFS; None for silence."""
        return decibels(self._meter.peak) if self._meter.peak else None

    def set(self, blocks: Iterable[Tensor], first: float) -> Iterator[Tensor]:
        """Yield the blocks `[C, n]` at their final level.

        Args:
            first: how many blocks the gain is taken from; infinite takes all.
        """
        blocks = iter(blocks)
        heard = []
        for block in blocks:
            heard.append(block)
            if len(heard) >= first:
                break
        if self.limiter:
            self.gain = min(self.asked, CEILING / max(peak_of(heard), 1e-9))
        louder = (self._heard(block) * self.gain for block in chain(heard, blocks))
        yield from limit_blocks(louder, self.rate_hz) if self.limiter else louder

    def _heard(self, block: Tensor) -> Tensor:
        if not block.isfinite().all():
            raise InputError("the model made values that are not finite; compute with dtype float32 or bfloat16.")
        self._meter.add(block)
        return block

    def said(self) -> tuple[str, ...]:
        """Clauses about the level."""
        peak = self._meter.peak
        if not peak:
            return ("the sound is silent",)
        if self.gain < self.asked:
            return (f"{loud_notice(self.gain / self.asked)}, so that its first part stays below -1 dBFS",)
        if decibels(peak * self.gain) < QUIET_DB:
            return (f"the sound is quiet, its peak is {decibels(peak * self.gain):.0f} dBFS; a gain makes it louder",)
        return ()
