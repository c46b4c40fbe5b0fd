"""Codecs and qualities of written pictures."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from con360.errors import InputError
from con360.media.coders import PictureCoding, check_codec
from con360.media.info import probe
from con360.media.writer import clip_stream


def written(path: Path, frames: int, coding: PictureCoding, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    with clip_stream(path, (128, 64), Fraction(1, 90000), 8.0, coding=coding) as clip:
        for tick in range(frames):
            clip.add_frame(rng.integers(0, 255, (64, 128, 3), dtype=np.uint8), tick * 11250)
    return path


@pytest.mark.parametrize("frames", [1, 2])
def test_h265_clips_of_one_or_two_frames_are_written_every_time(tmp_path: Path, frames: int) -> None:
    """With frames that look ahead about one in three failed, by chance: ten in a row would not pass."""
    for seed in range(10):
        path = written(tmp_path / f"{seed}.mp4", frames, PictureCoding("H.265"), seed)
        assert probe(path).duration_s == pytest.approx(frames / 8, abs=0.01)


@pytest.mark.parametrize("codec", ["H.264", "H.265"])
def test_a_lower_quality_takes_fewer_bytes(tmp_path: Path, codec: str) -> None:
    sizes = [
        written(tmp_path / f"{quality}.mp4", 8, PictureCoding(codec, quality)).stat().st_size
        for quality in ("high", "medium", "small")
    ]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > 1.3 * sizes[2]


def test_an_unknown_codec_is_told_with_those_that_are_there() -> None:
    with pytest.raises(InputError, match=r"cannot write AV2; it has H\.264"):
        check_codec("AV2")
