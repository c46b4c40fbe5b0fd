"""Encode, order and convert Ambisonic sound of any order.

Convention: AmbiX, ACN order W, Y, Z, X, ... with SN3D gains and left-positive azimuth: order N has (N + 1)² channels.
The rest of the project counts yaw right-positive; `ambisonic_azimuth_deg` is the one place where the two meet.

Source: method notes "Sound in space"; Nachbar et al., "AmbiX", 2011; Zotter and Frank, "Ambisonics", 2019 (caps).
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from ..errors import InputError
from ..records import Sound, order_of
from .channels import FIRST_ORDER, PAIR, sn3d_of

# Azimuth of the two virtual microphones for turned stereo: 60 sounds narrower, at 90 front and back sound the same.
STEREO_ANGLE_DEG = 75.0


def ambisonic_azimuth_deg(yaw_deg: float | Tensor) -> float | Tensor:
    """Turn our right-positive yaw into Ambisonics' left-positive azimuth, in [-180, 180); its own inverse."""
    return (180.0 - yaw_deg) % 360.0 - 180.0


def field_and_pair(waveform: Tensor) -> tuple[Tensor, Tensor | None]:
    """Split Ambisonics `[C, N]` into its field `[(order + 1)², N]` and its head-locked pair `[2, N]`, None without one.

    Channels of no order are left out: of 7, the first four are a field.
    """
    channels = waveform.shape[0]
    if (order_of(channels - PAIR) or 0) >= 1:
        return waveform[:-PAIR], waveform[-PAIR:]
    return waveform[: channels_of(math.isqrt(channels) - 1)], None


def first_order(sound: Sound) -> Sound:
    """Keep W, Y, Z, X and a head-locked pair of Ambisonics of any order."""
    field, pair = field_and_pair(sound.waveform)
    kept = field[:FIRST_ORDER]
    return replace(sound, waveform=kept if pair is None else torch.cat((kept, pair)))


def harmonics(yaw_deg: Tensor, pitch_deg: Tensor, order: int) -> Tensor:
    """Evaluate real spherical harmonics: the Ambisonic gains of plane waves.

    Args:
        yaw_deg, pitch_deg: float tensors of one shape; yaw is right-positive.

    Returns:
        `[..., (order + 1)²]`, ACN, SN3D, in the dtype of `yaw_deg`.
    """
    azimuth, elevation = torch.deg2rad(ambisonic_azimuth_deg(yaw_deg)), torch.deg2rad(pitch_deg)
    up, across = elevation.sin(), elevation.cos()
    legendre = _legendre(up, across, order)
    rows = []
    for n in range(order + 1):
        for m in range(-n, n + 1):
            scale = math.sqrt((2 - (m == 0)) * math.factorial(n - abs(m)) / math.factorial(n + abs(m)))
            turn = (m * azimuth).cos() if m >= 0 else (-m * azimuth).sin()
            rows.append(scale * legendre[n, abs(m)] * turn)
    return torch.stack(rows, -1)


def _legendre(up: Tensor, across: Tensor, order: int) -> dict[tuple[int, int], Tensor]:
    """Associated Legendre functions P_nm of sin(elevation), without the Condon-Shortley phase."""
    found = {(0, 0): torch.ones_like(up)}
    for n in range(1, order + 1):
        found[n, n] = (2 * n - 1) * across * found[n - 1, n - 1]
        for m in range(n):
            before = found[n - 2, m] if n - 2 >= m else torch.zeros_like(up)
            found[n, m] = ((2 * n - 1) * up * found[n - 1, m] - (n + m - 1) * before) / (n - m)
    return found


