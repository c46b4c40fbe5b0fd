"""Project pictures that are held in memory onto panoramas; sizes and places that can be used.

Shape legend: N pictures, M panoramas, h w the picture, H W the panorama (W = 2H).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ..errors import InputError
from ..geometry.degrees import DEG
from ..geometry.perspective import check_view
from ..media.limits import PIXELS_VARIABLE, max_pixels
from ..records import Progress, View, ViewTrack
from ..viewpoint.keyframes import Keyframe
from .onto_sphere import Projector, check_feather
from .run import MAX_DEFAULT_SIDE_PX

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_FEATHER_DEG = 2.0
MIN_HEIGHT_PX = 64
# A still place, or a path.
Place: TypeAlias = View | Sequence[Keyframe]


def project_frames(
    pictures: Tensor, track: ViewTrack, panorama: Tensor | None = None, *, height: int | None = None,
    feather_deg: float = DEFAULT_FEATHER_DEG, progress: Progress | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Lay pictures onto panoramas, frame by frame, as `project` does with files.

    Args:
        pictures: `[N, 3, h, w]` in [0, 1]. Their own shape counts, not the track's.
        track: where they lie. panorama: `[M, 3, H, W]`; None is black.
        height: H of black panoramas; None makes them as fine as the pictures are at their middle.
        feather_deg: as in `ProjectSettings`.
        progress: told of each frame; may raise to cancel.

    Returns:
        Panoramas `[T, 3, H, W]`, and masks `[T, H, W]`, 1 where no picture lies. T is the largest number of frames;
        one picture, view or panorama holds for all.

    Raises:
        InputError: numbers of frames that do not fit, or a place, size or feather that cannot be used.
    """
    import torch

    views = checked_views(track.views[0] if track.is_still else track.views)
    rows, columns = pictures.shape[-2:]
    for view in set(views):
        check_feather(feather_deg, view, columns / rows)
    base = panorama
    if base is None:
        finest = min(view.fov_deg for view in views)
        high = check_height(height or default_height(max(rows, columns), finest))
        base = torch.zeros(1, 3, high, 2 * high)
    total = _total(pictures=len(pictures), views=len(views), panoramas=len(base))
    projector = Projector(columns / rows, feather_deg, blend=panorama is not None)
    laid, masks = torch.empty(total, *base.shape[1:]), torch.empty(total, *base.shape[2:])
    for i in range(total):
        view = views[i % len(views)]
        drawn = projector.lay(_array(base[i % len(base)]), _array(pictures[i % len(pictures)]), view)
        laid[i] = torch.from_numpy(drawn).permute(2, 0, 1)
        masks[i] = 1 - torch.from_numpy(projector.weight(view, *drawn.shape[:2]))
        if progress is not None:
            progress(i + 1, total, "projecting")
    return laid, masks


def _total(**counts: int) -> int:
    total = max(counts.values())
    if set(counts.values()) - {1, total}:
        told = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise InputError(f"{told} do not fit each other; give as many of each, or one that holds for all.")
    return total


def _array(frame: Tensor) -> np.ndarray:
    return np.ascontiguousarray(frame.float().cpu().permute(1, 2, 0).numpy())


def checked_views(place: Place | Sequence[View]) -> tuple[View, ...]:
    """Check a place, and list its views: one, or those of the keyframes.

    Raises:
        InputError: none, or a view that has no picture.
    """
    views = (place,) if isinstance(place, View) else tuple(_view_of(one) for one in place)
    if not views:
        raise InputError("there are no keyframes; set at least one, or give the place in another way.")
    for view in dict.fromkeys(views):
        check_view(view)
        if not -90 <= view.pitch_deg <= 90:
            raise InputError(f"a pitch of {view.pitch_deg:g} degrees was asked for; choose one from -90 to 90.")
    return views


def _view_of(one: View | Keyframe) -> View:
    return one if isinstance(one, View) else one.view


def check_height(height: int) -> int:
    """Check the rows of a panorama.

    Raises:
        InputError: an odd number, too few or too many.
    """
    if height % 2 or height < MIN_HEIGHT_PX:
        raise InputError(f"a height of {height} pixels was asked for; choose an even number, {MIN_HEIGHT_PX} or more.")
    if 2 * height * height > max_pixels():
        raise InputError(
            f"a panorama of {2 * height}x{height} was asked for; at most {max_pixels()} pixels are written. Choose a "
            f"smaller height, or raise {PIXELS_VARIABLE}."
        )
    return height


def default_height(longer_px: int, fov_deg: float) -> int:
    """Rows of a panorama that is as fine as a picture at its middle, within 64 to 2048."""
    rows = 2 * math.ceil(math.pi * longer_px / (2 * math.tan(fov_deg * DEG / 2)) / 2)
    return max(MIN_HEIGHT_PX, min(MAX_DEFAULT_SIDE_PX // 2, rows))


def pixels_to_one(columns: int, longer_px: int, fov_deg: float) -> float:
    """Pixels of a panorama for each of a picture's, at its middle, along one side."""
    return columns / (2 * math.pi) * 2 * math.tan(fov_deg * DEG / 2) / longer_px
