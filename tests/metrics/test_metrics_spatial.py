"""Spatial AV-Align: SAVGBench's recorded scores, chance and mono, and our own front ends on a known scene."""

from __future__ import annotations

import math

import pytest
import torch
from published_svg import read_json

from con360.errors import InputError
from con360.metrics.spatial import (
    Box,
    HeardColumn,
    HeardYaw,
    SpatialScore,
    azimuth_error_deg,
    chance_score,
    heard_rows,
    mono_score,
    placed_in_view,
    spatial_av_align,
)
from con360.records import Sound
from con360.sound.ambisonics import encode

RATE = 16000


def test_recorded_scores_are_exact():
    recorded, total = read_json("spatial_avalign.json"), SpatialScore(0, 0)
    for case in recorded["clips"]:
        placed = [HeardColumn(frame, x) for frame, _, x in case["seld"]]
        boxes = [Box(frame, x0, x1) for frame, _, x0, _, x1, _ in case["boxes"]]
        score = spatial_av_align(placed, boxes)
        if "error" in case:
            assert case["error"] == "ZeroDivisionError" and math.isnan(score.score)
        else:
            assert (score.hits, score.sounds - score.hits) == (case["TP"], case["FN"]), case["clip"]
        total += score
    assert len(recorded["clips"]) == 14
    assert recorded["all_clips"] == [
        f"AV spatial each component: num_TP: {total.hits}, num_FN: {total.sounds - total.hits}, "
        f"num_TP + num_FN: {total.sounds} ",
        f"AV_final_score: {total.score}",
    ]


@pytest.mark.parametrize(("width", "chance", "mono"), [(20, 0.36, 0.42), (40, 0.44, 0.55), (100, 0.66, 1.0)])
def test_chance_and_mono_grow_with_the_boxes(width, chance, mono):
    lefts = range(256 - width)
    scores = [(chance_score, chance), (mono_score, mono)]
    for score, wanted in scores:
        total = SpatialScore(0, 0)
        for left in lefts:
            total += score([HeardColumn(0, 5.0)], [Box(0, left, left + width)])
        assert total.score == pytest.approx(wanted, abs=0.02)


def bursts() -> torch.Tensor:
    """A tone that sounds in the first half of each second."""
    t = torch.arange(4 * RATE) / RATE
    return 0.3 * torch.sin(2 * math.pi * 500 * t) * (t % 1 < 0.5)


@pytest.mark.parametrize("yaw", [-28.0, 0.0, 12.0])
def test_directions_are_read_from_stereo_and_from_fields(yaw):
    side = math.tan(math.radians(yaw)) / math.tan(math.radians(30))
    stereo = Sound(torch.stack(((1 - side) / 2 * bursts(), (1 + side) / 2 * bursts())), RATE, "stereo")
    field = Sound(encode(bursts(), yaw, 10.0), RATE, "ambix")
    for sound in (stereo, field):
        heard = heard_rows(sound)
        assert {row.frame % 10 for row in heard} == {0, 1, 2, 3, 4}
        assert azimuth_error_deg(heard, lambda time_s: [yaw]) < 0.1
        assert azimuth_error_deg(heard, lambda time_s: [yaw + 20.0, -170.0]) == pytest.approx(20.0, abs=0.1)
        placed = placed_in_view(heard, 90.0)
        column = 128 * (1 + math.tan(math.radians(yaw)))
        assert [x for _, x in placed] == pytest.approx([column] * len(heard), abs=0.3)


def test_what_is_heard_outside_the_view_has_no_place():
    behind = Sound(encode(bursts(), 170.0, 0.0), RATE, "ambix")
    assert placed_in_view(heard_rows(behind), 90.0) == []
    assert placed_in_view([HeardYaw(0, 44.9), HeardYaw(1, -45.1)], 90.0)[0].x == pytest.approx(255.6, abs=0.2)


def test_silence_has_no_rows_and_sounds_without_a_direction_are_named():
    assert heard_rows(Sound(torch.zeros(2, RATE), RATE, "stereo")) == []
    assert heard_rows(Sound(torch.zeros(4, 10), RATE, "ambix")) == []
    assert math.isnan(azimuth_error_deg([], lambda time_s: [0.0]))
    for sound in (Sound(torch.zeros(1, RATE), RATE), Sound(torch.zeros(6, RATE), RATE, "other")):
        with pytest.raises(InputError, match="no direction"):
            heard_rows(sound)
    with pytest.raises(InputError, match="not numbers"):
        heard_rows(Sound(torch.full((2, RATE), float("nan")), RATE, "stereo"))
