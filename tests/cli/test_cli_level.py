"""`con360 level` as a user runs it."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from con360.cli import main
from con360.media.info import probe
from con360.media.spherical_tags import tag_file
from con360.media.writer import clip_stream


@pytest.fixture
def source(tmp_path: Path) -> Path:
    with clip_stream(tmp_path / "in.mp4", (128, 64), Fraction(1, 10), 10, panorama="mono") as clip:
        for i in range(10):
            clip.add_frame(np.full((64, 128, 3), 90 + i, np.uint8), i)
    return tmp_path / "in.mp4"


def test_the_report_tells_the_turn(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tag_file(source, panorama="mono", pose_deg=(0.0, 12.0, 0.0))
    out = tmp_path / "out.mp4"
    words = ["--auto", "--recentre", "30", "--start", "0.5", "--quality", "small", "--json"]
    assert main(["level", str(source), "-o", str(out), *words]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["width"], facts["height"], facts["num_frames"], facts["sound"]) == (128, 64, 5, "none")
    assert set(facts["turn"]) == {"yaw_deg", "pitch_deg", "roll_deg"} and facts["turn"]["yaw_deg"] > 25
    assert any("pitch 12" in notice for notice in facts["notices"])
    assert probe(out).spherical.projection == "equirectangular"
    assert main(["level", str(source), "-o", str(out), "--yaw", "90"]) == 0
    assert "yaw 90.00°" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--auto"], "states no tilt"), (["--recentre", "initial"], "names no view"), (["--yaw", "nan"], "finite"),
        (["--start", "9"], "earlier start"), (["--ambisonics", "none", "--head-locked"], "leave one of them out"),
    ],
)  # fmt: skip
def test_wrong_input_is_one_sentence(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["level", str(source), "-o", str(tmp_path / "out.mp4"), *words]) == 2
    told = capsys.readouterr().err
    assert said in told and "Traceback" not in told
    assert not (tmp_path / "out.mp4").exists()
