"""Model the head as a rigid sphere: the reference for headphones that needs no data.

It has no pinna, so up and down, and front and back, sound alike.

Source: Duda and Martens, "Range dependence of the response of a spherical head model", J. Acoust. Soc. Am. 104, 1998,
for a plane wave.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..geometry.sphere import directions
from .ear_filters import LEAD_S, RADIUS_M, SOUND_SPEED_M_S, HeadResponses

_SAMPLES = 512


def sphere_response(incidence_deg: Tensor, hz: Tensor) -> Tensor:
    """Pressure at a point of the sphere over that at its middle without it.

    Args:
        incidence_deg: `[D]`, angle between the source and the point, seen from the middle.
        hz: `[F]`, 0 or more.

    Returns:
        `[D, F]` complex128; a phase that falls with frequency is late.
    """
    from scipy.special import eval_legendre, spherical_jn, spherical_yn

    cosine = np.cos(np.radians(incidence_deg.numpy()))
    size = 2 * math.pi * hz.numpy() * RADIUS_M / SOUND_SPEED_M_S
    heard = np.ones((len(cosine), len(size)), complex)
    moving = size > 0
    k = size[moving]
    total = np.zeros((len(cosine), len(k)), complex)
    # Further terms are too small to matter, and their Hankel functions too large to hold.
    last = 1.2 * k + 12
    for n in range(int(last.max(initial=0)) + 1):
        used = n <= last
        slope = spherical_jn(n, k[used], True) - 1j * spherical_yn(n, k[used], True)
        total[:, used] += (2 * n + 1) * 1j ** (n - 1) * eval_legendre(n, cosine)[:, None] / slope
    heard[:, moving] = total / k**2
    return torch.from_numpy(heard)


def sphere_head(yaw_deg: Tensor, pitch_deg: Tensor, rate_hz: int) -> HeadResponses:
    """Responses of two ears, at the left and the right of a sphere, to sources at `[D]` directions (float64)."""
    hz = torch.linspace(0, rate_hz / 2, _SAMPLES // 2 + 1, dtype=torch.float64)
    across = torch.rad2deg(torch.arccos(-directions(yaw_deg, pitch_deg)[:, 0].clamp(-1, 1)))
    spectra = torch.stack((sphere_response(across, hz), sphere_response(180.0 - across, hz)), 1)
    late = torch.exp(-2j * math.pi * hz * LEAD_S)
    return HeadResponses(torch.fft.irfft(spectra * late, _SAMPLES), yaw_deg, pitch_deg, rate_hz, "a rigid sphere")


def even_directions(count: int) -> tuple[Tensor, Tensor]:
    """Yaw and pitch in degrees, `[count]` each, of directions spread evenly over the sphere (a golden spiral)."""
    at = torch.arange(count, dtype=torch.float64) + 0.5
    pitch = torch.rad2deg(torch.arcsin(1 - 2 * at / count))
    return (at * (180.0 * (3 - math.sqrt(5))) + 180.0) % 360.0 - 180.0, pitch
