"""Degrees as plain numbers or tensors, without loading torch."""

from __future__ import annotations

import math
from numbers import Real
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

DEG = math.pi / 180.0
Angle: TypeAlias = "Tensor | float"


def wrap_yaw_deg(yaw_deg: Angle) -> Angle:
    """Wrap any finite yaw in degrees to [-180, 180).

    Convention: +180 and -180 are one direction, written -180.
    """
    wrapped = (yaw_deg + 180.0) % 360.0 - 180.0
    # (-1e-20 + 180) % 360 and its like can round up to the excluded end.
    if isinstance(wrapped, Real):
        return wrapped - 360.0 if wrapped >= 180.0 else wrapped
    return wrapped.where(wrapped < 180.0, wrapped - 360.0)
