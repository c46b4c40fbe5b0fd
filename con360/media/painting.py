"""Turn decoded pictures into frames: upright, of the chosen eye and of the asked size."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..choices import Eye, Hdr
from ..errors import InputError
from .colour import Colour
from .info import MediaInfo, open_picture
from .looks import OPEN_SEAM, likeness, seam_step
from .planes import ACCURATE, HD_ROWS, Planes, frame_of, is_full_range, values_of
from .spherical_tags import Packing
from .unfolding import Unfolding, eye_parts, unfolding_of

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from torch import Tensor

# Of red, green and blue on HDR's way to SDR.
HDR_BITS = 10

# Halves of top-bottom stereo correlate at 0.96 and above in real clips, upper and lower half of a panorama below 0.5.
SAME_PICTURE = 0.8


class Paints(Protocol):
    """Turn decoded pixels `[h, w, 3]` uint8, upright, into a frame `[3, height, width]` in [0, 1]."""

    notices: list[str]

    @property
    def size(self) -> tuple[int, int]: ...

    def paint(self, pixels: np.ndarray) -> Tensor: ...


@dataclass
class SquarePainter:
    """Take the middle square of a picture."""

    side: int
    notices: list[str] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int]:
        return self.side, self.side

    def paint(self, pixels: np.ndarray) -> Tensor:
        edge = min(pixels.shape[:2])
        top, left = ((n - edge) // 2 for n in pixels.shape[:2])
        return _resized(pixels[top : top + edge, left : left + edge], self.size)


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> Tensor:
    """`[h, w, 3]` uint8 to `[3, *size]` in [0, 1]."""
    import cv2
    import torch

    shrinks = pixels.shape[0] >= size[0] and pixels.shape[1] >= size[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    small = cv2.resize(np.ascontiguousarray(pixels), size[::-1], interpolation=method)
    return torch.from_numpy(small).permute(2, 0, 1).float().div_(255.0)


@dataclass
class Painter:
    """Turn decoded pixels into panorama frames: rotation, one eye, size. The first frame settles which eye.

    Args:
        both_eyes: keep both eyes of a stereo file where no eye was chosen; `packing` tells then how they lie.
    """

    info: MediaInfo
    height: int
    eye: Eye | None
    notices: list[str] = field(default_factory=list)
    both_eyes: bool = False
    packing: Packing = "mono"
    _part: tuple[slice, slice] | None = None
    _shape: tuple[int, ...] = ()
    _eyes: tuple[int, ...] = ()
    _unfolding: Unfolding | None = None

    def __post_init__(self) -> None:
        """Read the file's projection.

        Raises:
            InputError: as in `unfolding_of`.
        """
        self._unfolding = unfolding_of(self.info)

    @property
    def size(self) -> tuple[int, int]:
        return self.height, 2 * self.height

    def paint(self, pixels: np.ndarray) -> Tensor:
        return _resized(self.part(pixels), self.size)

    def part(self, pixels: np.ndarray) -> np.ndarray:
        """Cut out the pixels of one eye, as a panorama."""
        if self._unfolding is not None:
            return self._unfolded(pixels, self._unfolding)
        if self._part is None:
            self._part, self._shape = self._choose_part(pixels), pixels.shape
            part = pixels[self._part]
            self._describe_shape(part[eye_parts(part.shape, self.packing)[0]])
        if pixels.shape != self._shape:
            # A recording can change its size; a damaged one can claim it.
            pixels = self._as_before(pixels)
        return pixels[self._part]

    def _unfolded(self, pixels: np.ndarray, unfolding: Unfolding) -> np.ndarray:
        """Make panoramas of the eyes, packed as in the file where there are two."""
        if not self._shape:
            self._shape, self._eyes = pixels.shape, self._choose_eyes(unfolding, len(unfolding.parts(pixels.shape)))
        if pixels.shape != self._shape:
            pixels = self._as_before(pixels)
        parts = unfolding.parts(pixels.shape)
        made = [unfolding.panorama(pixels[parts[eye]], eye) for eye in self._eyes]
        return made[0] if len(made) == 1 else np.concatenate(made, axis=1 if self.packing == "left-right" else 0)

    def _choose_eyes(self, unfolding: Unfolding, count: int) -> tuple[int, ...]:
        """Numbers of the eyes to keep, in the order of the file's layout, left 0; settles `packing`."""
        if not unfolding.is_whole:
            self.notices.append(f"the file shows a part of the sphere ({self.info.projection}): the rest is black")
        if count == 1:
            if self.eye in ("left", "right"):
                raise InputError(
                    f"{self.info.path.name} holds one picture, and its {self.eye} eye was asked for. Choose its "
                    f"layout, or no eye."
                )
            return (0,)
        if self.eye == "whole" or self.eye is None and self.both_eyes:
            # Eyes that a mesh finds in the file have no layout there.
            self.packing = unfolding.packing() if unfolding.packing() != "mono" else "top-bottom"
            return (0, 1)
        if self.eye is None:
            self.notices.append(f"{self.info.spherical.stereo or unfolding.packing()} stereo: the left eye is used")
        return (1,) if self.eye == "right" else (0,)

    def part_of_planes(self, planes: Planes) -> Planes | None:
        """Cut the eye out of planes as `part` did out of pixels; None before it did, and where planes differ."""
        return None if self._part is None or planes.shape != self._shape[:2] else planes.part(*self._part)

    def _as_before(self, pixels: np.ndarray) -> np.ndarray:
        import cv2

        notice = "the picture's size changes within the file: all of it is brought to that of its beginning"
        if notice not in self.notices:
            self.notices.append(notice)
        return cv2.resize(np.ascontiguousarray(pixels), self._shape[1::-1], interpolation=cv2.INTER_AREA)

    def _choose_part(self, pixels: np.ndarray) -> tuple[slice, slice]:
        height, width = pixels.shape[:2]
        whole, tags = (slice(height), slice(width)), self.info.spherical
        packing, left_first, eye = tags.stereo, tags.left_first, self.eye
        likes, _ = likeness(pixels, "top-bottom")
        alike = None if math.isnan(likes) else likes > SAME_PICTURE
        if eye is None and packing == "top-bottom" and alike is False:
            self.notices.append("the metadata says top-bottom stereo, but the halves differ: taken as one picture")
            return whole
        if eye is None and packing not in ("top-bottom", "left-right"):
            if alike:
                self.notices.append("the upper and lower half look alike; if this is top-bottom stereo, choose an eye")
            return whole
        if eye == "whole":
            return whole
        if eye is None and self.both_eyes:
            self.packing = "left-right" if packing == "left-right" else "top-bottom"
            return whole
        if eye is None:
            eye = "left"
            self.notices.append(f"{packing} stereo: the left eye is used")
        if packing not in ("top-bottom", "left-right"):
            packing = "left-right" if self.info.aspect >= 3 else "top-bottom"
            self.notices.append(f"no stereo metadata: split {packing} for the {eye} eye")
        return eye_parts(pixels.shape, packing)[0 if (eye == "left") == left_first else 1]

    def _describe_shape(self, part: np.ndarray) -> None:
        # Displayed shape: the stored one times the share of the pixel's own shape.
        height, width = self.info.height, self.info.width
        shown = [round(width * part.shape[1] / self._upright[1]), round(height * part.shape[0] / self._upright[0])]
        if abs(shown[0] / max(1, shown[1]) - 2) > 0.02:
            self.notices.append(f"the picture is {shown[0]}x{shown[1]}, not 2:1: stretched to 2:1")
        if seam_step(part) >= OPEN_SEAM:
            self.notices.append("the left and right edge do not join: this may be no full 360° picture")

    @property
    def _upright(self) -> tuple[int, int]:
        stored = (self.info.coded_height, self.info.coded_width)
        turned = self.info.rotation_deg in (90, 270) or self.info.kind == "picture" and self.info.width != stored[1]
        return stored[::-1] if turned else stored


