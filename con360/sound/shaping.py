"""Bring a sound to the channels that a kind of file holds: Ambisonics of an order, perhaps with a head-locked pair."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import InputError
from ..records import Sound, SoundLayout, order_of
from .channels import ORDERS, PAIR

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class FieldShape:
    """Channels that are wanted.

    Args:
        order: of the Ambisonics, 1 to 3; None keeps the sound's own, and any sound without directions.
        pair: True has a head-locked pair follow, False leaves it out, None keeps it where there is one.
        needs_field: sound without directions is refused.
    """

    order: int | None = None
    pair: bool | None = None
    needs_field: bool = False


KEPT = FieldShape()


def shape_matrix(
    shape: FieldShape, layout: SoundLayout, channels: int, name: str = "the sound"
) -> tuple[Tensor | None, tuple[str, ...]]:
    """Make the matrix `[D, C]` to the channels that are wanted, and the notices; None where the sound stays as it is.

    Convention: missing orders are silent, so the sound is as sharp as before. Mono and stereo have no directions: where
    a pair is wanted, they become it, beside a silent field.

    Raises:
        InputError: the sound has no directions, and some are needed.
    """
    if layout == "ambix":
        return _from_field(shape, channels)
    if shape.needs_field:
        raise InputError(
            f"{name} ({layout}, {channels} channels) has no directions, and Ambisonics of order {shape.order} is "
            f"wanted. Place it first (con360 place), or choose another preset."
        )
    if not shape.pair or channels > 2:
        return None, ()
    import torch

    matrix = torch.zeros(((shape.order or 1) + 1) ** 2 + PAIR, channels)
    matrix[-2, 0] = matrix[-1, -1] = 1.0
    return matrix, (
        f"the sound ({layout}) has no directions: it becomes the head-locked pair, and the field is silent",
    )


def _from_field(shape: FieldShape, channels: int) -> tuple[Tensor | None, tuple[str, ...]]:
    import torch

    has_pair = order_of(channels) is None
    own = channels - PAIR if has_pair else channels
    order = shape.order or ORDERS[own]
    wanted, with_pair = (order + 1) ** 2, has_pair if shape.pair is None else shape.pair
    count = wanted + PAIR * with_pair
    if count == channels and has_pair == with_pair:
        return None, ()
    matrix = torch.zeros(count, channels)
    matrix[: min(own, wanted), : min(own, wanted)] = torch.eye(min(own, wanted))
    if has_pair and with_pair:
        matrix[-PAIR:, -PAIR:] = torch.eye(PAIR)
    return matrix, _told(ORDERS[own], order, has_pair, with_pair)


def _told(own: int, order: int, has_pair: bool, with_pair: bool) -> tuple[str, ...]:
    said = []
    if order < own:
        said.append(f"the sound is Ambisonics of order {own}; its part of order {order} is used")
    if order > own:
        said.append(f"the sound is Ambisonics of order {own}: the channels above are silent, and it sounds no sharper")
    if has_pair and not with_pair:
        said.append("the head-locked stereo pair is left out; the preset 'headlocked' keeps it")
    if with_pair and not has_pair:
        said.append("the sound has no head-locked stereo pair: that of the file is silent")
    return tuple(said)


def shaped(blocks: Iterator[Tensor], matrix: Tensor | None) -> Iterator[Tensor]:
    """Yield blocks `[D, n]` of blocks `[C, n]`; None leaves them as they are."""
    return blocks if matrix is None else (matrix.to(block) @ block for block in blocks)


def with_pair(sound: Sound | None, pair: Sound) -> Sound:
    """Add a head-locked pair to Ambisonics, at its rate; a pair that is there is replaced.

    Args:
        sound: Ambisonics; None is a silent field. pair: any sound; it becomes stereo.

    Returns:
        As long as the longer of both.

    Raises:
        InputError: the sound is no Ambisonics.
    """
    import torch
    import torch.nn.functional as F

    from .ambisonics import field_and_pair
    from .levels import for_clip, resample

    if sound is not None and sound.layout != "ambix":
        raise InputError(
            f"a head-locked pair goes beside Ambisonics, and the sound is {sound.layout} with "
            f"{sound.waveform.shape[0]} channels. Place it first, or leave one of both out."
        )
    sides = pair.waveform[-PAIR:] if pair.layout == "ambix" and order_of(len(pair.waveform)) is None else None
    mixed = for_clip(pair)[0] if sides is None else replace(pair, waveform=sides, layout="stereo")
    if sound is None:
        sound = Sound(torch.zeros(4, 1), pair.sample_rate_hz, "ambix")
    sides = resample(mixed, sound.sample_rate_hz).waveform
    field = field_and_pair(sound.waveform)[0].cpu().float()
    count = max(field.shape[1], sides.shape[1])
    parts = (field, sides[:1].expand(PAIR, -1) if len(sides) == 1 else sides[:PAIR])
    joined = torch.cat([F.pad(part, (0, count - part.shape[1])) for part in parts])
    return replace(sound, waveform=joined)
