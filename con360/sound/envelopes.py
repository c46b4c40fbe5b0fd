"""Loudness over time: measure it, draw it from onsets, put it on a sound, and write it in classes.

Source: Video-Foley (arXiv 2408.11915) for window, hop and classes; recorded outputs of its code in the tests.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..records import Envelope, OnsetTrack, Sound
from .levels import resample, to_mono
from .mels import SAMPLE_RATE_HZ
from .onsets import check_onsets

WINDOW, HOP = 512, 128
RATE_HZ = SAMPLE_RATE_HZ / HOP
RISE_S, DECAY_S = 0.01, 0.25
# Gains that put an envelope on a sound: what is quieter than -60 dB has no shape to follow, and stays.
_QUIETEST = 1e-3
MU, CLASSES, LEAST_RMS = 63, 64, 0.01


def rms_curve(waveform: Tensor, window: int = WINDOW, hop: int = HOP) -> Tensor:
    """Compute the RMS of windows `hop` apart: `[N // hop]` of `[N]`; frame k is centred on the middle of hop k.

    Convention: the ends are mirrored by half of what the window is longer than the hop.

    Raises:
        InputError: fewer samples than the mirror needs, or samples that are not numbers.
    """
    reach = (window - hop) // 2
    if len(waveform) < max(hop, reach + 1):
        raise InputError(f"{len(waveform)} samples are too few for an envelope; give {max(hop, reach + 1)} or more.")
    if not waveform.isfinite().all():
        raise InputError("the sound holds values that are not numbers (NaN or infinite). Repair it first.")
    padded = F.pad(waveform[None, None], (reach, reach), mode="reflect")[0, 0]
    return padded.unfold(0, window, hop).square().mean(-1).sqrt()


def envelope_of(sound: Sound) -> Envelope:
    """Measure a sound's envelope, mixed to mono at 16 kHz: 125 values a second.

    Raises:
        InputError: as `rms_curve`.
    """
    return Envelope(rms_curve(resample(to_mono(sound), SAMPLE_RATE_HZ).waveform[0]))


def envelope_of_onsets(track: OnsetTrack, duration_s: float, decay_s: float = DECAY_S) -> Envelope:
    """Draw an envelope: each onset rises for 10 ms to its strength and dies away by exp(-t / decay).

    Args:
        duration_s: of the envelope; onsets past it are left out.
        decay_s: 0.1 to 0.4 s is a struck thing.

    Raises:
        InputError: a track that cannot be used, or a duration or decay that is not above 0.
    """
    if not 0 < duration_s < math.inf or not 0 < decay_s < math.inf:
        raise InputError(f"{duration_s:g} s with a decay of {decay_s:g} s were asked for; wanted more than 0 for both.")
    check_onsets(track)
    times = (torch.arange(round(duration_s * RATE_HZ), dtype=torch.float64) + 0.5) / RATE_HZ
    values = torch.zeros_like(times)
    for time, strength in zip(track.times_s, track.strengths or (1.0,) * len(track.times_s), strict=True):
        since = times - time
        shape = torch.minimum(since / RISE_S, torch.exp(-(since - RISE_S) / decay_s))
        values = torch.maximum(values, strength * shape)
    return Envelope(values.float())


def shape_sound(sound: Sound, envelope: Envelope) -> tuple[Sound, tuple[str, ...]]:
    """Ride the gain of a sound so that its envelope becomes the given one; all channels alike.

    Convention: the gain moves evenly between the envelope's frames and is 1 where the envelope is free. It cannot make
    a sound where none is: what is below -60 dB keeps its level.

    Args:
        envelope: as long as the sound; the last value holds past its end.

    Returns:
        The sound, and a notice where it was too quiet to follow.

    Raises:
        InputError: an envelope that is empty, negative or no number; a sound as in `rms_curve`.
    """
    check_envelope(envelope)
    own = envelope_of(sound).values
    times, present = frame_times_s(len(own)), envelope.present
    wanted = curve_at(envelope.values, envelope.rate_hz, times)
    meant = torch.ones_like(own) if present is None else curve_at(present, envelope.rate_hz, times)
    gains = torch.where((meant > 0.5) & (own > _QUIETEST), wanted / own.clamp_min(_QUIETEST), 1.0)
    samples = (torch.arange(sound.waveform.shape[1]) + 0.5) / sound.sample_rate_hz
    silent = int(((meant > 0.5) & (own <= _QUIETEST) & (wanted > _QUIETEST)).sum())
    said = f"the sound is silent for {silent / RATE_HZ:.2f} s in which the envelope is not; a gain makes no sound"
    waveform = sound.waveform * curve_at(gains, RATE_HZ, samples)
    return replace(sound, waveform=waveform), (said,) if silent else ()


def check_envelope(envelope: Envelope) -> Envelope:
    """Return the envelope if it can be used.

    Raises:
        InputError: no values, values below 0 or no numbers, a rate that is not above 0, a mask of another length.
    """
    values, present = envelope.values, envelope.present
    if values.ndim != 1 or not len(values) or not 0 < envelope.rate_hz < math.inf:
        raise InputError(
            f"an envelope of shape {list(values.shape)} at {envelope.rate_hz:g} Hz came; wanted [N] above 0 Hz."
        )
    if not values.isfinite().all() or bool((values < 0).any()):
        raise InputError("an envelope holds values below 0, or that are not numbers; wanted linear RMS from 0 on.")
    if present is not None and present.shape != values.shape:
        raise InputError(
            f"an envelope of {len(values)} values came with a mask of {list(present.shape)}; give as many."
        )
    return envelope


def frame_times_s(count: int) -> Tensor:
    """Times of an envelope's first `count` values."""
    return (torch.arange(count) + 0.5) / RATE_HZ


