"""Views around a panorama, and the sounds of views joined to one field."""

from __future__ import annotations

import json
import math

import pytest
import torch

from con360.errors import InputError
from con360.placing.views import (
    direction_words,
    field_blocks,
    field_of_views,
    sounds_notices,
    views_around,
    views_from_json,
    views_to_json,
)
from con360.records import Region, Sound, View, Viewpoint, ViewTrack
from con360.sound.ambisonics import channels_of, encode
from con360.sound.views import view_sound

RATE = 16000
SIX = views_around(6)


def noise(seed: int, seconds: float = 2.0) -> torch.Tensor:
    return 0.1 * torch.randn(round(seconds * RATE), generator=torch.Generator().manual_seed(seed))


def beats(seed: int, hz: float = 1.5) -> torch.Tensor:
    """New noise with a rhythm."""
    wave = noise(seed, 4.0)
    return wave * torch.sin(2 * math.pi * hz * torch.arange(len(wave)) / RATE).clamp_min(0)


def field(*waves: torch.Tensor | None, order: int = 1) -> torch.Tensor:
    """Join the sounds of six views; None is silence."""
    longest = max(len(wave) for wave in waves if wave is not None)
    silent = torch.zeros(longest)
    waves = waves + (None,) * (len(SIX) - len(waves))
    sounds = [Sound((silent if wave is None else wave)[None], RATE) for wave in waves]
    return field_of_views(sounds, SIX, order).waveform


def level_db(wave: torch.Tensor, reference: torch.Tensor) -> float:
    return 10 * math.log10(float(wave.square().mean() / reference.square().mean()))


def yaw_and_length(made: torch.Tensor) -> tuple[float, float]:
    w, y, _, x = made[:4]
    right, front = -(w * y).mean().item(), (w * x).mean().item()
    return math.degrees(math.atan2(right, front)), math.hypot(right, front) / w.square().mean().item()


# Views ----------------------------------------------------------------------------------------------------------------


def test_views_stand_clockwise_from_the_front() -> None:
    assert [view.yaw_deg for view in SIX] == [0, 60, 120, -180, -120, -60]
    assert [direction_words(view) for view in views_around(4)] == ["in front", "on the right", "behind", "on the left"]
    assert {(view.pitch_deg, view.fov_deg) for view in views_around(8, fov_deg=75)} == {(0.0, 75.0)}


def test_the_last_two_look_above_and_below() -> None:
    views = views_around(6, above_below=True)
    assert [view.yaw_deg for view in views[:4]] == [0, 90, -180, -90]
    assert [direction_words(view) for view in views[4:]] == ["above", "below"]


def test_ranked_viewpoints_give_their_view_in_the_middle() -> None:
    track = ViewTrack((View(0.0), View(10.0, 5.0, 75.0), View(20.0)))
    found = (Viewpoint(1, Region(10, 5, 20, 20, 0.5), track), Viewpoint(2, None, ViewTrack.still(View(-90.0), 3)))
    assert views_around(found) == (View(10.0, 5.0, 75.0), View(-90.0))


