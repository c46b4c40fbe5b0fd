"""Turns of Ambisonics against directions turned one by one."""

from __future__ import annotations

import pytest
import torch

from con360.geometry.sphere import angles, rotation
from con360.sound.ambisonics import cap_gains, channels_of, encode, harmonics
from con360.sound.rotation import turn_matrices


def many_directions(count: int = 1000) -> torch.Tensor:
    return torch.randn(count, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("order", [1, 2, 3])
def test_turns_equal_turned_directions(order: int) -> None:
    """A matrix turns the field of a plane wave into that of the wave's direction as the camera sees it."""
    world = many_directions()
    still = harmonics(*angles(world), order)
    for yaw, pitch, roll in ((0, 0, 0), (90, 0, 0), (-37, 21, 0), (120, -75, 143), (180, 90, -60), (15, -90, 30)):
        camera = rotation(yaw, pitch, roll, dtype=torch.float64)
        matrix = turn_matrices(camera, order)
        seen = harmonics(*angles(world @ camera), order)
        assert (still @ matrix.T - seen).abs().max() < 1e-10
        # Orthogonal: the inverse turn is the transpose.
        assert (matrix @ matrix.T - torch.eye(channels_of(order))).abs().max() < 1e-12
        assert matrix[0].tolist() == [1.0] + [0.0] * (channels_of(order) - 1)


def test_turns_of_many_cameras_are_the_turns_of_each() -> None:
    cameras = rotation(torch.tensor([0.0, 40.0, -170.0]), torch.tensor([10.0, -20.0, 80.0]), dtype=torch.float64)
    together = turn_matrices(cameras, 3)
    assert together.shape == (3, 16, 16)
    for camera, matrix in zip(cameras, together, strict=True):
        assert torch.equal(turn_matrices(camera, 3), matrix)


def test_the_first_four_channels_do_not_depend_on_the_order() -> None:
    mono = torch.randn(50, generator=torch.Generator().manual_seed(1))
    whole = encode(mono, 70.0, -20.0, 3)
    assert whole.shape == (16, 50)
    assert torch.equal(whole[:4], encode(mono, 70.0, -20.0))


def test_a_cap_narrows_to_a_point_and_widens_to_the_whole_sphere() -> None:
    gains = cap_gains(torch.tensor([0.0, 90.0, 360.0], dtype=torch.float64), 3)
    assert gains[0].tolist() == [1.0] * 16
    # The mean of cos over a cap of half angle a is (1 + cos a) / 2.
    assert gains[1, 1:4].tolist() == pytest.approx([(1 + 0.5**0.5) / 2] * 3)
    assert gains[2].tolist() == pytest.approx([1.0] + [0.0] * 15, abs=1e-12)
