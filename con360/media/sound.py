"""What is done to sound between a file and a model: rates, lengths, downmix, and the sound of a view.

Sounds are `records.Sound`: `[C, N]` float32, peaks above 1 kept. AmbiX is ACN order W, Y, Z, X with SN3D gains and
left-positive azimuth; everything else in the project counts yaw right-positive. `ambisonic_azimuth_deg` is the one
place where the two meet.

Source: method notes "Sound in space" and "Sound of a view"; paper section 3.2 (mono, 16 kHz).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import InputError
from ..records import Sound, View, ViewTrack

# 0.75 W + 0.25 X': a source at angle a from the view has gain 0.75 + 0.25 cos a, so what is behind is heard at -6 dB.
VIEW_OMNI_GAIN = 0.75
VIEW_FRONT_GAIN = 0.25
# Where the two virtual microphones of turned stereo look: 60 sounds narrower, at 90 front and back sound the same.
STEREO_ANGLE_DEG = 75.0
# torchaudio's kernel has about source x target entries after both rates lost their common divisor.
_LARGEST_KERNEL = 20_000_000


def ambisonic_azimuth_deg(yaw_deg: float | Tensor) -> float | Tensor:
    """Turns our right-positive yaw into Ambisonics' left-positive azimuth, in [-180, 180); its own inverse."""
    return (180.0 - yaw_deg) % 360.0 - 180.0


def resample(sound: Sound, sample_rate_hz: int) -> Sound:
    """Changes the sampling rate; each channel on its own, so spatial sound keeps its directions.

    Returns:
        `round(N * new / old)` samples per channel.
    """
    if sample_rate_hz <= 0:
        raise InputError(f"a sampling rate of {sample_rate_hz} Hz was asked for; it must be positive.")
    if sample_rate_hz == sound.sample_rate_hz:
        return sound
    divisor = math.gcd(sound.sample_rate_hz, sample_rate_hz)
    down, up = sound.sample_rate_hz // divisor, sample_rate_hz // divisor
    num_samples = round(sound.waveform.shape[-1] * up / down)
    if down * up <= _LARGEST_KERNEL:
        import torchaudio.functional

        waveform = torchaudio.functional.resample(sound.waveform, sound.sample_rate_hz, sample_rate_hz)
    else:  # rates like 44099 Hz, for which torchaudio would build gigabytes of kernels
        from scipy.signal import resample_poly

        waveform = torch.from_numpy(resample_poly(sound.waveform.numpy(), up, down, axis=-1)).float()
    return fit_length(Sound(waveform, sample_rate_hz, sound.layout), num_samples)


def fit_length(sound: Sound, num_samples: int) -> Sound:
    """Cuts the end off or pads it with silence, so that there are exactly `num_samples`."""
    missing = num_samples - sound.waveform.shape[-1]
    waveform = sound.waveform[..., :num_samples]
    if missing > 0:
        waveform = torch.nn.functional.pad(waveform, (0, missing))
    return Sound(waveform, sound.sample_rate_hz, sound.layout)


def to_mono(sound: Sound) -> Sound:
    """One channel `[1, N]`: W of Ambisonic sound, the mean of all channels otherwise."""
    if sound.waveform.shape[0] == 1:
        waveform = sound.waveform
    elif sound.layout == "ambix":
        waveform = sound.waveform[:1]
    else:
        waveform = sound.waveform.mean(0, keepdim=True)
    return Sound(waveform, sound.sample_rate_hz, "mono")


def omni_sound(sound: Sound) -> Sound:
    """The `omni` kind of view sound: the downmix, the same for every view of a scene (paper)."""
    return to_mono(sound)


