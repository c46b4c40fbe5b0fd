"""`con360 project` as a user runs it."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from con360.cli import main
from con360.media.info import probe
from con360.media.writer import clip_stream


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    with clip_stream(tmp_path / "flat.mp4", (96, 64), Fraction(1, 10), 10) as clip:
        for i in range(3):
            clip.add_frame(np.full((64, 96, 3), 90 + i, np.uint8), i)
    return tmp_path / "flat.mp4"


def test_the_report_names_both_files(flat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, mask = tmp_path / "out.mp4", tmp_path / "mask.mp4"
    words = ["--yaw", "-170", "--fov", "80", "--height", "100", "--quality", "small", "--mask", str(mask)]
    assert main(["project", str(flat), "-o", str(out), *words, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["width"], facts["height"], facts["num_frames"], facts["sound"]) == (200, 100, 3, "none")
    assert (facts["path"], facts["mask"]) == (str(out), str(mask))
    assert probe(mask).spherical.projection == "equirectangular"
    path = tmp_path / "path.json"
    path.write_text('[{"time": 0, "yaw": 0, "pitch": 0, "fov": 60}, {"time": 0.2, "yaw": 40, "pitch": 0, "fov": 60}]')
    assert main(["project", str(flat), "-o", str(tmp_path / "moved.mp4"), "--panorama", str(out),
                 "--keyframes", str(path)]) == 0  # fmt: skip
    assert capsys.readouterr().out.endswith("moved.mp4\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--fov", "180"], "inside 0 to 180"), (["--keyframes", "none.json"], "there is no file"),
        (["--keyframes", "none.json", "--fov", "60"], "do not go with --keyframes"),
        (["--panorama", "flat.mp4"], "looks like a flat picture"), (["--height", "8192"], "CON360_MAX_PIXELS"),
        (["--sound", "none.wav"], "there is no file"),
    ],
)  # fmt: skip
def test_wrong_input_is_one_sentence(
    flat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    words: list[str], said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["project", str(flat), "-o", "out.mp4", *words]) == 2
    told = capsys.readouterr().err
    assert said in told and "Traceback" not in told
    assert [path.name for path in tmp_path.iterdir()] == ["flat.mp4"]
