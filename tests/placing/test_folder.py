"""A folder of views and their sounds becomes a field."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from con360.errors import InputError
from con360.media.writer import write_clip, write_wav
from con360.placing.folder import field_of_folder, open_views
from con360.placing.views import field_of_views, views_around, views_to_json
from con360.records import Sound

RATE = 16000


def noise(seed: int, seconds: float = 1.0) -> torch.Tensor:
    return 0.1 * torch.randn(1, round(seconds * RATE), generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "views.json").write_text(views_to_json(views_around(4), fps=8.0))
    return tmp_path


def test_a_folder_of_sounds_becomes_a_field(folder: Path) -> None:
    left, right = noise(0), noise(1)
    write_wav(folder / "view-2.wav", Sound(right, RATE))
    write_wav(folder / "view-4.wav", Sound(torch.cat((left, left)), RATE, "stereo"))
    write_clip(folder / "view-1.mp4", torch.zeros(4, 3, 16, 16), 8.0)
    made, notices = field_of_folder(folder, 3)
    assert made.waveform.shape == (16, RATE)
    views = views_around(4)
    want = field_of_views([Sound(right, RATE), Sound(left, RATE)], [views[1], views[3]], 3)
    assert (made.waveform - want.waveform).abs().max() < 1e-5
    assert notices == (
        "View-1 has no sound: nothing sounds from there.", "View-3 has no sound: nothing sounds from there.",
        "Sounds of several channels were mixed to mono: view-4.",
    )  # fmt: skip


def test_sounds_of_other_rates_and_lengths_stream(folder: Path) -> None:
    write_wav(folder / "view-1.wav", Sound(noise(0, 3.0), RATE))
    write_wav(folder / "view-3.wav", Sound(0 * noise(1, 1.0), 32000))
    opened = open_views(folder)
    assert opened.rate_hz == 32000
    made = torch.cat(list(opened.blocks(32000, 1)), 1)
    assert made.shape == (4, 3 * 32000)
    assert 10 * math.log10(made[0].square().mean() / noise(0, 3.0).square().mean()) == pytest.approx(0.0, abs=0.5)
    assert opened.said()[-3:] == (
        "sounds at 16000 Hz were resampled to 32000 Hz",
        "shorter sounds were padded with silence to 3.00 s: view-3", "silent sounds: view-3",
    )  # fmt: skip


def test_a_clip_with_sound_counts_unless_there_is_another_file(folder: Path) -> None:
    write_clip(folder / "view-3.mp4", torch.zeros(8, 3, 16, 16), 8.0, Sound(noise(0), RATE))
    w, _, _, x = field_of_folder(folder)[0].waveform
    assert (x + w).abs().max() < 1e-5 < w.abs().max()
    write_wav(folder / "view-3.wav", Sound(torch.zeros(1, RATE), RATE))
    made, notices = field_of_folder(folder)
    assert not made.waveform.any() and notices[-1] == "Silent sounds: view-3."


def test_folders_that_cannot_be_used(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no sound of a view; wanted files such as view-1\.wav"):
        field_of_folder(folder)
    with pytest.raises(InputError, match="no folder"):
        field_of_folder(tmp_path / "away")
    for ending in (".wav", ".flac"):
        (folder / f"view-1{ending}").write_bytes(b"x")
    with pytest.raises(InputError, match="two sounds"):
        field_of_folder(folder)
    (folder / "views.json").unlink()
    with pytest.raises(InputError, match=r"no file .*views\.json"):
        field_of_folder(folder)
    (folder / "views.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="no text file"):
        field_of_folder(folder)
