"""Tell whether the halves of a picture are the two eyes of a stereo picture."""

from __future__ import annotations

import numpy as np

from ..media.looks import likeness
from ..media.spherical_tags import Packing

# Correlation of the halves, as they are and without the means of rows and columns. Two eyes: 0.96 and 0.93 in four
# real files. Halves of one panorama: up to 0.50 and 0.23 for upper and lower; 0.99 and 0.87 for left and right, in a
# room built alike on all sides.
ALIKE: dict[Packing, tuple[float, float]] = {"top-bottom": (0.9, 0.7), "left-right": (0.9, 0.93)}
# Of a picture this wide two eyes are likely, so that less is asked: a panorama is half as wide.
WIDE_ASPECT, WIDE_DETAIL = 3.0, 0.7


def seen_packing(pictures: tuple[np.ndarray, ...], aspect: float) -> tuple[Packing | None, dict[str, float]]:
    """Tell by the pictures how the eyes are packed.

    Args:
        aspect: width over height of the whole picture, as displayed.

    Returns:
        The packing, None where the pictures are too plain, and the correlations.
    """
    figures: dict[str, float] = {}
    found: Packing | None = None
    for packing, (least, least_detail) in ALIKE.items():
        values = np.array([likeness(pixels, packing) for pixels in pictures])
        values = values[~np.isnan(values).any(1)]
        if not len(values):
            continue
        whole, detail = np.median(values, 0)
        figures |= {f"{packing} likeness": float(whole), f"{packing} detail": float(detail)}
        if whole > least and detail > (WIDE_DETAIL if aspect >= WIDE_ASPECT else least_detail):
            found = packing
            break
        found = found or "mono"
    return found, figures
