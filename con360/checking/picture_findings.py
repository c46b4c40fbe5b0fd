"""Judge pictures: is this a whole equirectangular panorama, level and moving, and how do its eyes lie?"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from ..media.info import PANORAMA_ASPECT, MediaInfo
from ..media.looks import JOINED_SEAM, OPEN_SEAM, gray, seam_step
from ..media.spherical_tags import Packing
from ..media.unfolding import eye_parts
from .eyes import seen_packing
from .findings import Finding, State
from .horizon import Tilt, find_tilt
from .shape import Bars, black_bars, is_fisheye, pole_steps
from .tiles import Tiles, find_tiles

# Rows at the poles: up to 0.23 in the same panoramas; 0.9 and more at flat edges.
POINT, NO_POINT = 0.3, 0.5
ASPECT_TOLERANCE = 0.02
# Bars of less than this share are a coder's edge.
LEAST_BAR = 0.02
# The vote's best zenith over the best elsewhere: at 1.25 and above the tilt was within 2 degrees of the true one in all
# real clips that were turned; below it was anywhere.
TRUST, LEVEL_DEG, TILTED_DEG, TOO_FAR_DEG = 1.25, 4.0, 5.0, 28.0
TILT_PICTURES = 3
# Largest mean squared difference of a block between two moments: up to 8 in still pictures that were coded as H.264,
# from 115 on in 20 real videos; a calm lake lies between, with 13.
STILL, MOVES, BLOCK = 9.0, 25.0, 16
PLAIN_PICTURE = 2.0
STATED = {
    "cropped": "a part of the sphere (cropped equirectangular, such as VR180)",
    "mesh": "a mesh (VR180 or another camera format)",
    "cubemap": "a cubemap",
    "flat": "a flat picture",
}
# Options of `con360 level` by kind and columns of tiles; it reads no other grids.
WORDS = {
    ("EAC", 3): " --projection eac", ("cubemap", 3): " --projection cubemap-3x2",
    ("cubemap", 6): " --projection cubemap-6x1",
}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """Pictures of a file, and the measures that several findings share, each made once."""

    info: MediaInfo
    images: tuple[np.ndarray, ...]

    @cached_property
    def seen(self) -> tuple[Packing | None, dict[str, float]]:
        return seen_packing(self.images, self.info.aspect)

    @property
    def packing(self) -> Packing:
        """Packing of the eyes: as the pictures show, else as the file says."""
        stated = self.info.spherical.stereo
        return self.seen[0] or (stated if stated in ("top-bottom", "left-right") else "mono")

    @cached_property
    def eyes(self) -> tuple[np.ndarray, ...]:
        """One eye of each picture."""
        return tuple(pixels[eye_parts(pixels.shape, self.packing)[0]] for pixels in self.images)

    @cached_property
    def seam(self) -> float:
        return _median([seam_step(eye) for eye in self.eyes])

    @cached_property
    def poles(self) -> tuple[float, float]:
        top, bottom = zip(*(pole_steps(eye) for eye in self.eyes), strict=True)
        return _median(top), _median(bottom)

    @cached_property
    def bars(self) -> Bars:
        return black_bars(self.eyes)

    @cached_property
    def tilt(self) -> Tilt | None:
        return find_tilt(self.eyes[:: max(1, len(self.eyes) // TILT_PICTURES)][:TILT_PICTURES])

    @cached_property
    def tiles(self) -> Tiles | None:
        return find_tiles(self.images[0])

    @cached_property
    def is_plain(self) -> bool:
        return max(float(gray(pixels).std()) for pixels in self.images) < PLAIN_PICTURE

    @property
    def is_open(self) -> bool:
        return self.seam >= OPEN_SEAM

    @property
    def has_flat_pole(self) -> bool:
        return max(self.poles) >= NO_POINT

    @property
    def eye_aspect(self) -> float:
        """Width over height of one eye, as displayed."""
        return self.info.aspect * {"top-bottom": 2.0, "left-right": 0.5}.get(self.packing, 1.0)


def _median(values: object) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all of them NaN: too plain to tell
        return float(np.nanmedian(np.array(values)))


def picture_findings(look: Look) -> Iterator[Finding]:
    """Yield what is found of the pictures; of other projections neither seam, poles nor horizon."""
    yield from _moving(look)
    if look.is_plain:
        yield Finding("projection", "unknown", "The picture is too plain to tell its projection.")
        return
    projection = _projection(look)
    judges: tuple[Callable[[Look], Finding], ...] = (_aspect, _stereo)
    if projection.measures.get("another layout", 0.0) == 0.0:
        judges += (_seam, _poles, _horizon)
    yield projection
    yield from (judge(look) for judge in judges)


def _projection(look: Look) -> Finding:
    figures = {"seam step": look.seam, "top step": look.poles[0], "bottom step": look.poles[1]}
    figures = {name: value for name, value in figures.items() if math.isfinite(value)}
    other = figures | {"another layout": 1.0}
    stated = look.info.spherical.projection
    if stated not in ("", "equirectangular"):
        said = f"The file says that it is stored as {STATED.get(stated, stated)}."
        return Finding("projection", "mend", said, _laid_out(look, "" if stated != "flat" else None), other)
    circles = next((n for n in (1, 2) if is_fisheye(look.images[0], n)), 0)
    if circles:
        said = f"The picture is {'one circle' if circles == 1 else 'two circles'} of a fisheye lens."
        return Finding("projection", "mend", said, "Stitch it with the camera's program.", other)
    if (look.is_open or look.has_flat_pole) and look.packing == "mono" and look.tiles is not None:
        tiles = look.tiles
        said = f"The picture is {tiles.columns} by {tiles.rows} faces of a cube ({tiles.kind})."
        return Finding("projection", "mend", said, _laid_out(look, WORDS.get((tiles.kind, tiles.columns))), other)
    if look.is_open and look.has_flat_pole:
        said = "The picture is flat, or a part of a sphere: edges do not join, and a pole is no point."
        return Finding("projection", "mend", said, "Give a full 360° picture.", figures)
    return _equirectangular(look, figures)


def _laid_out(look: Look, option: str | None) -> str:
    """Say how a picture of another projection becomes a panorama; `option` names it, None is one that is not read."""
    if option is None or look.info.kind != "video":
        return "Convert it to a full equirectangular picture."
    return f"`con360 level IN -o OUT.mp4{option}` lays it out as a panorama."


def _equirectangular(look: Look, figures: dict[str, float]) -> Finding:
    if look.seam <= JOINED_SEAM and max(look.poles) <= POINT:
        return Finding("projection", "good", "Edges join and poles are points: equirectangular.", "", figures)
    return Finding("projection", "unknown", "Whether it is equirectangular cannot be told by the picture.", "", figures)


def _aspect(look: Look) -> Finding:
    aspect, bars = look.eye_aspect, look.bars
    figures = {"aspect": aspect}
    eye = "each eye" if look.packing != "mono" else "the picture"
    inner = aspect * (1 - bars.left - bars.right) / max(1e-6, 1 - bars.top - bars.bottom)
    framed = min(bars.top, bars.bottom) > LEAST_BAR or min(bars.left, bars.right) > LEAST_BAR
    if framed and abs(inner - 2) <= 0.1 < abs(aspect - 2):
        said = f"The panorama lies between black bars: {aspect:.2f}:1 with them, {inner:.2f}:1 without."
        return Finding("aspect", "mend", said, "Cut the bars off.", figures | {"aspect inside": inner})
    if abs(aspect - 2) <= ASPECT_TOLERANCE:
        return Finding("aspect", "good", f"{eye.capitalize()} is 2:1.", "", figures)
    low, high = PANORAMA_ASPECT
    squeezed = look.packing != "mono" and (low <= aspect / 2 <= high or low <= aspect * 2 <= high)
    if low <= aspect <= high or squeezed:
        said = f"{eye.capitalize()} is {aspect:.2f}:1, stretched; players and con360 read it as 2:1."
        return Finding("aspect", "look", said, "Scale it to 2:1 where other programs take pixels as square.", figures)
    said = f"{eye.capitalize()} is {aspect:.2f}:1; a panorama is 2:1."
    return Finding("aspect", "mend", said, "Check what the picture is.", figures)


def _stereo(look: Look) -> Finding:
    seen, figures = look.seen
    stated = look.info.spherical.stereo
    if seen is None:
        return Finding("stereo", "unknown", "The halves are too plain to tell one eye from two.", "", figures)
    if seen == "mono":
        return Finding("stereo", "good", "The picture is of one eye.", "", figures)
    if seen == stated:
        return Finding("stereo", "good", f"The picture is of two eyes, {seen}, as the file says.", "", figures)
    said = f"The halves show two eyes, {seen}, and the file does not say so."
    return Finding("stereo", "mend", said, "Write it into the metadata, or keep one eye (--eye left).", figures)


def _seam(look: Look) -> Finding:
    figures = {"seam step": look.seam} if math.isfinite(look.seam) else {}
    if not figures:
        return Finding("seam", "unknown", "The left and right edge are too plain to tell if they join.")
    times = f"the step between them is {look.seam:.1f} times the usual one"
    if look.is_open:
        said = f"The left and right edge do not join: {times}."
        return Finding("seam", "mend", said, "The picture is cut at a side, or no full 360°.", figures)
    if look.seam > JOINED_SEAM:
        return Finding("seam", "unknown", f"Whether the left and right edge join cannot be told: {times}.", "", figures)
    return Finding("seam", "good", "The left and right edge join.", "", figures)


def _poles(look: Look) -> Finding:
    top, bottom = look.poles
    if not math.isfinite(top):
        return Finding("poles", "unknown", "The picture is too plain to tell its poles.")
    figures = {"top step": top, "bottom step": bottom, "top bar": look.bars.top, "bottom bar": look.bars.bottom}
    if look.has_flat_pole:
        flat = [name for name, value in (("top", top), ("bottom", bottom)) if value >= NO_POINT]
        said = f"The {' and '.join(flat)} row is no single point, as a pole is: it is cut off."
        return Finding("poles", "mend", said, "Give the picture from pole to pole.", figures)
    if max(look.bars.top, look.bars.bottom) > LEAST_BAR and look.bars.top < 1:
        places = (
            ("above", 90 - 180 * look.bars.top, look.bars.top),
            ("below", 180 * look.bars.bottom - 90, look.bars.bottom),
        )
        dark = " and ".join(f"{side} {edge:.0f}°" for side, edge, bar in places if bar > LEAST_BAR)
        return Finding("poles", "look", f"The picture is dark {dark}: a part of the sphere, or night.", "", figures)
    if max(top, bottom) > POINT:
        return Finding("poles", "unknown", "Whether the poles are whole cannot be told.", "", figures)
    return Finding("poles", "good", "The poles are whole.", "", figures)


def _horizon(look: Look) -> Finding:
    tilt = look.tilt
    if look.is_open or look.has_flat_pole:
        return Finding("horizon", "unknown", "Where the picture is no panorama, its horizon cannot be told.")
    if tilt is None or tilt.trust < TRUST or tilt.tilt_deg > TOO_FAR_DEG:
        figures = {} if tilt is None else {"trust": tilt.trust}
        return Finding("horizon", "unknown", "Too few upright edges to tell the horizon's tilt.", "", figures)
    figures = {"tilt": tilt.tilt_deg, "pitch": tilt.pitch_deg, "roll": tilt.roll_deg, "trust": tilt.trust}
    if tilt.tilt_deg < LEVEL_DEG:
        return Finding("horizon", "good", f"The horizon is level within {LEVEL_DEG:g}°.", "", figures)
    state: State = "mend" if tilt.tilt_deg >= TILTED_DEG else "look"
    turn = f"--pitch {tilt.pitch_deg:.0f} --roll {tilt.roll_deg:.0f}"
    if any(look.info.spherical.pose_deg):
        turn = "--auto"
    said = f"The horizon is tilted by about {tilt.tilt_deg:.0f}°."
    return Finding("horizon", state, said, f"Level it: `con360 level IN -o OUT.mp4 {turn}`.", figures)


def _moving(look: Look) -> Iterator[Finding]:
    """Judge if a video moves, and if there is a picture at all."""
    if look.is_plain:
        brightness = float(np.mean([gray(pixels).mean() for pixels in look.images]))
        said = "The picture is black." if brightness < 16 else "The picture is one plain colour."
        yield Finding("motion", "mend", said, "Choose another file.", {"brightness": brightness})
        return
    if look.info.kind != "video":
        return
    if len(look.images) < 2:
        yield Finding("motion", "unknown", "There is one picture only.")
        return
    change = max(block_change(a, b) for a, b in pairwise(look.images))
    figures = {"largest change": change}
    if change <= STILL:
        yield Finding("motion", "look", "Nothing moves: the video is a still picture.", "", figures)
    elif change < MOVES:
        yield Finding("motion", "unknown", "Whether anything moves cannot be told from coding.", "", figures)
    else:
        yield Finding("motion", "good", "The picture moves.", "", figures)


def block_change(one: np.ndarray, other: np.ndarray) -> float:
    """Largest mean squared difference of gray values, 0 to 255, over blocks of `BLOCK` by `BLOCK`."""
    square = np.square(gray(one) - gray(other))
    return float(square.reshape(-1, BLOCK, square.shape[1] // BLOCK, BLOCK)
                 .swapaxes(1, 2).reshape(-1, BLOCK * BLOCK).mean(1).max())  # fmt: skip
