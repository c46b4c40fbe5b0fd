"""Draw what steers a generation onto each frame of the panorama: saliency as heat, the view and BASD as lines."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..geometry.perspective import fov_outline
from ..media.writer import to_uint8
from ..records import SaliencyMaps, View, ViewTrack
from .panorama import OVERSAMPLING, VIEW_COLOURS, draw_basd, heat_overlay, pieces_on_map


def draw_overlay(
    frames: Tensor, saliency: SaliencyMaps | None = None, track: ViewTrack | None = None, *, basd: bool = True,
    progress: Callable[[int, int, str], None] | None = None,
) -> Tensor:  # fmt: skip
    """Draw conditions into panorama frames.

    Convention: the view's outline is true on the sphere, cut at the seam; thin lines are 15 degrees of BASD apart.

    Args:
        frames: `[T, 3, H, 2H]` in [0, 1]. saliency: heat, one map per frame. track: one view per frame.
        basd: draw the lines of equal distance around the view too.
        progress: called after each frame; may raise to cancel.

    Returns:
        `[T, 3, H, 2H]` in [0, 1].

    Raises:
        InputError: not one map or view per frame.
    """
    for name, count in (("saliency maps", saliency and len(saliency.maps)), ("views", track and len(track))):
        if count is not None and count != len(frames):
            raise InputError(f"there are {count} {name} for {len(frames)} frames; give one for each frame.")
    drawn = torch.empty_like(frames, dtype=torch.float32)
    for i, frame in enumerate(frames):
        picture = to_uint8(frame).copy() if saliency is None else heat_overlay(frame, saliency.maps[i], frame.shape[-2])
        if track is not None:
            picture = _with_view(picture, track.views[i], track.aspect, basd)
        drawn[i] = torch.from_numpy(picture).movedim(-1, 0) / 255.0
        if progress is not None:
            progress(i + 1, len(frames), "overlay")
    return drawn


def _with_view(picture: np.ndarray, view: View, aspect: float, basd: bool) -> np.ndarray:
    """Draw the view's outline and lines of equal distance, at a larger size averaged down."""
    height, width = picture.shape[:2]
    large = cv2.resize(picture, None, fx=OVERSAMPLING, fy=OVERSAMPLING, interpolation=cv2.INTER_NEAREST)
    if basd:
        draw_basd(large, view, VIEW_COLOURS[0], aspect)
    pieces = pieces_on_map(fov_outline(view, dtype=torch.float64, aspect=aspect), len(large), closed=True)
    points = [np.round(piece).astype(np.int32) for piece in pieces]
    thick = max(2, round(len(large) / 128))
    for colour, extra in (((0, 0, 0), 2), (VIEW_COLOURS[0], 0)):  # a dark edge, seen on any ground
        cv2.polylines(large, points, False, colour, thick + extra, cv2.LINE_AA)
    return cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)
