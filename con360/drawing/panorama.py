"""Draw maps, boxes and views on a panorama."""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np
import torch
from PIL import ImageDraw, ImageFont
from torch import Tensor

from ..geometry.sphere import angles, directions, rotation
from ..media.writer import to_uint8
from ..records import Region, View
from ..viewpoint.basd import basd_map

# Overlays are drawn this much larger and averaged down, which smooths their edges.
OVERSAMPLING = 2
VIEW_COLOURS = ((255, 66, 161), (0, 200, 255), (255, 214, 0))
BASD_STEP_DEG = 15.0
BASD_LEVELS = (-2, -1, 1, 2)

Colour = tuple[int, int, int]
Canvas = ImageDraw.ImageDraw


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Load the font of all pictures."""
    return ImageFont.load_default(size)


# Panorama -------------------------------------------------------------------------------------------------------------


def on_map(yaw_deg: float, pitch_deg: float, size: tuple[int, int]) -> tuple[float, float]:
    """Place a direction on a panorama of `size` (width, height): (x, y) in pixels."""
    return (yaw_deg / 360.0 + 0.5) * size[0], (0.5 - pitch_deg / 180.0) * size[1]


def heat_overlay(frame: Tensor, saliency: Tensor, height: int) -> np.ndarray:
    """Draw saliency as heat over a panorama frame: transparent where it is 0, yellow where it is 1.

    Args:
        frame: `[3, H, W]` in [0, 1]. saliency: `[h, 2h]` in [0, 1]. height: rows of the result.

    Returns:
        `[height, 2 height, 3]`.
    """
    size = (2 * height, height)
    picture = cv2.resize(to_uint8(frame), size, interpolation=cv2.INTER_AREA).astype(np.float32)
    # Half the colour and some contrast are taken away, so that heat and lines stand out.
    picture = 0.45 * picture + 0.45 * picture.mean(-1, keepdims=True) + 12
    heat = cv2.resize(saliency.numpy().astype(np.float32), size, interpolation=cv2.INTER_LINEAR).clip(0, 1)
    weight = (0.85 * heat)[..., None]
    return (picture * (1 - weight) + heat_colours(heat) * weight).clip(0, 255).astype(np.uint8)


def heat_colours(heat: np.ndarray) -> np.ndarray:
    """Map saliency in [0, 1] to colours `[..., 3]`: dark red over orange to yellow."""
    return cv2.applyColorMap((255 * (0.35 + 0.6 * heat)).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]


def draw_basd(picture: np.ndarray, view: View, colour: Colour, aspect: float = 1.0) -> None:
    """Draw lines of equal signed distance into a picture, brighter inside the view.

    Args:
        picture: `[H, 2H, 3]` uint8, `OVERSAMPLING` times larger than it will be shown; changed in place.
    """
    for places, weight in _basd_lines(view, len(picture), aspect):
        at = picture[places]
        picture[places] = (at * (1 - weight) + np.array(colour) * weight).astype(np.uint8)


# A still view is drawn into every frame of a clip.
@functools.lru_cache(maxsize=4)
def _basd_lines(view: View, height: int, aspect: float) -> tuple[tuple[tuple[np.ndarray, ...], np.ndarray], ...]:
    """Find the pixels and weights of each line of equal distance: it runs where the distance is near its level."""
    distance, step = basd_map(view, height, "none", aspect).numpy(), BASD_STEP_DEG * height / 180.0
    lines = []
    for level in BASD_LEVELS:
        near = np.clip(1.0 * OVERSAMPLING - np.abs(distance - level * step), 0, 1)
        places = np.nonzero(near)
        lines.append((places, near[places][:, None] * (0.75 if level > 0 else 0.4)))
    return tuple(lines)


def box_outline(region: Region, points_per_edge: int = 32) -> Tensor:
    """Trace the outline of a region's box on the sphere, `[4 * points_per_edge, 3]` unit vectors.

    Convention: the box spans its width in yaw and its height in pitch of a frame that looks at the centroid.
    """
    along = torch.linspace(-1, 1, points_per_edge + 1, dtype=torch.float64)[:-1]
    one = torch.ones_like(along)
    # A box of more than half a turn meets itself at the back of its frame.
    yaw = torch.cat((along, one, -along, -one)) * min(region.width_deg, 359.9) / 2
    pitch = torch.cat((one, -along, -one, along)) * region.height_deg / 2
    frame = rotation(region.yaw_deg, region.pitch_deg, dtype=torch.float64)
    return directions(yaw, pitch) @ frame.T


def pieces_on_map(points: Tensor, height: int, closed: bool = False) -> list[np.ndarray]:
    """Cut a curve on the sphere into pieces on a flat map, where it crosses the seam.

    Args:
        points: `[N, 3]` unit vectors, neighbours close together. height: rows of the map.
        closed: the last point joins the first.

    Returns:
        Arrays `[n, 2]` of (x, y) pixels; a cut piece continues one step beyond the map's edge.
    """
    yaw, pitch = (a.numpy() for a in angles(torch.cat((points, points[:1])) if closed else points))
    turns = np.unwrap(yaw, period=360.0)
    x, y = (turns / 360.0 + 0.5) * 2 * height, (0.5 - pitch / 180.0) * height
    pieces = []
    for turn in range(math.floor(x.min() / (2 * height)), math.floor(x.max() / (2 * height)) + 1):
        shifted = x - turn * 2 * height
        inside = (shifted >= 0) & (shifted <= 2 * height)
        near = inside | np.roll(inside, 1) | np.roll(inside, -1) if closed else _grown(inside)
        for run in np.split(np.arange(len(x)), np.flatnonzero(np.diff(near.astype(int))) + 1):
            if near[run[0]] and len(run) > 1:
                pieces.append(np.stack((shifted[run], y[run]), axis=1))
    return pieces


def _grown(inside: np.ndarray) -> np.ndarray:
    wider = inside.copy()
    wider[1:] |= inside[:-1]
    wider[:-1] |= inside[1:]
    return wider


def draw_curve(draw: Canvas, points: Tensor, height: int, colour: Colour, width: float, closed: bool = False) -> None:
    pieces = [[tuple(p) for p in piece] for piece in pieces_on_map(points, height, closed)]
    for colour_, extra in (((0, 0, 0), 1.6), (colour, 0.0)):  # a dark edge, seen on any ground
        for piece in pieces:
            draw.line(piece, colour_, round((width + extra) * OVERSAMPLING), joint="curve")
