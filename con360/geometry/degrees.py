"""Degrees as plain numbers or tensors, without loading torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

DEG = math.pi / 180.0
Angle: TypeAlias = "Tensor | float"


def wrap_yaw_deg(yaw_deg: Angle) -> Angle:
    """Wrap any finite yaw in degrees to [-180, 180).

    Convention: +180 and -180 are one direction, written -180. A number inside the range stays as it is.
    """
    if isinstance(yaw_deg, float | int):
        if -180.0 <= yaw_deg < 180.0:
            return yaw_deg
        wrapped = (yaw_deg + 180.0) % 360.0 - 180.0
        # (-1e-20 + 180) % 360 and its like can round up to the excluded end.
        return wrapped - 360.0 if wrapped >= 180.0 else wrapped
    turned = (yaw_deg + 180.0) % 360.0 - 180.0
    return turned.where(turned < 180.0, turned - 360.0)
