"""Read an interval of a sound track with each sample at its time, across late starts, gaps and coder delay."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..records import Sound
from ..sound.channels import check_ambisonics
from .decoding import Tally, decode_from
from .info import AudioTrack, MediaInfo
from .limits import CLIP_VARIABLE, max_clip_bytes

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.stream import Stream

# Sound that starts or ends this close to the picture is coder granularity, not worth a sentence.
NOTICE_GAP_S = 0.025
# Where timestamps leave the running count of samples by more, there is a real gap, not rounding.
RUN_GAP_S = 0.005
# WebM's timestamps are rounded to milliseconds; samples counted from the file's start are exact. Count up to here.
COUNTED_SOUND_S = 60.0
# A longer gap in a streamed track's timestamps is damage, not a pause to fill with silence.
MAX_GAP_S = 600.0
# Seconds that decoders need before the first wanted sample (AAC overlap, Opus pre-roll).
SOUND_PREROLL_S = 0.1

NOT_NUMBERS = "samples of the sound are not numbers (NaN or infinite): they are silenced"

# FFmpeg's sample formats, packed and planar ("p") alike.
SAMPLES = {"u8": np.uint8, "s16": np.int16, "s32": np.int32, "s64": np.int64, "flt": np.float32, "dbl": np.float64}


def read_track(
    info: MediaInfo, start_s: float, duration_s: float | None, number: int | None, ambisonics: str = "auto",
    head_locked: bool = False,
) -> tuple[Sound | None, tuple[str, ...]]:  # fmt: skip
    """Read the sound of an interval; return it (None where nothing decodes) and the notices.

    Args:
        start_s, duration_s: in seconds; None reads to the end.
        number: of the track, from 1; None takes the default one.
        ambisonics, head_locked: of `channels.channel_meaning`.

    Raises:
        InputError: there is no track of that number, its channels cannot be what was said, or it would take more
            memory than allowed.
    """
    track, notices = choose_track(info, number, ambisonics, head_locked)
    if track is None:
        return None, (*notices[:-1], f"{notices[-1]}: silence is used")
    waveform = _read_samples(info, track, start_s, duration_s, notices)
    if waveform is None:
        return None, (*notices, "the sound track has no sound that can be decoded: silence is used")
    bad = int((~np.isfinite(waveform)).sum())
    if bad:
        waveform = np.where(np.isfinite(waveform), waveform, np.float32(0.0))
        notices.append(silenced_notice(bad))
    import torch

    sound = Sound(
        torch.from_numpy(track.heard.taken(waveform)), track.sample_rate_hz, track.layout, track.heard.speakers
    )
    return sound, (*notices, *track.notices)


def choose_track(
    info: MediaInfo, number: int | None, ambisonics: str = "auto", head_locked: bool = False
) -> tuple[AudioTrack | None, list[str]]:
    """Return (track or None, notices): the numbered track, else the default one; the last notice says why it is None.

    Raises:
        InputError: there is no track of that number, or its channels cannot be what was said.
    """
    check_ambisonics(ambisonics, head_locked)
    tracks, notices = info.audio_tracks, []
    if number is not None and not 1 <= number <= len(tracks):
        raise InputError(f"sound track {number} was asked for; {info.path.name} has {len(tracks)}, counted from 1.")
    if not tracks:
        return None, ["there is no sound track"]
    track = tracks[number - 1] if number else next((t for t in tracks if t.is_default), tracks[0])
    if len(tracks) > 1:
        labels = ", ".join(f"{t.number}: {t.label}" for t in tracks)
        notices.append(f"there are {len(tracks)} sound tracks ({labels}); number {track.number} is used")
    if track.channels < 1 or track.sample_rate_hz < 1:
        return None, [*notices, "the sound track cannot be decoded"]
    return track.taken_as(ambisonics, head_locked), notices


def stream_track(
    info: MediaInfo, track: AudioTrack, start_s: float, stop_s: float, notices: list[str]
) -> Iterator[np.ndarray]:
    """Yield gapless blocks `[C, n]` float32 of a track, sample 0 at `start_s`, channels as `track.heard` says.

    Convention: gaps in the file become silence, overlaps are dropped; it ends where the track or the interval ends.
    Notices of damage come at the end.
    """
    rate, tally, gaps = track.sample_rate_hz, Tally(), 0
    origin, length = round(start_s * rate), math.inf if stop_s == math.inf else round((stop_s - start_s) * rate)
    at: float | None = None  # where the next block goes if it follows on the one before
    written = bad = 0
    with decode_from(info, track.stream_index, start_s - SOUND_PREROLL_S, tally) as (timed, stream):
        limit = stream_end(stream, info.origin_s)
        length = length if limit is None else min(length, limit - origin)
        for time_s, frame in timed:
            if frame.layout.nb_channels != track.channels or frame.sample_rate != rate:
                tally.damaged += 1
                continue
            stamp = time_s * rate - origin
            if at is not None and abs(stamp - at) > MAX_GAP_S * rate:
                tally.damaged += 1
                stamp = at
            at = round(stamp) if at is None or abs(stamp - at) > max(RUN_GAP_S, track.tick_s) * rate else at
            block, first, at = float_samples(frame), at, at + frame.samples
            silent = max(0, int(min(first, length)) - written)
            gaps += silent if written else 0
            for _ in range(0, silent, rate):
                part = min(rate, silent)
                yield np.zeros((track.heard_channels, part), np.float32)
                written, silent = written + part, silent - part
            block = block[:, max(0, written - first) : int(max(0, min(first + block.shape[1], length) - first))]
            if block.shape[1]:
                written += block.shape[1]
                finite = np.isfinite(block)
                bad += int(finite.size - finite.sum())
                yield track.heard.taken(np.where(finite, block, np.float32(0.0)))
            if written >= length:
                break
    if tally.damaged:
        notices.append(f"damaged pieces of the sound were skipped: {tally.damaged}")
    if gaps:
        notices.append(f"{gaps / rate:.3f} s within the sound are missing: silence there")
    if bad:
        notices.append(silenced_notice(bad))


def silenced_notice(count: int) -> str:
    return f"{count} {NOT_NUMBERS}"


@dataclass
class _Run:
    """Consecutive blocks of sound without a gap; `tick` is the step of their timestamps in samples."""

    rate: int
    tick: float
    blocks: list[np.ndarray] = field(default_factory=list)
    offsets: list[float] = field(default_factory=list)
    length: int = 0
    skipped: int = 0

    def fits(self, time_s: float) -> bool:
        return abs(time_s * self.rate - self.offsets[0] - self.length) <= RUN_GAP_S * self.rate

    def add(self, time_s: float, block: np.ndarray, keep: bool) -> None:
        self.offsets.append(time_s * self.rate - self.length)
        self.length += block.shape[1]
        if keep:
            self.blocks.append(block)
        else:  # before the interval: only its length matters
            self.skipped += block.shape[1]

    @property
    def first(self) -> int:
        """Estimate the sample at which the run begins; each rounded timestamp (WebM: milliseconds) narrows it down."""
        low, high = max(self.offsets) - self.tick / 2, min(self.offsets) + self.tick / 2
        if low > high:  # timestamps that jitter by more than their rounding
            return round(float(np.median(self.offsets)))
        # Nothing is rounded at the file's start, so the first stamp counts where the others allow it.
        return round(min(max(self.offsets[0], low), high) if abs(self.offsets[0]) < 1 else (low + high) / 2)


def _read_samples(
    info: MediaInfo, track: AudioTrack, start_s: float, duration_s: float | None, notices: list[str]
) -> np.ndarray | None:
    """Read `[C, N]` float32 of exactly the interval; None where nothing decodes."""
    rate, tally = track.sample_rate_hz, Tally()
    origin, length = round(start_s * rate), None if duration_s is None else round(duration_s * rate)
    _check_sound_size(info, track, length or 0)
    stop_s = math.inf if duration_s is None else start_s + duration_s
    runs: list[_Run] = []
    later = False
    counted = track.tick_s * rate > 1.001 and start_s <= COUNTED_SOUND_S
    target_s = 0.0 if counted else start_s - SOUND_PREROLL_S
    with decode_from(info, track.stream_index, target_s, tally) as (timed, stream):
        limit = stream_end(stream, info.origin_s)
        for time_s, frame in timed:
            if later := time_s > stop_s + RUN_GAP_S:
                break
            if frame.layout.nb_channels != track.channels or frame.sample_rate != rate:
                tally.damaged += 1
                continue
            if not runs or not runs[-1].fits(time_s):
                runs.append(_Run(rate, track.tick_s * rate))
            keep = bool(runs[-1].blocks) or time_s + frame.samples / rate > start_s - RUN_GAP_S
            runs[-1].add(time_s, float_samples(frame) if keep else np.empty((0, frame.samples), np.float32), keep)
            _check_sound_size(info, track, runs[-1].length)
    if tally.damaged:
        notices.append(f"damaged pieces of the sound were skipped: {tally.damaged}")
    if not runs and not later:
        return None
    if not runs:  # the track begins behind the interval
        runs.append(_Run(rate, track.tick_s * rate, offsets=[origin + (length or 0)]))
    end = runs[-1].first + runs[-1].length
    end = (end if limit is None else min(end, limit)) - origin
    wanted = max(0, end) if length is None else length
    _check_sound_size(info, track, wanted)
    samples, covered = _place(runs, track.channels, origin, wanted, end)
    _describe_gaps(covered, rate, start_s, notices)
    return samples


def _check_sound_size(info: MediaInfo, track: AudioTrack, num_samples: int) -> None:
    size = 4 * track.channels * num_samples
    if size > max_clip_bytes():
        raise InputError(
            f"the sound of {info.path.name} ({track.channels} channels at {track.sample_rate_hz} Hz) would take "
            f"{size / 2**30:.0f} GiB of memory, above the limit. Ask for a shorter part, or raise {CLIP_VARIABLE}."
        )


def _place(runs: list[_Run], channels: int, origin: int, length: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    """Place the runs on a silent interval that begins at `origin`; return it and which samples they cover."""
    samples, covered = np.zeros((channels, length), np.float32), np.zeros(length, bool)
    for run in runs:
        at = run.first + run.skipped - origin
        for block in run.blocks:
            low, high = max(at, 0), min(at + block.shape[1], length, end)
            if low < high:
                samples[:, low:high] = block[:, low - at : high - at]
                covered[low:high] = True
            at += block.shape[1]
    return samples, covered


def _describe_gaps(covered: np.ndarray, rate: int, start_s: float, notices: list[str]) -> None:
    if not covered.any():
        notices.append("the sound track has nothing in this interval: silence is used")
        return
    head, tail = int(covered.argmax()), int(covered[::-1].argmax())
    inner = len(covered) - head - tail - int(covered.sum())
    if head > NOTICE_GAP_S * rate:
        notices.append(f"the sound starts {head / rate:.2f} s late: silence before it")
    if tail > NOTICE_GAP_S * rate:
        notices.append(f"the sound ends at {start_s + (len(covered) - tail) / rate:.2f} s: padded with silence")
    if inner > 0:
        notices.append(f"{inner / rate:.3f} s within the sound are missing: silence there")


def stream_end(stream: Stream, origin_s: float) -> int | None:
    """Return the sample at which an MP4's edit list ends the track; beyond it is the coder's padding."""
    if "mp4" not in stream.container.format.name or not stream.duration:
        return None
    end_s = float(((stream.start_time or 0) + stream.duration) * stream.time_base) - origin_s
    return round(end_s * stream.codec_context.sample_rate)


def float_samples(frame: AudioFrame) -> np.ndarray:
    """Convert a decoded block to `[C, n]` float32 with full scale 1; channels are not mixed."""
    from av.audio.plane import AudioPlane

    kind, channels = frame.format.name, frame.layout.nb_channels
    # Plane by plane: PyAV's `planes` and `to_ndarray` expect an end mark, which eight and more planes lack.
    count = channels if frame.format.is_planar else 1
    dtype, size = SAMPLES[kind.removesuffix("p")], frame.samples * channels // count
    values = np.stack([np.frombuffer(AudioPlane(frame, i), dtype, size) for i in range(count)])
    if not frame.format.is_planar:
        values = values.reshape(-1, channels).T
    if dtype is np.uint8:
        return (values.astype(np.float32) - 128.0) / 128.0
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    full_scale = float(2 ** (8 * values.dtype.itemsize - 1))
    return (values.astype(np.float64) / full_scale).astype(np.float32)
