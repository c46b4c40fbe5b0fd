"""Convert directions and angles on the sphere, and rotate cameras.

Shape legend: `...` any batch shape; the last axis of a direction is (x, y, z).

Convention (the whole package): x right, y up, z forward; yaw 0, pitch 0 looks along +z. Yaw is right-positive in
[-180, 180), pitch up-positive in [-90, 90], roll clockwise-positive for the one who looks. Degrees at the doors.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from .degrees import DEG, Angle

_F = TypeVar("_F", bound=Callable)


def cached_grid(function: _F) -> _F:
    """Cache a function's result: constant tensors that depend on sizes, angles, dtype and device alone.

    They are made outside inference mode, so that a grid first made under it (ComfyUI) can be used in training later.
    Never write into them; public functions return clones.
    """

    def make(*args):
        with torch.inference_mode(False), torch.no_grad():
            return function(*args)

    return functools.lru_cache(maxsize=64)(functools.wraps(function)(make))  # type: ignore[return-value]


def _radians(angles_deg: tuple[Angle, ...], dtype: torch.dtype, device) -> tuple[Tensor, ...]:
    """Convert angles to tensors of one shape, in the dtype and on the device of the first tensor among them."""
    for angle in angles_deg:
        if isinstance(angle, Tensor):
            dtype, device = angle.dtype, angle.device
            break
    return torch.broadcast_tensors(*(torch.as_tensor(a, dtype=dtype, device=device) * DEG for a in angles_deg))


def directions(yaw_deg: Angle, pitch_deg: Angle, dtype: torch.dtype = torch.float32, device=None) -> Tensor:
    """Give unit vectors of angles.

    Convention: (yaw, pitch) (0, 0) is (0, 0, 1); (90, 0) is (1, 0, 0), to the right; (any, 90) is (0, 1, 0), up.

    Args:
        yaw_deg, pitch_deg: tensors or numbers that broadcast together, degrees.
        dtype, device: used where both are plain numbers; tensors keep their own.

    Returns:
        `[..., 3]`.
    """
    yaw, pitch = _radians((yaw_deg, pitch_deg), dtype, device)
    return torch.stack((yaw.sin() * pitch.cos(), pitch.sin(), yaw.cos() * pitch.cos()), dim=-1)


def angles(dirs: Tensor) -> tuple[Tensor, Tensor]:
    """Give yaw and pitch of directions, which need not be unit vectors.

    Convention: the inverse of `directions`. At a pole every yaw is right; it is 0 there, with gradient 0.

    Args:
        dirs: `[..., 3]`, not zero.

    Returns:
        (yaw_deg in [-180, 180), pitch_deg in [-90, 90]), each `[...]`.
    """
    x, y, z = dirs.unbind(-1)
    ground = x * x + z * z
    at_pole = ground == 0
    # Both branches of `where` are differentiated: the pole gets stand-ins instead of 0/0.
    yaw = torch.atan2(torch.where(at_pole, torch.zeros_like(x), x), torch.where(at_pole, torch.ones_like(z), z))
    radius = torch.where(at_pole, torch.ones_like(ground), ground).sqrt()
    pitch = torch.where(at_pole, y.sign() * (torch.pi / 2), torch.atan2(y, radius))
    yaw_deg = yaw / DEG
    return torch.where(yaw_deg >= 180.0, yaw_deg - 360.0, yaw_deg), (pitch / DEG).clamp(-90.0, 90.0)


def rotation(
    yaw_deg: Angle, pitch_deg: Angle, roll_deg: Angle = 0.0, dtype: torch.dtype = torch.float32, device=None
) -> Tensor:
    """Make a camera's rotation: its columns are the camera's right, up and forward axes in the world.

    Convention: world = R @ camera; `R @ (0, 0, 1)` is `directions(yaw, pitch)`. Roll is applied first and is positive
    when the camera leans to its right, so that the picture turns to the left.

    Args:
        yaw_deg, pitch_deg, roll_deg: tensors or numbers that broadcast together, degrees.
        dtype, device: used where all are plain numbers.

    Returns:
        `[..., 3, 3]`.
    """
    yaw, pitch, roll = _radians((yaw_deg, pitch_deg, roll_deg), dtype, device)
    zero = torch.zeros_like(yaw)
    right = torch.stack((yaw.cos(), zero, -yaw.sin()), -1)
    up = torch.stack((-yaw.sin() * pitch.sin(), pitch.cos(), -yaw.cos() * pitch.sin()), -1)
    forward = torch.stack((yaw.sin() * pitch.cos(), pitch.sin(), yaw.cos() * pitch.cos()), -1)
    cos, sin = roll.cos()[..., None], roll.sin()[..., None]
    return torch.stack((cos * right - sin * up, cos * up + sin * right, forward), dim=-1)


def rotation_angles(turn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Give yaw, pitch and roll of a rotation.

    Convention: the inverse of `rotation`. Where the camera looks straight up or down, all of its turn is roll.

    Args:
        turn: `[..., 3, 3]`.

    Returns:
        (yaw_deg in [-180, 180), pitch_deg in [-90, 90], roll_deg in [-180, 180)), each `[...]`.
    """
    yaw, pitch = angles(turn[..., 2])
    plain = rotation(yaw, pitch)
    right = turn[..., 0]
    roll = torch.atan2(-(plain[..., 1] * right).sum(-1), (plain[..., 0] * right).sum(-1)) / DEG
    return yaw, pitch, torch.where(roll >= 180.0, roll - 360.0, roll)


def angle_between_deg(dirs_a: Tensor, dirs_b: Tensor) -> Tensor:
    """Measure the great-circle angle between directions.

    Convention: in [0, 180]; accurate for small and for opposite angles alike (half-angle form, not arccos).

    Args:
        dirs_a, dirs_b: `[..., 3]`, not zero, shapes that broadcast.

    Returns:
        `[...]` degrees.
    """
    a = torch.nn.functional.normalize(dirs_a, dim=-1)
    b = torch.nn.functional.normalize(dirs_b, dim=-1)
    return 2.0 * torch.atan2((a - b).norm(dim=-1), (a + b).norm(dim=-1)) / DEG
