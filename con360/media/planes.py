"""Pictures as most video files hold them: one plane of luma, two of colour at half the size (4:2:0), BT.709 or HDR.

Where every step can work on planes, no picture has to become RGB and come back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .colour import BT_709_COLOUR, Colour

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

    from .info import MediaInfo

# Formats of frames and their bits per sample; those named yuvj use the full range.
DEPTHS = {"yuv420p": 8, "yuvj420p": 8, "yuv420p10le": 10}
# FFmpeg's numbers of matrices and ranges. Untagged HD is BT.709 for players.
BT_709, UNTAGGED, FULL_RANGE, HD_ROWS = 1, 2, 2, 720
# FFmpeg's bicubic, accurate_rnd and full_chroma_int, by number: older PyAV names none but the first. Its fast
# conversion is 1 to 1.5 levels too dark.
ACCURATE = 0x4 | 0x40000 | 0x2000


@dataclass(frozen=True)
class Siting:
    """Places of a plane's samples among those of luma.

    Args:
        step: luma pixels from one sample to the next. across, down: of the first sample from the first luma pixel.
    """

    step: int
    across: float
    down: float

    def positions(self, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
        """Luma columns and rows of the samples of a picture of even size."""
        return (np.arange(width // self.step) * self.step + self.across,
                np.arange(height // self.step) * self.step + self.down)  # fmt: skip

    def column(self, luma_px: np.ndarray) -> np.ndarray:
        """Columns of this plane at columns of luma."""
        return luma_px if self.step == 1 else (luma_px - self.across) / self.step

    def row(self, luma_px: np.ndarray) -> np.ndarray:
        """Rows of this plane at rows of luma."""
        return luma_px if self.step == 1 else (luma_px - self.down) / self.step


LUMA = Siting(1, 0.0, 0.0)
# H.264's own: in line with every second column, between two rows.
CHROMA = Siting(2, 0.0, 0.5)


@dataclass(frozen=True)
class Planes:
    """A picture in planes.

    Args:
        luma: `[h, w]`, uint8 or uint16. blue, red: differences of colour, half the size.
        bits: of a sample. full: whether black is 0 and white the largest value.
        colour: of HDR; anything else is BT.709.
    """

    luma: np.ndarray
    blue: np.ndarray
    red: np.ndarray
    bits: int = 8
    full: bool = False
    colour: Colour = BT_709_COLOUR

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns of luma."""
        return self.luma.shape

    def part(self, rows: slice, columns: slice) -> Planes | None:
        """Cut out a part without copying; None where its corner lies within a sample of colour."""
        spans = [part.indices(size) for part, size in zip((rows, columns), self.shape, strict=True)]
        if any(start % 2 for start, _, _ in spans):
            return None
        small = tuple(slice(start // 2, -(-stop // 2)) for start, stop, _ in spans)
        return replace(self, luma=self.luma[rows, columns], blue=self.blue[small], red=self.red[small])

    def limited(self, bits: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The three planes in limited range, of 8 bits (uint8; luma 16 to 235, colour 16 to 240) or 10 (uint16)."""
        if bits == self.bits and not self.full:
            return self.luma, self.blue, self.red
        if bits > 8:
            return self._limited_in_10_bits()
        import cv2

        top, half = 2**self.bits - 1, 2 ** (self.bits - 1)
        luma, colour = (219 / top, 224 / top) if self.full else (128 / half, 128 / half)
        return (
            cv2.convertScaleAbs(self.luma, alpha=luma, beta=16.0 if self.full else 0.0),
            *(cv2.convertScaleAbs(plane, alpha=colour, beta=128 - half * colour) for plane in (self.blue, self.red)),
        )

    def _limited_in_10_bits(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        top, middle = 2**self.bits - 1, 2 ** (self.bits - 1)
        luma, colour, black = (876 / top, 896 / top, 64) if self.full else (4.0, 4.0, 0)
        return (
            np.rint(self.luma * luma + black).astype(np.uint16),
            *(np.rint((plane.astype(np.float32) - middle) * colour + 512).astype(np.uint16)
              for plane in (self.blue, self.red)),
        )  # fmt: skip


def planes_of(frame: VideoFrame, info: MediaInfo) -> Planes | None:
    """Take a frame's planes; None where it is neither 4:2:0 in BT.709 nor HDR, or is to be rotated.

    Nothing is copied, but for HDR of other formats, which becomes 4:2:0 of 10 bits.
    """
    hdr = bool(info.colour.hdr) and not frame.format.is_rgb
    if hdr and frame.format.name not in DEPTHS:
        frame = frame.reformat(format="yuv420p10le", interpolation=ACCURATE)
    bits = DEPTHS.get(frame.format.name)
    matrix = int(frame.colorspace)
    is_709 = matrix == BT_709 or matrix == UNTAGGED and frame.height >= HD_ROWS
    if bits is None or not (is_709 or hdr) or info.rotation_deg:
        return None
    luma, blue, red = (values_of(plane, bits) for plane in frame.planes)
    return Planes(luma, blue, red, bits, is_full_range(frame), info.colour if hdr else BT_709_COLOUR)


def is_full_range(frame: VideoFrame) -> bool:
    """True where black is 0 and white the largest value."""
    return int(frame.color_range) == FULL_RANGE or frame.format.name.startswith("yuvj")


def frame_of(planes: Planes, bits: int = 8) -> VideoFrame:
    """Make a frame `yuv420p` or, of 10 bits, `yuv420p10le` of limited range; luma has even sides."""
    import av

    height, width = planes.shape
    frame = av.VideoFrame(width, height, "yuv420p" if bits == 8 else "yuv420p10le")
    for plane, values in zip(frame.planes, planes.limited(bits), strict=True):
        values_of(plane, bits)[:] = values
    return frame


def values_of(plane: Any, bits: int = 8) -> np.ndarray:
    """Take the values `[h, w]` of a frame's plane without copying."""
    kind = np.dtype("<u2" if bits > 8 else np.uint8)
    values = np.frombuffer(plane, kind).reshape(plane.height, plane.line_size // kind.itemsize)
    return values[:, : plane.width]
