"""Change a sound's rate, length or number of channels.

Sounds are `records.Sound`: `[C, N]` float32, peaks above 1 kept.

Source: method notes "Sound in space"; paper section 3.2 (mono, 16 kHz).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..errors import InputError
from ..records import Sound
from .ambisonics import field_and_pair
from .channels import FIRST_ORDER, WAVE_LAYOUTS, first_order_notice
from .resampling import resample_by_sinc

# A windowed sinc's kernels have about source x target entries, both rates divided by their common divisor.
_LARGEST_KERNEL = 2_000_000
# Samples that a resampler reads at once, at least; samples of the slower rate that its filter reaches to either side.
_RESAMPLED_AT_ONCE, _RESAMPLER_REACH = 16384, 12
# -3 dB; left and right of what stands in front.
_HALF = math.sqrt(0.5)
_FRONT_GAINS = {
    "FL": (1.0, 0.0), "FR": (0.0, 1.0), "FC": (_HALF, _HALF), "FLC": (1.0, 0.0), "FRC": (0.0, 1.0), "DL": (1.0, 0.0),
    "DR": (0.0, 1.0),
}  # fmt: skip
PAIR_LEFT_OUT = "the head-locked stereo pair is left out: a file of four channels has no place for it"


def resample(sound: Sound, sample_rate_hz: int) -> Sound:
    """Change the sampling rate; each channel on its own, so spatial sound keeps its directions.

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
        waveform = resample_by_sinc(sound.waveform, sound.sample_rate_hz, sample_rate_hz)
    else:  # rates like 44099 Hz, whose kernels would take up to gigabytes
        from scipy.signal import resample_poly

        waveform = torch.from_numpy(resample_poly(sound.waveform.numpy(), up, down, axis=-1)).float()
    return fit_length(replace(sound, waveform=waveform, sample_rate_hz=sample_rate_hz), num_samples)


def resample_blocks(blocks: Iterable[Tensor], rate_hz: int, new_rate_hz: int) -> Iterator[Tensor]:
    """Resample blocks `[C, n]` as they come, to the same samples as `resample` gives for the whole sound.

    Pieces overlap by the filter's length and begin where both rates have a sample. A second or two are held.
    """
    if rate_hz == new_rate_hz:
        yield from blocks
        return
    divisor = math.gcd(rate_hz, new_rate_hz)
    down, up = rate_hz // divisor, new_rate_hz // divisor
    reach = down * math.ceil(_RESAMPLER_REACH * max(1, down / up) / down)
    step = down * math.ceil(_RESAMPLED_AT_ONCE / down)
    held: Tensor | None = None
    begin = done = 0  # in samples of the source: where `held` begins, and what has been given

    def resampled() -> Tensor:
        assert held is not None
        return resample(Sound(held, rate_hz), new_rate_hz).waveform[:, (done - begin) // down * up :]

    for block in blocks:
        held = block if held is None else torch.cat((held, block), dim=1)
        if held.shape[1] < done - begin + step + reach:
            continue
        usable = (held.shape[1] - reach - (done - begin)) // down * down
        yield resampled()[:, : usable // down * up]
        done += usable
        dropped = max(0, done - begin - reach)
        held, begin = held[:, dropped:], begin + dropped
    if held is not None and (last := resampled()).shape[1]:
        yield last


def fit_length(sound: Sound, num_samples: int) -> Sound:
    """Cut the end off or pad it with silence, to exactly `num_samples`."""
    missing = num_samples - sound.waveform.shape[-1]
    waveform = sound.waveform[..., :num_samples]
    if missing > 0:
        waveform = torch.nn.functional.pad(waveform, (0, missing))
    return replace(sound, waveform=waveform)


def downmix_matrix(speakers: Sequence[str], channels: int) -> Tensor:
    """Make the matrix from loudspeakers to stereo or mono by ITU-R BS.775. At its nominal gains, sums may clip.

    Convention: left is FL + 0.7071 FC + 0.7071 of each left surround (BL, SL; heights as well), right alike; a back
    centre is 0.7071 of both surrounds, so 0.5 left and right; LFE is left out. Mono is 0.7071 (left + right), in which
    FC keeps its level and a surround has 0.5.

    Args:
        speakers: FFmpeg's names (FL, FR, FC, LFE, ...). channels: 1 or 2.

    Returns:
        `[channels, len(speakers)]`.
    """
    both = torch.tensor([_stereo_gains(name) for name in speakers], dtype=torch.float64).T
    return both if channels == 2 else _HALF * both.sum(0, keepdim=True)


def _stereo_gains(name: str) -> tuple[float, float]:
    if name.startswith("LFE"):
        return 0.0, 0.0
    surround = {"L": (_HALF, 0.0), "R": (0.0, _HALF), "C": (0.5, 0.5)}
    return _FRONT_GAINS.get(name) or surround[name[-1]]


def to_mono(sound: Sound) -> Sound:
    """Mix to one channel `[1, N]`: W of Ambisonics plus its head-locked pair, loudspeakers by `downmix_matrix`.

    Stereo, and channels of unknown places, give their mean: full scale stays full scale.
    """
    waveform, speakers = sound.waveform, speakers_of(sound)
    if sound.layout == "ambix":
        field, pair = field_and_pair(waveform)
        waveform = field[:1] if pair is None else field[:1] + pair_in_mono(pair)
    elif speakers:
        waveform = downmix_matrix(speakers, 1).to(waveform) @ waveform
    elif waveform.shape[0] > 1:
        waveform = waveform.mean(0, keepdim=True)
    return Sound(waveform, sound.sample_rate_hz, "mono")


def pair_in_mono(pair: Tensor) -> Tensor:
    return downmix_matrix(("FL", "FR"), 1).to(pair) @ pair


def speakers_of(sound: Sound) -> tuple[str, ...]:
    """Names of `other` channels; five to eight without names are in WAVE's order (5.0, 5.1, 6.1, 7.1)."""
    count = sound.waveform.shape[0]
    unnamed = WAVE_LAYOUTS[count][1] if 5 <= count <= 8 else ()
    return () if sound.layout != "other" else sound.speakers or unnamed


def for_clip(sound: Sound) -> tuple[Sound, tuple[str, ...]]:
    """Mix to channels that an MP4 clip holds, with notices; mono, stereo and first-order AmbiX stay as they are."""
    channels, speakers = sound.waveform.shape[0], speakers_of(sound)
    if sound.layout == "ambix":
        field, pair = field_and_pair(sound.waveform)
        said = () if pair is None else (PAIR_LEFT_OUT,)
        return replace(sound, waveform=field[:FIRST_ORDER]), (*first_order_notice(sound.ambisonic_order), *said)
    if channels <= 2:
        return sound, ()
    if speakers:
        mixed = downmix_matrix(speakers, 2).to(sound.waveform) @ sound.waveform
        return Sound(mixed, sound.sample_rate_hz, "stereo"), (mixed_notice(speakers, "stereo"),)
    return to_mono(sound), (f"the sound's {channels} channels have no known places: their mean is used",)


def mixed_notice(speakers: Sequence[str], what: str) -> str:
    """Say how loudspeakers were mixed."""
    without = ", without LFE" if any(name.startswith("LFE") for name in speakers) else ""
    return f"the sound's {len(speakers)} loudspeakers are mixed to {what} by ITU-R BS.775{without}"


def omni_sound(sound: Sound) -> Sound:
    """Make the `omni` kind of view sound: the downmix, the same for every view of a scene (paper)."""
    return to_mono(sound)
