"""Find the salient regions of one map on the sphere.

Source: paper section 2.1.
"""

from __future__ import annotations

import numpy as np
import torch

from ..errors import InputError
from ..geometry.erp import erp_area_weights, erp_directions
from ..geometry.labels import label_sphere
from ..geometry.perspective import to_camera
from ..geometry.sphere import angles
from ..records import Region, View

# Regions lighter than this share of the heaviest are specks, not worth a viewpoint.
MIN_RELATIVE_MASS = 0.02


def as_maps(maps: torch.Tensor) -> np.ndarray:
    """Check maps; return them as `[T, H, W]` float64."""
    maps = torch.as_tensor(maps).detach().to(device="cpu", dtype=torch.float64)
    if maps.dim() not in (2, 3) or not maps.numel():
        raise InputError(f"saliency must be [H, W] or [T, H, W], not {list(maps.shape)}; give one map per frame.")
    if not torch.isfinite(maps).all():
        raise InputError("the saliency map holds NaN or infinite values; give finite numbers.")
    return (maps if maps.dim() == 3 else maps[None]).numpy()


def _describe(saliency: np.ndarray, chosen: np.ndarray, dirs: torch.Tensor, weight: np.ndarray) -> Region:
    """Measure centroid, box and mass of the pixels `chosen [H, W]`; `weight [H, W]` is saliency times area, sum 1."""
    inside, share = dirs[torch.from_numpy(chosen)], torch.from_numpy(weight[chosen])
    mean = (inside * share[:, None]).sum(0)
    if mean.norm() < 1e-6 * share.sum():
        # A ring around the whole sphere has no centre: look at its brightest place.
        mean = inside[int(saliency[chosen].argmax())]
    yaw_deg, pitch_deg = (float(angle) for angle in angles(mean))
    across, up = angles(to_camera(inside, View(yaw_deg, pitch_deg)))
    pixel_deg = 180.0 / len(saliency)
    return Region(
        yaw_deg,
        pitch_deg,
        width_deg=min(360.0, 2 * across.abs().max().item() + pixel_deg),
        height_deg=min(180.0, 2 * up.abs().max().item() + pixel_deg),
        mass=min(1.0, share.sum().item()),
    )


def find_regions(maps: torch.Tensor, threshold: float = 0.5, max_regions: int = 8) -> tuple[Region, ...]:
    """Find the salient regions of one map, or of the mean of several.

    Convention: the map is brought to [0, 1] by its minimum and maximum, then cut at `threshold`; regions join over
    diagonals, across the seam and over the poles. A centroid is the mean of unit vectors weighted by saliency and by
    each pixel's area on the sphere; its box is centred on it, measured in a frame that looks at it, and holds the whole
    region. Specks below 2 % of the heaviest region are left out.

    Args:
        maps: `[H, W]` or `[T, H, W]`, any finite range, `W = 2 H`.
        threshold: in (0, 1). max_regions: most regions to return.

    Returns:
        Regions, the greatest saliency mass first; none for a flat map.

    Raises:
        InputError: another shape, NaN, or a threshold outside (0, 1).
    """
    if not 0 < threshold < 1:
        raise InputError(f"the saliency threshold is {threshold:g}; choose one between 0 and 1.")
    mean = as_maps(maps).mean(0)
    height, width = mean.shape
    spread = mean.max() - mean.min()
    if spread <= 1e-6 * max(1.0, np.abs(mean).max()):
        return ()
    saliency = (mean - mean.min()) / spread
    weight = saliency * erp_area_weights(height, dtype=torch.float64).numpy()
    weight /= weight.sum()
    labels = label_sphere(saliency >= threshold)
    dirs = erp_directions(height, dtype=torch.float64, width=width)
    masses = np.bincount(labels.ravel(), weight.ravel())
    masses[labels[saliency < threshold]] = 0.0
    heavy = [k for k in np.argsort(-masses, kind="stable") if masses[k] >= MIN_RELATIVE_MASS * masses.max()]
    return tuple(_describe(saliency, labels == k, dirs, weight) for k in heavy[:max_regions])
