"""Square views: conventions by hand, seam, poles, and py360convert's e2p as the reference."""

from __future__ import annotations

import math

import numpy as np
import py360convert
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from con360.errors import InputError
from con360.geometry.erp import erp_directions
from con360.geometry.perspective import (
    erp_to_perspective,
    fov_outline,
    inside_view,
    picture_size,
    to_camera,
    view_directions,
)
from con360.geometry.sphere import angle_between_deg, angles, directions
from con360.records import View, ViewTrack

F64 = torch.float64
views = st.builds(View, st.floats(-180, 179.9), st.floats(-90, 90), st.floats(5, 170), st.floats(-180, 179.9))
aspects = st.floats(0.25, 4.0)


@pytest.fixture
def exact_py360(monkeypatch):
    """py360convert over scipy: over OpenCV its coordinates are rounded to 1/32 pixel."""
    monkeypatch.setattr(py360convert.utils, "cv2", None)
    py360convert.utils.EquirecSampler.from_perspective.cache_clear()
    yield
    py360convert.utils.EquirecSampler.from_perspective.cache_clear()


def test_convention_two_by_two_view_by_hand():
    dirs = view_directions(0, 0, 90, 2, F64)
    yaw, pitch = angles(dirs)
    half = math.degrees(math.atan(0.5))
    assert yaw[0].tolist() == pytest.approx([-half, half])
    assert pitch[0, 0] > 0 > pitch[1, 0]
    assert pitch[0, 0].item() == pytest.approx(math.degrees(math.atan2(0.5, math.hypot(0.5, 1))))


def test_convention_view_to_the_right_and_up():
    centre = view_directions(90, 0, 60, 3, F64)[1, 1]
    torch.testing.assert_close(centre, torch.tensor([1.0, 0, 0], dtype=F64), atol=1e-12, rtol=0)
    zenith_view = view_directions(0, 90, 60, 3, F64)
    assert zenith_view[0, 1, 2] < 0 < zenith_view[2, 1, 2], "looking up, the top of the view points backwards"
    assert zenith_view[1, 2, 0] > 0, "its right side points to the right"


@pytest.mark.parametrize(
    ("yaw", "pitch", "fov"), [(0, 0, 90), (40, 30, 70), (172, -60, 100), (-180, 89, 90), (-95, 12, 120)]
)
def test_equals_py360convert(exact_py360, yaw, pitch, fov):
    erp = torch.rand(1, 3, 20, 40, dtype=F64, generator=torch.Generator().manual_seed(0))
    size = 17
    # The reference's first and last samples lie on the field's edge, ours half a pixel inside it.
    spread = 2 * math.degrees(math.atan(math.tan(math.radians(fov / 2)) * (size - 1) / size))
    expected = py360convert.e2p(erp[0].permute(1, 2, 0).numpy(), (spread, spread), yaw, pitch, (size, size))
    ours = erp_to_perspective(erp, View(yaw, pitch, fov), size, antialias=False)[0].permute(1, 2, 0)
    np.testing.assert_allclose(ours.numpy(), expected, atol=2e-5)


def test_view_of_a_smooth_field_shows_its_own_directions_over_seam_and_pole():
    erp = erp_directions(128, dtype=F64).movedim(-1, 0)[None]
    for view in (View(180, 0, 90), View(-178, 20, 60), View(30, 88, 100), View(10, -90, 120)):
        seen = erp_to_perspective(erp, view, 32)[0].movedim(0, -1)
        expected = view_directions(view.yaw_deg, view.pitch_deg, view.fov_deg, 32, F64)
        assert (seen - expected).abs().max() < 3e-3, view


def test_shifting_the_panorama_equals_turning_the_view():
    erp = torch.rand(1, 3, 18, 36, dtype=F64, generator=torch.Generator().manual_seed(1))
    for shift in (1, 9, 20):
        a = erp_to_perspective(erp.roll(shift, -1), View(25 + 10.0 * shift, -33, 95), 11, antialias=False)
        torch.testing.assert_close(
            a, erp_to_perspective(erp, View(25, -33, 95), 11, antialias=False), atol=1e-9, rtol=0
        )


@pytest.mark.parametrize(("roll", "turns"), [(90.0, 1), (-180.0, 2), (-90.0, 3)])
def test_a_camera_that_leans_right_turns_its_picture_to_the_left(roll, turns):
    erp = torch.rand(1, 3, 18, 36, dtype=F64, generator=torch.Generator().manual_seed(3))
    level = erp_to_perspective(erp, View(130, 25, 95), 12, antialias=False)
    rolled = erp_to_perspective(erp, View(130, 25, 95, roll), 12, antialias=False)
    # `rot90` turns counter-clockwise.
    torch.testing.assert_close(rolled, level.rot90(turns, (-2, -1)), atol=1e-9, rtol=0)


def test_what_lies_above_a_level_camera_moves_to_the_left_by_its_roll():
    # 20 degrees above the centre; a roll of 30 degrees turns its place in the picture by as much.
    x, y, z = to_camera(directions(40.0, 30.0, dtype=F64), View(40, 10, 90, 30.0)).tolist()
    reach = math.tan(math.radians(20))
    assert (x / z, y / z) == pytest.approx((-reach * 0.5, reach * math.sqrt(0.75)))


