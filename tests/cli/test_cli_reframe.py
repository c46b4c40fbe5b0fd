"""`con360 reframe` as a user runs it."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from synthetic_clips import write_video

from con360.cli import main
from con360.media.info import probe
from con360.media.reader import read_sound
from con360.media.writer import clip_stream
from con360.viewpoint.keyframes import keyframes_from_json


@pytest.fixture
def source(tmp_path: Path) -> Path:
    with clip_stream(tmp_path / "in.mp4", (128, 64), Fraction(1, 90000), 30) as clip:
        for i in range(6):
            clip.add_frame(np.full((64, 128, 3), 90 + i, np.uint8), 3000 * i)
    return tmp_path / "in.mp4"


def test_a_path_from_a_file(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "path.json"
    path.write_text('[{"time": 0, "yaw": -30, "pitch": 5, "fov": 75}]')
    out = tmp_path / "out.mp4"
    assert main(["reframe", str(source), "-o", str(out), "--path", str(path), "--size", "64x36", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["width"], facts["height"], facts["num_frames"], facts["sound"]) == (64, 36, 6, "none")
    assert facts["first_view"] == {"yaw_deg": -30, "pitch_deg": 5, "fov_deg": 75, "roll_deg": 0}
    assert (probe(out).width, probe(out).height) == (64, 36)


def test_the_path_is_written_and_given_back(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command, path = ["reframe", str(source), "-o", str(tmp_path / "out.mp4")], tmp_path / "path.json"
    view = ["--yaw", "20", "--pitch", "-5", "--roll", "30", "--fov", "60", "--aspect", "9:16"]
    assert main([*command, *view, "--write-keyframes", str(path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["width"], facts["height"]) == (16, 24)
    assert json.loads(path.read_text()) == [{"time": 0.0, "yaw": 20.0, "pitch": -5.0, "fov": 60.0, "roll": 30.0}]
    assert main([*command, "--keyframes", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["first_view"] == facts["first_view"]
    assert main([*command, "--follow", "1", "--write-keyframes", str(path)]) == 0
    assert capsys.readouterr().out.endswith(f"out.mp4\n{path}\n")
    assert keyframes_from_json(path.read_text())[0].time_s == 0.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--yaw", "10", "--follow", "1"], "exclude each other"), (["--size", "big"], "WIDTHxHEIGHT"),
        (["--size", "33x32"], "even"), (["--follow", "0"], "rank 0"), (["--path", "no.json"], "no file"),
        (["--head-locked", "--ambisonics", "none"], "leave one of them out"),
        (["--hrtf", "ears.sofa", "--yaw", "0"], "for the sound 'headphones'"),
        (["--aspect", "wide"], "write WIDTH:HEIGHT"), (["--aspect", "9:1"], "from 1:4 to 4:1"),
        (["--aspect", "16:9", "--size", "64x36"], "not both"), (["--yaw", "0", "--roll", "nan"], "the roll is nan"),
        (["--roll", "5", "--keyframes", "path.json"], "each keyframe has its own"),
        (["--write-keyframes", "out.mp4"], "is a video here"), (["--write-keyframes", "."], "is a folder"),
        (["--fov", "179"], "field of view"), (["--sound", "foa", "--yaw", "0", "--start", "7"], "earlier start"),
    ],
)  # fmt: skip
def test_wrong_input_is_one_sentence(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], words: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["reframe", str(source), "-o", "out.mp4", *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said and "Traceback" not in said
    assert not (tmp_path / "out.mp4").exists()


def test_a_wrong_place_is_told_before_anything_is_decoded(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("con360.reframing.run.PanoramaStream", lambda *_: pytest.fail("the source was opened"))
    assert main(["reframe", str(source), "-o", str(tmp_path / "out.mkv")]) == 2
    assert "does not end in .mp4" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--ambisonics", "fuma"], ["--fuma"]])
def test_fuma_by_both_names(tmp_path: Path, words: list[str]) -> None:
    # FuMa's second channel is X, AmbiX's is Y: read as AmbiX, a tone in front moves to the left.
    tone = 0.3 * np.sin(np.arange(24000) * 0.06).astype(np.float32)
    sound = np.stack((tone / np.sqrt(2), tone, 0 * tone, 0 * tone))
    source = write_video(tmp_path / "in.mov", [i / 10 for i in range(5)], sound=sound, layout="4 channels",
                         sound_codec="pcm_f32le")  # fmt: skip

    def sides(*arguments: str) -> list[float]:
        out = tmp_path / "out.mp4"
        assert main(["reframe", str(source), "-o", str(out), "--yaw", "0", "--size", "32x32", *arguments]) == 0
        return read_sound(out)[0].waveform[:, 2000:-2000].square().mean(1).sqrt().tolist()

    left, right = sides(*words)
    assert left == pytest.approx(right, rel=0.01)
    left, right = sides()
    assert left > 3 * right
