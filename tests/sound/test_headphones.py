"""Headphones: the shipped filters, streamed and whole, and sounds that cannot be heard."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from con360.errors import InputError
from con360.geometry.sphere import rotation
from con360.records import Sound, SourcePoint, SourceTrack, View, ViewTrack
from con360.sound.ambisonics import channels_of, encode
from con360.sound.headphones import EarFilters, ears_blocks, load_ears, to_ears
from con360.sound.rotation import turn
from con360.sound.sources import place
from con360.sound.views import cameras_of, view_ears

RATE = 48000


def noise(channels: int = 1, count: int = RATE // 4) -> torch.Tensor:
    return 0.1 * torch.randn(channels, count, generator=torch.Generator().manual_seed(7))


def level_db(waveform: torch.Tensor) -> torch.Tensor:
    return 10 * waveform.double().square().mean(-1).log10()


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("rate", [16000, 44100, 48000, 96000])
def test_left_is_left(order: int, rate: int) -> None:
    for yaw in (-90.0, -40.0, 40.0, 90.0):
        left, right = level_db(to_ears(Sound(encode(noise()[0], yaw, 0.0, order), rate, "ambix")).waveform)
        assert (right - left) * (1 if yaw > 0 else -1) > 2, yaw
    # A head whose sides are alike hears what lies in its middle plane with both ears alike.
    ahead = to_ears(Sound(encode(noise()[0], 0.0, 30.0, order), rate, "ambix")).waveform
    assert (ahead[0] - ahead[1]).abs().max() < 1e-6


@pytest.mark.parametrize("rate", [44100, 48000])
def test_sound_keeps_its_time_and_level(rate: int) -> None:
    """A low tone, to which the head is small, arrives as it is: at its time, in both ears, at its level."""
    tone = 0.2 * torch.sin(2 * torch.pi * 120 * torch.arange(rate) / rate)
    heard = to_ears(Sound(encode(tone, 0.0, 0.0, 1), rate, "ambix")).waveform
    assert (heard - tone)[:, 4000:-4000].abs().max() < 0.015


@pytest.mark.parametrize("sizes", [(1, 700, 3, 9000, 40), (5000,), (12000, 1)])
def test_blocks_of_any_length_give_the_same(sizes: tuple[int, ...]) -> None:
    ears = load_ears(3, RATE)
    field = noise(16, sum(sizes))
    whole = to_ears(Sound(field, RATE, "ambix"), ears).waveform
    streamed = torch.cat([*ears_blocks(field.split(sizes, 1), ears)], 1)
    assert streamed.shape == whole.shape == (2, sum(sizes)) and (streamed - whole).abs().max() < 1e-6


def test_filters_are_what_convolution_says() -> None:
    ears, field = load_ears(1, RATE), noise(4, 3000)
    heard = to_ears(Sound(field, RATE, "ambix")).waveform
    wanted = torch.nn.functional.conv1d(
        torch.nn.functional.pad(field.double(), (255, ears.delay))[None], ears.taps.double().flip(-1)
    )[0, :, ears.delay :]
    assert (heard - wanted).abs().max() < 1e-6


def test_a_head_locked_pair_is_heard_as_it_is() -> None:
    field, pair = noise(9, 4000), noise(2, 4000)
    alone = to_ears(Sound(field, RATE, "ambix")).waveform
    both = to_ears(Sound(torch.cat((field, pair)), RATE, "ambix")).waveform
    assert (both - alone - pair).abs().max() < 1e-6


def test_lower_filters_hear_the_lower_channels_and_rates_are_made_alike() -> None:
    field = noise(16, 4000)
    first = to_ears(Sound(field[:4], RATE, "ambix")).waveform
    assert torch.equal(to_ears(Sound(field, RATE, "ambix"), load_ears(1, RATE)).waveform, first)
    moved = to_ears(Sound(field[:4], RATE, "ambix"), load_ears(1, 96000)).waveform
    assert (moved - first)[:, 300:-300].abs().max() < 0.05 * first.abs().max()
    with pytest.raises(InputError, match="filters are of order 3 and the sound of 1"):
        to_ears(Sound(field[:4], RATE, "ambix"), load_ears(3, RATE))


def test_a_view_hears_the_field_turned() -> None:
    sound = place(Sound(noise(), RATE), SourceTrack.still(SourcePoint(120.0, 20.0)), 2)
    heard = view_ears(sound, View(100.0, -10.0), 8.0)
    assert (heard.waveform - to_ears(turn(sound, 100.0, -10.0)).waveform).abs().max() < 1e-5
    # A view that turns past the source has it at the right first, then at the left.
    panned = view_ears(sound, ViewTrack((View(60.0), View(180.0))), 4.0).waveform
    first, last = level_db(panned[:, :2000]), level_db(panned[:, -2000:])
    assert first[1] > first[0] + 3 and last[0] > last[1] + 3


def test_the_head_rolls_with_the_camera() -> None:
    sound = place(Sound(noise(), RATE), SourceTrack.still(SourcePoint(90.0)), 1)
    level = level_db(view_ears(sound, View(0.0), 8.0).waveform)
    assert level[1] > level[0] + 3
    # Leaning right by a quarter turn brings what lay at the right ear above the head.
    above = level_db(view_ears(sound, View(0.0, roll_deg=90.0), 8.0).waveform)
    assert float(above[0]) == pytest.approx(float(above[1]), abs=0.3)
    behind_over = level_db(view_ears(sound, View(0.0, roll_deg=-180.0), 8.0).waveform)
    assert behind_over[0] > behind_over[1] + 3


def test_a_camera_rolls_the_shorter_way_between_its_views() -> None:
    track = ViewTrack((View(170.0, 0.0, 90.0, 170.0), View(-170.0, 20.0, 90.0, -170.0)))
    found = cameras_of(track, 2.0)(np.array([0.0, 0.25, 9.0]))
    wanted = [rotation(170.0, 0.0, 170.0), rotation(180.0, 10.0, 180.0), rotation(-170.0, 20.0, -170.0)]
    assert (found - torch.stack(wanted)).abs().max() < 1e-6


@pytest.mark.parametrize("count", [0, 1, 47, 300])
def test_the_shortest_sounds_stay_as_long(count: int) -> None:
    assert to_ears(Sound(noise(4, count), RATE, "ambix")).waveform.shape == (2, count)


def test_silence_stays_silent() -> None:
    assert not to_ears(Sound(torch.zeros(4, 500), RATE, "ambix")).waveform.any()


@pytest.mark.parametrize(
    ("sound", "says"),
    [
        (Sound(noise(1), RATE), "headphones need Ambisonics"),
        (Sound(noise(6), RATE, "other"), "this is other with 6 channels"),
        (Sound(noise(25), RATE, "ambix"), "of order 1, 2 or 3; got order 4"),
        (Sound(noise(4).where(noise(4) < 0.3, torch.nan), RATE, "ambix"), "not finite"),
    ],
)
def test_sounds_that_cannot_be_heard_are_a_sentence(sound: Sound, says: str) -> None:
    with pytest.raises(InputError, match=says):
        to_ears(sound)


def test_filters_that_do_not_fit_are_a_sentence() -> None:
    with pytest.raises(InputError, match="take 4 channels of Ambisonics; got 9"):
        list(ears_blocks([noise(9)], load_ears(1, RATE)))
    with pytest.raises(InputError, match="must be positive"):
        load_ears(1, 0)


def test_every_order_is_told_by_its_channels() -> None:
    for order in (1, 2, 3):
        ears = load_ears(order, RATE)
        assert isinstance(ears, EarFilters) and ears.taps.shape == (2, channels_of(order), 256)
        assert ears.order == ears.with_pair().order == order and replace(ears).source == "MIT KEMAR, normal pinna"
