"""Every malformed and every real file gives a result or one sentence, nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from reliability.bad_files import SOUNDS, TABLE, media_files
from shared_data import data_path, shared_root

from con360.errors import InputError
from con360.media.info import probe
from con360.media.reader import read_panorama, read_sound

FOLDERS = ("bad", "video", "video_unlicensed", "photo", "saliency", "sfx", "foa")
FILES = [Path(name) for name in media_files()]
BIG = 2_000_000


def params():
    for path in FILES:
        size = (shared_root() / "data" / path).stat().st_size
        yield pytest.param(path, id=str(path), marks=pytest.mark.slow if size > BIG else ())


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_files_are_at_hand(folder):
    """Nothing below runs without these files: skip with the reason, or fail where $CON360_REQUIRE_DATA is set."""
    assert any(data_path(folder).iterdir())


@pytest.mark.skipif(not FILES, reason="needs data/, looked for in $CON360_TEST_DATA and in ../shared")
def test_the_table_names_every_file():
    assert set(TABLE) == set(media_files()) and len([name for name in TABLE if name.startswith("bad/")]) == 45


@pytest.mark.skipif(not FILES, reason="needs data/, looked for in $CON360_TEST_DATA and in ../shared")
@pytest.mark.parametrize("path", list(params()))
def test_result_or_one_sentence(path):
    file, wanted = shared_root() / "data" / path, TABLE[path.as_posix()]
    try:
        clip = read_panorama(file, height=64)
    except InputError as error:
        message = str(error)
        assert message.endswith(".") and "\n" not in message and len(message) < 400 and file.name in message
        assert wanted.refused and wanted.refused in message
        return
    assert not wanted.refused
    assert clip.frames.shape == (32, 3, 64, 128) and torch.isfinite(clip.frames).all()
    assert 0 <= clip.frames.min() and clip.frames.max() <= 1
    assert any(wanted.notice in n for n in (*clip.notices, ""))
    assert all(n.endswith(".") and n[0].isupper() | n[0].isdigit() for n in clip.notices)
    if clip.sound is not None:
        assert clip.sound.waveform.shape[1] == 4 * clip.sound.sample_rate_hz
        assert torch.isfinite(clip.sound.waveform).all()


@pytest.mark.skipif(not FILES, reason="needs data/, looked for in $CON360_TEST_DATA and in ../shared")
@pytest.mark.parametrize("path", [p for p in FILES if p.as_posix() in SOUNDS], ids=str)
def test_sound_files(path):
    sound, notices = read_sound(shared_root() / "data" / path)
    assert torch.isfinite(sound.waveform).all() and sound.waveform.shape[1] > 0
    assert any(SOUNDS[path.as_posix()].notice in n for n in (*notices, ""))
    assert ("17_nan" in path.name) == any("not numbers" in n for n in notices)
    if "18_float" in path.name:
        assert sound.waveform.abs().max() == 8.0
    if "20_eight" in path.name:
        assert sound.layout == "other" and sound.waveform.shape[0] == 8


def test_one_16k_frame_when_the_limit_is_raised(monkeypatch):
    path = data_path("bad/16_real_16384x8192_one_frame.webm")
    monkeypatch.setenv("CON360_MAX_PIXELS", str(16384 * 8192))
    clip = read_panorama(path, duration_s=0.5, height=64)
    assert clip.frames.shape == (4, 3, 64, 128)


def test_header_sizes_are_not_believed():
    info = probe(data_path("bad/15_header_says_32768x16384.mp4"))
    assert (info.width, info.height) == (480, 240)


def test_cover_art_is_no_video():
    assert probe(data_path("bad/30_audio_with_cover_art.m4a")).kind == "sound"
