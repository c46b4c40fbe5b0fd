"""Codecs and qualities of the picture in files that the pack writes, and which of them this PyAV can write."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from ..choices import QUALITIES, VIDEO_CODECS, Quality, VideoCodec
from ..errors import InputError

# FFmpeg's coder of each codec, and its constant rate factor for each quality. x265 counts about 4 to 5 below x264: its
# default is 28, x264's 23.
_CODERS = {"H.264": "libx264", "H.265": "libx265"}
_CRF = {"H.264": (16, 21, 26), "H.265": (20, 25, 30)}
_OPTIONS = {
    # x264's macroblock tree reads memory that nothing wrote, at widths of a few blocks: the same frames then give other
    # bytes from time to time (seen at 192x96: 14 of 300 runs; none with it off).
    "H.264": {"x264-params": "mbtree=0"},
    # x265 talks to the terminal by itself. With frames that look ahead (bframes), FFmpeg could not write some clips of
    # one or two frames (23 of 60: "pts/dts pair unsupported"); without them, all.
    "H.265": {"x265-params": "log-level=error:bframes=0"},
}
QUICK_PRESET = "veryfast"
# By this name of H.265 Apple's players know it; FFmpeg's own choice, hev1, they refuse.
_TAGS = {"H.265": "hvc1"}


@dataclass(frozen=True)
class PictureCoding:
    """Coding of a picture: one of `choices.VIDEO_CODECS` and one of `choices.QUALITIES`.

    Args:
        quick: for a preview: as good, coded sooner and into more bytes.
    """

    codec: VideoCodec = "H.264"
    quality: Quality = "high"
    quick: bool = False

    @property
    def options(self) -> dict[str, str]:
        """Options for FFmpeg's coder."""
        crf = _CRF[self.codec][QUALITIES.index(self.quality)]
        return {"crf": str(crf), **_OPTIONS[self.codec], **({"preset": QUICK_PRESET} if self.quick else {})}

    def add_to(self, container: Any, rate: Any) -> Any:
        """Add a stream of this coding to a file that is being written.

        Raises:
            InputError: this PyAV was built without the coder.
        """
        check_codec(self.codec)
        stream = container.add_stream(_CODERS[self.codec], rate=rate, options=self.options)
        if self.codec in _TAGS:
            stream.codec_context.codec_tag = _TAGS[self.codec]
        return stream


def check_codec(codec: str) -> None:
    """Check that this PyAV can write a codec.

    Raises:
        InputError: an unknown one, or one whose coder is missing; names those that are there.
    """
    if codec not in VIDEO_CODECS or not _has_coder(_CODERS[codec]):
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
