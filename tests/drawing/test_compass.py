"""The compass of a sound: from where it comes, over time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from con360.drawing.compass import SoundMark, compass_picture, compass_strip, draw_sound_mark, sound_maps
from con360.errors import InputError
from con360.geometry.erp import erp_angles
from con360.records import Sound
from con360.sound.ambisonics import encode

RATE = 16000


def tone(hz: float, seconds: float = 1.0, rate: int = RATE) -> torch.Tensor:
    return 0.2 * torch.sin(2 * math.pi * hz * torch.arange(round(seconds * rate)) / rate)


def field(*placed: tuple[torch.Tensor, float, float], rate: int = RATE, order: int = 1) -> Sound:
    return Sound(sum(encode(wave, yaw, pitch, order) for wave, yaw, pitch in placed), rate, "ambix")


def peak(one: torch.Tensor) -> tuple[float, float]:
    """(yaw, pitch) of a map's brightest pixel."""
    yaw, pitch = erp_angles(len(one))
    row, column = divmod(int(one.argmax()), one.shape[1])
    return yaw[column].item(), pitch[row].item()


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (100, 30), (-170, -50), (-90, 0), (40, 80)])
@pytest.mark.parametrize(("rate", "order"), [(16000, 1), (48000, 3)])
def test_convention_a_map_is_brightest_where_the_sound_is(yaw: float, pitch: float, rate: int, order: int) -> None:
    maps = sound_maps(field((tone(700.0, rate=rate), yaw, pitch), rate=rate, order=order), 8.0, 8)
    assert maps.shape == (8, 60, 120) and maps.max() == 1.0 and maps.min() == 0.0
    for one in maps:
        # Pixels are 3 degrees wide; near a pole yaw is a small angle.
        found = peak(one)
        assert abs(found[0] - yaw) * math.cos(math.radians(pitch)) < 3.1
        assert abs(found[1] - pitch) < 3.1


def test_sources_in_two_bands_are_two_places() -> None:
    maps = sound_maps(field((tone(500.0), -60.0, 0.0), (tone(3000.0), 60.0, 0.0)), 8.0, 8)
    row = maps[4, 30]
    assert row[[39, 40, 79, 80]].min() > 0.9
    assert row[55:65].max() < 0.1


def test_a_louder_source_is_brighter_and_silence_is_dark() -> None:
    wave = tone(500.0, 2.0)
    wave[RATE:] = 0.0
    maps = sound_maps(field((wave, 30.0, 0.0), (0.1 * tone(3000.0, 2.0), -90.0, 0.0)), 8.0, 24)
    assert peak(maps[2])[0] == pytest.approx(30.0, abs=1.6)
    # The quieter one is 20 dB below, of the range of 30.
    assert peak(maps[12])[0] == pytest.approx(-90.0, abs=1.6)
    assert maps[12].max() == pytest.approx(1 / 3, abs=0.03)
    assert not maps[18:].any()


def test_sound_from_everywhere_is_dim_everywhere() -> None:
    noise = torch.randn(4, RATE, generator=torch.Generator().manual_seed(0))
    even = sound_maps(Sound(noise, RATE, "ambix"), 1.0, 1)[0]
    assert even.min() > 0.5
    assert not sound_maps(Sound(torch.zeros(4, RATE), RATE, "ambix"), 8.0, 8).any()


def test_the_strip_runs_across_by_yaw_and_down_by_time() -> None:
    wave = tone(500.0, 2.0)
    early, late = wave.clone(), wave.clone()
    early[RATE:], late[:RATE] = 0.0, 0.0
    strip = compass_strip(field((early, -90.0, 0.0), (late, 90.0, 0.0)), 360, 100).astype(int).sum(-1)
    assert strip.shape == (100, 360)
    assert strip[25].argmax() == pytest.approx(90, abs=3) and strip[75].argmax() == pytest.approx(270, abs=3)
    assert strip[25, 270] < 40 and strip[75, 90] < 40


def test_the_picture_has_room_for_its_axes() -> None:
    picture = np.asarray(compass_picture(field((tone(500.0), 0.0, 0.0)), 360, 100))
    assert picture.shape == (152, 504, 3)
    assert (picture[:, :2] == 255).all() and (picture[:, -2:] == 255).all() and (picture[-2:] == 255).all()


def test_a_source_at_the_edge_keeps_its_name_in_the_picture() -> None:
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (400, 200))
    draw_sound_mark(ImageDraw.Draw(image), SoundMark(179.0, 0.0, "the square beeps"), image.size)
    columns = np.flatnonzero(np.asarray(image).any((0, 2)))
    assert columns.min() > 200 and columns.max() == 399


@pytest.mark.parametrize(
    ("sound", "words"),
    [
        (Sound(torch.zeros(2, 100), RATE, "stereo"), "stereo with 2 channels"),
        (Sound(torch.zeros(4, 100), RATE, "other"), "needs Ambisonics"),
        (Sound(torch.zeros(4, 0), RATE, "ambix"), "needs Ambisonics"),
        (Sound(torch.full((4, 100), math.nan), RATE, "ambix"), "not numbers"),
    ],
)
def test_sounds_without_directions(sound: Sound, words: str) -> None:
    for call in (lambda: sound_maps(sound, 8.0, 4), lambda: compass_picture(sound)):
        with pytest.raises(InputError, match=words):
            call()


def test_one_sample_is_drawn() -> None:
    assert sound_maps(Sound(torch.ones(4, 1), RATE, "ambix"), 8.0, 1).shape == (1, 60, 120)
    compass_picture(Sound(torch.ones(4, 1), RATE, "ambix"), 120, 40)
