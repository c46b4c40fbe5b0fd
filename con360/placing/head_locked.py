"""A clip's own sound as the head-locked pair beside a field: it does not turn with the view."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ..sound.ambisonics import channels_of
from ..sound.channels import PAIR
from ..sound.levels import downmix_matrix
from .sources import SoundFile, Source


@dataclass
class HeadLocked:
    """Give the pair of a clip's own sound.

    Its own head-locked pair where it has one; mono, stereo and loudspeakers as stereo; else silence.
    """

    file: SoundFile | None

    @property
    def takes_all(self) -> bool:
        """True where all of the sound goes into the pair, and none of it into the field."""
        return (
            self.file is not None and not self.file.order and (self._is_plain or bool(self.file.track.heard.speakers))
        )

    @property
    def _is_plain(self) -> bool:
        return self.file is not None and self.file.track.layout in ("mono", "stereo")

    def blocks(self, rate_hz: int, order: int) -> Iterator[Tensor]:
        """Yield `[(order + 1)² + 2, n]`: a silent field, then left and right; nothing where the pair is silent."""
        if self.file is None or not (self.takes_all or self.file.has_pair):
            return
        for block in self.file.blocks(rate_hz):
            yield F.pad(self._sides(block), (0, 0, channels_of(order), 0))

    def _sides(self, block: Tensor) -> Tensor:
        assert self.file is not None
        if self.file.has_pair:
            return block[-PAIR:]
        if self._is_plain:
            return block.expand(PAIR, -1) if len(block) == 1 else block
        return downmix_matrix(self.file.track.heard.speakers, PAIR).to(block) @ block

    @property
    def said(self) -> str:
        """Say what the pair holds."""
        if self.takes_all:
            return "the clip's own sound is the head-locked pair, which does not turn with the view"
        if self.file is not None and self.file.has_pair:
            return "the clip's own head-locked pair is kept"
        return "the clip has no sound for the head-locked pair: that of the file is silent"


def head_locked_of(own: Sequence[Source]) -> HeadLocked:
    """Make the pair of a clip's own sound, if any, which then keeps its own pair out of the field's notices."""
    for source in own:
        source.keeps_pair = True
    return HeadLocked(own[0].file if own else None)


def with_silent_pair(blocks: Iterator[Tensor]) -> Iterator[Tensor]:
    """Yield blocks of a field `[C, n]` as `[C + 2, n]`."""
    return (F.pad(block, (0, 0, 0, PAIR)) for block in blocks)
