"""Hear a panorama from a viewpoint: the view's microphone, or two ears that look there.

Source: method notes "Sound of a view".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..choices import StereoLaw
from ..errors import InputError
from ..geometry.sphere import rotation
from ..records import Sound, View, ViewTrack
from .ambisonics import ambisonic_azimuth_deg, field_and_pair
from .channels import FIRST_ORDER
from .headphones import EarFilters, to_ears
from .levels import pair_in_mono
from .rotation import turn_blocks
from .stereo import to_stereo

# 0.75 W + 0.25 X': a source at angle a from the view has gain 0.75 + 0.25 cos a, so what is behind is heard at -6 dB.
VIEW_OMNI_GAIN = 0.75
VIEW_FRONT_GAIN = 0.25


def view_sound(sound: Sound, track: ViewTrack | View, fps: float) -> Sound:
    """Make the `view` kind of sound: a wide virtual microphone, 0.75 W + 0.25 X', that looks where the view looks.

    A head-locked pair does not turn: it is added as mono, 0.7071 (L + R).

    Convention:
        Frame `i` of the track holds at `i / fps` seconds. Between frames yaw takes the shorter way round and pitch
        is linear; after the last frame its view stays. The microphone hears the same however the camera rolls.

    Args:
        sound: `ambix`; of higher orders the first-order part is heard.
        track: one view, or one per frame.
        fps: frames of the track per second.

    Returns:
        Mono, `[1, N]`.

    Raises:
        InputError: the sound is not Ambisonics, so it has no directions.
    """
    if sound.layout != "ambix" or sound.waveform.shape[0] < FIRST_ORDER:
        raise InputError(
            f"the sound of a view needs Ambisonics (AmbiX, 4 channels or more); this is "
            f"{sound.layout} with {sound.waveform.shape[0]} channels. Use the omni sound."
        )
    field, pair = field_and_pair(sound.waveform)
    w, y, z, x = field[:FIRST_ORDER]
    yaw, pitch, _ = _looked(track, torch.arange(w.shape[0], dtype=torch.float64) * (fps / sound.sample_rate_hz))
    azimuth, elevation = torch.deg2rad(ambisonic_azimuth_deg(yaw)), torch.deg2rad(pitch)
    front = torch.stack((azimuth.cos() * elevation.cos(), azimuth.sin() * elevation.cos(), elevation.sin())).to(w)
    mono = VIEW_OMNI_GAIN * w + VIEW_FRONT_GAIN * (front * torch.stack((x, y, z))).sum(0)
    whole = mono[None] if pair is None else mono[None] + pair_in_mono(pair)
    return Sound(whole, sound.sample_rate_hz, "mono")


def view_ears(sound: Sound, track: ViewTrack | View, fps: float, ears: EarFilters | None = None) -> Sound:
    """Make headphone sound of Ambisonics for a listener who looks where the view looks, the head rolled as it is.

    Args:
        sound: `ambix` of order 1, 2 or 3; a head-locked pair does not turn.
        track, fps: as in `view_sound`. ears: as in `to_ears`.

    Returns:
        Stereo, `[2, N]`.

    Raises:
        InputError: as `to_ears`.
    """
    return to_ears(_turned(sound, track, fps), ears)


def view_stereo(sound: Sound, track: ViewTrack | View, fps: float, law: StereoLaw = "cardioids") -> Sound:
    """Make stereo of Ambisonics that turns with the view.

    Args:
        sound, track, fps: as in `view_ears`. law: as in `to_stereo`.

    Returns:
        Stereo, `[2, N]`.

    Raises:
        InputError: as `to_stereo`.
    """
    return to_stereo(_turned(sound, track, fps), law)


def _turned(sound: Sound, track: ViewTrack | View, fps: float) -> Sound:
    """Ambisonics turned so that the view looks to the front; other sound as it is."""
    if not sound.ambisonic_order:
        return sound
    turned = turn_blocks([sound.waveform], sound.sample_rate_hz, cameras_of(track, fps), sound.ambisonic_order)
    return replace(sound, waveform=torch.cat([*turned, sound.waveform[:, :0]], 1))


def cameras_of(track: ViewTrack | View, fps: float) -> Callable[[np.ndarray], Tensor]:
    """The camera of a track over time, for `turn_blocks`: maps seconds `[M]`, at least 0, to rotations `[M, 3, 3]`."""

    def cameras(times_s: np.ndarray) -> Tensor:
        return rotation(*_looked(track, torch.from_numpy(times_s) * fps), dtype=torch.float64)

    return cameras


def _looked(track: ViewTrack | View, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Yaw, pitch and roll of a view, or of a track at fractional frames."""
    views = (track,) if isinstance(track, View) else track.views
    pitch = torch.tensor([view.pitch_deg for view in views], dtype=torch.float64)
    yaw, roll = (_unwrap_deg([getattr(view, name) for view in views]) for name in ("yaw_deg", "roll_deg"))
    return _interpolate(yaw, position), _interpolate(pitch, position), _interpolate(roll, position)


def _unwrap_deg(angles: list[float]) -> Tensor:
    steps = torch.tensor([b - a for a, b in zip(angles[:1] + angles[:-1], angles, strict=True)], dtype=torch.float64)
    return angles[0] + torch.cumsum((steps + 180.0) % 360.0 - 180.0, 0)


def _interpolate(values: Tensor, position: Tensor) -> Tensor:
    """Interpolate `values` linearly at fractional indices; the last one holds."""
    position = position.clamp(max=len(values) - 1)
    lower = position.floor().long()
    upper = (lower + 1).clamp(max=len(values) - 1)
    return torch.lerp(values[lower], values[upper], position - lower)


def front_mono(block: Tensor) -> Tensor:
    """Hear turned Ambisonics `[C, n]` by the microphone of `view_sound` that looks to the front: `[1, n]`."""
    field, pair = field_and_pair(block)
    mono = VIEW_OMNI_GAIN * field[:1] + VIEW_FRONT_GAIN * field[3:FIRST_ORDER]
    return mono if pair is None else mono + pair_in_mono(pair)
