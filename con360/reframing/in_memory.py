"""Stream a panorama that is held in memory, as `PanoramaStream` streams a file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..media.info import AudioTrack, MediaInfo
from ..media.reader import EXCERPT_TOLERANCE_S, GivesStored, PanoramaStream
from ..media.spherical_tags import Packing
from ..media.writer import to_uint8
from ..records import PanoramaClip, Sound
from ..sound.channels import Channels

BLOCK_S = 0.5


class HeldPanorama(PanoramaStream):
    """Stream a clip frame by frame; no copy of all of it is made.

    Args:
        clip: frames of any ratio, float, on any strides; its sound says itself what its channels are.

    Raises:
        InputError: no frame.
    """

    def __init__(self, clip: PanoramaClip) -> None:
        if not clip.num_frames:
            raise InputError("the clip has no frame; give at least one.")
        rows, columns = clip.frames.shape[-2:]
        super().__init__(
            MediaInfo(
                Path(clip.source or "the clip"), "video", columns, rows, columns, rows, fps=clip.fps,
                duration_s=clip.num_frames / clip.fps, notices=tuple(notice.rstrip(".") for notice in clip.notices),
            )
        )  # fmt: skip
        self._clip = clip

    def __post_init__(self) -> None:
        """Take the frames as they are: whoever holds a clip knows that it is a panorama."""
        self.notices += self.info.notices
        self.end_s, self.ended = 0.0, False

    @property
    def packing(self) -> Packing:
        """One eye: whoever holds a clip has cut it out."""
        return "mono"

    def frames(
        self, start_s: float = 0.0, stop_s: float = math.inf
    ) -> Iterator[tuple[float, Callable[[], np.ndarray]]]:
        """Yield times and pixels, as `PanoramaStream.frames`."""
        count, fps = self._clip.num_frames, self._clip.fps
        for i in range(math.floor((start_s + EXCERPT_TOLERANCE_S) * fps), count):
            if i / fps > stop_s - EXCERPT_TOLERANCE_S:
                return
            self.end_s, self.ended = (i + 1) / fps, i == count - 1
            yield i / fps, partial(self._frame, i)

    def stored_frames(self, start_s: float = 0.0, stop_s: float = math.inf) -> Iterator[tuple[float, GivesStored]]:
        """Yield as `frames`: a clip holds no planes."""
        yield from self.frames(start_s, stop_s)

    def _frame(self, i: int) -> np.ndarray:
        frame = self._clip.frames[i]
        if not frame.isfinite().all():
            raise InputError(
                f"frame {i + 1} holds values that are not finite (NaN or infinity); check where it is made."
            )
        return to_uint8(frame)

    @property
    def track(self) -> AudioTrack | None:
        """The clip's sound as a track; None without sound."""
        sound = self._clip.sound
        return None if sound is None else track_of(sound)

    def sound(self, start_s: float = 0.0, stop_s: float = math.inf) -> Iterator[np.ndarray]:
        """Yield blocks `[C, n]`, as `PanoramaStream.sound`."""
        sound = self._clip.sound
        if sound is None:
            return
        rate = sound.sample_rate_hz
        end = min(sound.waveform.shape[1], math.inf if stop_s == math.inf else round(stop_s * rate))
        block = round(BLOCK_S * rate)
        for at in range(round(start_s * rate), int(end), block):
            yield sound.waveform[:, at : min(at + block, int(end))].float().cpu().numpy()


def track_of(sound: Sound) -> AudioTrack:
    """Describe a sound that is held as a file's track."""
    count = sound.waveform.shape[0]
    return AudioTrack(
        1, 0, count, sound.sample_rate_hz, f"{count} channels", "", True, 1 / sound.sample_rate_hz,
        Channels(sound.layout, sound.speakers),
    )  # fmt: skip
