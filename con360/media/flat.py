"""Stream an ordinary video, or the sound of any file, as `PanoramaStream` streams a panorama."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .painting import picture_pixels, upright_pixels
from .planes import Planes, planes_of
from .reader import EXCERPT_TOLERANCE_S, GivesStored, PanoramaStream, check_pixels
from .spherical_tags import Packing
from .writer import as_planes

if TYPE_CHECKING:
    from av.video.frame import VideoFrame


class FlatStream(PanoramaStream):
    """Stream a flat video frame by frame as stored, upright, in the size of its first frame."""

    _shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Take any shape, but no panorama.

        Raises:
            InputError: its metadata says that it is one, or it is too large to be decoded.
        """
        name, projection = self.info.path.name, self.info.spherical.projection
        if projection and projection != "flat":
            raise InputError(
                f"{name} is a 360° picture, as its metadata says ({projection}); a flat one is wanted. "
                f"con360 reframe cuts one out of it."
            )
        check_pixels(self.info)
        self.notices += self.info.notices
        self.end_s, self.ended = 0.0, False

    @property
    def packing(self) -> Packing:
        """One eye: both are laid alike."""
        return "mono"

    def _stored(self, frame: VideoFrame) -> np.ndarray | Planes:
        found = planes_of(frame, self.info)
        stored = upright_pixels(frame, self.info) if found is None else found
        self._shape = self._shape or stored.shape[:2]
        return stored if stored.shape[:2] == self._shape else self._as_first(frame)

    def _as_first(self, frame: VideoFrame) -> np.ndarray:
        import cv2

        assert self._shape is not None
        notice = "the picture's size changes within the file: all of it is brought to that of its beginning"
        self.notices += [] if notice in self.notices else [notice]
        pixels = np.ascontiguousarray(upright_pixels(frame, self.info))
        return cv2.resize(pixels, self._shape[::-1], interpolation=cv2.INTER_AREA)


@dataclass
class Shown:
    """Give the picture that a stream shows at rising times, as planes; of a still picture, always the same.

    Args:
        begin_s: time at which the stream begins.
    """

    stream: FlatStream
    begin_s: float = 0.0
    _last: Planes | None = field(default=None, init=False)
    _next: tuple[float, GivesStored] | None = field(default=None, init=False)
    _frames: Iterator[tuple[float, GivesStored]] | None = field(default=None, init=False)

    def at(self, time_s: float) -> Planes | None:
        """Give the picture at a time; None before the stream begins and where it has ended."""
        time_s -= self.begin_s - EXCERPT_TOLERANCE_S
        if time_s < 0:
            return None
        if self.stream.info.kind == "picture":
            self._last = self._last or as_planes(picture_pixels(self.stream.info))
            return self._last
        if self._frames is None:
            self._frames = self.stream.stored_frames()
            self._advance()
        due = None
        # Before the first frame, the first is shown.
        while self._next is not None and (self._next[0] <= time_s or self._last is due is None):
            due = self._next[1]
            self._advance()
        if due is not None:
            self._last = as_planes(due())
        ended = self._next is None and time_s >= self.stream.end_s
        return None if ended else self._last

    def _advance(self) -> None:
        assert self._frames is not None
        self._next = next(self._frames, None)
