"""Encode, order and turn Ambisonic sound.

Convention: AmbiX, ACN order W, Y, Z, X with SN3D gains and left-positive azimuth. The rest of the project counts yaw
right-positive; `ambisonic_azimuth_deg` is the one place where the two meet.

Source: method notes "Sound in space".
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import InputError
from ..records import order_of
from .channels import FIRST_ORDER, FUMA, ORDERS, PAIR

# Where the two virtual microphones of turned stereo look: 60 sounds narrower, at 90 front and back sound the same.
STEREO_ANGLE_DEG = 75.0


def ambisonic_azimuth_deg(yaw_deg: float | Tensor) -> float | Tensor:
    """Turns our right-positive yaw into Ambisonics' left-positive azimuth, in [-180, 180); its own inverse."""
    return (180.0 - yaw_deg) % 360.0 - 180.0


def field_and_pair(waveform: Tensor) -> tuple[Tensor, Tensor | None]:
    """W, Y, Z, X of Ambisonics `[C, N]`, and its head-locked pair `[2, N]`; None where there is none."""
    pair = waveform[-PAIR:] if (order_of(waveform.shape[0] - PAIR) or 0) >= 1 else None
    return waveform[:FIRST_ORDER], pair


def foa_encode(mono: Tensor, yaw_deg: Tensor | float, pitch_deg: Tensor | float) -> Tensor:
    """Puts a plane wave into first-order Ambisonics (AmbiX).

    Args:
        mono: `[N]`.
        yaw_deg, pitch_deg: direction of the source, one value or one per sample; yaw is right-positive.

    Returns:
        `[4, N]`: W = s, Y = s sin(az) cos(el), Z = s sin(el), X = s cos(az) cos(el).
    """
    azimuth = torch.deg2rad(ambisonic_azimuth_deg(torch.as_tensor(yaw_deg, dtype=mono.dtype, device=mono.device)))
    elevation = torch.deg2rad(torch.as_tensor(pitch_deg, dtype=mono.dtype, device=mono.device))
    return torch.stack((
        mono, mono * azimuth.sin() * elevation.cos(), mono * elevation.sin(), mono * azimuth.cos() * elevation.cos()
    ))  # fmt: skip


def fuma_to_ambix(waveform: Tensor) -> Tensor:
    """Turns FuMa B-format of order 1, 2 or 3 (W, X, Y, Z, R, S, T, U, V, ...; maxN, W at -3 dB) into AmbiX.

    Args:
        waveform: `[C, N]`, C 4, 9 or 16.
    """
    if waveform.shape[-2] not in ORDERS:
        raise InputError(f"FuMa has 4, 9 or 16 channels (W, X, Y, Z, ...); got {waveform.shape[-2]}.")
    sources, gains = zip(*FUMA[: waveform.shape[-2]], strict=True)
    return waveform[..., list(sources), :] * waveform.new_tensor(gains)[:, None]


def turn_matrices(rotations: Tensor) -> Tensor:
    """Matrices that turn first-order Ambisonics so that a camera's forward axis becomes its front.

    Convention: W stays; the direction (right, up, forward) of AmbiX's dipoles is (-Y, Z, X).

    Args:
        rotations: `[..., 3, 3]` of the camera, as `geometry.sphere.rotation` makes them.

    Returns:
        `[..., 4, 4]`; turned = matrix @ waveform `[4, N]`.
    """
    signs = rotations.new_tensor([-1.0, 1.0, 1.0])
    # Row of a dipole Y, Z, X in the camera's frame by column of the same in the world's.
    dipoles = signs[:, None] * rotations.transpose(-1, -2) * signs
    whole = torch.nn.functional.pad(dipoles, (1, 0, 1, 0))
    whole[..., 0, 0] = 1.0
    return whole


def stereo_matrix() -> Tensor:
    """`[2, 4]`: left and right out of AmbiX by two virtual cardioids at `STEREO_ANGLE_DEG` to either side.

    Convention: a cardioid to azimuth a hears 0.5 (W + X cos a + Y sin a): full level there, nothing opposite. A source
    straight ahead has 0.63 in both channels, one at the left 0.98 and 0.02, one behind 0.37 in both.
    """
    angle = math.radians(STEREO_ANGLE_DEG)
    across, ahead = 0.5 * math.sin(angle), 0.5 * math.cos(angle)
    return torch.tensor([[0.5, across, 0.0, ahead], [0.5, -across, 0.0, ahead]], dtype=torch.float64)
