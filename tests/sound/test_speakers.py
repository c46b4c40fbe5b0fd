"""Loudspeakers stand at their nominal places in a field."""

from __future__ import annotations

import pytest
import torch

from con360.sound.ambisonics import harmonics
from con360.sound.channels import WAVE_LAYOUTS
from con360.sound.speakers import speakers_matrix


@pytest.mark.parametrize("order", [1, 3])
def test_stereo_comes_from_30_degrees_left_and_right(order: int) -> None:
    places = torch.tensor([-30.0, 30.0], dtype=torch.float64)
    assert torch.allclose(speakers_matrix(("FL", "FR"), order), harmonics(places, 0 * places, order).T)


def test_surrounds_stand_further_back_where_another_pair_is_beside() -> None:
    alone, both = speakers_matrix(("BL", "BR")), speakers_matrix(("SL", "SR", "BL", "BR"))
    angle = torch.rad2deg(torch.atan2(alone[1], alone[3])), torch.rad2deg(torch.atan2(both[1], both[3]))
    assert angle[0].tolist() == pytest.approx([110, -110])
    assert angle[1].tolist() == pytest.approx([90, -90, 135, -135])


def test_the_low_one_is_left_out_and_a_nameless_one_is_everywhere() -> None:
    found = speakers_matrix(("LFE", ""), 2)
    assert not found[:, 0].any() and found[:, 1].tolist() == [1] + [0] * 8


@pytest.mark.parametrize("names", [names for _, names in WAVE_LAYOUTS.values()], ids=str)
def test_left_is_left_in_every_layout(names: tuple[str, ...]) -> None:
    for name, y in zip(names, speakers_matrix(names)[1].tolist(), strict=True):
        assert (y > 0.1, y < -0.1) == (name.endswith("L"), name.endswith("R"))
