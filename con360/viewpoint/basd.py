"""Compute BASD, the bounding-box-aware signed distance map of a view.

Shape legend: T frames, H W map rows and columns.

Source: paper section 2.1 and equation for BASD (min-max normalised); the diagonal normalisation is that of the BASD
paper (arXiv 2505.03623).
"""

from __future__ import annotations

import math
from typing import get_args

import cv2
import numpy as np
import torch

from ..errors import InputError
from ..geometry.erp import erp_directions
from ..geometry.perspective import inside_view
from ..records import BasdMaps, BasdNormalization, View, ViewTrack


def signed_distance_px(inside: np.ndarray) -> np.ndarray:
    """Measure each pixel's signed Euclidean distance to the boundary of an ERP mask, in pixels.

    Convention: positive inside, negative outside. The boundary runs half way between a pixel inside and its neighbour
    outside, so these are at +0.5 and -0.5. A distance is the one to the nearest pixel centre of the other kind, less
    0.5. Columns wrap; the map ends at the poles' rows, because distances are those of the flat map.

    Args:
        inside: `[H, W]` bool, with both kinds present.

    Returns:
        `[H, W]` float32.
    """
    half = inside.shape[1] // 2 + 1
    # The nearest pixel is at most half the width away, so half the width on both sides is a full wrap.
    wide = np.pad(inside, ((0, 0), (half, half)), mode="wrap").astype(np.uint8)
    to_outside, to_inside = (
        cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[:, half:-half] for mask in (wide, 1 - wide)
    )
    return np.where(inside, to_outside - 0.5, 0.5 - to_inside).astype(np.float32)


def normalize_distance(distance_px: np.ndarray, normalization: BasdNormalization) -> np.ndarray:
    """Scale a signed distance map to the range that a model reads.

    Convention: `minmax` scales to [0, 1] by the map's own minimum and maximum (the paper's); `diagonal` divides by the
    map's diagonal in pixels and keeps the sign; `none` leaves pixels.

    Raises:
        InputError: another name.
    """
    if normalization == "minmax":
        low, high = distance_px.min(), distance_px.max()
        return (distance_px - low) / (high - low)
    if normalization == "diagonal":
        return distance_px / math.hypot(*distance_px.shape)
    if normalization == "none":
        return distance_px
    names = ", ".join(get_args(BasdNormalization))
    raise InputError(f"BASD normalisation {normalization!r} is unknown; choose one of {names}.")


def basd_map(view: View, height: int, normalization: BasdNormalization = "minmax", aspect: float = 1.0) -> torch.Tensor:
    """Compute the BASD map of one view.

    Convention: a pixel is inside when the direction of its centre is seen by the view (tested on the sphere), so the
    outline is exact at the seam and over the poles; distances as in `signed_distance_px`.

    Args:
        view: where the camera looks. height: H of the map, whose width is 2 H. normalization: "minmax", "diagonal" or
            "none".
        aspect: width over height of the view's picture.

    Returns:
        `[H, W]` float32 on the CPU.

    Raises:
        InputError: the view is so narrow that no pixel's centre falls into it, or an unknown normalisation.
    """
    inside = inside_view(erp_directions(height, dtype=torch.float64), view, aspect).numpy()
    if not inside.any():
        raise InputError(
            f"a view of {view.fov_deg:g} degrees falls between the pixels of a map {height} high; use a larger map."
        )
    return torch.from_numpy(normalize_distance(signed_distance_px(inside), normalization))


def basd_maps(track: ViewTrack, height: int = 256, normalization: BasdNormalization = "minmax") -> BasdMaps:
    """Compute a BASD map for each frame of a track.

    Convention: as in `basd_map`. A view that repeats is computed once; the maps of a still track share memory, so
    copy before writing into them.

    Args:
        track: one view per frame, with the aspect ratio. height: H of the maps, whose width is 2 H.
        normalization: per map.

    Returns:
        `[T, H, 2 H]` float32 on the CPU, with the track.

    Raises:
        InputError: as in `basd_map`, or a track without views.
    """
    if not len(track):
        raise InputError("the track has no views; give at least one frame.")
    made = {view: basd_map(view, height, normalization, track.aspect) for view in dict.fromkeys(track.views)}
    if track.is_still:
        maps = made[track.views[0]].expand(len(track), -1, -1)
    else:
        maps = torch.stack([made[view] for view in track.views])
    return BasdMaps(maps, track, normalization)