def pixels_of(planes: Planes) -> np.ndarray:
    """Convert planes, luma of even sides, to `[h, w, 3]` uint8 of BT.709; HDR is tone-mapped."""
    from av.video.reformatter import ColorRange, Colorspace

    if planes.colour.hdr:
        return _sdr_pixels(frame_of(planes, HDR_BITS), planes.colour, is_full=False)
    return frame_of(planes).to_ndarray(
        format="rgb24", src_colorspace=Colorspace.ITU709, dst_colorspace=Colorspace.ITU601,
        src_color_range=ColorRange.MPEG, dst_color_range=ColorRange.JPEG, interpolation=ACCURATE,
    )  # fmt: skip


def picture_pixels(info: MediaInfo) -> np.ndarray:
    """Decode a still picture to `[h, w, 3]` uint8, upright; transparency becomes black, 16 bits become 8."""
    from PIL import Image, ImageOps

    with open_picture(info.path) as picture:
        picture = ImageOps.exif_transpose(picture)
        if picture.mode.startswith(("I", "F")):
            values = np.asarray(picture, dtype=np.float32)
            gray = (np.nan_to_num(values) / (257.0 if values.max() > 255 else 1.0)).clip(0, 255)
            return np.repeat(gray.round().astype(np.uint8)[..., None], 3, -1)
        if "A" in picture.getbands() or "transparency" in picture.info:
            black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
            picture = Image.alpha_composite(black, picture.convert("RGBA"))
        return np.asarray(picture.convert("RGB"))


