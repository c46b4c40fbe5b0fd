"""Signed distances: by hand, by brute force, at the seam and over the poles."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from con360.errors import InputError
from con360.geometry.erp import erp_directions
from con360.geometry.perspective import inside_view
from con360.records import View, ViewTrack
from con360.viewpoint.basd import basd_map, basd_maps, normalize_distance, signed_distance_px


def brute_force(inside: np.ndarray) -> np.ndarray:
    """Nearest pixel centre of the other kind, over every pair, columns wrapped."""
    height, width = inside.shape
    y, x = (grid.ravel() for grid in np.mgrid[:height, :width])
    across = np.abs(x[:, None] - x[None])
    distance = np.hypot(np.minimum(across, width - across), y[:, None] - y[None])
    flat = inside.ravel()
    nearest = np.where(flat[:, None] != flat[None], distance, np.inf).min(1)
    return (np.where(flat, 1, -1) * (nearest - 0.5)).reshape(height, width)


def test_distances_by_hand():
    inside = np.zeros((5, 12), dtype=bool)
    inside[1:4, 4:7] = True
    distance = signed_distance_px(inside)
    assert distance[2, 5] == 1.5, "the middle of a 3 x 3 block"
    assert distance[2, 4] == distance[1, 5] == 0.5
    assert distance[2, 3] == -0.5 and distance[2, 0] == -3.5
    assert distance[0, 3] == pytest.approx(0.5 - math.sqrt(2))
    assert distance[2, 11] == -4.5, "five columns to the right of 6, five to the left of 4 across the seam"


def test_convention_view_to_the_front_by_hand():
    # 90 degrees on a map of 4 degrees a pixel: the last pixel inside is centred at 42 degrees (42 < 45 < 46).
    distance = basd_map(View(0, 0, 90), 45, "none")
    row = 22
    columns = torch.nonzero(distance[row] > 0).squeeze(-1)
    assert (columns.min().item(), columns.max().item()) == (34, 55)
    assert distance[row, 34] == 0.5 and distance[row, 33] == -0.5
    # Above the centre column the outline is at 45 degrees: the pixel at 44 is in, the one at 48 is out.
    assert distance[11, 45] > 0 > distance[10, 45]
    assert distance[row, 0] == pytest.approx(-33.5)


@pytest.mark.parametrize(
    "view",
    [View(0, 0, 90), View(180, 0, 90), View(-170, 20, 60), View(35, 80, 100), View(-60, -90, 120), View(175, 60, 150)],
    ids=["front", "seam", "seam-up", "zenith", "nadir", "wide"],
)
def test_equals_brute_force(view):
    inside = inside_view(erp_directions(16, dtype=torch.float64), view).numpy()
    np.testing.assert_allclose(signed_distance_px(inside), brute_force(inside), atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 8), st.integers(2, 17))
def test_any_mask_equals_brute_force(seed, height, width):
    inside = np.random.default_rng(seed).random((height, width)) < 0.3
    inside[0, 0], inside[-1, -1] = True, False
    np.testing.assert_allclose(signed_distance_px(inside), brute_force(inside), atol=1e-5)


def test_turning_the_view_by_whole_pixels_rolls_the_map():
    base = basd_map(View(0, 25, 80), 36, "none")
    for pixels in (7, 36, 50):
        turned = basd_map(View(5.0 * pixels, 25, 80), 36, "none")
        torch.testing.assert_close(turned, base.roll(pixels, -1))


def test_view_over_the_seam_is_continuous():
    distance = basd_map(View(180, 0, 90), 64, "none")
    assert (distance[:, 0] - distance[:, -1]).abs().max() < 1e-5, "symmetric about the seam"
    assert distance[32, 0] > 10 > 0 > distance[32, 64]
    assert (distance - distance.roll(1, -1)).abs().max() <= math.sqrt(2)


@pytest.mark.parametrize(("pitch", "row", "far"), [(90, 0, -1), (75, 0, -1), (-80, -1, 0)])
def test_view_with_a_pole_inside_covers_the_poles_whole_row(pitch, row, far):
    distance = basd_map(View(30, pitch, 90), 64, "none")
    assert (distance[row] > 0).all()
    assert (distance[far] < 0).all()


def test_still_upward_view_depends_on_latitude_almost_alone():
    distance = basd_map(View(0, 90, 90), 64, "none")
    # A square of 90 degrees around the zenith: its edges' middles are at pitch 45, its corners at about 35.3.
    rows_at = lambda column: int((distance[:, column] > 0).sum())  # noqa: E731
    assert rows_at(64) == 16
    assert rows_at(64 + 16) == round((90 - math.degrees(math.atan(1 / math.sqrt(2)))) / 180 * 64)


def test_normalisations():
    px = basd_map(View(20, 10, 90), 32, "none")
    unit = basd_map(View(20, 10, 90), 32)
    assert unit.min() == 0 and unit.max() == 1
    torch.testing.assert_close(unit, (px - px.min()) / (px.max() - px.min()))
    torch.testing.assert_close(basd_map(View(20, 10, 90), 32, "diagonal"), px / math.hypot(32, 64))
    with pytest.raises(InputError, match="'unit' is unknown"):
        normalize_distance(px.numpy(), "unit")


def test_tracks_one_map_per_frame():
    still = basd_maps(ViewTrack.still(View(10, 0, 90), 6), height=16)
    assert still.maps.shape == (6, 16, 32) and still.normalization == "minmax"
    torch.testing.assert_close(still.maps[5], basd_map(View(10, 0, 90), 16))
    moving = ViewTrack((View(0), View(20, 5, 70), View(0)))
    maps = basd_maps(moving, 16, "none")
    assert maps.track is moving
    for map_, view in zip(maps.maps, moving.views, strict=True):
        torch.testing.assert_close(map_, basd_map(view, 16, "none"))


def test_a_map_knows_roll_and_shape():
    wide = basd_maps(ViewTrack((View(0, 0, 90, -90.0),), 2.0), 64, "none").maps[0]
    tall = basd_maps(ViewTrack((View(0, 0, 90),), 0.5), 64, "none").maps[0]
    assert torch.equal(wide, tall)
    assert int((tall[32] > 0).sum()) == 18, "2 atan(1/2) is 53 degrees, in steps of 2.8, centres half a step aside"
    assert int((tall[:, 64] > 0).sum()) == 32


@settings(max_examples=40, deadline=None)
@given(st.floats(-180, 179.9), st.floats(-90, 90), st.floats(30, 150))
def test_any_view_gives_a_finite_signed_map(yaw, pitch, fov):
    view = View(yaw, pitch, fov)
    distance = basd_map(view, 32, "none")
    inside = inside_view(erp_directions(32, dtype=torch.float64), view)
    assert torch.isfinite(distance).all()
    assert ((distance > 0) == inside).all()
    assert distance.abs().min() == 0.5


def test_unusable_views_are_named():
    with pytest.raises(InputError, match="between the pixels"):
        basd_map(View(0, 0, 0.5), 8)
    with pytest.raises(InputError, match="field of view"):
        basd_map(View(0, 0, 190), 8)
    with pytest.raises(InputError, match="finite ones"):
        basd_map(View(float("nan"), 0, 90), 8)
    with pytest.raises(InputError, match="no views"):
        basd_maps(ViewTrack(()), 8)
