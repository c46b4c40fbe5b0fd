"""WAV files that are written in blocks: what other programs read, and sizes beyond 4 GiB."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from con360.errors import InputError
from con360.media import wav
from con360.media.reader import read_sound
from con360.media.wav import wav_stream


@pytest.mark.parametrize("channels", [1, 2, 4, 16])
@pytest.mark.parametrize("bits", [16, 32])
def test_blocks_read_back_here_and_elsewhere(tmp_path: Path, channels: int, bits: int) -> None:
    values = np.random.default_rng(0).uniform(-0.9, 0.9, (channels, 999)).astype(np.float32)
    with wav_stream(tmp_path / "x.wav", channels, 22050, bits) as stream:
        for at in range(0, 999, 100):
            stream.add(values[:, at : at + 100])
    rate, theirs = wavfile.read(tmp_path / "x.wav")
    full_scale = 1.0 if bits == 32 else 32768.0
    assert rate == 22050 and np.allclose(theirs.reshape(999, channels).T / full_scale, values, atol=2e-5)
    ours, _ = read_sound(tmp_path / "x.wav", ambisonics="none")
    assert ours.sample_rate_hz == 22050 and np.allclose(ours.waveform.numpy(), values, atol=2e-5)


def test_a_long_file_becomes_rf64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wav, "_MOST", 5000)
    monkeypatch.setattr(wav, "_UNKNOWN", 2**32 - 1)
    values = np.random.default_rng(0).uniform(-0.9, 0.9, (4, 999)).astype(np.float32)
    with wav_stream(tmp_path / "x.wav", 4, 48000) as stream:
        stream.add(values)
    head = (tmp_path / "x.wav").read_bytes()[:48]
    assert (head[:4], head[12:16]) == (b"RF64", b"ds64")
    assert struct.unpack("<QQQ", head[20:44])[1:] == (999 * 16, 999)
    sound, _ = read_sound(tmp_path / "x.wav")
    assert np.array_equal(sound.waveform.numpy(), values)


def test_an_error_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stop"), wav_stream(tmp_path / "x.wav", 1, 8000) as stream:
        stream.add(np.zeros((1, 10), np.float32))
        raise ValueError("stop")
    with pytest.raises(InputError, match="16 .* or 32"), wav_stream(tmp_path / "x.wav", 1, 8000, 24):
        pass
    assert list(tmp_path.iterdir()) == []
