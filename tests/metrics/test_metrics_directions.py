"""Direction figures of Ambisonics: planted angles, seconds, bands and maps. `tests/golden` has recorded values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from con360.errors import InputError
from con360.metrics.directions import MISSING_DEG, OCTAVES_HZ, angular_errors, direction_errors
from con360.metrics.energy_maps import auc_judd, energy_maps, map_agreement
from con360.records import Sound
from con360.sound.ambisonics import encode

RATE = 16000


def noise(seconds: float = 2.0, seed: int = 0) -> Tensor:
    return torch.randn(round(seconds * RATE), generator=torch.Generator().manual_seed(seed))


def field(mono: Tensor, yaw: Tensor | float, pitch: Tensor | float = 0.0) -> Sound:
    return Sound(encode(mono, yaw, pitch), RATE, "ambix")


def tone(hz: float, seconds: float = 2.0) -> Tensor:
    return torch.sin(2 * math.pi * hz * torch.arange(round(seconds * RATE)) / RATE)


def mixed(*fields: Sound) -> Sound:
    return Sound(sum(one.waveform for one in fields), RATE, "ambix")


def test_the_great_circle_does_not_care_about_the_axes_names_and_the_parts_do():
    a, b = field(noise(), 70.0, 10.0), field(noise(), -20.0, 35.0)
    ours, paper = (direction_errors(a, b, reading) for reading in ("acn", "paper"))
    assert ours.angular == pytest.approx(paper.angular, abs=1e-6)
    assert abs(ours.theta - paper.theta) > 0.2


@pytest.mark.parametrize("part", ["clip", "second", "band"])
def test_a_source_at_its_place_reads_0_and_mirrored_twice_its_angle(part):
    true = field(noise(), 40.0)
    assert angular_errors(true, true, part).mean_deg == pytest.approx(0.0, abs=1e-3)
    mirrored = angular_errors(field(noise(), -40.0), true, part)
    assert mirrored.mean_deg == pytest.approx(80.0, abs=0.01) and mirrored.missing_share == 0.0
    assert angular_errors(field(noise(), 40.0, 25.0), true, part).mean_deg == pytest.approx(25.0, abs=0.01)


def test_yaw_wraps_and_pitch_shortens_the_way():
    a, b = field(noise(), 175.0, 60.0), field(noise(), -175.0, 60.0)
    cosine = math.sin(math.radians(60)) ** 2 + math.cos(math.radians(60)) ** 2 * math.cos(math.radians(10))
    assert angular_errors(a, b).mean_deg == pytest.approx(math.degrees(math.acos(cosine)), abs=1e-3)


def test_seconds_count_by_the_references_energy():
    loudness = torch.cat((torch.ones(RATE), torch.full((RATE,), 0.5)))
    true = field(noise() * loudness, 0.0)
    wrong_late = field(noise() * loudness, torch.cat((torch.zeros(RATE), torch.full((RATE,), 60.0))))
    errors = angular_errors(wrong_late, true, "second")
    assert errors.degrees == pytest.approx([0.0, 60.0], abs=1e-3)
    assert errors.mean_deg == pytest.approx(60 * errors.shares[1]) and 0.15 < errors.shares[1] < 0.25


def test_bands_tell_swapped_sources_that_the_clip_hides():
    low, high = tone(250.0), tone(4000.0)
    true, swapped = (mixed(field(low, a), field(high, b)) for a, b in ((50.0, -50.0), (-50.0, 50.0)))
    assert angular_errors(swapped, true, "clip").mean_deg == pytest.approx(0.0, abs=0.5)
    errors = angular_errors(swapped, true, "band")
    # Octaves without sound are left out.
    assert errors.degrees == pytest.approx([100.0, 100.0], abs=0.5) and errors.within(30) == 0.0


def test_a_missing_band_counts_as_90_degrees_and_its_share_is_told():
    low, high = field(tone(250.0), 30.0), field(tone(4000.0), -30.0)
    errors = angular_errors(low, mixed(low, high), "band")
    assert sorted(errors.degrees) == pytest.approx([0.0, MISSING_DEG], abs=0.5)
    assert errors.missing_share == pytest.approx(0.5, abs=0.01)
    quieter = Sound(0.01 * mixed(low, high).waveform, RATE, "ambix")
    assert angular_errors(quieter, mixed(low, high), "band").missing_share == 0.0
    silent = Sound(torch.zeros(4, RATE), RATE, "ambix")
    assert angular_errors(silent, low).mean_deg == MISSING_DEG
    assert math.isnan(angular_errors(low, silent).mean_deg)


def test_bands_cover_every_frequency_and_sum_to_the_clip():
    true = field(noise(), 33.0, 5.0)
    assert [a[1] for a in OCTAVES_HZ[:-1]] == [b[0] for b in OCTAVES_HZ[1:]]
    assert angular_errors(true, true, "band").shares.sum() == pytest.approx(1.0)
    one = angular_errors(field(noise(), 0.0), true, "band", ((0.0, math.inf),))
    assert one.mean_deg == pytest.approx(angular_errors(field(noise(), 0.0), true).mean_deg, abs=1e-6)


def test_sounds_of_other_rates_and_lengths_compare():
    true = field(tone(500.0), 45.0)
    made = Sound(encode(torch.sin(2 * math.pi * 500 * torch.arange(48000 * 3) / 48000), 15.0, 0.0), 48000, "ambix")
    for part in ("clip", "second", "band"):
        assert angular_errors(made, true, part).mean_deg == pytest.approx(30.0, abs=0.5)


def test_what_has_no_direction_is_refused():
    good = field(noise(), 0.0)
    with pytest.raises(InputError, match="4 channels"):
        angular_errors(Sound(torch.zeros(1, 10), RATE), good)
    with pytest.raises(InputError, match="not numbers"):
        angular_errors(good, Sound(torch.full((4, 10), math.nan), RATE, "ambix"))
    with pytest.raises(InputError, match="clip, second, band"):
        angular_errors(good, good, "bar")


# ViSAGe's maps --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("per_second", [0, 1, 5])
def test_a_perfect_map_has_1_and_a_map_of_w_alone_half(per_second):
    true = field(noise(), 100.0, 10.0)
    same = map_agreement(true, true, per_second)
    assert same.cc == pytest.approx(1.0) and same.auc == pytest.approx(1.0, abs=2e-3)
    flat = Sound(torch.cat((true.waveform[:1], torch.zeros(3, len(noise())))), RATE, "ambix")
    agreement = map_agreement(flat, true, per_second)
    assert agreement.cc == 0.0 and agreement.auc == pytest.approx(0.5, abs=0.03)
    assert agreement == map_agreement(flat, true, per_second)
    away = map_agreement(field(noise(), -80.0, -10.0), true, per_second)
    assert away.cc < 0 and away.auc < 0.2


def test_a_map_is_loudest_at_its_source():
    points = [round(180 * math.sin(math.pi * (row + 0.5) / 90)) for row in range(90)]
    for yaw, column in ((90.0, 134), (-90.0, 44), (0.0, 89)):
        found = energy_maps(field(noise(), yaw))[0]
        assert len(found) == sum(points)
        # The row of the horizon is whole: 2 degrees a point, from +178 on the left.
        assert int(found.argmax()) == pytest.approx(sum(points[:44]) + column, abs=1)


def test_figures_of_the_published_script_come_out():
    """Recorded by running the published evaluation on these two sounds."""
    g = torch.Generator().manual_seed(1)
    made, true = (
        Sound((encode(_draw(g), *a) + gain * encode(_draw(g), *b)).float(), RATE, "ambix")
        for a, gain, b in (((30.0, 20.0), 0.5, (-100.0, -30.0)), ((50.0, 0.0), 0.7, (170.0, 10.0)))
    )
    assert map_agreement(made, true) == pytest.approx((0.3994802, 0.8613191), abs=1e-5)


def _draw(g: torch.Generator) -> Tensor:
    return torch.randn(16000, generator=g).double()


def test_auc_follows_ranks_alone():
    true = np.linspace(0, 1, 4000)
    assert auc_judd(true**3, true) == pytest.approx(auc_judd(true, true), abs=1e-3)
    assert auc_judd(-true, true) < 0.1


def test_a_flat_true_map_is_no_answer():
    flat = Sound(torch.cat((noise()[None], torch.zeros(3, len(noise())))), RATE, "ambix")
    assert math.isnan(map_agreement(field(noise(), 0.0), flat).cc)
    with pytest.raises(InputError, match="longer"):
        energy_maps(field(noise(0.5), 0.0), 1)
