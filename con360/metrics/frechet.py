"""Compute the Frechet distance between two sets of embeddings: FAD, FVD and FAVD differ in their embeddings.

Source: Dowson and Landau 1982; FID (arXiv 1706.08500), FAD (arXiv 1812.08466), FVD (arXiv 1812.01717); FAVD, over
concatenated sound and picture embeddings (PEAVS, arXiv 2404.07336).
"""

from __future__ import annotations

import numpy as np

from ..errors import InputError


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Compute |mu1 - mu2|^2 + Tr(S1 + S2 - 2 sqrt(S1 S2)) of the Gaussians through two sets.

    Convention: covariances divide by N - 1. The trace of sqrt(S1 S2) is taken from the singular values of the centred
    sets' product, which is exact also where there are fewer samples than dimensions.

    Args:
        first, second: `[N, D]` and `[M, D]`, N and M at least 2.

    Returns:
        Not negative.

    Raises:
        InputError: sets of one sample, of different widths, or with values that are not finite.
    """
    a, b = (np.asarray(x, dtype=np.float64) for x in (first, second))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise InputError(f"a Frechet distance needs [N, D] and [M, D]; got {list(a.shape)} and {list(b.shape)}.")
    if min(len(a), len(b)) < 2:
        raise InputError(f"a Frechet distance needs at least 2 samples on each side; got {len(a)} and {len(b)}.")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError("the embeddings hold NaN or infinite values; the network that made them is broken.")
    mean_gap = np.square(a.mean(0) - b.mean(0)).sum()
    # With S1 = A'A and S2 = B'B (rows scaled by 1/sqrt(N-1)), the eigenvalues of S1 S2 are those of (AB')(AB')'.
    A, B = (_compact((x - x.mean(0)) / np.sqrt(len(x) - 1)) for x in (a, b))
    cross = np.linalg.svd(A @ B.T, compute_uv=False).sum()
    return float(max(mean_gap + np.square(A).sum() + np.square(B).sum() - 2 * cross, 0.0))


def _compact(rows: np.ndarray) -> np.ndarray:
    """Turn more rows than columns into a triangle with the same products: a large set needs no large product."""
    return np.linalg.qr(rows, mode="r") if len(rows) > rows.shape[1] else rows