def curve_at(values: Tensor, rate_hz: float, times_s: Tensor) -> Tensor:
    """Values of a curve `[N]` at given times; the first and last one hold beyond."""
    places = (times_s * rate_hz - 0.5).clamp(0, len(values) - 1)
    before = places.floor().long().clamp_max(max(len(values) - 2, 0))
    after = (before + 1).clamp_max(len(values) - 1)
    return torch.lerp(values[before], values[after], (places - before).to(values.dtype))


# Classes --------------------------------------------------------------------------------------------------------------


def mu_law(values: Tensor, mu: int = MU) -> Tensor:
    """Compand values from 0 on; 1 stays 1."""
    return torch.log(1 + mu * values) / torch.log(torch.tensor(1 + mu))


def inverse_mu_law(values: Tensor, mu: int = MU) -> Tensor:
    return (torch.exp(values * torch.log(torch.tensor(1 + mu))) - 1) / mu


def class_edges(classes: int = CLASSES) -> Tensor:
    """Upper edges of the classes `[classes]`, evenly spaced by `mu_law` from 0.01 to 1."""
    return inverse_mu_law(torch.linspace(float(mu_law(torch.tensor(LEAST_RMS))), 1.0, classes))


def to_classes(values: Tensor, classes: int = CLASSES) -> Tensor:
    """Number each value's class: 0 below 0.01, `classes` from 1 on, which a network of so many classes has not."""
    return torch.bucketize(values.clamp_min(0), class_edges(classes), right=True)


def from_classes(index: Tensor, classes: int = CLASSES, *, upper_edges: bool = False) -> Tensor:
    """Decode classes to the middle of each by `mu_law`; class 0 is silence.

    Args:
        upper_edges: as the published code does, which is half a class too loud.
    """
    edges = mu_law(class_edges(classes))
    middles = torch.cat((torch.zeros(1), (edges[1:] + edges[:-1]) / 2, torch.ones(1)))
    uppers = torch.cat((torch.zeros(1), edges[1:], torch.ones(1)))
    return inverse_mu_law((uppers if upper_edges else middles)[index])
