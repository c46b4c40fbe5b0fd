"""Maps beyond the view's edge: the wider grid, what reaches the heads, and controls without a margin."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_control_module import SHAPES, TIME, conditions, config, module

from con360.control import ControlModule, encode_control
from con360.control.inputs import view_rays
from con360.control.view_features import FINE, ViewFeatures, widened
from con360.errors import InputError
from con360.geometry.perspective import view_directions
from con360.geometry.sphere import directions
from con360.records import SaliencyMaps, View, ViewTrack

WIDE = {**SHAPES, "video.input": (8, 4, 8, 8)}


def wide(margin: int = 4) -> ControlModule:
    made = module(site_channels={s: shape[0] for s, shape in WIDE.items()}, view_margin=margin)
    for head in made.near_heads.values():
        torch.nn.init.normal_(head.linear.weight, std=0.1)
    return made


@pytest.mark.parametrize(("yaw", "pitch", "fov", "roll"), [(0, 0, 90, 0), (170, 40, 60, 0), (-100, -85, 120, 30)])
def test_a_wider_grid_is_that_of_a_wider_view(yaw, pitch, fov, roll):
    rays = view_rays([ViewTrack.still(View(yaw, pitch, fov, roll), 1)], 8)
    reach = torch.tan(torch.deg2rad(torch.tensor(fov / 2.0, dtype=torch.float64))) * (8 + 2 * 3) / 8
    wider = view_directions(yaw, pitch, float(torch.rad2deg(2 * torch.atan(reach))), FINE * (8 + 2 * 3), roll_deg=roll)
    assert torch.allclose(widened(rays, 3)[0, 0], wider, atol=2e-6)


def test_a_source_beyond_the_edge_reaches_the_features_at_the_edge_alone():
    torch.manual_seed(0)
    features = ViewFeatures(1, 4)
    track = ViewTrack.still(View(0.0, 0.0, 90.0), 1)
    rays = view_rays([track], 16)
    from con360.geometry.erp import erp_directions

    def at(yaw: float) -> torch.Tensor:
        near = (erp_directions(64) @ directions(yaw, 0.0).float()) > 0.996  # 5 degrees
        with torch.no_grad():
            return features(near.float()[None, None, None], rays)[0, 0]

    empty = at(180.0)
    # 10 degrees beyond the right edge.
    moved = (at(55.0) - empty).abs().amax(dim=(0, 1))
    assert moved[-1] > 1e-3 and moved[:8].max() == 0
    assert (at(100.0) - empty).abs().max() == 0


def test_untrained_heads_leave_the_control_as_it_was():
    old = module()
    new = ControlModule(config(site_channels={s: shape[0] for s, shape in WIDE.items()}, view_margin=4)).eval()
    new.load_state_dict({**new.state_dict(), **old.state_dict()})
    before, after = (encode_control(m, conditions(), WIDE, **TIME) for m in (old, new))
    assert all(torch.equal(a, b) for site in SHAPES for a, b in zip(before[site], after[site], strict=True))
    assert set(before) == set(SHAPES) and after["video.input"][0].abs().max() == 0


def test_trained_heads_move_the_picture_alone_and_dropped_maps_are_gone():
    made, given = wide(), conditions()
    other = replace(given, saliency=SaliencyMaps(given.saliency.maps.flip(-1), "test"))
    plain = {s: t for s, t in encode_control(made, given, WIDE, **TIME).items()}
    moved = encode_control(made, other, WIDE, **TIME)
    assert not torch.equal(plain["video.input"][1], moved["video.input"][1])
    assert plain["video.input"][1].shape == (1, 8, 4, 8, 8)
    dropped = [encode_control(made, g, WIDE, **TIME, strengths={"saliency": 0}) for g in (given, other)]
    assert torch.equal(dropped[0]["video.input"][1], dropped[1]["video.input"][1])


def test_a_margin_needs_the_views_geometry():
    with pytest.raises(InputError, match="needs geometry 'view'"):
        config(geometry="pooled", view_margin=4)
    with pytest.raises(InputError, match="view_margin"):
        config(view_margin=-1)
