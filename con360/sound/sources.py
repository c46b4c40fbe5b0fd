"""Place sounds on the sphere and add their fields: a track of where a source is becomes gains of Ambisonic channels.

Everything streams: sounds are blocks `[C, n]` at one rate, and gains change in steps of 10 ms, linearly in between.

Source: method notes "Where: sources, depth, rendering".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..records import Sound, SourcePoint, SourceTrack
from .ambisonics import cap_gains, channels_of, field_and_pair, harmonics
from .channels import PAIR
from .levels import resample
from .moving import mix_blocks

# Nearer than this a source gets no louder.
NEAREST_M = 0.3
# Breadth of a source itself: one that is near fills a wider angle.
SIZE_M = 0.3
SOUND_M_S = 343.0
_AT_ONCE = 65536


def track_at(track: SourceTrack, times_s: Sequence[float] | np.ndarray) -> np.ndarray:
    """Interpolate a track at times `[M]`; returns what `path_of` does."""
    return path_of(track)(times_s)


def path_of(track: SourceTrack) -> Callable[[Sequence[float] | np.ndarray], np.ndarray]:
    """Prepare a track for many look-ups.

    Returns:
        A function from times `[M]` in seconds to `[M, 5]` float64: yaw, pitch, distance in metres, spread, gain in
        decibels, in the units of `SourcePoint`.
    """
    keys = np.array([(p.yaw_deg, p.pitch_deg, p.distance_m, p.spread_deg, p.gain_db) for p in track.points])
    steps = (np.diff(keys[:, 0], prepend=keys[0, 0]) + 180.0) % 360.0 - 180.0
    keys[:, 0] = keys[0, 0] + np.cumsum(steps)
    key_times_s = np.array(track.times_s)

    def at(times_s: Sequence[float] | np.ndarray) -> np.ndarray:
        found = np.stack([np.interp(times_s, key_times_s, column) for column in keys.T], axis=1)
        found[:, 0] = (found[:, 0] + 180.0) % 360.0 - 180.0
        return found

    return at


def source_gains(track: SourceTrack, times_s: Sequence[float] | np.ndarray, order: int = 1) -> Tensor:
    """Gains of each Ambisonic channel over time.

    Returns:
        `[M, (order + 1)²]` float64: direction, spread (at least what the source's own size fills), distance and gain.
    """
    return _gains(track_at(track, times_s), order)


def _gains(points: np.ndarray, order: int) -> Tensor:
    yaw, pitch, distance, spread, gain = torch.from_numpy(points).unbind(1)
    own = 2 * torch.rad2deg(torch.asin((SIZE_M / 2 / distance.clamp_min(SIZE_M / 2)).clamp(max=1)))
    level = 10 ** (gain / 20) / distance.clamp_min(NEAREST_M)
    return level[:, None] * cap_gains(torch.maximum(spread, own), order) * harmonics(yaw, pitch, order)


def place_blocks(
    blocks: Iterable[Tensor], rate_hz: int, track: SourceTrack, order: int = 1
) -> Iterator[Tensor]:  # fmt: skip
    """Place a mono sound that comes in blocks `[1, n]`; yields its field in blocks `[C, n]` of the same lengths.

    Raises:
        InputError: a track that cannot be used.
    """
    path = path_of(check_track(track))
    return mix_blocks(blocks, rate_hz, lambda times_s: _gains(path(times_s), order)[..., None])


def delayed_blocks(blocks: Iterable[Tensor], rate_hz: int, track: SourceTrack) -> Iterator[Tensor]:
    """Delay blocks `[C, n]` by the time that sound takes to the listener, the same for the whole of it.

    The delay is that of the track's median distance. One that followed the distance would change the pitch (Doppler),
    and any delay takes sound away from its picture: 29 ms at 10 m. So callers choose it by name.
    """
    samples = round(float(np.median([point.distance_m for point in track.points])) / SOUND_M_S * rate_hz)
    for block in blocks:
        if samples:
            yield block.new_zeros(block.shape[0], samples)
            samples = 0
        yield block


def place(sound: Sound, track: SourceTrack, order: int = 1) -> Sound:
    """Place a mono sound on the sphere.

    Returns:
        `ambix` of the order, as long as the sound.

    Raises:
        InputError: the sound is not mono.
    """
    if sound.waveform.shape[0] != 1:
        raise InputError(f"one source is one channel; the sound has {sound.waveform.shape[0]}. Mix it to mono first.")
    # In pieces, so that little is held beside the field itself.
    blocks = place_blocks(sound.waveform.split(_AT_ONCE, dim=1), sound.sample_rate_hz, track, order)
    field = torch.cat([sound.waveform.new_zeros(channels_of(order), 0), *blocks], dim=1)
    return Sound(field, sound.sample_rate_hz, "ambix")


def sum_blocks(fields: Sequence[Iterable[Tensor]]) -> Iterator[Tensor]:
    """Add fields that come in blocks `[C, n]` of any lengths, at one rate and without head-locked pairs.

    Yields:
        Blocks of the highest order, until the longest field ends; the others are silent after their end.
    """
    streams = [iter(field) for field in fields]
    waiting = [next(stream, None) for stream in streams]
    channels = max((block.shape[0] for block in waiting if block is not None), default=0)
    while heads := [block for block in waiting if block is not None]:
        count = min(block.shape[1] for block in heads)
        if count:
            yield _sum([block[:, :count] for block in heads], channels, count)
        for i, block in enumerate(waiting):
            if block is not None:
                waiting[i] = block[:, count:] if block.shape[1] > count else next(streams[i], None)


def sum_fields(sounds: Sequence[Sound]) -> Sound:
    """Add Ambisonic sounds, sample 0 on sample 0.

    Returns:
        `ambix` of the highest order and rate, as long as the longest; head-locked pairs are added to one.

    Raises:
        InputError: no sound, or one that is not Ambisonics.
    """
    if not sounds:
        raise InputError("there are no sounds to add; give at least one.")
    for number, sound in enumerate(sounds, 1):
        if sound.ambisonic_order is None:
            raise InputError(
                f"sound {number} is {sound.layout} with {sound.waveform.shape[0]} channels; only Ambisonics can be "
                f"added. Place it on the sphere first."
            )
    rate = max(sound.sample_rate_hz for sound in sounds)
    parts = [field_and_pair(resample(sound, rate).waveform) for sound in sounds]
    fields, pairs = [field for field, _ in parts], [pair for _, pair in parts if pair is not None]
    length = max(field.shape[1] for field in fields)
    channels = max(field.shape[0] for field in fields)
    whole = [_sum(fields, channels, length)] + ([_sum(pairs, PAIR, length)] if pairs else [])
    return Sound(torch.cat(whole), rate, "ambix")


def _sum(waveforms: Sequence[Tensor], channels: int, length: int) -> Tensor:
    """Add waveforms, each with silence up to so many channels and samples."""
    total = waveforms[0].new_zeros(channels, length)
    for waveform in waveforms:
        total[: waveform.shape[0], : waveform.shape[1]] += waveform
    return total


def check_track(track: SourceTrack) -> SourceTrack:
    """Check a track's times and ranges.

    Raises:
        InputError: no point, times that do not rise, or a value that is not finite or out of its range.
    """
    if not track.points or len(track.points) != len(track.times_s):
        raise InputError(
            f"a source needs a time for each of its points; got {len(track.times_s)} for {len(track.points)}."
        )
    if any(b <= a for a, b in zip(track.times_s, track.times_s[1:], strict=False)):
        raise InputError("the times of a source's points must rise; two are equal or out of order.")
    for time_s, point in zip(track.times_s, track.points, strict=True):
        problem = _problem(point) or ("" if math.isfinite(time_s) else f"a time of {time_s}")
        if problem:
            raise InputError(f"the source at {time_s:g} s has {problem}.")
    return track


def _problem(point: SourcePoint) -> str:
    if not all(map(math.isfinite, (point.yaw_deg, point.pitch_deg, point.distance_m, point.spread_deg, point.gain_db))):
        return "a value that is not finite"
    if not -90 <= point.pitch_deg <= 90:
        return f"a pitch of {point.pitch_deg:g} degrees; wanted -90 to 90"
    if not 0 < point.distance_m <= 10000:
        return f"a distance of {point.distance_m:g} m; wanted more than 0, up to 10000"
    if not 0 <= point.spread_deg <= 360:
        return f"a spread of {point.spread_deg:g} degrees; wanted 0 to 360"
    if not -120 <= point.gain_db <= 60:
        return f"a gain of {point.gain_db:g} dB; wanted -120 to 60"
    return ""
