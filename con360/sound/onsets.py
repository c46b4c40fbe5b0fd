"""Find where sounds begin, and check tracks of such times.

Source: SuperFlux (Boeck and Widmer 2013) for the running maximum over bands; the rest is ours.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..records import OnsetTrack, Sound
from .levels import resample, to_mono
from .mels import MEL_HOP, MEL_N_FFT, SAMPLE_RATE_HZ, log_mel

# Quieter than this below the sound's loudest band and frame is silence: a tone that is cut off clicks at about -35 dB.
RANGE_DB = 33.0
# A rise over two frames (20 ms), above the loudest of seven neighbouring bands: a tone that glides is no onset. The
# mean of the three strongest bands counts, since a beep has no more.
RISE_FRAMES, NEIGHBOURS, STRONGEST = 2, 7, 3
LEAST_RISE_DB, LEAST_GAP_S = 6.0, 0.06
# An onset lies where the strongest bands have passed so much of their rise in decibels, within so many frames. The
# mel's window hears a sound up to 32 ms before it begins, so half of the rise would be early.
RISEN, SEARCH_FRAMES = 0.7, 6
FRAMES_PER_S = SAMPLE_RATE_HZ / MEL_HOP


def find_onsets(sound: Sound) -> OnsetTrack:
    """Find the beginnings of sounds.

    Convention: a peak of the log-mel's rise counts from 6 dB, the stronger of two within 60 ms stays. Levels 33 dB
    below the loudest are silence. The last 30 ms hold no onset: the end of the sound itself clicks there.

    Args:
        sound: any rate and channels; mixed to mono at 16 kHz.

    Returns:
        Times, and strengths: the rise over 33 dB, at most 1. None in silence, and in less than 33 ms.

    Raises:
        InputError: samples that are not numbers.
    """
    waveform = resample(to_mono(sound), SAMPLE_RATE_HZ).waveform
    if not waveform.isfinite().all():
        raise InputError("the sound holds values that are not numbers (NaN or infinite). Repair it first.")
    if waveform.shape[1] <= MEL_N_FFT // 2:
        return OnsetTrack((), duration_s=sound.duration_s, source="sound")
    levels = _levels_db(waveform)
    rises = _rises(levels)
    strongest = rises.topk(STRONGEST, dim=1)
    curve = strongest.values.mean(dim=1)
    frames = _peaks(curve)
    times = sorted((_time_s(levels[:, strongest.indices[i]].mean(dim=1), i), i) for i in frames)
    strengths = tuple(min(float(curve[i]) / RANGE_DB, 1.0) for _, i in times)
    return OnsetTrack(tuple(time for time, _ in times), strengths, duration_s=sound.duration_s, source="sound")


def check_onsets(track: OnsetTrack) -> OnsetTrack:
    """Return the track if its times can be used.

    Raises:
        InputError: times that are no numbers, negative, unsorted or past the end; strengths or labels that do not fit.
    """
    times = track.times_s
    end = math.inf if track.duration_s is None else track.duration_s
    for time in times:
        if not 0 <= time <= end or math.isinf(time):
            raise InputError(f"an onset stands at {time:g} s; wanted times from 0 to the end of the clip ({end:g} s).")
    if any(after < before for before, after in zip(times, times[1:], strict=False)):
        raise InputError("the onsets are not in order; sort them by time.")
    for name, values in (("strengths", track.strengths), ("labels", track.labels)):
        if values and len(values) != len(times):
            raise InputError(f"{len(times)} onsets came with {len(values)} {name}; give one for each, or none.")
    for strength in track.strengths:
        if not 0 < strength <= 1:
            raise InputError(f"an onset has the strength {strength:g}; wanted more than 0, at most 1.")
    return track


def _levels_db(waveform: Tensor) -> Tensor:
    """`[S, 64]` in decibels, not below the range; the frames that see the end's mirror image hold the one before."""
    levels = log_mel(waveform)[0] * (20.0 / math.log(10.0))
    folded = min(MEL_N_FFT // 2 // MEL_HOP, len(levels) - 1)
    levels[len(levels) - folded :] = levels[len(levels) - folded - 1]
    return levels.clamp_min(float(levels.max()) - RANGE_DB)


def _rises(levels: Tensor) -> Tensor:
    """Rise around each frame and band, `[S, 64]`, at least 0."""
    before = F.max_pool1d(levels[None], NEIGHBOURS, 1, NEIGHBOURS // 2)[0]
    rises = (levels[RISE_FRAMES:] - before[:-RISE_FRAMES]).clamp_min(0)
    return F.pad(rises, (0, 0, RISE_FRAMES // 2, RISE_FRAMES - RISE_FRAMES // 2))[: len(levels)]


def _peaks(curve: Tensor) -> list[int]:
    """Frames of the strongest rises, strongest first, no two nearer than the gap."""
    gap, free, chosen = round(LEAST_GAP_S * FRAMES_PER_S), torch.ones(len(curve), dtype=torch.bool), []
    for frame in curve.argsort(descending=True).tolist():
        if curve[frame] < LEAST_RISE_DB:
            break
        if free[frame]:
            chosen.append(frame)
            free[max(frame - gap + 1, 0) : frame + gap] = False
    return chosen


def _time_s(level: Tensor, peak: int) -> float:
    """Time at which `level [S]` passes `RISEN` of its rise, next to the peak."""
    first, last = max(peak - SEARCH_FRAMES, 0), min(peak + SEARCH_FRAMES, len(level) - 1)
    low, high = float(level[first : peak + 1].min()), float(level[peak : last + 1].max())
    wanted = low + RISEN * (high - low)
    passed = [
        i + (wanted - float(level[i])) / float(level[i + 1] - level[i])
        for i in range(first, last)
        if level[i] < wanted <= level[i + 1]
    ]
    return min(passed, key=lambda at: abs(at - peak), default=float(peak)) / FRAMES_PER_S