@pytest.mark.parametrize(
    ("around", "options", "words"),
    [(1, {}, "2 to 16"), (17, {}, "2 to 16"), (3, {"above_below": True}, "4 to 16"), (6, {"fov_deg": 10}, "field of"),
     ((), {}, "no viewpoints")],
)  # fmt: skip
def test_views_that_cannot_be(around, options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        views_around(around, **options)


# Field ----------------------------------------------------------------------------------------------------------------


def test_a_sound_of_one_view_lies_there_unchanged() -> None:
    wave = noise(0)
    for order in (1, 2, 3):
        made = field(None, wave, order=order)
        assert made.shape == (channels_of(order), len(wave))
        assert (made - encode(wave, 60.0, 0.0, order)).abs().max() < 1e-5


def test_one_waveform_in_two_views_counts_once_and_lies_between() -> None:
    wave = noise(0)
    made = field(wave, wave)
    yaw, length = yaw_and_length(made)
    assert yaw == pytest.approx(30.0, abs=0.1)
    # Two loudspeakers 60 degrees apart: cos 30.
    assert length == pytest.approx(0.866, abs=0.01)
    assert level_db(made[0], wave) == pytest.approx(0.0, abs=0.1)


def test_it_lies_nearer_to_the_louder_view() -> None:
    made = field(noise(0), 0.5 * noise(0))
    assert 0 < yaw_and_length(made)[0] < 10
    assert level_db(made[0], noise(0)) == pytest.approx(0.0, abs=1.0)


def test_different_sounds_keep_their_levels_from_end_to_end() -> None:
    waves = [noise(seed) for seed in range(6)]
    made = field(*waves)
    for part in (slice(None), slice(0, 4000), slice(-4000, None)):
        assert level_db(made[0][part], sum(waves)[part]) == pytest.approx(0.0, abs=0.5)


def test_one_rhythm_with_two_waveforms_counts_once_where_pictures_overlap() -> None:
    one, other = beats(0), beats(1)
    assert level_db(field(one, other)[0], one) == pytest.approx(0.0, abs=0.5)
    # In front and at 120 degrees, pictures of 90 degrees show nothing in common.
    assert level_db(field(one, None, other)[0], one) == pytest.approx(3.0, abs=0.3)


def test_two_rhythms_stay_two() -> None:
    one, other = beats(0, 1.5), beats(1, 2.2)
    assert level_db(field(one, other)[0], one + other) == pytest.approx(0.0, abs=0.5)


def test_a_sound_in_all_views_alike_has_no_direction() -> None:
    wave = noise(0)
    made = field(*[wave] * 6)
    assert yaw_and_length(made)[1] < 0.01
    assert level_db(made[0], wave) == pytest.approx(0.0, abs=0.1)


@pytest.mark.parametrize("yaw", [0.0, 22.0, 30.0, -140.0])
def test_microphones_of_views_give_their_source_back(yaw: float) -> None:
    truth = Sound(encode(noise(0), yaw, 5.0), RATE, "ambix")
    made = field_of_views([view_sound(truth, view, 8.0) for view in SIX], SIX).waveform
    found, length = yaw_and_length(made)
    assert found == pytest.approx(yaw, abs=0.1) and length > 0.55
    assert level_db(made[0], truth.waveform[0]) == pytest.approx(0.0, abs=1.5)


def test_two_bands_go_to_two_places() -> None:
    time_s = torch.arange(2 * RATE) / RATE
    low, high = (0.1 * torch.sin(2 * math.pi * hz * time_s) for hz in (400.0, 3000.0))
    made = field(low + high, low, None, None, None, high)
    for wave, yaw in ((low, 30.0), (high, -30.0)):
        w, y, _, x = (made * wave).mean(1) / wave.square().mean()
        assert math.degrees(math.atan2(-y, x)) == pytest.approx(yaw, abs=1.0)
        assert w == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("step", [1, 777, 5000])
def test_blocks_of_any_length_give_the_same(step: int) -> None:
    waves = torch.stack([beats(seed, 1 + seed / 4) for seed in range(6)])[:, : 300 if step == 1 else None]
    whole = field_of_views([Sound(wave[None], RATE) for wave in waves], SIX, 2).waveform
    parts = torch.cat(list(field_blocks(waves.split(step, 1), RATE, SIX, 2)), 1)
    assert parts.shape == whole.shape
    assert (parts - whole).abs().max() < 1e-5


def test_memory_stays_flat_on_a_long_sound() -> None:
    blocks = (0.01 * torch.randn(2, RATE) for _ in range(30))
    longest = total = 0
    for block in field_blocks(blocks, RATE, views_around(2)):
        longest, total = max(longest, block.shape[1]), total + block.shape[1]
    assert total == 30 * RATE and longest < 5 * RATE


@pytest.mark.parametrize("count", [1, 2, 511, 512, 513, 1025])
def test_sounds_of_a_few_samples(count: int) -> None:
    sounds = [Sound(torch.ones(1, count), RATE), Sound(torch.zeros(1, count), RATE)]
    made = field_of_views(sounds, views_around(2)).waveform
    assert made.shape == (4, count)
    assert (made[0] - 1).abs().max() < 1e-5


def test_other_rates_lengths_and_channels_are_fitted_and_said() -> None:
    sounds = [
        Sound(torch.ones(1, RATE), RATE), Sound(torch.ones(2, 24000), 48000, "stereo"),
        Sound(torch.ones(6, 48000), 48000, "other"), Sound(torch.zeros(16, 48000), 48000, "ambix"),
    ]  # fmt: skip
    made = field_of_views(sounds, views_around(4))
    assert (made.sample_rate_hz, made.waveform.shape, made.layout) == (48000, (4, 48000), "ambix")
    said = sounds_notices(sounds)
    assert said == (
        "sounds of several channels were mixed to mono: view-2, view-3, view-4",
        "sounds at 16000 Hz were resampled to 48000 Hz",
        "shorter sounds were padded with silence to 1.00 s: view-2",
        "silent sounds: view-4",
    )
    assert sounds_notices([Sound(torch.ones(1, 9), RATE)] * 2) == ()


@pytest.mark.parametrize(
    ("sounds", "order", "words"),
    [
        ([torch.ones(1, 9)], 1, "1 sounds for 2 views"), ([torch.ones(1, 9)] * 2, 4, "order 4"),
        ([torch.ones(1, 9)] * 2, 0, "order 0"), ([torch.ones(1, 9), torch.ones(1, 0)], 1, "view-2 is empty"),
        ([torch.ones(1, 9), torch.full((1, 9), math.nan)], 1, "not numbers"), ([], 1, "0 sounds for 2 views"),
    ],
)  # fmt: skip
def test_sounds_that_cannot_be_joined(sounds: list[torch.Tensor], order: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        field_of_views([Sound(wave, RATE) for wave in sounds], views_around(2), order)


# List -----------------------------------------------------------------------------------------------------------------


def test_the_list_keeps_the_views() -> None:
    views = (View(-33.25, 12.5, 75.0), View(179.0, -90.0, 120.0))
    text = views_to_json(views, source="clip.mp4", fps=8.0)
    assert tuple(views_from_json(text).values()) == views
    facts = json.loads(text)
    assert (facts["source"], facts["views"][1]["name"], facts["views"][1]["caption"]) == ("clip.mp4", "view-2", "below")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "empty"), ([{"name": "a", "yaw": 0, "pitch": 99, "fov": 90}], "a: a pitch of 99"),
        ([{"name": "a", "yaw": 0, "pitch": 0}], "cannot be read"), ("x", "cannot be read"),
        ([{"name": "../a", "yaw": 0, "pitch": 0, "fov": 90}], "plain names"),
        ([{"name": "a", "yaw": 0, "pitch": 0, "fov": 90}] * 2, "each once"),
        ([{"name": "a", "yaw": math.nan, "pitch": 0, "fov": 90}], "numbers of degrees"),
        ([{"name": "a", "yaw": "0", "pitch": 0, "fov": 90}], "numbers of degrees"),
    ],
)  # fmt: skip
def test_lists_that_cannot_be_read(rows, words: str) -> None:
    with pytest.raises(InputError, match=words):
        views_from_json(json.dumps({"views": rows}))
    with pytest.raises(InputError, match="cannot be read"):
        views_from_json("[" * 9)
