"""`con360 ambisonics` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from synthetic_clips import noise, write_video
from tiny_ambisonics import KNOWS, write_tiny_ambisonics

from con360.cli import main
from con360.media.reader import read_sound


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_ambisonics(tmp_path_factory.mktemp("model")))


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("CON360_CACHE", str(tmp_path / "kept"))
    times = [i / 10 for i in range(20)]
    return str(write_video(tmp_path / "clip.mp4", times, sound=0.1 * noise(1, 32000), rate_hz=16000))


def test_a_program_gets_facts_and_people_get_tables(
    clip: str, small: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    out, ears = tmp_path / "out.mp4", tmp_path / "ears.wav"
    words = ["ambisonics", clip, "-o", str(out), "--model", small, "--device", "cpu"]
    assert main([*words, "--seed", "3", "--steps", "1", "--cfg", "off", "--headphones", str(ears), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["seed"], facts["steps"], facts["cfg"], facts["knows"]) == (3, 1, 1.0, KNOWS)
    assert (facts["path"], facts["headphones"], facts["read_pictures"]) == (str(out), str(ears), True)
    assert set(facts["seconds"]) == {"start-up", "loading the model", "ambisonics", "headphones"}
    assert any("own sound is left out" in notice for notice in facts["notices"])
    both, _ = read_sound(ears)
    assert (both.layout, both.duration_s) == ("stereo", pytest.approx(facts["duration_s"], abs=0.01))
    assert main([*words, "--keep-original", "--gain", "-6", "--fresh"]) == 0
    told = capsys.readouterr()
    assert KNOWS in told.out and str(out) in told.out and "left out" not in told.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--steps", "0"], "steps is 0"), (["--gain", "99"], "-60 to 60"), (["--start", "9"], "earlier start"),
        (["--model", "nothing.ckpt"], "there is no file"), (["--pictures", "folder"], "encoder of its own"),
        (["--headphones", "ears.mp3"], ".wav"), (["--saliency", "nothing.pt"], "nothing.pt"),
        (["--device", "abacus"], "no device"),
    ],
)  # fmt: skip
def test_wrong_input_is_one_sentence(
    clip: str, small: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:  # fmt: skip
    out = tmp_path / "out.mp4"
    assert main(["ambisonics", clip, "-o", str(out), "--model", small, *words]) == 2
    told = capsys.readouterr().err
    assert said in told and "Traceback" not in told
    assert not out.exists()
