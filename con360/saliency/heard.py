"""Measure the direction of a clip's sound: the mean intensity of Ambisonics around each frame.

Shape legend: T frames, N samples.

Source: the intensity vector of first-order Ambisonics, as in Directional Audio Coding (Pulkki 2007).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..records import Sound
from ..sound.intensity import intensity

# Seconds of sound around each frame.
LISTENING_S = 1.0


class Listener:
    """Sum intensity and energy of a sound that comes in blocks.

    Args:
        sample_rate_hz: of the sound. fps: frames per second; frame i stands at i / fps seconds.
    """

    def __init__(self, sample_rate_hz: int, fps: float) -> None:
        self._rate, self._fps, self._at = sample_rate_hz, fps, 0
        # Per frame step: intensity to the right, up and ahead, and energy.
        self._sums: list[np.ndarray] = []

    def add(self, block: np.ndarray) -> None:
        """Add the next samples, AmbiX `[4 or more, n]`."""
        values = intensity(torch.from_numpy(block)).numpy()
        if not block.shape[1]:
            return
        bins = ((self._at + np.arange(block.shape[1])) * (self._fps / self._rate)).astype(np.int64)
        first = int(bins[0])
        sums = np.stack([np.bincount(bins - first, row) for row in values], axis=1)
        self._sums += [np.zeros(4) for _ in range(first + len(sums) - len(self._sums))]
        for step, part in enumerate(sums, first):
            self._sums[step] += part
        self._at += block.shape[1]

    def intensity(self, num_frames: int) -> Tensor:
        """Return intensity and energy of the first frames: `[T, 4]`, as `sound_intensity` does."""
        reach = max(1, round(LISTENING_S * self._fps / 2))
        sums = np.zeros((num_frames + 2 * reach, 4))
        known = np.array(self._sums[: num_frames + reach]).reshape(-1, 4)
        sums[reach : reach + len(known)] = known
        # Steps i - reach to i + reach - 1: half of them before the frame's time, half behind it.
        total = np.cumsum(np.pad(sums, ((1, 0), (0, 0))), axis=0)
        return torch.from_numpy(total[2 * reach :][:num_frames] - total[:num_frames]).float()


def sound_intensity(sound: Sound | None, fps: float, num_frames: int) -> Tensor | None:
    """Measure intensity and energy of the second of sound around each frame.

    Convention: frame i stands at i / fps seconds. One plane wave's intensity is as long as its energy; that of sound
    from all sides is next to 0.

    Args:
        sound: any. fps: of the frames.

    Returns:
        `[T, 4]`: intensity to the right, up and ahead, and energy, summed over samples; None for sound without
        directions (mono, stereo, loudspeakers) or no sound.
    """
    if sound is None or sound.layout != "ambix":
        return None
    listener = Listener(sound.sample_rate_hz, fps)
    listener.add(np.nan_to_num(sound.waveform.numpy(), nan=0.0, posinf=0.0, neginf=0.0))
    return listener.intensity(num_frames)
