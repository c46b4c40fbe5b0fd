"""Colour of a file's picture: how its numbers become light, and the display that it was graded on.

Numbers are FFmpeg's, which are those of ITU-T H.273.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..choices import Hdr

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame

PQ, HLG = 16, 18
HDR_TRANSFERS = {PQ: "PQ", HLG: "HLG"}
# Peak of HDR whose file does not say it, in cd/m²: HLG's nominal display, and what most HDR10 is graded on.
USUAL_PEAK_NITS = 1000.0
# FFmpeg's numbers of a frame's side data.
_MASTERING, _LIGHT_LEVEL = "MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"


@dataclass(frozen=True)
class Mastering:
    """Display that HDR was graded on, and light of the content.

    Args:
        red, green, blue, white: chromaticities x, y. low_nits, high_nits: its darkest and brightest, in cd/m².
        brightest_nits, mean_nits: the brightest pixel, and the largest mean of a frame (MaxCLL, MaxFALL); 0 unknown.
    """

    red: tuple[float, float]
    green: tuple[float, float]
    blue: tuple[float, float]
    white: tuple[float, float]
    low_nits: float
    high_nits: float
    brightest_nits: int = 0
    mean_nits: int = 0

    @property
    def x265(self) -> str:
        """The same as options of x265."""
        places = zip("GBR", (self.green, self.blue, self.red), strict=True)
        corners = "".join(f"{name}({_steps(x, y)})" for name, (x, y) in places)
        light = f"L({round(self.high_nits * 10000)},{round(self.low_nits * 10000)})"
        return (
            f"master-display={corners}WP({_steps(*self.white)}){light}:max-cll={self.brightest_nits},{self.mean_nits}"
        )

    @property
    def boxes(self) -> dict[bytes, bytes]:
        """Bodies of the boxes `mdcv` and `clli` of MP4 and MOV."""
        corners = (*self.green, *self.blue, *self.red, *self.white)
        display = struct.pack(
            ">8H2I", *(round(value * 50000) for value in corners), round(self.high_nits * 10000),
            round(self.low_nits * 10000),
        )  # fmt: skip
        found = {b"mdcv": display}
        return found | ({b"clli": struct.pack(">2H", self.brightest_nits, self.mean_nits)} if self.mean_nits else {})


def _steps(x: float, y: float) -> str:
    return f"{round(x * 50000)},{round(y * 50000)}"


@dataclass(frozen=True)
class Colour:
    """Matrix, primaries and transfer of a picture; BT.709 by default."""

    matrix: int = 1
    primaries: int = 1
    transfer: int = 1
    mastering: Mastering | None = None

    @property
    def hdr(self) -> str:
        """Name the kind of HDR; empty for any other picture."""
        return HDR_TRANSFERS.get(self.transfer, "")

    @property
    def peak_nits(self) -> float:
        """Brightest light that the picture may hold, in cd/m²."""
        stated = 0.0 if self.mastering is None or self.transfer == HLG else self.mastering.high_nits
        return stated if 100 <= stated <= 10000 else USUAL_PEAK_NITS


BT_709_COLOUR = Colour()


def colour_of(context: VideoCodecContext, frame: VideoFrame | None) -> Colour:
    """Read the colour of a picture track, and of its first frame where one was decoded."""
    transfer = int(context.color_trc)
    if transfer not in HDR_TRANSFERS:
        return Colour(int(context.colorspace), int(context.color_primaries), transfer)
    # HDR that names no more is BT.2020 for players.
    matrix, primaries = (number if number not in (0, 2) else 9
                         for number in (int(context.colorspace), int(context.color_primaries)))  # fmt: skip
    return Colour(matrix, primaries, transfer, None if frame is None else _mastering_of(frame))


def _mastering_of(frame: VideoFrame) -> Mastering | None:
    """Read FFmpeg's AVMasteringDisplayMetadata and AVContentLightMetadata."""
    found = {data.type.name: bytes(data) for data in frame.side_data}
    display, light = found.get(_MASTERING, b""), found.get(_LIGHT_LEVEL, b"")
    if len(display) < 88 or not all(struct.unpack_from("<2i", display, 80)):
        return None
    numbers = struct.unpack_from("<20i", display)
    values = [top / bottom if bottom else 0.0 for top, bottom in zip(numbers[::2], numbers[1::2], strict=True)]
    red, green, blue, white, nits = zip(values[::2], values[1::2], strict=True)
    brightest, mean = struct.unpack_from("<2I", light) if len(light) >= 8 else (0, 0)
    return Mastering(red, green, blue, white, *nits, brightest, mean)


def hdr_notices(colour: Colour, how: Hdr) -> tuple[str, ...]:
    """Say what becomes of an HDR picture; nothing for any other."""
    if not colour.hdr:
        return ()
    said = {
        "tone-map": "it is tone-mapped to SDR (BT.709)",
        "keep": "it stays HDR, with 10 bits",
        "values": "its values are read as they are, without tone mapping",
    }
    return (f"the picture is HDR ({colour.hdr}); {said[how]}",)