def view_sound(sound: Sound, track: ViewTrack | View, fps: float) -> Sound:
    """The `view` kind: a wide virtual microphone that looks where the view looks, 0.75 W + 0.25 X'.

    Convention:
        Frame `i` of the track holds at `i / fps` seconds. Between frames yaw takes the shorter way round and pitch
        is linear; after the last frame its view stays.

    Args:
        sound: `ambix`, `[4, N]`.
        track: one view, or one per frame.
        fps: frames of the track per second.

    Returns:
        Mono, `[1, N]`.

    Raises:
        InputError: the sound is not first-order Ambisonics, so it has no directions.
    """
    if sound.layout != "ambix" or sound.waveform.shape[0] != 4:
        raise InputError(
            f"the sound of a view needs first-order Ambisonics (4 channels, AmbiX); this is "
            f"{sound.layout} with {sound.waveform.shape[0]} channels. Use the omni sound."
        )
    w, y, z, x = sound.waveform
    views = (track,) if isinstance(track, View) else track.views
    position = torch.arange(w.shape[0], dtype=torch.float64) * (fps / sound.sample_rate_hz)
    yaw = _interpolate(_unwrap_deg([view.yaw_deg for view in views]), position)
    pitch = _interpolate(torch.tensor([view.pitch_deg for view in views], dtype=torch.float64), position)
    azimuth, elevation = torch.deg2rad(ambisonic_azimuth_deg(yaw)), torch.deg2rad(pitch)
    front = torch.stack((azimuth.cos() * elevation.cos(), azimuth.sin() * elevation.cos(), elevation.sin())).to(w)
    mono = VIEW_OMNI_GAIN * w + VIEW_FRONT_GAIN * (front * torch.stack((x, y, z))).sum(0)
    return Sound(mono[None], sound.sample_rate_hz, "mono")


def _unwrap_deg(angles: list[float]) -> Tensor:
    steps = torch.tensor([b - a for a, b in zip(angles[:1] + angles[:-1], angles, strict=True)], dtype=torch.float64)
    return angles[0] + torch.cumsum((steps + 180.0) % 360.0 - 180.0, 0)


def _interpolate(values: Tensor, position: Tensor) -> Tensor:
    """Linear interpolation of `values` at fractional indices, held at the end."""
    position = position.clamp(max=len(values) - 1)
    lower = position.floor().long()
    upper = (lower + 1).clamp(max=len(values) - 1)
    return torch.lerp(values[lower], values[upper], position - lower)


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
    """Turns FuMa B-format `[4, N]` (W, X, Y, Z; W at -3 dB) into AmbiX (W, Y, Z, X; SN3D)."""
    if waveform.shape[-2] != 4:
        raise InputError(f"FuMa first order has 4 channels (W, X, Y, Z); got {waveform.shape[-2]}.")
    w, x, y, z = waveform.unbind(-2)
    return torch.stack((w * math.sqrt(2.0), y, z, x), -2)


def turn_matrices(rotations: Tensor) -> Tensor:
    """What turns first-order Ambisonics so that a camera's forward axis becomes its front.

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


def mono_matrix() -> Tensor:
    """`[1, 4]`: the wide microphone of `view_sound`, to the front of turned AmbiX."""
    return torch.tensor([[VIEW_OMNI_GAIN, 0.0, 0.0, VIEW_FRONT_GAIN]], dtype=torch.float64)


def mix_moving(waveform: Tensor, matrices: Tensor, step: int) -> Tensor:
    """Mixes channels by matrices that change over time, without a jump at any sample.

    Args:
        waveform: `[C, N]`. matrices: `[M, D, C]` at the samples 0, step, 2 step, ...; at least N / step + 1 of them.
            Between two of them the outputs of both are faded into each other.

    Returns:
        `[D, N]`.
    """
    position = torch.arange(waveform.shape[1])
    before = position // step
    share = (position % step).to(waveform.dtype) / step
    first, second = matrices[before].to(waveform), matrices[before + 1].to(waveform)
    mixed = torch.lerp(first, second, share[:, None, None])
    return torch.einsum("ndc,cn->dn", mixed, waveform)
