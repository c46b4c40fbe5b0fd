"""Sources on tracks: where they are heard, how loud, and without a step; fields added."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from con360.errors import InputError
from con360.geometry.sphere import rotation
from con360.records import Sound, SourcePoint, SourceTrack
from con360.sound.ambisonics import encode
from con360.sound.intensity import heard_angles_deg
from con360.sound.rotation import turn, turn_blocks
from con360.sound.sources import delayed_blocks, place, place_blocks, sum_blocks, sum_fields, track_at

RATE = 48000
MOVING = SourceTrack((0.0, 0.7), (SourcePoint(170.0, -20.0, 4.0), SourcePoint(-170.0, 30.0, 1.0, 40.0, 3.0)))


def noise(channels: int = 1, samples: int = RATE, seed: int = 0) -> torch.Tensor:
    return torch.randn(channels, samples, generator=torch.Generator().manual_seed(seed))


def test_a_track_takes_the_shorter_way_and_holds_at_its_ends() -> None:
    rows = track_at(MOVING, [-1.0, 0.0, 0.35, 0.7, 9.0])
    assert rows[:, 0].tolist() == pytest.approx([170, 170, -180, -170, -170])
    assert rows[:, 1].tolist() == pytest.approx([-20, -20, 5, 30, 30])
    assert rows[2, 2:].tolist() == pytest.approx([2.5, 20, 1.5])


@pytest.mark.parametrize("pitch", [-60.0, 0.0, 45.0])
def test_a_moving_source_is_heard_where_it_is(pitch: float) -> None:
    track = SourceTrack((0.0, 1.0), (SourcePoint(165.0, pitch), SourcePoint(-165.0, pitch)))
    yaw, heard_pitch, spread = heard_angles_deg(place(Sound(noise(), RATE), track), 0.04)
    true = 165.0 + 30.0 * (np.arange(25) + 0.5) * 0.04
    assert np.abs((yaw.numpy() - true + 180) % 360 - 180).max() < 0.5 and (heard_pitch - pitch).abs().max() < 0.5
    assert spread.max() < 0.01


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_blocks_of_any_length_give_one_field(order: int) -> None:
    whole = place(Sound(noise(), RATE), MOVING, order).waveform
    assert whole.shape == ((order + 1) ** 2, RATE)
    for size in (1, 700, 10_000):
        blocks = noise()[:, :3000].split(size, dim=1) if size == 1 else noise().split(size, dim=1)
        streamed = torch.cat(list(place_blocks(blocks, RATE, MOVING, order)), 1)
        assert (streamed - whole[:, : streamed.shape[1]]).abs().max() < 1e-6
    assert [b.shape[1] for b in place_blocks([noise()[:, :0], noise()[:, :7]], RATE, MOVING)] == [7]


def test_motion_adds_no_step() -> None:
    # A constant that moves changes by its gains alone; held for a frame of 30 a second, they would jump by -28 dB.
    field = place(Sound(torch.ones(1, RATE), RATE), MOVING, 3).waveform
    assert 20 * math.log10(float(field.diff(dim=1).abs().max())) < -60


def test_level_falls_by_six_decibels_per_doubling() -> None:
    levels = [
        float(place(Sound(noise(), RATE), SourceTrack.still(SourcePoint(30.0, 0.0, metres))).waveform[0].norm())
        for metres in (1.0, 2.0, 4.0, 8.0)
    ]
    steps = [20 * math.log10(a / b) for a, b in zip(levels, levels[1:], strict=False)]
    assert steps == pytest.approx([6.02] * 3, abs=0.05)


def test_a_near_source_is_wider() -> None:
    near, far = (
        heard_angles_deg(place(Sound(noise(), RATE), SourceTrack.still(SourcePoint(0.0, 0.0, metres))))[2].item()
        for metres in (0.3, 10.0)
    )
    assert far < 1e-6 and 1e-3 < near < 0.2


def test_a_delay_is_the_same_for_the_whole_sound() -> None:
    delayed = torch.cat(list(delayed_blocks([noise()[:, :500], noise()[:, 500:]], RATE, MOVING)), 1)
    late = round(2.5 / 343 * RATE)
    assert torch.equal(delayed, torch.cat((torch.zeros(1, late), noise()), 1))


@pytest.mark.parametrize(
    ("track", "words"),
    [
        (SourceTrack((), ()), "a time for each"),
        (SourceTrack((1.0, 1.0), (SourcePoint(0.0),) * 2), "must rise"),
        (SourceTrack.still(SourcePoint(math.nan)), "not finite"),
        (SourceTrack.still(SourcePoint(0.0, 91.0)), "pitch of 91"),
        (SourceTrack.still(SourcePoint(0.0, distance_m=0.0)), "distance of 0 m"),
        (SourceTrack.still(SourcePoint(0.0, spread_deg=400.0)), "spread of 400"),
        (SourceTrack.still(SourcePoint(0.0, gain_db=90.0)), "gain of 90"),
    ],
)
def test_tracks_that_cannot_be_are_refused_before_a_block_is_read(track: SourceTrack, words: str) -> None:
    with pytest.raises(InputError, match=words):
        place_blocks(iter([]), RATE, track)


def test_one_sample_and_none_are_placed() -> None:
    for samples in (0, 1):
        assert place(Sound(torch.ones(1, samples), RATE), MOVING, 2).waveform.shape == (9, samples)


def test_only_mono_is_one_source() -> None:
    with pytest.raises(InputError, match="one source is one channel"):
        place(Sound(noise(2), RATE, "stereo"), MOVING)


# Sums -----------------------------------------------------------------------------------------------------------------


def test_fields_add_up_at_the_highest_order_and_rate() -> None:
    first = Sound(encode(noise()[0], 20.0, 0.0, 3), RATE, "ambix")
    second = Sound(encode(noise(samples=24000)[0], -90.0, 10.0), 24000, "ambix")
    short = Sound(torch.cat((encode(noise(samples=100, seed=1)[0], 0.0, 0.0), noise(2, 100, 2))), RATE, "ambix")
    both = sum_fields([first, second, short])
    assert (both.sample_rate_hz, both.ambisonic_order, tuple(both.waveform.shape)) == (RATE, 3, (18, RATE))
    assert torch.equal(both.waveform[4:16], first.waveform[4:])
    assert torch.equal(both.waveform[16:, :100], short.waveform[4:]) and not both.waveform[16:, 100:].any()
    with pytest.raises(InputError, match="sound 2 is mono"):
        sum_fields([first, Sound(noise(), RATE)])
    with pytest.raises(InputError, match="no sounds"):
        sum_fields([])


def test_streams_of_different_blocks_and_lengths_add_up() -> None:
    first, second = noise(4, 1000), noise(9, 700, 1)
    made = torch.cat(list(sum_blocks([first.split(64, 1), [second[:, :0], *second.split(101, 1)], iter([])])), 1)
    wanted = torch.zeros(9, 1000)
    wanted[:4] += first
    wanted[:, :700] += second
    assert torch.equal(made, wanted)


# Turns ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_turn_brings_the_looked_at_to_the_front(order: int) -> None:
    sound = Sound(torch.cat((encode(noise()[0], 70.0, -20.0, order), noise(2))), RATE, "ambix")
    turned = turn(sound, 70.0, -20.0, 15.0)
    assert (turned.waveform[:-2] - encode(noise()[0], 0.0, 0.0, order)).abs().max() < 1e-5
    assert torch.equal(turned.waveform[[0, -2, -1]], sound.waveform[[0, -2, -1]])
    yaw = torch.full((1,), 70.0, dtype=torch.float64)
    cameras = rotation(yaw, yaw * 0 - 20, yaw * 0 + 15)
    blocks = turn_blocks(sound.waveform.split(999, 1), RATE, lambda t: cameras.expand(len(t), 3, 3), order)
    assert (torch.cat(list(blocks), 1) - turned.waveform).abs().max() < 1e-5


def test_a_turning_head_adds_no_step() -> None:
    ahead = encode(torch.ones(RATE), 0.0, 0.0, 3)

    def cameras(times_s: np.ndarray) -> torch.Tensor:
        yaw = torch.from_numpy(30 * times_s)
        return rotation(yaw, 0 * yaw)

    turned = torch.cat(list(turn_blocks(ahead.split(1024, 1), RATE, cameras, 3)), 1)
    assert 20 * math.log10(float(turned.diff(dim=1).abs().max())) < -60
    assert heard_angles_deg(Sound(turned, RATE, "ambix"), 0.1)[0][-1].item() == pytest.approx(-28.5, abs=0.1)


def test_what_has_no_direction_cannot_be_turned() -> None:
    with pytest.raises(InputError, match="only Ambisonics can be turned"):
        turn(Sound(noise(2), RATE, "stereo"), 90.0)
    with pytest.raises(InputError, match="finite angles"):
        turn(Sound(noise(4), RATE, "ambix"), math.inf)
    with pytest.raises(InputError, match="order 1 has 4 channels; the sound has 9"):
        list(turn_blocks([noise(9)], RATE, lambda t: torch.eye(3).expand(len(t), 3, 3)))
