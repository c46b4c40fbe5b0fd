"""The evaluation of drawn onsets: its detector, lag, rows, and that a stopped run goes on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_model import make_tiny_joint_model

from con360.metrics.onsets import onset_score
from con360.records import OnsetTrack, Sound, TimeTrack
from con360.sampling.settings import SamplerSettings
from con360.sound.envelopes import envelope_of_onsets, shape_sound
from train.evaluation.drawn_onsets import (
    APART_S,
    GUIDED,
    SHIFT_S,
    UNGUIDED,
    Subject,
    drawn_track,
    figures,
    lag_s,
    later,
    rms_rises,
    run,
    summary,
)
from train.evaluation.store import Store
from train.examples import scene_of


def struck(track: TimeTrack) -> Sound:
    noise = Sound(0.2 * torch.randn(1, 64000, generator=torch.Generator().manual_seed(0)), 16000)
    return shape_sound(noise, envelope_of_onsets(track.onsets, 4.0))[0]


def test_onsets_are_drawn_apart_and_differ_by_scene_and_seed():
    tracks = {drawn_track(index, seed).onsets.times_s for index in range(3) for seed in range(2)}
    assert len(tracks) == 6
    for times in tracks:
        assert len(times) == 5 and min(np.diff(times)) >= APART_S and times[-1] + SHIFT_S < 3.9


def test_the_other_detector_finds_what_was_drawn_and_nothing_in_noise():
    total = [onset_score(rms_rises(struck(drawn_track(i, 0))), drawn_track(i, 0).onsets) for i in range(4)]
    assert sum(score.f for score in total) / 4 > 0.9
    assert max(abs(np.median(score.offsets_s)) for score in total) < 0.02
    noise = Sound(torch.randn(1, 64000, generator=torch.Generator().manual_seed(1)), 16000)
    assert rms_rises(noise) == OnsetTrack(())


def test_a_shift_is_read_from_two_curves():
    track = drawn_track(0, 0)
    curves = [figures(struck(one), one, scene_of("test", 0))["curve"] for one in (track, later(track))]
    assert lag_s(*curves) == pytest.approx(SHIFT_S, abs=0.01) and lag_s(*curves[::-1]) == pytest.approx(
        -SHIFT_S, abs=0.01
    )


def test_rows_are_measured_against_the_unguided_clip():
    track, scene = drawn_track(0, 0), scene_of("test", 0)
    good = figures(struck(track), track, scene)
    steady = Sound(0.1 * torch.randn(1, 64000, generator=torch.Generator().manual_seed(2)), 16000)
    rows = {UNGUIDED: figures(steady, track, scene), GUIDED: good}
    found = summary({(0, 0): rows, (1, 0): rows})
    assert found[GUIDED]["f_ours"] > 0.9 > 0.3 > found[UNGUIDED]["f_ours"] and found[UNGUIDED]["e_l1_of_unguided"] == 1
    assert found[GUIDED]["clips"] == 2 and found[GUIDED]["shift_s"] is None
    assert summary({(0, 0): {GUIDED: good}}) == {}


def test_a_stopped_run_goes_on(tmp_path, monkeypatch):
    subject = Subject(make_tiny_joint_model(), None, SamplerSettings(steps=1, cfg_video=None, cfg_audio=None))
    made = []
    sound_of = Subject.sound

    def counted(self, index, seed, track, way=None):
        made.append(way)
        return struck(drawn_track(index, seed)) if len(made) > 1 else sound_of(self, index, seed, track, way)

    monkeypatch.setattr(Subject, "sound", counted)
    store = Store(tmp_path, {"model": "tiny"})
    assert run(subject, store, 1, 1, 0.0, print).startswith("# Drawn onsets, 0 clips") and not made
    text = run(subject, store, 1, 1, None, print)
    assert len(made) == 3 and "| training-free |" in text and "| silence |" in text and "| trained |" not in text
    assert run(subject, store, 1, 1, None, print) == text and len(made) == 3
