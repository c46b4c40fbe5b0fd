"""The panorama's pixels and reading between them; seam and poles; py360convert as the reference."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import con360.geometry.erp as erp_module
from con360.errors import InputError
from con360.geometry.erp import (
    erp_angles,
    erp_area_weights,
    erp_coordinates,
    erp_directions,
    pad_erp,
    sample_erp,
    shrink_for,
)
from con360.geometry.sphere import directions

F64 = torch.float64


def test_convention_pixel_centres():
    yaw, pitch = erp_angles(4, 12, F64)
    assert yaw[[0, 5, 6, 11]].tolist() == pytest.approx([-165, -15, 15, 165])
    assert pitch.tolist() == [67.5, 22.5, -22.5, -67.5]


@pytest.mark.parametrize(
    ("yaw", "pitch", "x", "y"),
    [
        (0, 0, 9.5, 4.5),
        (90, 0, 14.5, 4.5),
        (-90, 45, 4.5, 2.0),
        (-180, 0, -0.5, 4.5),
        (0, 90, 9.5, -0.5),
        (9, -81, 10, 9),
    ],
)
def test_convention_coordinates_by_hand(yaw, pitch, x, y):
    x_px, y_px = erp_coordinates(directions(yaw, pitch, dtype=F64), 10, 20)
    assert (x_px.item(), y_px.item()) == (pytest.approx(x), pytest.approx(y))


@pytest.mark.parametrize("shape", [(8, 16), (9, 18), (6, 22), (5, 7)])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_identity_at_the_panoramas_own_pixels(shape, mode):
    erp = torch.rand(2, 3, *shape, dtype=F64, generator=torch.Generator().manual_seed(0))
    dirs = erp_directions(shape[0], dtype=F64, width=shape[1])
    torch.testing.assert_close(sample_erp(erp, dirs, mode), erp, atol=1e-9, rtol=0)


def test_seam_interpolates_between_last_and_first_column():
    erp = torch.zeros(1, 1, 4, 8, dtype=F64)
    erp[..., 0], erp[..., 7] = 1.0, 3.0
    yaws = torch.tensor([-180.0, 180.0, 168.75, -168.75], dtype=F64)
    dirs = directions(yaws, torch.full_like(yaws, 22.5))[None]
    assert sample_erp(erp, dirs)[0, 0, 0].tolist() == pytest.approx([2.0, 2.0, 2.5, 1.5])


def test_pole_interpolates_to_the_other_side():
    erp = torch.zeros(1, 1, 4, 8, dtype=F64)
    erp[0, 0, 0] = torch.arange(8.0)
    # Half way from a pixel's row to the pole: three quarters of it, one quarter of the pixel opposite.
    yaw, _ = erp_angles(4, 8, F64)
    dirs = directions(yaw, torch.full_like(yaw, 78.75))[None]
    expected = [0.75 * i + 0.25 * ((i + 4) % 8) for i in range(8)]
    assert sample_erp(erp, dirs)[0, 0, 0].tolist() == pytest.approx(expected)
    zenith = sample_erp(erp, torch.tensor([[[0.0, 1.0, 0.0]]], dtype=F64)).item()
    assert zenith == pytest.approx(3.5)


def test_padding_by_hand_on_an_odd_width():
    erp = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    padded = pad_erp(erp)
    assert padded[1].tolist() == [3.0, 1.0, 2.0, 3.0, 1.0]
    assert padded[0, 1:4].tolist() == [2.5, 2.0, 1.5]
    assert padded.shape == (4, 5)


def test_smooth_field_has_no_seam_and_no_pole():
    dirs = erp_directions(64, dtype=F64)
    erp = dirs.movedim(-1, 0)[None]
    probes = torch.nn.functional.normalize(
        torch.randn(50, 60, 3, generator=torch.Generator().manual_seed(1)).double(), dim=-1
    )
    error = (sample_erp(erp, probes)[0].movedim(0, -1) - probes).abs().max()
    assert error < 2e-3


@pytest.mark.parametrize("shift", [1, 5, 13])
def test_whole_pixel_shift_equals_yaw_shift(shift):
    erp = torch.rand(1, 2, 12, 24, dtype=F64, generator=torch.Generator().manual_seed(2))
    yaw, pitch = torch.meshgrid(
        torch.linspace(-170, 170, 9, dtype=F64), torch.linspace(-90, 90, 7, dtype=F64), indexing="xy"
    )
    turned = sample_erp(erp.roll(shift, -1), directions(yaw + shift * 15.0, pitch))
    inner = slice(1, -1)  # exactly at a pole all yaws are one direction
    torch.testing.assert_close(
        turned[:, :, inner], sample_erp(erp, directions(yaw, pitch))[:, :, inner], atol=1e-9, rtol=0
    )


def test_one_grid_per_frame_and_one_frame_for_many_grids():
    erp = torch.rand(3, 1, 6, 12, generator=torch.Generator().manual_seed(3))
    grids = torch.stack([directions(torch.tensor([[float(10 * i)]]), torch.tensor([[5.0]])) for i in range(3)])
    per_frame = sample_erp(erp, grids)
    for i in range(3):
        torch.testing.assert_close(per_frame[i], sample_erp(erp[i : i + 1], grids[i])[0])
    assert sample_erp(erp[:1], grids).shape == (3, 1, 1, 1)


@pytest.mark.parametrize(("frames", "grids"), [(1, 1), (3, 1), (1, 3), (3, 3)])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("size", [(12, 24), (7, 15)])
def test_large_panoramas_are_read_as_small_ones(monkeypatch, frames, grids, mode, size):
    """Plane by plane or all at once: the same values and the same gradients."""
    torch.manual_seed(0)
    erp = torch.rand(frames, 2, *size, requires_grad=True)
    dirs = torch.randn(grids, 8, 5, 3)
    results = []
    for limit in (1, 10**9):
        monkeypatch.setattr(erp_module, "LARGE_PLANE_PX", limit)
        read = sample_erp(erp, dirs, mode)
        (gradient,) = torch.autograd.grad(read.square().sum(), erp)
        results.append((read, gradient))
    (planes, gradient), (at_once, wanted) = results
    assert planes.is_contiguous()
    torch.testing.assert_close(planes, at_once, rtol=0, atol=1e-6)
    torch.testing.assert_close(gradient, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, F64])
def test_dtype_is_kept_and_gradients_reach_the_panorama(dtype):
    erp = torch.rand(1, 1, 8, 16, generator=torch.Generator().manual_seed(4)).to(dtype).requires_grad_()
    out = sample_erp(erp, erp_directions(8))
    out.sum().backward()
    assert out.dtype == dtype
    torch.testing.assert_close(erp.grad.double(), torch.ones_like(erp).double(), atol=2e-2, rtol=0)


def test_gradient_to_the_directions_matches_differences():
    erp = torch.rand(1, 1, 8, 16, dtype=F64, generator=torch.Generator().manual_seed(5))
    dirs = torch.tensor([[[0.3, 0.2, 0.9], [-0.5, 0.6, -0.7]]], dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda d: sample_erp(erp, d), (dirs,), eps=1e-6, atol=1e-5)


def test_grids_made_in_inference_mode_still_train():
    with torch.inference_mode():
        erp_directions(10)
    erp = torch.rand(1, 1, 10, 20, requires_grad=True)
    sample_erp(erp, erp_directions(10)).sum().backward()
    assert erp.grad is not None


def test_writing_into_a_returned_grid_changes_no_later_one():
    erp_directions(6).zero_()
    assert erp_directions(6).abs().sum() > 0


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: sum(c * c for c in v) > 1e-12),
    st.integers(1, 33),
    st.integers(1, 65),
)
def test_any_direction_reads_within_the_panoramas_range(xyz, height, width):
    erp = torch.arange(float(height * width), dtype=F64).reshape(1, 1, height, width)
    value = sample_erp(erp, torch.tensor([[xyz]], dtype=F64)).item()
    assert 0 <= value <= height * width - 1


def test_area_weights_sum_to_one_and_match_the_integral():
    weights = erp_area_weights(6, dtype=F64)
    assert weights.shape == (6, 1) and weights.sum().item() == pytest.approx(1.0)
    assert weights[0].item() == pytest.approx((1 - 3**0.5 / 2) / 2), "the cap above 60 degrees"


def test_shrinking_averages_blocks_and_keeps_the_mean():
    erp = torch.rand(1, 1, 12, 24, generator=torch.Generator().manual_seed(6))
    small = shrink_for(erp, 60.0)
    assert small.shape == (1, 1, 3, 6)
    torch.testing.assert_close(small[0, 0, 0, 0], erp[0, 0, :4, :4].mean())
    assert shrink_for(erp, 20.0) is erp


@pytest.mark.parametrize(
    ("erp", "dirs", "mode", "words"),
    [
        (torch.rand(1, 1, 4, 8), torch.rand(2, 2, 3), "cubic", "cubic"),
        (torch.zeros(1, 1, 4, 8, dtype=torch.uint8), torch.rand(2, 2, 3), "bilinear", "floating point"),
        (torch.rand(3, 1, 4, 8), torch.rand(2, 2, 2, 3), "bilinear", "one per frame|one \\[h, w, 3\\] per frame"),
        (torch.rand(3, 1, 4, 8), torch.rand(2, 2, 2), "bilinear", "do not fit"),
    ],
)
def test_misfits_are_named(erp, dirs, mode, words):
    with pytest.raises(InputError, match=words):
        sample_erp(erp, dirs, mode)