def encode(mono: Tensor, yaw_deg: Tensor | float, pitch_deg: Tensor | float, order: int = 1) -> Tensor:
    """Put a plane wave into Ambisonics (AmbiX).

    Args:
        mono: `[N]`.
        yaw_deg, pitch_deg: direction of the source, one value or one per sample; yaw is right-positive.

    Returns:
        `[(order + 1)², N]`; of first order W = s, Y = s sin(az) cos(el), Z = s sin(el), X = s cos(az) cos(el).
    """
    yaw, pitch = (torch.as_tensor(a, dtype=mono.dtype, device=mono.device) for a in (yaw_deg, pitch_deg))
    azimuth, elevation = torch.deg2rad(ambisonic_azimuth_deg(yaw)), torch.deg2rad(pitch)
    first = torch.stack((
        mono, mono * azimuth.sin() * elevation.cos(), mono * elevation.sin(), mono * azimuth.cos() * elevation.cos()
    ))  # fmt: skip
    if order <= 1:
        return first[: channels_of(order)]
    yaw, pitch = torch.broadcast_tensors(yaw, pitch)
    higher = harmonics(yaw, pitch, order)[..., FIRST_ORDER:]
    return torch.cat((first, (mono[..., None] * higher).movedim(-1, 0)))


def channels_of(order: int) -> int:
    return (order + 1) ** 2


def cap_gains(spread_deg: Tensor, order: int) -> Tensor:
    """Gains of each channel of a source that is as wide as an evenly filled cap; 1 for a point, W always 1.

    Args:
        spread_deg: `[...]`, the cap's whole angle, 0 to 360: 360 sounds from everywhere.

    Returns:
        `[..., (order + 1)²]`.
    """
    edge = torch.deg2rad(spread_deg / 2).cos()
    legendre = [torch.ones_like(edge), edge]
    for n in range(2, order + 2):
        legendre.append(((2 * n - 1) * edge * legendre[n - 1] - (n - 1) * legendre[n - 2]) / n)
    rows = [torch.ones_like(edge)]
    for n in range(1, order + 1):
        # The mean of P_n over the cap; at its point the quotient is 0/0 and the mean 1.
        mean = (legendre[n - 1] - legendre[n + 1]) / ((2 * n + 1) * (1 - edge).clamp_min(1e-12))
        rows += [torch.where(1 - edge > 1e-9, mean, torch.ones_like(mean))] * (2 * n + 1)
    return torch.stack(rows, -1)


def to_ambix(waveform: Tensor, kind: str) -> Tensor:
    """Turn Ambisonics of another convention into AmbiX.

    Args:
        waveform: `[C, N]`, C 1, 4, 9 or 16. kind: `ambix`, `n3d` (ACN, N3D) or `fuma` (W, X, Y, Z, R, S, T, U, V, ...;
            maxN, W at -3 dB).

    Raises:
        InputError: an unknown kind, or channels of no order from 0 to 3.
    """
    sources, gains = _picks(waveform, kind)
    return waveform[..., sources, :] * waveform.new_tensor(gains)[:, None]


def from_ambix(waveform: Tensor, kind: str) -> Tensor:
    """Turn AmbiX into another convention: the inverse of `to_ambix`."""
    sources, gains = _picks(waveform, kind)
    turned = torch.empty_like(waveform)
    turned[..., sources, :] = waveform / waveform.new_tensor(gains)[:, None]
    return turned


def _picks(waveform: Tensor, kind: str) -> tuple[list[int], list[float]]:
    count = waveform.shape[-2]
    if kind not in ("ambix", "n3d", "fuma"):
        raise InputError(f"Ambisonics {kind!r} is unknown here; choose ambix, n3d or fuma.")
    if (order_of(count) if count else None) not in (0, 1, 2, 3):
        raise InputError(f"Ambisonics of order 0 to 3 has 1, 4, 9 or 16 channels; got {count}.")
    sources, gains = zip(*sn3d_of(kind, count), strict=True)
    return list(sources), list(gains)


def stereo_matrix() -> Tensor:
    """Make `[2, 4]` from AmbiX to left and right: two virtual cardioids at `STEREO_ANGLE_DEG` to either side.

    Convention: a cardioid to azimuth a hears 0.5 (W + X cos a + Y sin a): full level there, nothing opposite. A source
    straight ahead has 0.63 in both channels, one at the left 0.98 and 0.02, one behind 0.37 in both.
    """
    angle = math.radians(STEREO_ANGLE_DEG)
    across, ahead = 0.5 * math.sin(angle), 0.5 * math.cos(angle)
    return torch.tensor([[0.5, across, 0.0, ahead], [0.5, -across, 0.0, ahead]], dtype=torch.float64)
