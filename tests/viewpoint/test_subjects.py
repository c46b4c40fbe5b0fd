"""Subjects under a window, alone and through time, on maps whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from con360.geometry.erp import erp_directions
from con360.geometry.sphere import angle_between_deg, directions
from con360.records import Region, SaliencyMaps, View, Viewpoint
from con360.viewpoint.choose import viewpoints
from con360.viewpoint.follow import Follower, view_on_path
from con360.viewpoint.regions import find_regions
from con360.viewpoint.subjects import find_subjects

FPS = 8.0


def blob(yaw: float, pitch: float, sigma: float = 8.0, height: int = 64) -> torch.Tensor:
    away = angle_between_deg(erp_directions(height), directions(yaw, pitch))
    return torch.exp(-0.5 * (away / sigma) ** 2)


def off_deg(view: View | Region, yaw: float, pitch: float) -> float:
    return float(angle_between_deg(directions(view.yaw_deg, view.pitch_deg), directions(yaw, pitch)))


def tracks(maps: torch.Tensor, **options) -> tuple[Viewpoint, ...]:
    return viewpoints(SaliencyMaps(maps.float(), "test"), FPS, mode="track", **options)


@settings(max_examples=30, deadline=None)
@given(st.floats(-180, 179.9), st.floats(-55, 55), st.floats(5, 14))
def test_a_blob_is_framed_where_it_is(yaw, pitch, sigma):
    (region,) = find_subjects(blob(yaw, pitch, sigma))
    assert off_deg(region, yaw, pitch) < 1.0
    assert 0 < region.mass <= 1 and 0 < region.width_deg <= 180 and 0 < region.height_deg <= 180


def test_a_wide_region_is_framed_at_its_subject_and_not_at_its_centroid():
    """A bright thing at one end of a dim band of 240 degrees: the threshold joins all of it."""
    away = angle_between_deg(erp_directions(64), directions(0.0, 0.0))
    band = 0.55 * ((away < 120) & (erp_directions(64)[..., 1].abs() < 0.2)).float()
    map_ = torch.maximum(band, blob(-100.0, 0.0))
    (centroid,) = find_regions(map_)
    assert off_deg(centroid, -100.0, 0.0) > 50
    assert off_deg(find_subjects(map_)[0], -100.0, 0.0) < 5


def test_subjects_are_ranked_apart_from_each_other_and_near_the_horizon():
    map_ = blob(60, 10) + 0.7 * blob(100, 10) + 0.8 * blob(-90, -20) + 2 * blob(0, 85)
    found = find_subjects(map_)
    assert off_deg(found[0], 60, 10) < 8
    places = [directions(r.yaw_deg, r.pitch_deg) for r in found]
    assert all(float(angle_between_deg(a, b)) >= 45 for i, a in enumerate(places) for b in places[:i])
    assert any(off_deg(region, -90, -20) < 5 for region in found)
    assert all(abs(region.pitch_deg) <= 60 for region in found), "the sky is no subject"


def test_neighbours_whose_wide_windows_overlap_are_two():
    found = find_subjects(blob(0, 0, 6) + blob(50, 0, 6))
    assert sorted(round(region.yaw_deg, -1) for region in found[:2]) == [0, 50]


def test_turning_the_map_turns_the_subjects():
    map_ = blob(20, 10) + 0.6 * blob(-120, -15)
    turned = find_subjects(map_.roll(40, -1))
    for before, after in zip(find_subjects(map_), turned, strict=True):
        assert off_deg(after, before.yaw_deg + 40 * 360 / 128, before.pitch_deg) < 0.1


def test_nothing_stands_out():
    assert find_subjects(torch.ones(64, 128)) == ()
    (front,) = tracks(torch.ones(4, 64, 128))
    assert front.region is None and front.track.views[0] == View(0.0, 0.0)


def test_still_views_average_the_maps_first():
    """A region of every map wins over one that is brighter in a single map."""
    maps = torch.stack([0.6 * blob(-40, 0)] * 8)
    maps[3] = torch.maximum(maps[3], blob(90, 0))
    found = viewpoints(SaliencyMaps(maps, "test"), FPS)
    assert off_deg(found[0].track.views[0], -40, 0) < 2


@pytest.mark.parametrize("way", ["seam", "pole"])
def test_a_track_keeps_its_subject(way):
    steps = np.linspace(0, 1, 25)
    places = [(150 + 60 * s, 5.0) if way == "seam" else (30.0, 40 + 100 * s) for s in steps]
    # Beyond the pole the way goes down on the other side.
    places = [(yaw, pitch) if pitch <= 90 else (yaw + 180, 180 - pitch) for yaw, pitch in places]
    first = tracks(torch.stack([blob(*place) for place in places]))[0]
    assert max(off_deg(view, *place) for view, place in zip(first.track.views, places, strict=True)) < 5


@pytest.mark.parametrize("speed", [15.0, 30.0])
def test_crossing_subjects_keep_their_tracks(speed):
    """Equally bright, at equal heights, one through the other."""
    count = int(2 * 50 / speed * FPS)
    right = [-50 + speed / FPS * t for t in range(count)]
    first, second = tracks(torch.stack([blob(x, 0, 6) + blob(-x, 0, 6) for x in right]))[:2]
    ways = sorted((found.track.views[0].yaw_deg, found.track.views[-1].yaw_deg) for found in (first, second))
    assert ways[0] == (pytest.approx(-50, abs=6), pytest.approx(right[-1], abs=8))
    assert ways[1] == (pytest.approx(50, abs=6), pytest.approx(-right[-1], abs=8))


def test_a_track_bridges_a_gap():
    maps = torch.stack([blob(6.0 * t, 0) if t not in (7, 8, 9) else torch.ones(64, 128) for t in range(16)])
    first = tracks(maps)[0]
    assert all(off_deg(first.track.views[t], 6.0 * t, 0) < 6 for t in range(2, 14))


def test_the_camera_looks_ahead():
    """The camera does not start at a region that is brightest in the first maps alone."""
    follower = Follower(4.0)
    for t in range(40):
        follower.add(blob(-30, 0) + (1.2 * blob(120, 0) if t < 2 else 0))
    assert off_deg(view_on_path(follower.path(), 0, 90.0), -30, 0) < 3


def test_the_camera_turns_to_a_lasting_heavier_subject_and_ignores_a_short_one():
    follower = Follower(4.0)
    for t in range(60):
        first, second = (1.0, 0.3) if t < 30 else (0.3, 1.0)
        follower.add(first * blob(0, 0) + second * blob(90, 0) + (t == 10) * blob(-90, 0))
    path = follower.path()
    assert off_deg(view_on_path(path, 10, 90.0), 0, 0) < 3
    assert off_deg(view_on_path(path, 5, 90.0), 0, 0) < 3 and off_deg(view_on_path(path, 55, 90.0), 90, 0) < 3
    speeds = np.degrees(np.arccos(np.clip((path[1:] * path[:-1]).sum(1), -1, 1))) * 4
    assert speeds.max() < 65


def test_ranks_of_the_camera_look_at_different_subjects():
    maps = [blob(0, 0) + 0.8 * blob(90, 0) + 0.6 * blob(-100, 0)] * 12
    for rank, yaw in ((1, 0), (2, 90), (3, -100), (9, -100)):
        follower = Follower(4.0, rank)
        for one in maps:
            follower.add(one)
        assert off_deg(view_on_path(follower.path(), 6, 90.0), yaw, 0) < 3, rank


def test_the_camera_holds_where_nothing_is_seen():
    follower = Follower(4.0)
    for t in range(30):
        follower.add(blob(70, 10) if t < 10 else torch.ones(64, 128))
    assert off_deg(view_on_path(follower.path(), 29, 90.0), 70, 10) < 3
    assert follower.found_something


def test_the_paper_ranking_is_the_centroids():
    maps = SaliencyMaps(torch.stack([blob(20, 0, 20) + 0.9 * blob(-120, 0, 6)] * 3), "test")
    by_centroid = viewpoints(maps, FPS, ranking="centroid")
    assert [found.region for found in by_centroid] == list(find_regions(maps.maps))
    assert math.isclose(by_centroid[0].region.mass, find_regions(maps.maps)[0].mass)
