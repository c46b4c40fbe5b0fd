"""Compute AV-Align: do picture and sound peak at the same times?

Source: TempoTokens (arXiv 2309.16429), whose script gives the optical flow's settings, the windows of one frame and the
intersection over union.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..media.writer import to_uint8
from ..records import Sound
from ..sound.onsets import find_onsets
from .figure import Definition

AV_ALIGN = Definition(
    "AV-Align",
    "intersection over union of sound onsets (ours: rise of the log-mel) and peaks of the mean optical flow "
    "(Farneback), matched one to one within one frame",
    "TempoTokens",
    better="higher",
)


def av_align(frames: Tensor, fps: float, sound: Sound) -> float:
    """Compute AV-Align of one clip, in [0, 1]; NaN where neither picture nor sound has a peak.

    Args:
        frames: `[T, 3, H, W]` in [0, 1], T at least 3. fps: their rate. sound: of the same clip.
    """
    return peaks_in_common(find_onsets(sound).times_s, video_peaks_s(frames, fps), 1.0 / fps)


def video_peaks_s(frames: Tensor, fps: float) -> tuple[float, ...]:
    """Find the times, in seconds, at which the mean optical flow has a local maximum."""
    if len(frames) < 3:
        raise InputError(f"peaks of motion need 3 frames or more; got {len(frames)}.")
    grey = [cv2.cvtColor(to_uint8(frame), cv2.COLOR_RGB2GRAY) for frame in frames]
    flow = [_mean_flow(a, b) for a, b in zip(grey[:-1], grey[1:], strict=True)]
    # The published script gives frame 0 the flow of the first pair, and frame i that of the pair (i - 1, i).
    curve = [flow[0], *flow]
    return tuple(i / fps for i in range(1, len(curve) - 1) if curve[i - 1] < curve[i] > curve[i + 1])


def _mean_flow(before: np.ndarray, after: np.ndarray) -> float:
    flow = cv2.calcOpticalFlowFarneback(before, after, None, 0.5, 3, 15, 3, 5, 1.2, 0)
    return float(np.hypot(flow[..., 0], flow[..., 1]).mean())


def peaks_in_common(audio_s: Sequence[float], video_s: Sequence[float], window_s: float) -> float:
    """Divide the audio peaks that have a video peak within the window by the union; NaN without any peak.

    Convention: a video peak serves one audio peak. The published script lets it serve several, and can then pass 1.
    """
    free, common = set(video_s), 0
    for a in audio_s:
        gap, nearest = min(((abs(a - v), v) for v in free), default=(window_s, 0.0))
        if gap < window_s:
            free.remove(nearest)
            common += 1
    union = len(audio_s) + len(video_s) - common
    return common / union if union else float(torch.nan)
