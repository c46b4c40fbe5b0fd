"""Probes of generated fields and of two views: known answers of a model that tells the truth and of one that cannot."""

from __future__ import annotations

import pytest
import torch
from known_models import Blind, Noisy, TruthTeller

from con360.metrics.sectors import sector_errors_db, sector_levels_db
from con360.records import Sound, View, ViewTrack
from con360.scenes import demo_scene
from con360.sound.ambisonics import encode
from con360.timing import ClipSpec
from train.evaluation import field_levels, two_views
from train.evaluation.row import table


@pytest.fixture(autouse=True)
def nothing_watched(monkeypatch):
    """Find no place: the picture's movement has tests of its own, and its saliency takes seconds."""
    monkeypatch.setattr(field_levels, "watched", lambda scene, seconds: ())
    monkeypatch.setattr(field_levels, "SECONDS", 1.0)


def test_a_plane_waves_sectors_are_the_cardioids_gains():
    noise = torch.randn(16000, generator=torch.Generator().manual_seed(0))
    levels = sector_levels_db(Sound(encode(noise, 0.0, 0.0), 16000, "ambix"), [(500.0, 2000.0)])[0]
    # 0.5 (1 + cos): the front, 45 degrees, 90 degrees, above; behind is silent.
    assert levels[[0, 1, 2, 8]].tolist() == pytest.approx([0.0, -1.38, -6.02, -6.02], abs=0.01)
    assert levels[4] < -100


def test_sectors_of_a_sound_turned_by_45_degrees_differ_and_its_gain_does_not_matter():
    noise = torch.randn(16000, generator=torch.Generator().manual_seed(0))
    front, side = (Sound(encode(noise, yaw, 0.0), 16000, "ambix") for yaw in (0.0, 45.0))
    louder = Sound(3 * front.waveform, 16000, "ambix")
    assert float(sector_errors_db(louder, front, [(500.0, 2000.0)]).max()) < 1e-4
    assert 1.0 < float(sector_errors_db(side, front, [(500.0, 2000.0)]).mean()) < 20.0


def test_the_true_field_over_the_true_sound_is_followed():
    figure = field_levels.reduce_field([field_levels.measure_field(TruthTeller(), 0)[0]])
    ours = figure["fields"]["generated"]
    assert ours == figure["fields"]["true"]
    assert ours["slope"] == pytest.approx(1.0, abs=0.02) and ours["error_db"] < 0.1 and ours["sectors_db"] < 0.1
    # W alone has neither front nor back.
    none = figure["fields"]["none"]
    assert none["slope"] == pytest.approx(0.0, abs=1e-6) and none["sectors_db"] > 2.0 and none["error_db"] > 0.5


def test_a_control_without_directions_is_not_measured_and_says_so():
    figure = field_levels.reduce_field([field_levels.measure_field(Blind(), 0)[0]])
    rows = field_levels.rows_field(figure)
    assert [row.ours for row in rows] == [None, None, None]
    assert all("gives no directions" in row.beside and "true field on this sound" in row.beside for row in rows)
    assert "not measured" in table(rows, {})


def test_two_true_views_agree_where_they_overlap_and_hear_the_scene_each_in_its_own_way(monkeypatch):
    monkeypatch.setattr(two_views, "SECONDS", 0.5)
    rows = [two_views.measure_two_views(TruthTeller(), index)[0] for index in range(2)]
    figure = two_views.reduce_two_views(rows)
    assert figure["with_directions"] and figure["shared_views"] == figure["shared_true"] < 0.1
    assert figure["shared_seeds"] == 0.0
    for kind in ("picture", "sound"):
        found = figure[kind]
        assert found["between"] == pytest.approx(found["between_true"], rel=0.05) and found["between"] > 0
        assert found["own"] < 0.05 * found["between"]


def test_seeds_that_draw_other_things_are_told_and_one_sound_is_heard_the_same_without_directions(monkeypatch):
    monkeypatch.setattr(two_views, "SECONDS", 0.5)
    row, _ = two_views.measure_two_views(Noisy(), 0)
    assert row["shared"]["seeds"] > 0.05 and row["shared"]["views"] > row["shared"]["true"]
    row, _ = two_views.measure_two_views(Blind(), 0)
    first, second = row["embeddings"]["sound"][:2]
    assert first == second and not row["directions"]
    figure = two_views.reduce_two_views([row])
    said = two_views.rows_two_views(figure)
    assert said[0].ours is None and "two scenes" in said[0].beside


@pytest.mark.parametrize("size", [32, 48])
def test_a_view_as_another_view_sees_it(size):
    scene, spec = demo_scene(), ClipSpec(0.5)
    views = View(0.0, 5.0, 90.0), View(40.0, -5.0, 80.0)
    left, right = (scene.view_frames(ViewTrack.still(view, spec.num_frames), size, spec) for view in views)
    shown, inside = two_views.seen_from(left, *views)
    assert 0.2 < float(inside.float().mean()) < 0.8
    assert float((shown - right).abs()[..., inside].mean()) < 0.02 < float((left - right).abs()[..., inside].mean())
