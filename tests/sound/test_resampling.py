"""Resampling with torchaudio and without it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from con360.sound.resampling import resample_by_sinc, windowed_sinc

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("rate", "new"),
    [(48000, 16000), (44100, 16000), (44100, 48000), (48000, 44100), (8000, 96000), (22254, 24000), (16000, 48000)],
)
@pytest.mark.parametrize("samples", [1, 10007])
def test_without_torchaudio_the_sound_is_the_same(rate: int, new: int, samples: int) -> None:
    functional = pytest.importorskip("torchaudio.functional")
    noise = torch.rand(2, samples, generator=torch.Generator().manual_seed(0)) * 2 - 1
    ours, theirs = windowed_sinc(noise, rate, new), functional.resample(noise, rate, new)
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() < 1e-5
    assert torch.equal(resample_by_sinc(noise, rate, new), theirs), "torchaudio is used where it is present"


@pytest.mark.parametrize(
    "error", ["ModuleNotFoundError", "OSError('undefined symbol')", "RuntimeError('CUDA versions differ')"]
)
def test_mels_and_resampling_go_on_without_torchaudio(tmp_path: Path, error: str) -> None:
    (tmp_path / "torchaudio.py").write_text(f"raise {error}")
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]; import torch\n"
        "from con360.sound.levels import Sound, resample; from con360.sound.mels import log_mel\n"
        "sound = resample(Sound(torch.rand(2, 48000), 48000, 'stereo'), 16000)\n"
        "print(*log_mel(sound.waveform).shape)"
    )
    command = [sys.executable, "-c", code, str(tmp_path), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.split() == ["2", "100", "64"], done.stderr
