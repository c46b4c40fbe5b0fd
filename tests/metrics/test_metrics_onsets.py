"""Onset figures: by hand, and SyncFusion's recorded ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from golden.filler import noise, wave
from published_svg import read_json, tensors

from con360.errors import InputError
from con360.metrics.audio import energy_l1
from con360.metrics.onsets import (
    OnsetScore,
    chance_f,
    onset_average_precision,
    onset_count_matches,
    onset_score,
    published_clip,
    published_frames,
    published_peaks,
    published_thinning,
    published_vectors,
)
from con360.records import OnsetTrack, Sound


def track(*times_s: float) -> OnsetTrack:
    return OnsetTrack(times_s, tuple(1.0 for _ in times_s))


def test_onset_accuracy_counts():
    two, three = track(0.1, 0.5), track(0.1, 0.5, 0.9)
    assert (onset_count_matches(two, two), onset_count_matches(two, three)) == (1.0, 0.0)


def test_chance_is_the_same_rhythm_at_other_moments():
    """One onset of a clip of 2 s meets another one within 50 ms on either side in 100 of 2000 ms."""
    assert chance_f(track(0.5), track(0.5), 2.0, turns=2000) == pytest.approx(100 / 1999)
    # A rhythm that comes round to itself is found again at each of its beats.
    four = track(0.25, 0.75, 1.25, 1.75)
    assert chance_f(four, four, 2.0, turns=4) == 1.0
    assert chance_f(track(), four, 2.0) == 0.0 and chance_f(track(), track(), 2.0) == 1.0


def test_onset_average_precision_by_hand():
    target = track(1.0, 2.0)
    # Strongest first: a miss, then a hit (precision 1/2), then a hit (2/3); two targets.
    found = OnsetTrack((0.5, 1.04, 2.0), (0.9, 0.5, 0.3))
    assert onset_average_precision(found, target) == pytest.approx((1 / 2 + 2 / 3) / 2)
    # 70 ms off is a hit only with a tolerance of 100 ms.
    assert onset_average_precision(track(1.07), target) == 0.0
    assert onset_average_precision(track(1.07), target, 0.1) == 0.5
    # One target is not matched twice.
    assert onset_average_precision(OnsetTrack((1.0, 1.01), (0.2, 0.1)), track(1.0)) == 1.0
    assert onset_average_precision(track(), track()) == 1.0 and onset_average_precision(track(), target) == 0.0
    assert onset_average_precision(target, track()) == 0.0


def test_f_measure_pairs_one_to_one():
    # 1.03 is near both 1.0 and 1.07; the pairing from the left still finds two pairs.
    score = onset_score(track(0.97, 1.03, 3.0), track(1.0, 1.07, 2.0))
    assert (score.hits, score.found, score.true) == (2, 3, 3) and score.f == pytest.approx(2 / 3)
    assert score.offsets_s == pytest.approx((-0.03, -0.04))
    # Doubles are not counted twice, late ones not at all.
    assert onset_score(track(1.0, 1.01), track(1.0)).precision == 0.5
    assert onset_score(track(1.06), track(1.0)).f == 0.0 and onset_score(track(1.05), track(1.0)).f == 1.0
    assert onset_score(track(), track()).f == 1.0 and onset_score(track(1.0), track()).f == 0.0
    both = score + onset_score(track(1.0), track(1.0))
    assert (both.hits, both.found, both.true) == (3, 4, 4) and isinstance(both, OnsetScore)


def test_f_measure_finds_as_many_pairs_as_any_matching():
    scipy_match = pytest.importorskip("scipy.sparse.csgraph").maximum_bipartite_matching
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(0)
    for _ in range(50):
        found, true = (np.sort(rng.uniform(0, 1, rng.integers(1, 12))) for _ in range(2))
        near = csr_matrix(np.abs(found[:, None] - true[None]) <= 0.05)
        most = int((scipy_match(near, perm_type="column") >= 0).sum())
        assert onset_score(track(*found), track(*true)).hits == most


# SyncFusion -----------------------------------------------------------------------------------------------------------


def bursts(case: dict) -> np.ndarray:
    t = np.arange(44100) / 22050
    heard = 1e-4 * noise(f"when/clip/{case['case']}", (44100,))
    for begin, level in zip(case["burst_times_s"], case["burst_amps"], strict=True):
        since = np.maximum(t - begin, 0.0)
        heard = heard + level * np.exp(-40 * since) * np.sin(2 * np.pi * 1000 * since)
    return heard.astype(np.float32)


def test_published_clip_figures_are_exact():
    kept = tensors("syncfusion_metrics.safetensors")
    cases = read_json("syncfusion_metrics.json")["clip_metrics"]
    for case in cases:
        heard, name = bursts(case), case["case"]
        assert np.abs(heard[::64] - kept[f"clip/{name}/wave_stride64"].numpy()).max() < 1e-6
        target, made = ([int(t * 22050) for t in case[f"{kind}_onsets_s"]] for kind in ("target", "generated"))
        peaks = [published_peaks(made, heard)[at] for at in made]
        assert peaks == pytest.approx(case["confidence"], abs=1e-6), name
        assert published_thinning(made, peaks) == case["after_nms_samples"], name
        for tolerance in (0.05, 0.1):
            score, wanted = published_clip(target, made, heard, tolerance), case[f"delta_{tolerance:g}"]
            assert score.accuracy == pytest.approx(wanted["acc"], abs=1e-6), (name, tolerance)
            assert score.ap == pytest.approx(wanted["ap"], abs=1e-6), (name, tolerance)
        assert bool(score.count_matches) == case["count_match"]
    assert len(cases) == 9


def test_wart_all_wrong_scores_half_and_honest_figures_say_so():
    case = next(c for c in read_json("syncfusion_metrics.json")["clip_metrics"] if c["case"] == "late120")
    late, true = case["generated_onsets_s"], case["target_onsets_s"]
    score = published_clip([int(t * 22050) for t in true], [int(t * 22050) for t in late], bursts(case))
    assert score.ap == 0.5 and onset_score(track(*late), track(*true)).f == 0.0
    assert published_clip([], [1], np.ones(1)).ap == 0.0


def test_clips_that_the_published_script_cannot_score_are_named():
    for onset, heard, says in ((1000, np.ones(44100), "1000"), (2000, np.zeros(44100), "silent")):
        with pytest.raises(InputError, match=says):
            published_clip([2000], [onset], heard)


@pytest.mark.parametrize("case", ["bce_a", "bce_b", "bce_c"])
def test_published_frame_figures_are_exact(case):
    kept = tensors("syncfusion_metrics.safetensors")
    wanted = next(c for c in read_json("syncfusion_metrics.json")["frame_metrics"] if c["case"] == case)
    score = published_frames(kept[f"{case}/logits"].sigmoid().numpy(), kept[f"{case}/labels"].numpy())
    assert score.ap == pytest.approx(wanted["AP"], abs=1e-6)
    assert score.accuracy == pytest.approx(wanted["Acc"], abs=1e-6)
    assert score.count_matches == pytest.approx(wanted["OnsNumAcc"], abs=1e-6)


def test_onsets_as_frames_are_scored_as_published():
    cases = read_json("rms_envelope.json")["onset_vectors_30fps"]
    for case in cases:
        sureness = [0.6 + 0.05 * i for i in range(len(case["pred"]))]
        score = published_vectors(case["target"], case["pred"], sureness)
        assert score.accuracy == pytest.approx(case["acc"]), case["case"]
        assert score.ap == pytest.approx(case["ap"]), case["case"]
    assert {c["case"] for c in cases} == {"exact", "off1", "off2", "off3", "missing", "extra"}


def test_energy_l1_is_the_published_one():
    cases = {c["case"]: c["el1"] for c in read_json("rms_envelope.json")["el1_vs_when_rms4"]}
    x = wave("when/rms4", 64000)[None]
    late = torch.cat((torch.zeros(1, 800), x[:, :-800]), dim=1)
    for name, other in {"itself": x, "half": x / 2, "late50ms": late, "silence": 0 * x}.items():
        assert energy_l1(Sound(other, 16000), Sound(x, 16000)) == pytest.approx(cases[name], abs=1e-6), name
