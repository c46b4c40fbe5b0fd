"""The rigid sphere against published values, and filters and pairs made of it against itself."""

from __future__ import annotations

import math

import pytest
import torch

from con360.errors import InputError
from con360.records import Sound, SourcePoint, SourceTrack
from con360.sound.ambisonics import harmonics
from con360.sound.ear_filters import HeadResponses, ears_of_responses, equalised
from con360.sound.ear_pairs import EarPairs, pairs_of_responses, place_pairs, place_pairs_blocks
from con360.sound.rigid_sphere import even_directions, sphere_head, sphere_response

RATE = 48000
SOME_HZ = torch.tensor([0.0, 500.0, 1000.0, 2000.0, 4000.0], dtype=torch.float64)


@pytest.fixture(scope="module")
def head() -> HeadResponses:
    return sphere_head(*even_directions(300), RATE)


@pytest.fixture(scope="module")
def pairs(head: HeadResponses) -> EarPairs:
    return pairs_of_responses(head, RATE)


def test_the_series_gives_the_known_levels() -> None:
    """Levels in decibels and interaural delays in microseconds, computed apart from this code."""
    found = 20 * sphere_response(torch.tensor([0.0, 150.0], dtype=torch.float64), SOME_HZ).abs().log10()
    wanted = [[0, 2.21, 3.74, 5.14, 5.70], [0, 0.01, -0.79, -5.23, -4.21]]
    assert (found - torch.tensor(wanted, dtype=torch.float64)).abs().max() < 0.006
    azimuth = torch.tensor([15.0, 30.0, 45.0, 60.0, 90.0], dtype=torch.float64)
    near, far = (sphere_response(90 + side * azimuth, SOME_HZ[1:2])[:, 0] for side in (-1, 1))
    delays = (near / far).angle() / (2 * math.pi * 500) * 1e6
    assert (delays - torch.tensor([209.0, 399, 555, 668, 759], dtype=torch.float64)).abs().max() < 0.6


def late_us(left: torch.Tensor, right: torch.Tensor) -> float:
    """Delay of the right ear after the left one at 500 Hz."""
    turn = torch.exp(-2j * math.pi * 500 * torch.arange(left.shape[-1], dtype=torch.float64) / RATE)
    left, right = left.double(), right.double()
    return float(((left * turn).sum() * (right * turn).sum().conj()).angle() / (2 * math.pi * 500) * 1e6)


@pytest.mark.parametrize("order", [1, 3])
def test_filters_of_the_sphere_delay_as_the_sphere(head: HeadResponses, order: int) -> None:
    ears = ears_of_responses(head, order, RATE)
    for yaw, wanted in ((-30.0, 399), (-90.0, 759), (45.0, -555)):
        patterns = harmonics(torch.tensor(yaw), torch.tensor(0.0), order)
        left, right = (patterns[:, None] * ears.taps).sum(1)
        assert late_us(left, right) == pytest.approx(wanted, rel=0.2 if order == 1 else 0.03), yaw


def test_the_equalised_sphere_is_as_loud_from_everywhere_as_nothing(head: HeadResponses) -> None:
    equal = equalised(head)
    used = (equal.hz > 300) & (equal.hz < 16000)
    diffuse = (equal.areas[:, None, None] * equal.spectra.abs() ** 2).sum(0).mean(0)[used]
    assert (10 * diffuse.log10()).abs().max() < 0.3
    assert float(equal.areas.sum()) == pytest.approx(1) and equal.areas.min() > 0


def test_pairs_place_a_still_sound_as_the_sphere_hears_it(pairs: EarPairs) -> None:
    click = torch.zeros(1, 2048)
    click[0, 1000] = 1
    for yaw, wanted in ((-15.0, 209), (-60.0, 668), (90.0, -759)):
        left, right = place_pairs(Sound(click, RATE), SourceTrack.still(SourcePoint(yaw)), pairs).waveform
        assert late_us(left, right) == pytest.approx(wanted, abs=15), yaw
    far = place_pairs(Sound(click, RATE), SourceTrack.still(SourcePoint(-15.0, distance_m=2.0)), pairs).waveform
    near = place_pairs(Sound(click, RATE), SourceTrack.still(SourcePoint(-15.0)), pairs).waveform
    assert torch.allclose(2 * far, near, atol=1e-6)


def test_a_moving_sound_is_smooth_and_the_same_in_any_blocks(pairs: EarPairs) -> None:
    tone = 0.5 * torch.sin(2 * math.pi * 300 * torch.arange(RATE) / RATE)[None]
    track = SourceTrack((0.0, 1.0), (SourcePoint(-90.0), SourcePoint(90.0, 20.0)))
    whole = place_pairs(Sound(tone, RATE), track, pairs).waveform
    streamed = torch.cat([*place_pairs_blocks(tone.split([1, 999, 40000, 7000], 1), track, pairs)], 1)
    assert whole.shape == (2, RATE) and (whole - streamed).abs().max() < 1e-6
    # A step would stand out from the bend of a tone: the second difference stays near its own.
    inside = whole[:, 200:-200]
    bend = (2 * math.pi * 300 / RATE) ** 2 * inside.abs().max()
    assert inside.diff(n=2).abs().max() < 1.2 * bend
    left, right = whole[:, 2000:6000].square().mean(1), whole[:, -6000:-2000].square().mean(1)
    assert left[0] > 1.1 * left[1] and right[1] > 1.1 * right[0]


@pytest.mark.parametrize("count", [0, 1, 60])
def test_the_shortest_sounds_stay_as_long(pairs: EarPairs, count: int) -> None:
    track = SourceTrack.still(SourcePoint(10.0))
    assert place_pairs(Sound(torch.ones(1, count), RATE), track, pairs).waveform.shape == (2, count)


def test_sounds_that_pairs_cannot_place_are_a_sentence(pairs: EarPairs) -> None:
    track = SourceTrack.still(SourcePoint(0.0))
    for sound, says in (
        (Sound(torch.ones(2, 9), RATE, "stereo"), "one source is one channel"),
        (Sound(torch.full((1, 9), torch.nan), RATE), "not finite"),
        (Sound(torch.ones(1, 9), 44100), "for 48000 Hz and the sound has 44100"),
    ):
        with pytest.raises(InputError, match=says):
            place_pairs(sound, track, pairs)


def test_heads_that_cannot_be_filtered_are_a_sentence(head: HeadResponses) -> None:
    ring = torch.arange(0.0, 360.0, 15.0, dtype=torch.float64) - 180.0
    for made, order, says in (
        (sphere_head(ring, 0 * ring, RATE), 1, "do not go round the head"),
        (sphere_head(*(a[:5] for a in even_directions(300)), RATE), 1, "leave too much of the sphere out"),
        (sphere_head(*even_directions(12), RATE), 3, "leave too much of the sphere out"),
        (head, 4, "order 1, 2 or 3; got order 4"),
    ):
        with pytest.raises(InputError, match=says):
            ears_of_responses(made, order, RATE)