@pytest.mark.parametrize(
    ("aspect", "rows", "columns"), [(2.0, slice(8, 24), slice(32)), (0.5, slice(32), slice(8, 24))]
)
def test_a_picture_of_another_shape_is_the_middle_of_the_square(aspect, rows, columns):
    erp = torch.rand(1, 3, 18, 36, dtype=F64, generator=torch.Generator().manual_seed(4))
    view = View(-70, 40, 80, 25.0)
    square = erp_to_perspective(erp, view, 32, antialias=False)
    found = erp_to_perspective(erp, ViewTrack((view,), aspect), 32, antialias=False)
    torch.testing.assert_close(found, square[..., rows, columns], atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("aspect", "size"), [(1.0, (255, 255)), (16 / 9, (1920, 1080)), (9 / 16, (1080, 1920)), (21 / 9, (1920, 822))]
)
def test_sides_of_a_picture_are_even(aspect, size):
    assert picture_size(255 if aspect == 1 else 1920, aspect) == size


@pytest.mark.parametrize("aspect", [0.2, 5.0, math.nan])
def test_impossible_aspect_ratios_are_refused(aspect):
    with pytest.raises(InputError, match="aspect ratio"):
        picture_size(64, aspect)


def test_views_one_for_all_one_per_frame_many_of_one():
    erp = torch.rand(3, 1, 16, 32, generator=torch.Generator().manual_seed(2))
    track = ViewTrack((View(0), View(90), View(-170, 45, 70)))
    along = erp_to_perspective(erp, track, 8)
    for i, view in enumerate(track.views):
        torch.testing.assert_close(along[i], erp_to_perspective(erp[i : i + 1], view, 8)[0])
    assert erp_to_perspective(erp, View(0), 8).shape == (3, 1, 8, 8)
    assert erp_to_perspective(erp[:1], list(track.views), 8).shape == (3, 1, 8, 8)
    assert erp_to_perspective(erp[:1], ViewTrack.still(View(5), 4), 8).shape == (4, 1, 8, 8)
    with pytest.raises(InputError, match="2 views were given for 3 frames"):
        erp_to_perspective(erp, track.views[:2], 8)


def test_antialiasing_averages_a_fine_checkerboard():
    board = (torch.arange(256)[:, None] + torch.arange(512)[None]) % 2
    erp = board.float()[None, None]
    smooth = erp_to_perspective(erp, View(3, 4, 90), 16)
    rough = erp_to_perspective(erp, View(3, 4, 90), 16, antialias=False)
    assert (smooth - 0.5).abs().max() < 1e-5 < 0.2 < (rough - 0.5).abs().max()


@settings(max_examples=50, deadline=None)
@given(views)
def test_any_view_is_finite_unit_and_inside_itself(view):
    dirs = view_directions(view.yaw_deg, view.pitch_deg, view.fov_deg, 5, F64, roll_deg=view.roll_deg)
    assert torch.isfinite(dirs).all()
    torch.testing.assert_close(dirs.norm(dim=-1), torch.ones(5, 5, dtype=F64))
    assert inside_view(dirs, view).all()
    assert not inside_view(-dirs, view).any()
    assert angle_between_deg(dirs[2, 2], directions(view.yaw_deg, view.pitch_deg, dtype=F64)) < 1e-5


@settings(max_examples=50, deadline=None)
@given(views, aspects)
def test_outline_separates_inside_from_outside(view, aspect):
    outline = fov_outline(view, 8, F64, aspect=aspect)
    centre = directions(view.yaw_deg, view.pitch_deg, dtype=F64)
    assert outline.shape == (32, 3)
    assert inside_view(outline + 1e-4 * centre, view, aspect).all()
    assert not inside_view(outline - 1e-4 * centre, view, aspect).any()


def test_convention_outline_starts_upper_left_and_runs_clockwise():
    corner = to_camera(fov_outline(View(40, 20, 90), 4, F64), View(40, 20, 90))
    corner = corner / corner[:, 2:]
    expected = [(-1, 1), (1, 1), (1, -1), (-1, -1)]
    assert [tuple(round(c, 9) for c in p) for p in corner[::4, :2].tolist()] == expected


def test_inside_view_knows_edges_by_hand():
    view = View(0, 0, 90)
    yaw = torch.tensor([44.9, 45.1, -44.9, 0.0, 0.0, 180.0], dtype=F64)
    pitch = torch.tensor([0.0, 0.0, 0.0, 44.9, 45.1, 0.0], dtype=F64)
    assert inside_view(directions(yaw, pitch), view).tolist() == [True, False, True, True, False, False]


@pytest.mark.parametrize("fov", [0.0, 180.0, -5.0, float("nan")])
def test_impossible_fields_of_view_are_refused(fov):
    with pytest.raises(InputError, match="field of view"):
        view_directions(0, 0, fov, 4)
