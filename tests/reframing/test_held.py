"""A held picture keeps its source's own size and rate beside the new sound."""

from __future__ import annotations

import math
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from con360.errors import InputError
from con360.media.reader import read_sound
from con360.media.writer import write_clip, write_wav
from con360.records import Sound, View, ViewTrack
from con360.reframing.held import write_held_file, write_held_view
from con360.reframing.run import ReframeSettings, reframe

TONE = Sound(0.3 * torch.sin(torch.arange(8000) * 0.2)[None], 16000)


def pictures(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def moving(count: int, height: int, width: int) -> torch.Tensor:
    ramp = torch.arange(width) / width
    return torch.stack([((ramp + i / count) % 1).expand(3, height, width) for i in range(count)])


def heard(path: Path) -> float:
    """Correlation of the file's sound with the tone, after the coder's first block."""
    sound, _ = read_sound(path)
    assert sound.waveform.shape == TONE.waveform.shape
    return float(torch.corrcoef(torch.stack([sound.waveform[0, 1000:], TONE.waveform[0, 1000:]]))[0, 1])


@pytest.fixture(scope="module")
def panorama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("held") / "in.mp4"
    write_clip(path, moving(30, 128, 256), 30.0, None, panorama="mono")
    return path


@pytest.mark.parametrize("turns", [False, True], ids=["still", "moving"])
def test_a_held_view_is_the_reframed_one_bit_for_bit(panorama: Path, tmp_path: Path, turns: bool) -> None:
    track = ViewTrack(tuple(View(20.0 + 10 * i * turns, 5.0, 80.0) for i in range(4)))
    settings = ReframeSettings(sound="none", start_s=0.25, duration_s=0.5)
    made = write_held_view(panorama, tmp_path / "held.mp4", track, 8.0, TONE, settings)
    side = round(2 * math.tan(math.radians(40)) * 256 / (2 * math.pi) / 2) * 2
    assert (made.width, made.height, made.num_frames) == (side, side, 16)
    got = pictures(tmp_path / "held.mp4")
    if not turns:
        reframe(panorama, tmp_path / "still.mp4", View(20.0, 5.0, 80.0), settings)
        assert all(np.array_equal(a, b) for a, b in zip(got, pictures(tmp_path / "still.mp4"), strict=True))
    assert heard(tmp_path / "held.mp4") > 0.99
    # The path is followed between its own times.
    jump = np.abs(got[0].astype(float) - got[12]).mean()
    assert jump > (20 if turns else 0)


def test_a_file_keeps_its_size_and_rate_and_is_cut_to_the_sound(tmp_path: Path) -> None:
    write_clip(tmp_path / "flat.mp4", moving(40, 48, 90), 24.0)
    made = write_held_file(tmp_path / "flat.mp4", tmp_path / "held.mp4", TONE)
    assert (made.width, made.height, made.num_frames) == (90, 48, 12)
    pairs = zip(pictures(tmp_path / "held.mp4"), pictures(tmp_path / "flat.mp4")[:12], strict=True)
    assert max(np.abs(a.astype(float) - b).mean() for a, b in pairs) < 2
    assert heard(tmp_path / "held.mp4") > 0.99


def test_a_file_that_ends_earlier_and_a_picture_are_held(tmp_path: Path) -> None:
    write_clip(tmp_path / "short.mp4", moving(4, 32, 64), 16.0)
    Image.new("RGB", (51, 37), (200, 40, 40)).save(tmp_path / "still.png")
    for name, size, count in (("short.mp4", (64, 32), 8), ("still.png", (50, 36), 4)):
        made = write_held_file(tmp_path / name, tmp_path / "held.mp4", TONE)
        assert ((made.width, made.height), made.num_frames) == (size, count)
        got = pictures(tmp_path / "held.mp4")
        assert len(got) == count and np.abs(got[-1].astype(float) - got[-2]).mean() < 2
        assert heard(tmp_path / "held.mp4") > 0.99


def test_a_file_without_a_picture_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    write_wav(tmp_path / "tone.wav", TONE)
    with pytest.raises(InputError):
        write_held_file(tmp_path / "tone.wav", tmp_path / "held.mp4", TONE)
    assert not (tmp_path / "held.mp4").exists()
