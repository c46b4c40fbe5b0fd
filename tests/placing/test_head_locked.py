"""A clip's own sound as the head-locked pair of a preset."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from con360.errors import InputError
from con360.media.reader import read_sound
from con360.media.writer import clip_stream, write_wav
from con360.placing.run import PlaceSettings, place_on_clip
from con360.placing.sources import PlacedSound
from con360.records import Sound, SourcePoint
from con360.sounding.settings import AmbisonicsSettings

RATE = 48000


def tone(hz: float) -> torch.Tensor:
    return 0.3 * torch.sin(2 * np.pi * hz * torch.arange(RATE) / RATE)


def clip(path: Path, sound: torch.Tensor) -> Path:
    with clip_stream(path, (128, 64), Fraction(1, 10), 10, (len(sound), RATE), panorama="mono") as stream:
        for tick in range(10):
            stream.add_frame(np.full((64, 128, 3), 20 * tick, np.uint8), tick)
        stream.add_sound(sound.numpy())
    return path


def level_of(heard: torch.Tensor, hz: float) -> list[float]:
    """Amplitude of a tone in each channel."""
    wave = torch.exp(-2j * np.pi * hz * torch.arange(heard.shape[1]) / RATE)
    return (2 * (heard * wave).mean(1).abs()).tolist()


def test_the_clips_own_stereo_becomes_the_pair(tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", torch.stack((tone(400.0), tone(700.0))))
    write_wav(tmp_path / "bell.wav", Sound(tone(1000.0)[None], RATE))
    sounds = [PlacedSound(tmp_path / "bell.wav", SourcePoint(90.0))]
    made = place_on_clip(source, sounds, tmp_path / "out.mp4", PlaceSettings(preset="headlocked"))
    heard = read_sound(made.path)[0]
    assert (heard.layout, heard.waveform.shape) == ("ambix", (6, RATE))
    assert level_of(heard.waveform, 400.0) == pytest.approx([0, 0, 0, 0, 0.3, 0], abs=0.01)
    assert level_of(heard.waveform, 700.0) == pytest.approx([0, 0, 0, 0, 0, 0.3], abs=0.01)
    # To the right: W, and Y, which points to the left.
    assert level_of(heard.waveform, 1000.0) == pytest.approx([0.3, 0.3, 0, 0, 0, 0], abs=0.01)
    assert any("is the head-locked pair" in notice for notice in made.notices)


def test_a_clips_own_pair_is_kept_and_its_field_is_mixed(tmp_path: Path) -> None:
    own = torch.cat((tone(500.0)[None], torch.zeros(3, RATE), tone(400.0)[None], tone(700.0)[None]))
    source = clip(tmp_path / "in.mp4", own)
    write_wav(tmp_path / "bell.wav", Sound(tone(1000.0)[None], RATE))
    made = place_on_clip(
        source, [PlacedSound(tmp_path / "bell.wav")], tmp_path / "out.mp4", PlaceSettings(preset="headlocked")
    )
    heard = read_sound(made.path)[0].waveform
    assert level_of(heard, 500.0) == pytest.approx([0.3, 0, 0, 0, 0, 0], abs=0.01)
    assert level_of(heard, 400.0) == pytest.approx([0, 0, 0, 0, 0.3, 0], abs=0.01)
    assert not any("left out" in notice for notice in made.notices)


def test_what_contradicts_a_preset_is_told() -> None:
    with pytest.raises(InputError, match=r"--keep-original"):
        AmbisonicsSettings(preset="headlocked")
    with pytest.raises(InputError, match="has order 3, and order 2"):
        PlaceSettings(order=2, preset="third-order")
