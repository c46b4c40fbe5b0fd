"""Codecs and qualities of the picture in files that the pack writes, and which of them this PyAV can write."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..choices import QUALITIES, VIDEO_CODECS, MasterCodec, Quality, VideoCodec
from ..errors import InputError
from .colour import BT_709_COLOUR, Colour

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

# FFmpeg's coder of each codec, and its constant rate factor for each quality. x265 counts about 4 to 5 below x264: its
# default is 28, x264's 23.
_CODERS = {"H.264": "libx264", "H.265": "libx265", "ProRes": "prores_ks"}
_CRF = {"H.264": (16, 21, 26), "H.265": (20, 25, 30)}
_OPTIONS = {
    # x264's macroblock tree reads memory that nothing wrote, at widths of a few blocks: the same frames then give other
    # bytes from time to time (seen at 192x96: 14 of 300 runs; none with it off).
    "H.264": {"x264-params": "mbtree=0"},
    # x265 talks to the terminal by itself. With frames that look ahead (bframes), FFmpeg could not write some clips of
    # one or two frames (23 of 60: "pts/dts pair unsupported"); without them, all.
    "H.265": {"x265-params": "log-level=error:bframes=0"},
    # ProRes 422 HQ; Apple's own name of the vendor, which some editors ask for.
    "ProRes": {"profile": "3", "vendor": "apl0"},
}
QUICK_PRESET = "veryfast"
# FFmpeg's number of the limited range.
LIMITED = 1
# FFmpeg's names of how each holds a pixel, by bits.
_PIXELS = {("H.264", 8): "yuv420p", ("H.265", 8): "yuv420p", ("H.265", 10): "yuv420p10le",
           ("ProRes", 10): "yuv422p10le"}  # fmt: skip
# By this name of H.265 Apple's players know it; FFmpeg's own choice, hev1, they refuse.
_TAGS = {"H.265": "hvc1"}


@dataclass(frozen=True)
class PictureCoding:
    """Coding of a picture: one of `choices.VIDEO_CODECS` or ProRes, and one of `choices.QUALITIES`.

    Args:
        quick: for a preview: as good, coded sooner and into more bytes.
        colour: of the file. HDR is written with 10 bits.
    """

    codec: VideoCodec | MasterCodec = "H.264"
    quality: Quality = "high"
    quick: bool = False
    colour: Colour = BT_709_COLOUR

    @property
    def bits(self) -> int:
        return 10 if self.codec == "ProRes" or self.colour.hdr else 8

    def keeping(self, colour: Colour) -> PictureCoding:
        """Return the coding that keeps HDR of this colour: H.265 in place of H.264, which players show in SDR alone."""
        return replace(self, colour=colour, codec="H.265" if self.codec == "H.264" else self.codec)

    @property
    def options(self) -> dict[str, str]:
        """Options for FFmpeg's coder."""
        if self.codec == "ProRes":
            return _OPTIONS["ProRes"]
        crf = _CRF[self.codec][QUALITIES.index(self.quality)]
        options = {"crf": str(crf), **_OPTIONS[self.codec], **({"preset": QUICK_PRESET} if self.quick else {})}
        if self.colour.hdr:
            light = "" if self.colour.mastering is None else f":{self.colour.mastering.x265}"
            options["x265-params"] += f":hdr10=1:repeat-headers=1{light}"
        return options

    def add_to(self, container: Any, rate: Any) -> Any:
        """Add a stream of this coding to a file that is being written.

        Raises:
            InputError: this PyAV was built without the coder.
        """
        check_codec(self.codec)
        stream = container.add_stream(_CODERS[self.codec], rate=rate, options=self.options)
        if self.codec in _TAGS:
            stream.codec_context.codec_tag = _TAGS[self.codec]
        stream.pix_fmt = _PIXELS[self.codec, self.bits]
        context, colour = stream.codec_context, self.colour
        context.colorspace, context.color_primaries, context.color_trc = (
            colour.matrix, colour.primaries, colour.transfer
        )  # fmt: skip
        context.color_range = LIMITED
        return stream

    def tagged(self, frame: VideoFrame) -> VideoFrame:
        """Give a frame the colour's numbers; ProRes writes those of its frames."""
        frame.colorspace, frame.color_range = self.colour.matrix, LIMITED
        if hasattr(frame, "color_trc"):  # PyAV 14 and 15 have none
            frame.color_primaries, frame.color_trc = self.colour.primaries, self.colour.transfer
        return frame


def check_codec(codec: str) -> None:
    """Check that this PyAV can write a codec.

    Raises:
        InputError: an unknown one, or one whose coder is missing; names those that are there.
    """
    if codec not in _CODERS or not _has_coder(_CODERS[codec]):
        there = ", ".join(name for name in VIDEO_CODECS if _has_coder(_CODERS[name])) or "none"
        raise InputError(f"the installed PyAV cannot write {codec}; it has {there}. Choose one of these.")


@functools.cache
def _has_coder(name: str) -> bool:
    import av
    from av.codec.codec import UnknownCodecError

    try:
        av.Codec(name, "w")
    except UnknownCodecError:
        return False
    return True
