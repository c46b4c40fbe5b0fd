"""Test smoothing on the sphere against the plain sum over all pairs of pixels."""

from __future__ import annotations

import pytest
import torch

from con360.errors import InputError
from con360.geometry.erp import erp_area_weights, erp_directions
from con360.geometry.smoothing import smooth_on_sphere

HEIGHT = 18


def brute_force(one_map: torch.Tensor, sigma_deg: float) -> torch.Tensor:
    dirs = erp_directions(HEIGHT, dtype=torch.float64).reshape(-1, 3)
    area = erp_area_weights(HEIGHT, dtype=torch.float64).expand(HEIGHT, 2 * HEIGHT).reshape(-1)
    angle = torch.rad2deg((dirs @ dirs.T).clamp(-1, 1).acos())
    kernel = torch.exp(-0.5 * (angle / sigma_deg) ** 2) * area
    return ((kernel @ one_map.double().reshape(-1)) / kernel.sum(1)).reshape(one_map.shape)


@pytest.mark.parametrize("sigma_deg", [8.0, 25.0, 90.0])
def test_equals_the_sum_over_all_pairs(sigma_deg):
    one_map = torch.rand(HEIGHT, 2 * HEIGHT, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(smooth_on_sphere(one_map, sigma_deg).double(), brute_force(one_map, sigma_deg), atol=2e-6)


def test_a_constant_stays_and_batches_are_maps_one_by_one():
    maps = torch.rand(2, 3, HEIGHT, 2 * HEIGHT, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(smooth_on_sphere(torch.full((HEIGHT, 2 * HEIGHT), 0.3), 20.0), torch.tensor(0.3))
    assert torch.allclose(smooth_on_sphere(maps, 12.0)[1, 2], smooth_on_sphere(maps[1, 2], 12.0), atol=1e-6)


def test_smoothing_commutes_with_rolling():
    one_map = torch.rand(HEIGHT, 2 * HEIGHT, generator=torch.Generator().manual_seed(2))
    smooth = smooth_on_sphere(one_map, 15.0)
    assert torch.allclose(smooth_on_sphere(one_map.roll(5, -1), 15.0), smooth.roll(5, -1), atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "sigma_deg", "words"),
    [((18, 30), 8.0, "H, 2 H"), ((129, 258), 8.0, "at most 128 rows"), ((18, 36), 0.0, "must be positive")],
)
def test_what_cannot_be_smoothed_is_named(shape, sigma_deg, words):
    with pytest.raises(InputError, match=words):
        smooth_on_sphere(torch.zeros(shape), sigma_deg)
