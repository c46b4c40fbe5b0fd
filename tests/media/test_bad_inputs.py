"""Every malformed and every real file gives a result or one sentence, nothing else."""

from __future__ import annotations

import pytest
import torch
from shared_data import data_path, shared_root

from con360.errors import InputError
from con360.media.info import probe
from con360.media.reader import read_panorama, read_sound

FOLDERS = ("bad", "video", "video_unlicensed", "photo", "sfx", "foa")
FILES = sorted(
    path.relative_to(shared_root() / "data")
    for folder in FOLDERS
    for path in (shared_root() / "data" / folder).glob("*.*")
)
BIG = 2_000_000

# What must come of the files that have an outcome of their own: a part of the error or of a notice.
ERRORS = {
    "01_zero_byte.mp4": "is empty",
    "02_text_renamed.mp4": "not a media file",
    "03_truncated_no_moov.mp4": "incomplete",
    "04b_truncated_inside_first_frame.mp4": "no frame that can be decoded",
    "05_audio_only.mp4": "no video",
    "10_rotated_90_metadata.mp4": "240x480 after its rotation",
    "16_real_16384x8192_one_frame.webm": "at most",
    "30_audio_with_cover_art.m4a": "no video",
    "p4_truncated.jpg": "damaged",
    "p5_two_by_one_pixels.png": "too small",
    "p6_bomb_40000x20000.png": "too large",
    "p7_jpeg_header_65500x32750.jpg": "too large",
    "p8_square_not_360.jpg": "flat",
    "gvr_sphericalv2_VR180_mesh_NOT360.mp4": "VR180",
    "md360_fisheye_NOT_equirect_638x651.jpg": "flat",
}
NOTICES = {
    "04_truncated_mdat_85pct.mp4": "picture ends at 1.37 s",
    "06_video_only.mp4": "no sound track",
    "07_one_frame.mp4": "held for 31 of 32",
    "11_hevc_10bit_hdr_pq.mp4": "HDR (PQ)",
    "14_corrupt_middle.mp4": "amaged pieces of the picture",
    "26_audio_starts_0.7s_late.mp4": "0.68 s late",
    "32_audio_shorter_than_video.mp4": "sound ends at 0.80 s",
    "34_truncated_partial_download.webm": "picture ends at 0.70 s",
    "omni_trans_lilies_NOT_full360_2s.mp4": "do not join",
    "md360_stereo_1280x720_TB.jpg": "look alike",
    "sph360_fl-rc2-fb4Y_92_cut4s.webm": "not 2:1",
}


def params():
    for path in FILES:
        size = (shared_root() / "data" / path).stat().st_size
        yield pytest.param(path, id=str(path), marks=pytest.mark.slow if size > BIG else ())


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_files_are_at_hand(folder):
    """Without them nothing below runs: skipped aloud on a user's machine, an error in the run that decides."""
    assert any(data_path(folder).iterdir())


@pytest.mark.skipif(not FILES, reason="needs data/, looked for in $CON360_TEST_DATA and in ../shared")
@pytest.mark.parametrize("path", list(params()))
def test_result_or_one_sentence(path):
    file = shared_root() / "data" / path
    try:
        clip = read_panorama(file, height=64)
    except InputError as error:
        message = str(error)
        assert message.endswith(".") and "\n" not in message and len(message) < 400 and file.name in message
        assert path.name not in NOTICES
        assert ERRORS.get(path.name, "") in message
        return
    assert path.name not in ERRORS
    assert clip.frames.shape == (32, 3, 64, 128) and torch.isfinite(clip.frames).all()
    assert 0 <= clip.frames.min() and clip.frames.max() <= 1
    assert any(NOTICES.get(path.name, "") in n for n in (*clip.notices, ""))
    assert all(n.endswith(".") and n[0].isupper() | n[0].isdigit() for n in clip.notices)
    if clip.sound is not None:
        assert clip.sound.waveform.shape[1] == 4 * clip.sound.sample_rate_hz
        assert torch.isfinite(clip.sound.waveform).all()


@pytest.mark.skipif(not FILES, reason="needs data/, looked for in $CON360_TEST_DATA and in ../shared")
@pytest.mark.parametrize("path", [p for p in FILES if p.suffix in (".wav", ".flac", ".ogg", ".m4a")], ids=str)
def test_sound_files(path):
    sound, notices = read_sound(shared_root() / "data" / path)
    assert torch.isfinite(sound.waveform).all() and sound.waveform.shape[1] > 0
    assert ("17_nan" in path.name) == any("not numbers" in n for n in notices)
    if "18_float" in path.name:
        assert sound.waveform.abs().max() == 8.0
    if "20_eight" in path.name:
        assert sound.layout == "other" and sound.waveform.shape[0] == 8


def test_one_16k_frame_when_the_limit_is_raised():
    path = data_path("bad/16_real_16384x8192_one_frame.webm")
    clip = read_panorama(path, duration_s=0.5, height=64, max_pixels=16384 * 8192)
    assert clip.frames.shape == (4, 3, 64, 128)


def test_header_sizes_are_not_believed():
    from shared_data import data_path

    info = probe(data_path("bad/15_header_says_32768x16384.mp4"))
    assert (info.width, info.height) == (480, 240)


def test_cover_art_is_no_video():
    from shared_data import data_path

    assert probe(data_path("bad/30_audio_with_cover_art.m4a")).kind == "sound"
