"""The camera's samples: true at the seam and the poles, and as close to what a view shows as cubic samples are."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from con360.geometry.erp import pad_erp
from con360.records import View
from con360.reframing.camera import Camera, part_of

ROWS, SIDE, RAYS = 256, 128, 8


def texture() -> np.ndarray:
    """Noise `[256, 512]` float32 in [16, 235] with the contrasts of footage, which joins at the seam."""
    chance, total = np.random.default_rng(0), np.zeros((ROWS, 2 * ROWS), np.float32)
    for cell, share in ((32, 1.0), (16, 0.9), (8, 0.7), (4, 0.5), (2, 0.3), (1, 0.15)):
        coarse = chance.standard_normal((ROWS // cell, 2 * ROWS // cell)).astype(np.float32)
        wide = cv2.copyMakeBorder(coarse, 0, 0, 2, 2, cv2.BORDER_WRAP)
        fine = cv2.resize(wide, None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC)
        total += share * fine[:, 2 * cell : -2 * cell]
    return np.clip(125 + 32 * total / total.std(), 16, 235)


def psnr_db(found: np.ndarray, truth: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((found.astype(np.float64) - truth) ** 2)))


def sampled(plane: np.ndarray, view: View, side: int, way: int) -> np.ndarray:
    """Read a view point by point."""
    columns, rows = Camera(side, side).places(view, *plane.shape)
    padded = pad_erp(torch.from_numpy(plane)[None, None], 8)[0, 0].numpy()
    return cv2.remap(padded, columns % plane.shape[1] + 8, rows + 8, way)


@pytest.mark.parametrize("view", [View(30.0, 20.0, 80.0), View(179.0, -70.0, 90.0, 25.0)])
def test_views_come_as_close_to_the_truth_as_cubic_samples(view: View) -> None:
    plane = texture()
    whole = plane.round().astype(np.uint8)
    found = Camera(SIDE, SIDE).picture(np.repeat(whole[..., None], 3, 2), view)[..., 0]
    cubic = sampled(whole.astype(np.float32), view, SIDE, cv2.INTER_CUBIC)
    for way, allowance_db in ((cv2.INTER_CUBIC, 2.5), (cv2.INTER_LINEAR, -0.5)):
        rays = sampled(whole.astype(np.float32), view, SIDE * RAYS, way)
        truth = rays.reshape(SIDE, RAYS, SIDE, RAYS).mean((1, 3))
        assert psnr_db(found, truth) > psnr_db(cubic, truth) - allowance_db
        assert psnr_db(found, truth) > 36


def test_a_part_goes_over_the_seam_and_the_poles() -> None:
    plane = texture()
    padded = pad_erp(torch.from_numpy(plane)[None, None], 20)[0, 0].numpy()
    assert np.array_equal(part_of(plane, -20, ROWS + 20, -20, 2 * ROWS + 20), padded)
    assert np.array_equal(
        part_of(plane, 5, 9, 2 * ROWS - 3, 2 * ROWS + 4), padded[25:29, 2 * ROWS + 17 : 2 * ROWS + 24]
    )
    inside = part_of(plane, 5, 9, 10, 20)
    assert inside.base is not None and np.array_equal(inside, plane[5:9, 10:20])


def test_a_tiny_panorama_is_seen_at_the_widest_angle() -> None:
    tiny = np.full((32, 64, 3), 77, np.uint8)
    assert (Camera(16, 16).picture(tiny, View(-180.0, 90.0, 150.0)) == 77).all()


def test_a_still_view_keeps_its_tables() -> None:
    camera, plane = Camera(16, 16), np.zeros((64, 128, 3), np.uint8)
    camera.picture(plane, View(10.0))
    kept = camera._tables
    camera.picture(plane, View(10.0))
    assert camera._tables is kept
    camera.picture(plane, View(11.0))
    assert camera._tables is not kept
