"""Code pictures as JPEG before they are read, as the published program does; for parity alone.

Its frames come from FFmpeg's JPEG files at the default bit rate, so that later ones of a clip are coarser, and its
views are written once more by OpenCV.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, cast

import numpy as np

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext

VIEW_QUALITY = 95


def jpeg_frames(pictures: Iterator[Callable[[], np.ndarray]], fps: float) -> Iterator[Callable[[], np.ndarray]]:
    """Give pictures `[H, W, 3]` uint8 as FFmpeg's JPEG files hold them; each has to be asked for, in order."""
    coder = _Frames(fps)
    for picture in pictures:
        yield partial(coder.coded, picture)


class _Frames:
    def __init__(self, fps: float) -> None:
        self.rate = Fraction(fps).limit_denominator(1001)
        self.context: VideoCodecContext | None = None
        self.count = 0

    def coded(self, picture: Callable[[], np.ndarray]) -> np.ndarray:
        import av

        pixels = picture()
        if self.context is None:
            self.context = cast("VideoCodecContext", av.CodecContext.create("mjpeg", "w"))
            self.context.height, self.context.width = pixels.shape[:2]
            self.context.pix_fmt, self.context.time_base = "yuvj420p", 1 / self.rate
            self.context.framerate = self.rate
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24").reformat(format="yuvj420p")
        frame.pts, frame.time_base = self.count, 1 / self.rate
        self.count += 1
        return _decoded(b"".join(bytes(packet) for packet in self.context.encode(frame)))


def jpeg_view(pixels: np.ndarray) -> np.ndarray:
    """Code a view `[H, W, 3]` uint8 as OpenCV does."""
    import cv2

    _, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, VIEW_QUALITY])
    return _decoded(data.tobytes())


def _decoded(data: bytes) -> np.ndarray:
    import cv2

    return np.ascontiguousarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1])
