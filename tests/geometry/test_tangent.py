"""Tangent images and their blend."""

from __future__ import annotations

import pytest
import torch

from con360.errors import InputError
from con360.geometry.erp import erp_directions
from con360.geometry.perspective import erp_to_perspective
from con360.geometry.tangent import CENTERS_18, FOV_18_DEG, erp_to_tangent, tangent_to_erp
from con360.records import View


def test_layout_of_eighteen():
    assert len(CENTERS_18) == 18
    assert sorted({pitch for _, pitch in CENTERS_18}) == [-67.5, -22.5, 22.5, 67.5]
    assert (-150.0, 22.5) in CENTERS_18 and (0.0, 67.5) in CENTERS_18


def test_each_patch_is_a_view():
    erp = torch.rand(2, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    patches = erp_to_tangent(erp, size=12)
    assert patches.shape == (2, 18, 3, 12, 12)
    for index in (0, 7, 17):
        view = View(*CENTERS_18[index], FOV_18_DEG)
        torch.testing.assert_close(patches[:, index], erp_to_perspective(erp, view, 12), atol=1e-4, rtol=0)


def test_erp_to_tangent_to_erp():
    erp = erp_directions(64).movedim(-1, 0)[None]
    back = tangent_to_erp(erp_to_tangent(erp, size=64), height=64)
    assert (back - erp).abs().max() < 2e-3


def test_constants_stay_constant_and_gradients_flow():
    patches = torch.ones(1, 18, 1, 6, 6, requires_grad=True)
    out = tangent_to_erp(patches, height=20)
    assert out.shape == (1, 1, 20, 40)
    torch.testing.assert_close(out, torch.ones_like(out))
    out.sum().backward()
    assert patches.grad.sum().item() == pytest.approx(800, rel=1e-4)


def test_blend_has_no_step_where_patches_end():
    values = torch.rand(1, 18, 1, 1, 1, generator=torch.Generator().manual_seed(1)).expand(-1, -1, -1, 8, 8)
    out = tangent_to_erp(values, height=128)[0, 0]
    steps = torch.cat(((out - out.roll(1, -1)).abs().flatten(), out.diff(dim=0).abs().flatten()))
    # Each patch is a grey of its own. From pixel to pixel the blend changes by a small part of their differences,
    # at seam and poles too (it changes fastest in the outermost rows).
    assert (out - out.roll(1, -1)).abs()[8:-8].max() < 0.06
    assert steps.max() < 0.2


def test_gaps_and_counts_are_named():
    with pytest.raises(InputError, match="uncovered"):
        tangent_to_erp(torch.rand(1, 1, 1, 4, 4), [(0.0, 0.0)], 90.0, 16)
    with pytest.raises(InputError, match=r"\[B, 18, C, s, s\]"):
        tangent_to_erp(torch.rand(1, 3, 1, 4, 4), height=16)
