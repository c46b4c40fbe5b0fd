"""Probes of models with known answers: one returns the true clip, one ignores the maps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from known_models import Blind, TruthTeller

from con360.records import Sound, View, ViewTrack
from con360.timing import ClipSpec
from train.evaluation import off_screen, probes
from train.evaluation.bench import Clip
from train.examples import scene_of


@pytest.fixture(autouse=True)
def no_codecs(monkeypatch):
    """Codecs that lose nothing; the built-in ones have a test of their own."""
    monkeypatch.setattr(probes, "through_vae", lambda bench, frames: frames)


def rows_of(measure, bench, indices) -> list[dict]:
    return [measure(bench, i)[0] for i in indices]


def test_turn_is_one_for_the_truth_and_small_for_the_blind():
    told = probes.reduce_turn(rows_of(probes.measure_turn, TruthTeller(), range(4)))
    assert told["best_of_12_fraction"] == told["true_views_through_vae_fraction"] == 1.0
    assert told["baseline_fraction"] <= 0.25 and told["num_views"] == 8
    blind = probes.reduce_turn(rows_of(probes.measure_turn, Blind(), range(4)))
    assert blind["best_of_12_fraction"] <= 0.25


def test_turn_asks_only_for_views_that_hold_a_source_and_far_apart():
    for index in range(6):
        row, _ = probes.measure_turn(TruthTeller(), index)
        scene, yaws = scene_of("test", index), probes.yaws_from(probes.rng_of(index, 1).uniform(0, 30.0))
        assert all(probes.holds(View(yaws[k], 0.0, 90.0), scene.performers, 0.25) for k in row["chosen"])
        assert len(set(row["chosen"])) == 2


def test_level_error_is_zero_for_the_truth_and_a_gain_is_counted_in_decibels(monkeypatch):
    told = off_screen.reduce_level(rows_of(off_screen.measure_level, TruthTeller(), [0]))
    assert told["level_abs_db_median"] == pytest.approx(0.0, abs=1e-6)
    assert told["slope"] == pytest.approx(1.0) and told["level_abs_db_median_no_basd"] > 0.5
    halved = TruthTeller()
    true = TruthTeller.generate

    def quieter(asks, seconds=4.0):
        clips = true(halved, asks, seconds)
        return [Clip(c.frames, Sound(c.sound.waveform / 2, c.sound.sample_rate_hz)) for c in clips]

    halved.generate = quieter
    figure = off_screen.reduce_level(rows_of(off_screen.measure_level, halved, [0]))
    assert figure["level_abs_db_median"] == pytest.approx(6.02, abs=0.01)
    assert figure["followed_abs_db_median"] == pytest.approx(0.0, abs=1e-6)


def test_level_of_a_model_that_ignores_the_turn_has_slope_zero_and_the_gains_own_spread():
    figure = off_screen.reduce_level(rows_of(off_screen.measure_level, Blind(), [0]))
    assert figure["slope"] == pytest.approx(0.0, abs=1e-9)
    assert figure["followed_abs_db_median"] == pytest.approx(figure["followed_abs_db_median_no_basd"])


def test_presence_is_heard_and_not_seen():
    figure = off_screen.reduce_presence(rows_of(off_screen.measure_presence, TruthTeller(), range(2)))
    assert figure["num_scenes"] == 2
    assert figure["maps_and_caption_db"] > 20.0
    assert figure["correlation_with"] == pytest.approx(1.0) == figure["correlation_without"]
    assert figure["picture_inside_seed_interval_fraction"] == 1.0
    assert figure["maps_and_caption_level_error_db_median"] == pytest.approx(0.0, abs=1e-6)


def test_a_hidden_performer_is_out_of_view_and_another_one_in_it():
    for index in range(8):
        found = off_screen._off_screen(scene_of("test", index), np.random.default_rng(index))
        assert found is not None
        hidden, view = found
        scene = scene_of("test", index)
        assert not probes.holds(replace(view, fov_deg=110.0), (scene.performers[hidden],), 0.5)
        assert probes.holds(view, scene.without(hidden).performers, 0.5)


@pytest.mark.parametrize("index", [0, 1])
def test_the_source_enters_or_leaves_the_view_in_mid_clip(index):
    scene, chosen, view, kind = probes.crossing_scene(index)
    p = (scene.performers[chosen],)
    inside = [probes.holds(replace(view, fov_deg=100.0), p, t) for t in (0.0, 3.9)]
    assert inside == ([False, True] if kind == "entry" else [True, False])


def test_entry_and_exit_are_in_time_for_the_truth_alone():
    rows = rows_of(probes.measure_entry_exit, TruthTeller(), range(2))
    figure = probes.reduce_entry_exit(rows)
    assert [row["con360"]["frames_off"] for row in rows] == [0, 0]
    assert figure["con360"]["fraction"] == figure["codecs"]["fraction"] == 1.0
    assert figure["baseline"]["fraction"] == 0.0


def test_a_source_that_comes_four_frames_late_or_never_is_not_in_time():
    scene, chosen, view, kind = probes.crossing_scene(0)
    bench, spec = TruthTeller(), ClipSpec(4.0)
    track = ViewTrack.still(view, spec.num_frames)
    true = scene.view_frames(track, 32, spec)
    empty = scene.without(chosen).view_frames(track, 32, spec)
    late = torch.cat((true[:1].expand(4, -1, -1, -1), true[:-4]))
    assert probes.crossing_error(late, true, empty, kind) in (3, 4, 5)
    assert probes.crossing_error(empty, true, empty, kind) is None
    sound = bench.truth(scene, track).sound
    performer = scene.performers[chosen]
    assert probes.sound_break_db(sound, sound, performer) == 0.0
    cut = sound.waveform.clone()
    cut[:, 32000:48000] *= 0.1
    assert probes.sound_break_db(Sound(cut, 16000), sound, performer) > probes.BROKEN_DB


def test_a_moving_view_is_followed_by_the_truth_alone():
    figure = probes.reduce_moving(rows_of(probes.measure_moving, TruthTeller(), [0]))
    assert figure["con360"]["best_of_12_fraction"] == figure["con360"]["follows_fraction"] == 1.0
    assert figure["baseline"]["best_of_12_fraction"] < 0.3
