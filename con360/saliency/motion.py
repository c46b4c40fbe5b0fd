"""Measure motion of things in a panorama, without the camera's rotation.

Shape legend: H W rows and columns of the flow, N places.

Source: dense flow after Farneback (SCIA 2003, OpenCV's); the robust rotation is least squares on unit vectors (Wahba's
problem, solved after Kabsch), reweighted so that moving things do not count.
"""

from __future__ import annotations

import numpy as np
import torch

from ..geometry.erp import erp_area_weights, erp_directions, sample_erp

FLOW_HEIGHT = 128
# Columns of the other side that the flow sees beyond the seam.
SEAM_PX = 24
# Places within about this angle of a rotation fit it.
INLIER_DEG = 0.5
ROUNDS = 6
# A camera that turns less than this from one picture to the next stands still.
STEADY_DEG = 0.3
# Mean squared slope (grey levels per pixel) below which a surface is too plain to trust its flow.
PLAIN_SLOPE = 4.0
# Plain places vote a little for a still camera: where next to nothing is seen, it more likely stands than turns.
STANDING_STILL = 0.02


def grey_rows(frames: np.ndarray) -> np.ndarray:
    """Shrink frames `[T, H, W, 3]` in [0, 1] to grey `[T, FLOW_HEIGHT, 2 FLOW_HEIGHT]` uint8."""
    import cv2

    size = (2 * FLOW_HEIGHT, FLOW_HEIGHT)
    small = (cv2.resize(frame, size, interpolation=cv2.INTER_AREA).mean(-1) for frame in frames)
    return np.stack([(255 * grey.clip(0, 1)).round().astype(np.uint8) for grey in small])


def own_motion_deg(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Measure each place's motion beyond the camera's rotation.

    Args:
        before, after: `[H, 2 H]` uint8 grey panoramas.

    Returns:
        `[H, 2 H]` float32 degrees; next to 0 on plain surfaces, whose flow cannot be seen.
    """
    there, found, belief = _flow(before, after)
    turn = _rotation(there, found, belief)
    if np.trace(turn) < 1 + 2 * np.cos(np.radians(STEADY_DEG)):
        # The flow of a turn is large and wrong near the poles: undo the turn and measure again.
        there, found, belief = _flow(before, _turned_back(after, turn))
        turn = _rotation(there, found, belief)
    turned = there @ turn.T
    angle = np.degrees(2 * np.arcsin((np.linalg.norm(found - turned, axis=-1) / 2).clip(0, 1)))
    return (angle * belief).astype(np.float32)


def camera_rotation(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Estimate the camera's rotation `[3, 3]`: it takes directions of the first panorama to the second."""
    return _rotation(*_flow(before, after))


def _flow(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Track directions: before and after, `[H, W, 3]` each, and their belief `[H, W]` in [0, 1]."""
    import cv2

    wide = [np.concatenate((grey[:, -SEAM_PX:], grey, grey[:, :SEAM_PX]), axis=1) for grey in (before, after)]
    flow = cv2.calcOpticalFlowFarneback(
        *wide, None, pyr_scale=0.5, levels=4, winsize=13, iterations=3, poly_n=5, poly_sigma=1.1, flags=0
    )[:, SEAM_PX:-SEAM_PX].astype(np.float64)
    slope = sum(cv2.Sobel(wide[0], cv2.CV_32F, *axis, scale=1 / 8) ** 2 for axis in ((1, 0), (0, 1)))
    slope = cv2.GaussianBlur(slope, (0, 0), 2.0)[:, SEAM_PX:-SEAM_PX]
    there = erp_directions(len(before)).double().numpy()
    return there, _displaced(flow), slope / (slope + PLAIN_SLOPE)


def _turned_back(grey: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Undo the camera's rotation in a grey panorama."""
    erp = torch.from_numpy(grey).float()[None, None]
    steady = sample_erp(erp, erp_directions(len(grey)) @ torch.from_numpy(turn).float().T)
    return steady[0, 0].round().clamp(0, 255).to(torch.uint8).numpy()


def _displaced(flow: np.ndarray) -> np.ndarray:
    """Turn a flow in pixels `[H, W, 2]` into the directions `[H, W, 3]` where it ends."""
    height, width = flow.shape[:2]
    yaw = ((np.arange(width) + 0.5 + flow[..., 0]) / width - 0.5) * 2 * np.pi
    pitch = (0.5 - (np.arange(height)[:, None] + 0.5 + flow[..., 1]) / height) * np.pi
    return np.stack((np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)), axis=-1)


def _rotation(there: np.ndarray, found: np.ndarray, belief: np.ndarray) -> np.ndarray:
    """Fit the rotation that most of the directions `[H, W, 3]` follow."""
    weight = (belief + STANDING_STILL) * erp_area_weights(len(there)).double().numpy()
    inlier, robust, turn = np.radians(INLIER_DEG), 1.0, np.eye(3)
    for _ in range(ROUNDS):
        u, _, vt = np.linalg.svd(np.einsum("hwi,hwj->ij", found * (weight * robust)[..., None], there))
        turn = u @ np.diag((1.0, 1.0, np.linalg.det(u @ vt))) @ vt
        off = np.linalg.norm(found - there @ turn.T, axis=-1)
        robust = 1.0 / (1.0 + (off / inlier) ** 2)
    return turn
