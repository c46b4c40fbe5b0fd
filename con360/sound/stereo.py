"""Pan to stereo by named laws, and read directions back from two channels.

Convention: yaw is right-positive. Laws other than `cardioids` know the front alone: what is behind folds to the front,
what is wider than the loudspeakers comes from one of them.

Source: method notes "Stereo laws"; Pulkki, "Virtual Sound Source Positioning Using VBAP", 1997 (tangent law).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..choices import STEREO_LAWS, StereoLaw
from ..errors import InputError
from .ambisonics import STEREO_ANGLE_DEG, harmonics, stereo_matrix

# Yaw of the right loudspeaker by law: the listener's triangle, and the arc that constant power fills.
SPEAKER_YAW_DEG: dict[StereoLaw, float] = {"tangent": 30.0, "constant-power": 45.0}
_ACROSS, _AHEAD = math.sin(math.radians(STEREO_ANGLE_DEG)), math.cos(math.radians(STEREO_ANGLE_DEG))


def check_law(law: str) -> None:
    """Check that a law is known.

    Raises:
        InputError: it is none of `STEREO_LAWS`.
    """
    if law not in STEREO_LAWS:
        raise InputError(f"stereo law {law!r} is unknown; choose one of {', '.join(STEREO_LAWS)}.")


def law_gains(yaw_deg: Tensor, law: StereoLaw) -> Tensor:
    """Gains of left and right for a source on the horizon.

    Args:
        yaw_deg: `[...]`, any finite angles.

    Returns:
        `[..., 2]`; of `tangent` and `constant-power`, their squares add to 1.
    """
    check_law(law)
    if law == "cardioids":
        return harmonics(yaw_deg, torch.zeros_like(yaw_deg), 1) @ stereo_matrix().to(yaw_deg).T
    edge = SPEAKER_YAW_DEG[law]
    front = torch.rad2deg(torch.asin(torch.deg2rad(yaw_deg).sin())).clamp(-edge, edge)
    if law == "constant-power":
        turned = torch.deg2rad((front / edge + 1) * 45.0)
        return torch.stack((turned.cos(), turned.sin()), -1)
    side = torch.deg2rad(front).tan() / math.tan(math.radians(edge))
    pair = torch.stack((1 - side, 1 + side), -1)
    return pair / pair.norm(dim=-1, keepdim=True)


def law_yaw_deg(left: Tensor, right: Tensor, law: StereoLaw) -> Tensor:
    """Read a source's yaw back from the amplitudes of left and right; NaN where both are 0.

    Args:
        left, right: `[...]`, at least 0.

    Returns:
        `[...]` in degrees: within the loudspeakers, of `cardioids` within -90 to 90.
    """
    check_law(law)
    side = (right - left) / (right + left)
    if law == "tangent":
        return torch.rad2deg(torch.atan(side * math.tan(math.radians(SPEAKER_YAW_DEG[law]))))
    if law == "constant-power":
        return (torch.atan2(right, left) * (4 / math.pi) - 1) * SPEAKER_YAW_DEG[law] + 0 * side
    # side = A sin a / (1 + B cos a) with A across and B ahead, solved for a.
    shift = torch.atan2(side * _AHEAD, torch.full_like(side, _ACROSS))
    sine = side / torch.hypot(torch.full_like(side, _ACROSS), side * _AHEAD)
    return torch.rad2deg(shift + torch.asin(sine.clamp(-1, 1))).clamp(-90, 90)
