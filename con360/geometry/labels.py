"""Label connected regions of a mask on the sphere."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def label_sphere(mask: np.ndarray) -> np.ndarray:
    """Number the connected regions of an ERP mask.

    Convention: diagonals count, columns wrap, and all pixels of a pole's row touch each other.

    Args:
        mask: `[H, W]`, boolean.

    Returns:
        `[H, W]` integers; the smallest is outside.
    """
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    first, last = labels[:, 0], labels[:, -1]
    pairs = [(first, last), (first[1:], last[:-1]), (first[:-1], last[1:])]
    # All pixels of a pole's row touch each other at the pole.
    pairs += [(row, np.full_like(row, row.max())) for row in (labels[0], labels[-1])]
    a, b = (np.concatenate(side) for side in zip(*pairs, strict=True))
    touching = (a > 0) & (b > 0)
    a, b = a[touching], b[touching]
    joined = connected_components(coo_array((np.ones(len(a)), (a, b)), shape=(count + 1, count + 1)), directed=False)[1]
    # Label 0 joins nothing, so it stays the first number.
    return joined[labels]
