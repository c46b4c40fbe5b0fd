"""Angles, directions and rotations against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from con360.geometry.degrees import wrap_yaw_deg
from con360.geometry.sphere import angle_between_deg, angles, directions, rotation

yaws = st.floats(-180, 179.99)
pitches = st.floats(-90, 90)
F64 = torch.float64


@pytest.mark.parametrize(
    ("yaw", "pitch", "xyz"),
    [
        (0, 0, (0, 0, 1)),
        (90, 0, (1, 0, 0)),
        (-90, 0, (-1, 0, 0)),
        (-180, 0, (0, 0, -1)),
        (37, 90, (0, 1, 0)),
        (0, -90, (0, -1, 0)),
        (30, 0, (0.5, 0, math.sqrt(3) / 2)),
        (0, 30, (0, 0.5, math.sqrt(3) / 2)),
    ],
)
def test_convention_directions(yaw, pitch, xyz):
    torch.testing.assert_close(directions(yaw, pitch, dtype=F64), torch.tensor(xyz, dtype=F64), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("axis", "kwargs", "xyz"),
    [
        (2, {"yaw_deg": 90.0, "pitch_deg": 0.0}, (1, 0, 0)),
        (0, {"yaw_deg": 90.0, "pitch_deg": 0.0}, (0, 0, -1)),
        (1, {"yaw_deg": 0.0, "pitch_deg": 90.0}, (0, 0, -1)),
        (2, {"yaw_deg": 0.0, "pitch_deg": 90.0}, (0, 1, 0)),
        (1, {"yaw_deg": 0.0, "pitch_deg": 0.0, "roll_deg": 90.0}, (1, 0, 0)),
        (0, {"yaw_deg": 0.0, "pitch_deg": 0.0, "roll_deg": 90.0}, (0, -1, 0)),
    ],
)
def test_convention_rotation_columns_are_right_up_forward(axis, kwargs, xyz):
    column = rotation(**kwargs, dtype=F64)[:, axis]
    torch.testing.assert_close(column, torch.tensor(xyz, dtype=F64), atol=1e-12, rtol=0)


@settings(max_examples=60, deadline=None)
@given(yaws, pitches, st.floats(-720, 720))
def test_rotation_is_orthonormal_and_looks_where_it_says(yaw, pitch, roll):
    matrix = rotation(yaw, pitch, roll, dtype=F64)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(3, dtype=F64), atol=1e-12, rtol=0)
    assert torch.linalg.det(matrix).item() == pytest.approx(1.0)
    torch.testing.assert_close(matrix[:, 2], directions(yaw, pitch, dtype=F64), atol=1e-12, rtol=0)


@settings(max_examples=100, deadline=None)
@given(yaws, st.floats(-89.9, 89.9))
def test_angles_invert_directions(yaw, pitch):
    yaw_back, pitch_back = angles(directions(yaw, pitch, dtype=F64) * 3.0)
    assert -180 <= yaw_back < 180
    assert wrap_yaw_deg(yaw_back.item() - yaw) == pytest.approx(0, abs=1e-9)
    assert pitch_back.item() == pytest.approx(pitch, abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(st.floats(-1e6, 1e6))
def test_wrapped_yaw_is_in_range_and_the_same_direction(yaw):
    wrapped = wrap_yaw_deg(yaw)
    assert -180 <= wrapped < 180
    assert wrap_yaw_deg(torch.tensor(yaw, dtype=F64)).item() == pytest.approx(wrapped, abs=1e-9)
    assert (wrapped - yaw) / 360 == pytest.approx(round((wrapped - yaw) / 360), abs=1e-6)


@pytest.mark.parametrize(
    ("yaw", "wrapped"), [(180, -180), (-180, -180), (540, -180), (190, -170), (-1e-20, 0), (720, 0)]
)
def test_convention_yaw_wraps_to_the_left_end(yaw, wrapped):
    assert wrap_yaw_deg(float(yaw)) == pytest.approx(wrapped)


def test_straight_behind_is_minus_180():
    assert angles(torch.tensor([0.0, 0.0, -1.0]))[0].item() == -180.0


def test_poles_have_pitch_90_and_finite_gradients():
    dirs = torch.tensor([[0.0, 2.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]], requires_grad=True)
    yaw, pitch = angles(dirs)
    assert pitch.tolist() == [90.0, -90.0, 0.0]
    (yaw.sum() + pitch.sum()).backward()
    assert torch.isfinite(dirs.grad).all()


def test_great_circle_angles_by_hand():
    front = directions(0, 0, dtype=F64)
    for yaw, pitch, angle in [(90, 0, 90), (180, 0, 180), (0, 90, 90), (60, 60, math.degrees(math.acos(0.25)))]:
        assert angle_between_deg(front, directions(yaw, pitch, dtype=F64)).item() == pytest.approx(angle, abs=1e-9)
    tiny = angle_between_deg(front.float(), directions(1e-3, 0.0))
    assert tiny.item() == pytest.approx(1e-3, rel=1e-3), "an arccos in float32 would say 0 here"
