"""Regions, centroids, boxes and tracks on maps whose answer is known."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from con360.errors import InputError
from con360.geometry.erp import erp_directions
from con360.geometry.sphere import angle_between_deg, directions
from con360.records import Region, SaliencyMaps, View, Viewpoint, ViewTrack
from con360.viewpoint.choose import box_fov_deg, manual_viewpoint, viewpoint_notices, viewpoints
from con360.viewpoint.regions import find_regions

F64 = torch.float64


def disc(yaw: float, pitch: float, radius: float, height: int = 90) -> torch.Tensor:
    """`[H, 2 H]`: 1 within `radius` degrees of a direction."""
    dirs = erp_directions(height, dtype=F64)
    return (angle_between_deg(dirs, directions(yaw, pitch, dtype=F64)) <= radius).double()


def away_deg(region: Region | View, yaw: float, pitch: float) -> float:
    a = directions(region.yaw_deg, region.pitch_deg, dtype=F64)
    return angle_between_deg(a, directions(yaw, pitch, dtype=F64)).item()


def cap_area(radius: float) -> float:
    return (1 - math.cos(math.radians(radius))) / 2


@pytest.mark.parametrize(
    ("yaw", "pitch"),
    [(0, 0), (60, 30), (180, 0), (-179, -40), (25, 87), (-100, 90), (70, -88)],
    ids=["front", "right", "seam", "seam-low", "near-zenith", "zenith", "near-nadir"],
)
def test_one_disc_gives_its_centre_box_and_mass(yaw, pitch):
    regions = find_regions(disc(yaw, pitch, 12, height=180))
    assert len(regions) == 1, "a region must join across the seam and over a pole"
    assert away_deg(regions[0], yaw, pitch) < 0.4
    assert regions[0].width_deg == pytest.approx(24, abs=2.5)
    assert regions[0].height_deg == pytest.approx(24, abs=2.5)
    assert regions[0].mass == pytest.approx(1.0)


def test_two_discs_at_the_poles_and_seam_are_ranked_by_area_not_by_pixels():
    # The disc at the pole covers many more pixels of the map, but less of the sphere.
    map_ = disc(180, 0, 14) + disc(0, 90, 12)
    regions = find_regions(map_)
    assert [round(abs(r.pitch_deg), -1) for r in regions] == [0, 90]
    total = cap_area(14) + cap_area(12)
    assert regions[0].mass == pytest.approx(cap_area(14) / total, abs=0.02)
    assert sum(r.mass for r in regions) == pytest.approx(1.0)
    assert map_[:45].sum() > disc(180, 0, 14).sum()


def test_centroid_is_weighted_by_saliency():
    # Two touching halves, one twice as salient: unit vectors 1/3 and 2/3.
    dirs = erp_directions(90, dtype=F64)
    yaw = torch.rad2deg(torch.atan2(dirs[..., 0], dirs[..., 2]))
    band = (dirs[..., 1].abs() < math.sin(math.radians(4))).double()
    left, right = band * ((yaw > -20) & (yaw < 0)), band * ((yaw > 0) & (yaw < 20))
    region = find_regions(left * 1.0 + right * 2.0, threshold=0.3)[0]
    ten = math.radians(10)
    expected = math.degrees(math.atan2((2 - 1) * math.sin(ten), (2 + 1) * math.cos(ten)))
    assert region.yaw_deg == pytest.approx(expected, abs=0.2)
    assert region.pitch_deg == pytest.approx(0, abs=1e-6)
    # Its box is centred on the centroid: it reaches to the farther end.
    assert region.width_deg == pytest.approx(2 * (20 + expected), abs=3)


def test_diagonal_touch_over_the_seam_joins():
    map_ = torch.zeros(20, 40)
    map_[10, 0] = map_[11, 39] = 1
    assert len(find_regions(map_)) == 1
    map_[11, 39], map_[13, 39] = 0, 1
    assert len(find_regions(map_)) == 2


def test_ring_around_the_sphere_looks_at_its_brightest_place():
    map_ = torch.zeros(30, 60)
    map_[14:16] = 0.8
    map_[14:16, 45] = 1.0
    # Symmetric weights elsewhere leave only the bright column's pull.
    region = find_regions(map_)[0]
    assert away_deg(region, (45.5 / 60 - 0.5) * 360, 0) < 3.5
    assert region.width_deg > 350
    map_[14:16] = 1.0
    assert math.isfinite(find_regions(map_)[0].yaw_deg)


def test_threshold_and_range_are_relative():
    map_ = 0.2 + 0.1 * disc(0, 0, 10) + 0.04 * disc(90, 0, 10)
    assert len(find_regions(map_)) == 1
    assert len(find_regions(map_, threshold=0.3)) == 2
    assert len(find_regions(map_ * 1000 - 7, threshold=0.3, max_regions=1)) == 1


def test_specks_are_left_out():
    map_ = disc(0, 0, 20)
    map_[45, 0] = 1.0
    assert len(find_regions(map_)) == 1


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("mode", ["still", "track"])
def test_flat_map_looks_to_the_front_and_says_so(level, mode):
    found = viewpoints(SaliencyMaps(torch.full((4, 20, 40), level), "flat"), 8.0, mode=mode)
    assert found == (Viewpoint(1, None, ViewTrack.still(View(0.0, 0.0, 90.0), 4)),)
    assert len(viewpoint_notices(found)) == 1 and "front" in viewpoint_notices(found)[0]
    assert viewpoint_notices((manual_viewpoint(0, 0, 90, 1),)) == ()


def test_still_viewpoints_are_ranked_and_repeat_for_each_frame():
    maps = torch.stack([disc(120, 20, 15) + 0.9 * disc(-60, -10, 10)] * 5).float()
    found = viewpoints(SaliencyMaps(maps, "test"), 8.0, fov_deg=75, ranking="centroid")
    assert [v.rank for v in found] == [1, 2]
    assert all(len(v.track) == 5 and v.track.is_still and v.track.views[0].fov_deg == 75 for v in found)
    assert away_deg(found[0].track.views[0], 120, 20) < 0.5
    assert away_deg(found[1].track.views[0], -60, -10) < 0.5
    assert viewpoint_notices(found) == ()


@pytest.mark.parametrize(("radius", "fov"), [(5, 60), (35, 84), (70, 120)])
def test_field_of_view_from_the_box(radius, fov):
    found = viewpoints(SaliencyMaps(disc(10, 0, radius)[None], "test"), 8.0, fov_deg="box", ranking="centroid")
    assert found[0].track.views[0].fov_deg == pytest.approx(fov, abs=3)
    assert found[0].track.views[0].fov_deg == box_fov_deg(found[0].region)


def test_track_follows_across_the_seam_and_stays_with_its_own():
    places = [(150 + 4.0 * t, 5.0) for t in range(16)]
    maps = torch.stack([disc(yaw, pitch, 12) + 0.9 * disc(-20, -30 - t, 8) for t, (yaw, pitch) in enumerate(places)])
    first, second = viewpoints(SaliencyMaps(maps.float(), "test"), 8.0, mode="track", ranking="centroid")
    for t in range(2, 14):
        assert away_deg(first.track.views[t], *places[t]) < 1.0, t
        assert away_deg(second.track.views[t], -20, -30 - t) < 1.0, t
    steps = [
        away_deg(b, a.yaw_deg, a.pitch_deg) for a, b in zip(first.track.views, first.track.views[1:], strict=False)
    ]
    assert max(steps) < 5.0
    assert all(-180 <= view.yaw_deg < 180 for view in first.track.views)
    assert first.region.mass > second.region.mass


def test_track_bridges_a_gap_and_holds_its_ends():
    maps = torch.stack([disc(3.0 * t, 0, 12) for t in range(12)])
    maps[0] = maps[5] = maps[6] = maps[11] = 0
    (found,) = viewpoints(SaliencyMaps(maps.float(), "test"), 8.0, mode="track", ranking="centroid")
    for t in range(3, 9):
        assert away_deg(found.track.views[t], 3.0 * t, 0) < 1.0
    assert found.region.mass == pytest.approx(8 / 12, abs=0.01)


def test_track_of_a_still_thing_is_still():
    maps = SaliencyMaps(torch.stack([disc(40, 10, 9)] * 6).float(), "test")
    (found,) = viewpoints(maps, 8.0, mode="track", ranking="centroid")
    steps = [away_deg(view, found.track.views[0].yaw_deg, found.track.views[0].pitch_deg) for view in found.track.views]
    assert max(steps) < 1e-6


@settings(max_examples=40, deadline=None)
@given(st.floats(-180, 179.9), st.floats(-90, 90), st.floats(8, 60))
def test_any_disc_is_one_region_at_its_centre(yaw, pitch, radius):
    # A hard edge near a pole may take in half a row of pixels, and pull the centroid by half a pixel.
    (region,) = find_regions(disc(yaw, pitch, radius, height=90))
    assert away_deg(region, yaw, pitch) < 1.5
    assert 0 < region.width_deg <= 360 and 0 < region.height_deg <= 180


@settings(max_examples=60, deadline=None)
@given(st.floats(-1e5, 1e5), st.floats(-90, 90), st.floats(30, 150))
def test_any_view_by_hand_is_in_range(yaw, pitch, fov):
    view = manual_viewpoint(yaw, pitch, fov, 3)
    assert view.rank == 0 and view.region is None and len(view.track) == 3
    assert -180 <= view.track.views[0].yaw_deg < 180
    assert view.track.views[0].pitch_deg == pitch and view.track.views[0].fov_deg == fov


@pytest.mark.parametrize(("yaw", "wrapped"), [(190, -170), (-190, 170), (180, -180), (725, 5)])
def test_yaw_by_hand_wraps(yaw, wrapped):
    assert manual_viewpoint(yaw, 0, 90, 1).track.views[0].yaw_deg == pytest.approx(wrapped)


NAN = float("nan")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((NAN, 0, 90, 1), "yaw"),
        ((math.inf, 0, 90, 1), "yaw"),
        ((0, NAN, 90, 1), "pitch"),
        ((0, 90.5, 90, 1), "90.5 degrees.*-90"),
        ((0, 0, NAN, 1), "field of view"),
        ((0, 0, 29, 1), "29 degrees.*30 to 150"),
        ((0, 0, 151, 1), "field of view"),
        ((0, 0, 90, 0), "at least one frame"),
    ],
)
def test_impossible_views_by_hand_are_named(args, words):
    with pytest.raises(InputError, match=words):
        manual_viewpoint(*args)


def test_unusable_maps_and_options_are_named():
    good = SaliencyMaps(torch.rand(2, 8, 16), "test")
    with pytest.raises(InputError, match="NaN"):
        find_regions(torch.full((8, 16), NAN))
    with pytest.raises(InputError, match=r"\[T, H, W\]"):
        find_regions(torch.rand(8))
    with pytest.raises(InputError, match="threshold"):
        find_regions(torch.rand(8, 16), threshold=1.0)
    with pytest.raises(InputError, match="'pan' is unknown"):
        viewpoints(good, 8.0, mode="pan")
    with pytest.raises(InputError, match="ranking 'size' is unknown"):
        viewpoints(good, 8.0, ranking="size")
    with pytest.raises(InputError, match="field of view"):
        viewpoints(good, 8.0, fov_deg=200)
