"""Place sounds on the sphere: a track of where a source is becomes gains of Ambisonic channels.

Everything streams: sounds are blocks `[C, n]` at one rate, and gains change in steps of 10 ms, linearly in between.

Source: method notes "Where: sources, depth, rendering".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..records import Sound, SourcePoint, SourceTrack
from .ambisonics import cap_gains, harmonics

# Nearer than this a source gets no louder.
NEAREST_M = 0.3
# Breadth of a source itself: one that is near fills a wider angle.
SIZE_M = 0.3
# Seconds from one set of gains to the next.
STEP_S = 0.01


def track_at(track: SourceTrack, times_s: Sequence[float] | np.ndarray) -> np.ndarray:
    """Interpolate a track.

    Returns:
        `[M, 5]` float64: yaw, pitch, distance in metres, spread, gain in decibels, in the units of `SourcePoint`.
    """
    keys = np.array([(p.yaw_deg, p.pitch_deg, p.distance_m, p.spread_deg, p.gain_db) for p in track.points])
    steps = (np.diff(keys[:, 0], prepend=keys[0, 0]) + 180.0) % 360.0 - 180.0
    keys[:, 0] = keys[0, 0] + np.cumsum(steps)
    found = np.stack([np.interp(times_s, track.times_s, column) for column in keys.T], axis=1)
    found[:, 0] = (found[:, 0] + 180.0) % 360.0 - 180.0
    return found


def source_gains(track: SourceTrack, times_s: Sequence[float] | np.ndarray, order: int = 1) -> Tensor:
    """Gains of each Ambisonic channel over time.

    Returns:
        `[M, (order + 1)²]` float64: direction, spread (at least what the source's own size fills), distance and gain.
    """
    yaw, pitch, distance, spread, gain = torch.from_numpy(track_at(track, times_s)).unbind(1)
    own = 2 * torch.rad2deg(torch.asin((SIZE_M / 2 / distance.clamp_min(SIZE_M / 2)).clamp(max=1)))
    level = 10 ** (gain / 20) / distance.clamp_min(NEAREST_M)
    return level[:, None] * cap_gains(torch.maximum(spread, own), order) * harmonics(yaw, pitch, order)


def place_blocks(
    blocks: Iterable[Tensor], rate_hz: int, track: SourceTrack, order: int = 1
) -> Iterator[Tensor]:  # fmt: skip
    """Place a mono sound that comes in blocks `[1, n]`; yields its field in blocks `[C, n]` of the same lengths."""
    step, at = max(1, round(STEP_S * rate_hz)), 0
    for block in blocks:
        count = block.shape[1]
        if not count:
            continue
        # Gains stand at multiples of the step from the sound's start, so that blocks of any length give the same.
        first = at // step
        edges = np.arange(first, (at + count - 1) // step + 2)
        gains = source_gains(track, edges * (step / rate_hz), order).to(block)
        position = torch.arange(at, at + count)
        before, share = position // step - first, (position % step).to(block) / step
        yield torch.lerp(gains[before], gains[before + 1], share[:, None]).T * block
        at += count


def place(sound: Sound, track: SourceTrack, order: int = 1) -> Sound:
    """Place a mono sound on the sphere.

    Returns:
        `ambix` of the order, as long as the sound.

    Raises:
        InputError: the sound is not mono.
    """
    if sound.waveform.shape[0] != 1:
        raise InputError(f"one source is one channel; the sound has {sound.waveform.shape[0]}. Mix it to mono first.")
    (field,) = place_blocks([sound.waveform], sound.sample_rate_hz, check_track(track), order)
    return Sound(field, sound.sample_rate_hz, "ambix")


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