def upright_pixels(frame: VideoFrame, info: MediaInfo, hdr: Hdr = "tone-map") -> np.ndarray:
    """Convert a frame to `[h, w, 3]` uint8, rotated as the file asks; HDR is tone-mapped, unless `hdr` is `values`."""
    if info.colour.hdr and hdr != "values":
        pixels = _sdr_pixels(frame, info.colour, is_full_range(frame))
    elif frame.format.is_rgb:
        pixels = frame.to_ndarray(format="rgb24")
    else:
        pixels = _rgb(frame, "gbrp", int(frame.colorspace), is_full_range(frame))
    return np.rot90(pixels, info.rotation_deg // 90)


def _sdr_pixels(frame: VideoFrame, colour: Colour, is_full: bool) -> np.ndarray:
    from .tone import sdr_of

    # PyAV has no name for BT.2020's matrix: what the frame itself says counts.
    frame.colorspace = colour.matrix
    if frame.format.is_rgb:
        values = frame.reformat(format="rgb48le").to_ndarray() >> (16 - HDR_BITS)
    else:
        values = _rgb(frame, "gbrp10le", colour.matrix, is_full, HDR_BITS)
    return sdr_of(values, HDR_BITS, colour)


def _rgb(frame: VideoFrame, planes: str, matrix: int, is_full: bool, bits: int = 8) -> np.ndarray:
    """Convert a frame to `[h, w, 3]` of full range, by way of planes of green, blue and red in the named format."""
    import cv2
    from av.video.reformatter import ColorRange, Colorspace

    # Matrix and range are named, since older PyAV ignores both tags and acts only where source and target differ.
    # Untagged HD is BT.709 for players, BT.601 for FFmpeg.
    names = {1: "ITU709", 4: "FCC", 5: "ITU601", 6: "ITU601", 7: "SMPTE240M", 9: "BT2020", 10: "BT2020"}
    name = names.get(matrix, "ITU709" if frame.height >= HD_ROWS else "ITU601")
    picture = frame.reformat(
        # FFmpeg has fast code for planes alone: half the time of rgb24, the same levels.
        format=planes,
        src_colorspace=getattr(Colorspace, name, None),
        dst_colorspace=Colorspace.ITU601,
        src_color_range=ColorRange.JPEG if is_full else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=ACCURATE,
    )
    green, blue, red = (values_of(plane, bits) for plane in picture.planes)
    return cv2.merge((red, green, blue))
