"""Check that sound and picture stay in sync when a clip of flashes and clicks goes through the writer and reframe.

Times are read with FFmpeg alone, as a player would: a flash by its frame's timestamp, a click by its sample.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from .figures import Effort, Figure, timed

RATES = (Fraction(30000, 1001), Fraction(60000, 1001))
SOUND_RATES_HZ = (44100, 48000, 16000)
BOUND_S = 1e-3
EVERY_S = 1.0
SIZE = (128, 64)
# A click is a few periods of a tone that starts at its peak.
CLICK_HZ, CLICK_S = 3000.0, 0.004


def figures(effort: Effort) -> Iterator[Figure]:
    with timed("sound and picture within 1 ms, through the media writer and reframe") as figure:
        pairs = [(fps, hz) for fps in RATES for hz in SOUND_RATES_HZ]
        worst = 0.0
        with tempfile.TemporaryDirectory() as folder:
            for fps, hz in pairs if effort.name != "test" else [pairs[0], pairs[4]]:
                for door, path in _clips(Path(folder), fps, hz, effort.sync_seconds):
                    off, count = _worst_offset(path, fps, hz, effort.sync_seconds)
                    worst = max(worst, off)
                    wanted = math.ceil(effort.sync_seconds / EVERY_S) - 1
                    where = f"{door}, {float(fps):.2f} fps, {hz} Hz"
                    figure.expect(count == wanted, f"{where}: {count} flashes with clicks of {wanted}")
                    figure.expect(off < BOUND_S, f"{where}: {1000 * off:.2f} ms")
        figure.tried = f"clips of {effort.sync_seconds:g} s, 29.97 and 59.94 fps, 44.1, 48 and 16 kHz"
        figure.outcome = f"at most {1000 * worst:.2f} ms"
    yield figure


def flashes(fps: Fraction, seconds: float) -> list[int]:
    """Return the frames nearest to seconds 1, 2, ... of the clip."""
    return [round(k * EVERY_S * fps) for k in range(1, math.ceil(seconds / EVERY_S))]


def _clips(folder: Path, fps: Fraction, hz: int, seconds: float) -> Iterator[tuple[str, Path]]:
    """Yield the clip as written and as reframed with a still camera; a moving one is read and written alike."""
    from con360.media.writer import clip_stream
    from con360.records import View
    from con360.reframing.run import ReframeSettings, reframe

    source = folder / f"{fps.numerator}-{hz}.mp4"
    lit, sound = set(flashes(fps, seconds)), clicks(fps, hz, seconds)
    pictures = {on: np.full((SIZE[1], SIZE[0], 3), 235 if on else 20, np.uint8) for on in (True, False)}
    block = round(hz / fps)
    with clip_stream(source, SIZE, 1 / fps, float(fps), (1, hz), panorama="mono") as clip:
        for i in range(round(seconds * fps)):
            clip.add_frame(pictures[i in lit], i)
            clip.add_sound(sound[:, i * block : (i + 1) * block])
        clip.add_sound(sound[:, round(seconds * fps) * block :])
    yield "writer", source
    flat = folder / "flat.mp4"
    reframe(source, flat, View(30.0, 10.0, 90.0), ReframeSettings(size=(32, 32)))
    yield "reframe", flat


def clicks(fps: Fraction, hz: int, seconds: float) -> np.ndarray:
    """Return `[1, N]`: silence, with a click at the start of each flash."""
    wave = np.zeros((1, round(seconds * hz)), np.float32)
    times = np.arange(wave.shape[1]) / hz
    for frame in flashes(fps, seconds):
        since = times - float(frame / fps)
        inside = (since >= 0) & (since < CLICK_S)
        wave[0, inside] = 0.8 * np.cos(2 * np.pi * CLICK_HZ * since[inside])
    return wave


def _worst_offset(path: Path, fps: Fraction, hz: int, seconds: float) -> tuple[float, int]:
    """Return the largest distance of a flash from its nearest click in seconds, and the number of pairs."""
    import av

    lit, shown_before = [], False
    with av.open(str(path)) as file:
        for frame in file.decode(video=0):
            bright = frame.to_ndarray(format="gray").mean() > 128
            if bright and not shown_before:
                lit.append(float(frame.pts * frame.time_base))
            shown_before = bright
    heard = _clicks_heard(path, fps, hz, seconds)
    pairs = [min(abs(t - c) for c in heard) for t in lit] if heard else []
    return max(pairs, default=math.inf), len(pairs)


def _clicks_heard(path: Path, fps: Fraction, hz: int, seconds: float) -> list[float]:
    """Return the times at which the sound correlates most with a click: coders smear onsets, but keep these peaks."""
    import av

    blocks, start, rate = [], None, hz
    with av.open(str(path)) as file:
        for frame in file.decode(audio=0):
            start = float(frame.pts * frame.time_base) if start is None else start
            rate = frame.sample_rate
            blocks.append(frame.to_ndarray()[0])
    wave = np.concatenate(blocks)
    shape = np.cos(2 * np.pi * CLICK_HZ * np.arange(round(CLICK_S * rate)) / rate)
    found = []
    for frame in flashes(fps, seconds):
        middle = round((float(frame / fps) - start) * rate)
        first = max(0, middle - rate // 5)
        part = wave[first : middle + rate // 5 + len(shape)]
        likeness = np.correlate(part, shape, "valid")
        if len(likeness) and likeness.max() > 0.3 * (shape**2).sum() * 0.8:
            found.append(start + (first + int(likeness.argmax())) / rate)
    return found
