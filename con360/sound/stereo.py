"""Make stereo of a field by named laws, and read directions back from two channels.

Convention: yaw is right-positive. Laws other than `cardioids` know the front alone: what is behind folds to the front,
what is wider than the loudspeakers comes from one of them.

`cardioids` are two microphones. The other laws pan each band where its intensity points and add what has no direction
by the two microphones, as in Directional Audio Coding.

Source: method notes "Stereo laws"; Pulkki, "Virtual Sound Source Positioning Using VBAP", 1997 (tangent law), and
"Spatial Sound Reproduction with Directional Audio Coding", 2007.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from ..choices import STEREO_LAWS, StereoLaw
from ..errors import InputError
from ..records import Sound
from .ambisonics import STEREO_ANGLE_DEG, field_and_pair, harmonics, stereo_matrix
from .bands import BANDS, band_weights, frame_size, joined, pieces, spectra
from .channels import FIRST_ORDER

# Yaw of the right loudspeaker by law: the listener's triangle, and the arc that constant power fills.
SPEAKER_YAW_DEG: dict[StereoLaw, float] = {"tangent": 30.0, "constant-power": 45.0}
# Half-frames to either side over which intensity is averaged (about 40 ms), and frames that are made at once.
_MEAN, _FRAMES = 2, 24
_MOST_GAIN, _TINY = 2.0, 1e-30
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


def stereo_yaw_deg(sound: Sound, law: StereoLaw) -> float:
    """Read the yaw of the one source of a stereo sound back from its levels; NaN for silence.

    Raises:
        InputError: the sound does not have two channels.
    """
    if sound.waveform.shape[0] != 2:
        raise InputError(f"a stereo sound was wanted; this one has {sound.waveform.shape[0]} channels.")
    left, right = sound.waveform.double().square().sum(1).sqrt()
    return float(law_yaw_deg(left, right, law))


def to_stereo(sound: Sound, law: StereoLaw = "cardioids") -> Sound:
    """Make stereo of Ambisonics by a law; a head-locked pair is added as it is.

    Returns:
        Stereo, as long as the sound.

    Raises:
        InputError: the sound is not Ambisonics of first order or more, or the law is unknown.
    """
    if (sound.ambisonic_order or 0) < 1:
        raise InputError(
            f"stereo by a law needs AmbiX with 4 channels or more; this is {sound.layout} with "
            f"{sound.waveform.shape[0]} channels."
        )
    made = [sound.waveform[:2, :0], *stereo_blocks([sound.waveform], sound.sample_rate_hz, law)]
    return Sound(torch.cat(made, dim=1), sound.sample_rate_hz, "stereo")


def stereo_blocks(blocks: Iterable[Tensor], rate_hz: int, law: StereoLaw = "cardioids") -> Iterator[Tensor]:
    """Make stereo `[2, n]` of Ambisonics that comes in blocks `[C, n]`; a head-locked pair is added as it is.

    Of higher orders the first is used. Blocks of other lengths come out; half a second is held.
    """
    check_law(law)
    if law == "cardioids":
        for block in blocks:
            yield _with_pair(stereo_matrix().to(block) @ block[:FIRST_ORDER], block)
        return
    size = frame_size(rate_hz)
    half, reach = size // 2, size // 2 * (_MEAN + 2)
    for piece, valid in pieces(blocks, half * _FRAMES, reach):
        frames = spectra(piece[:FIRST_ORDER], size, half)
        pair = joined(_panned(frames, band_weights(BANDS, size, rate_hz), law), size)
        yield _with_pair(pair[:, reach - half :][:, :valid], piece[:, reach : reach + valid])


def _with_pair(stereo: Tensor, block: Tensor) -> Tensor:
    pair = field_and_pair(block)[1]
    return stereo if pair is None else stereo + pair


def _panned(frames: Tensor, bands: Tensor, law: StereoLaw) -> Tensor:
    """Left and right `[2, T, F]` of frames W, Y, Z, X `[4, T, F]`, panned in bands `[F, B]`."""
    w, dipoles = frames[0], frames[1:]
    intensity = _mean((w.conj() * dipoles).real @ bands)
    energy = _mean((w.abs().square() + dipoles.abs().square().sum(0))[None] @ bands)[0] / 2
    length = intensity.norm(dim=0)
    # The angle from the median plane: what is above or behind pans as what is in front of it.
    lateral = torch.rad2deg(torch.asin((-intensity[0] / length.clamp_min(_TINY)).clamp(-1, 1)))
    share = (length / energy.clamp_min(_TINY)).clamp(0, 1)
    direct = law_gains(lateral, law).movedim(-1, 0) * share
    around = torch.einsum("dc,ctf->dtf", stereo_matrix().to(frames), frames)
    mixed = (direct @ bands.T) * w + ((1 - share) @ bands.T) * around
    # The two parts are alike in phase, so their sum is brought to the level of the field.
    power = _mean(mixed.abs().square().sum(0)[None] @ bands)[0]
    return mixed * ((energy / power.clamp_min(_TINY)).sqrt().clamp_max(_MOST_GAIN) @ bands.T)


def _mean(values: Tensor) -> Tensor:
    """Average `[K, T, B]` over neighbouring frames, the near ones more."""
    kernel = 1.0 - torch.arange(-_MEAN, _MEAN + 1).abs() / (_MEAN + 1)
    rows = values.movedim(1, -1)
    smooth = torch.nn.functional.conv1d(rows.flatten(0, 1)[:, None], (kernel / kernel.sum())[None, None], padding=_MEAN)
    return smooth[:, 0].unflatten(0, rows.shape[:2]).movedim(-1, 1)
