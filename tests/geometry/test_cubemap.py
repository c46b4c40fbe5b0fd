"""Cube faces: py360convert as the reference, round trips, edges."""

from __future__ import annotations

import math

import numpy as np
import py360convert
import pytest
import torch

from con360.errors import InputError
from con360.geometry.cubemap import FACE_NAMES, FACES, cubemap_to_erp, erp_to_cubemap, pad_faces
from con360.geometry.erp import erp_directions
from con360.geometry.perspective import erp_to_perspective
from con360.records import View


def smooth_erp(height: int) -> torch.Tensor:
    """`[1, 3, H, 2 H]` that varies slowly and differently along every axis."""
    x, y, z = erp_directions(height).unbind(-1)
    return torch.stack((x, y, z * x + 0.3 * y))[None] * 0.5 + 0.5


@pytest.fixture
def exact_py360(monkeypatch):
    monkeypatch.setattr(py360convert.utils, "cv2", None)
    samplers = (py360convert.utils.EquirecSampler.from_cubemap, py360convert.utils.CubeFaceSampler.from_equirec)
    for sampler in samplers:
        sampler.cache_clear()
    yield
    for sampler in samplers:
        sampler.cache_clear()


@pytest.mark.parametrize("index", range(6), ids=FACE_NAMES)
def test_faces_equal_py360convert(exact_py360, index):
    erp, size = torch.rand(1, 3, 24, 48, generator=torch.Generator().manual_seed(0)), 9
    expected = py360convert.e2c(erp[0].permute(1, 2, 0).numpy(), size, cube_format="list")[index]
    # The reference samples the face from edge to edge: the same rays as a slightly wider view of ours.
    wider = View(FACES[index].yaw_deg, FACES[index].pitch_deg, 2 * math.degrees(math.atan(size / (size - 1))))
    ours = erp_to_perspective(erp, wider, size, antialias=False)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(ours, expected, atol=2e-5)


@pytest.mark.parametrize(
    ("face", "axis", "sign"), [(0, 2, 1), (1, 0, 1), (2, 2, -1), (3, 0, -1), (4, 1, 1), (5, 1, -1)]
)
def test_convention_order_of_faces(face, axis, sign):
    faces = erp_to_cubemap(erp_directions(32).movedim(-1, 0)[None], 8)
    assert faces.shape == (1, 6, 3, 8, 8)
    assert faces[0, face, :, 3:5, 3:5].mean((-1, -2)).abs().argmax() == axis
    assert faces[0, face, axis, 4, 4].sign() == sign


def test_erp_to_cubemap_to_erp():
    erp = smooth_erp(64)
    back = cubemap_to_erp(erp_to_cubemap(erp, 48), 64)
    assert (back - erp).abs().max() < 1e-3


def test_cubemap_to_erp_agrees_with_py360convert(exact_py360):
    faces = erp_to_cubemap(smooth_erp(64), 32)
    expected = py360convert.c2e([face.permute(1, 2, 0).numpy() for face in faces[0]], 64, 128, cube_format="list")
    ours = cubemap_to_erp(faces, 64)[0].permute(1, 2, 0).numpy()
    # The reference's panorama is corner-aligned, up to half a pixel off; the field changes by about 0.04 a pixel.
    assert np.abs(ours - expected).max() < 0.04


def test_faces_leave_no_line_at_their_edges():
    erp = smooth_erp(96)
    error = (cubemap_to_erp(erp_to_cubemap(erp, 64), 96) - erp).abs().amax((0, 1))
    yaw_edge = slice(3 * 24 // 2 - 1, 3 * 24 // 2 + 1)
    assert error[:, yaw_edge].max() < 5e-4


def test_padding_continues_the_faces_plane():
    size = 32
    faces = erp_to_cubemap(smooth_erp(128), size)
    padded = pad_faces(faces)
    beyond = 2 * math.degrees(math.atan((size + 2) / size))
    expected = erp_to_perspective(smooth_erp(128), View(90, 0, beyond), size + 2)[0]
    assert (padded[0, 1] - expected).abs().max() < 0.02
    torch.testing.assert_close(padded[..., 1:-1, 1:-1], faces)


def test_gradients_flow_and_misfits_are_named():
    faces = torch.rand(2, 6, 1, 4, 4, requires_grad=True)
    cubemap_to_erp(faces, 8).sum().backward()
    assert (faces.grad > 0).all()
    with pytest.raises(InputError, match=r"\[B, 6, C, s, s\]"):
        cubemap_to_erp(torch.rand(1, 5, 3, 4, 4), 8)
