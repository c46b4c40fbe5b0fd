"""`con360 place`, `listen` and `page` as a user runs them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from synthetic_clips import noise, write_video

from con360.cli import main
from con360.cli.option_groups import PlaceOptions
from con360.cli.place import placed_sound
from con360.errors import InputError
from con360.media.reader import read_sound
from con360.media.writer import write_wav
from con360.placing.sources import Finding, Following, Panned
from con360.records import Sound, SourcePoint

RATE = 16000
PLAIN = PlaceOptions(yaw=20.0, gain=-3.0)


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go to a folder with a clip, a voice and a path."""
    monkeypatch.chdir(tmp_path)
    write_video(Path("clip.mp4"), [i / 10 for i in range(10)], sound=0.1 * noise(1, RATE), rate_hz=RATE)
    write_wav("voice.wav", Sound(torch.from_numpy(0.1 * noise(1, RATE, seed=3)), RATE))
    Path("path.json").write_text('[{"time": 0, "yaw": -30, "gain": 2}, {"time": 1, "yaw": 30, "fov": 90}]')


def yaw(path: str) -> float:
    sound, _ = read_sound(path)
    w, y, _, x = sound.waveform[:4].double()
    return -math.degrees(math.atan2(float((w * y).sum()), float((w * x).sum())))


# Places ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a.wav", SourcePoint(20.0, gain_db=-3.0)),
        ("a.wav@pitch=10", SourcePoint(0.0, 10.0, gain_db=-3.0)),
        ("a.wav@yaw=-90, pitch=10,distance=2,spread=30,gain=1", SourcePoint(-90.0, 10.0, 2.0, 30.0, 1.0)),
        ("a.wav@follow=2", Following(2, gain_db=-3.0)),
        ("a.wav@panned", Panned(-3.0)),
        ("a.wav@find", Finding(False, -3.0)),
        ("a.wav@most-moving,gain=0", Finding(True, 0.0)),
        ("a.wav@gain=4", SourcePoint(20.0, gain_db=4.0)),
    ],
)
def test_words_behind_an_at_are_a_sounds_own_place(text: str, place: object) -> None:
    found = placed_sound(text, PLAIN)
    assert (found.path, found.place, found.start_s) == ("a.wav", place, 0.0)


@pytest.mark.parametrize("text", ["a.wav@path.json,begin=2", "a.wav@path=path.json,begin=2"])
def test_a_path_from_a_file_takes_the_gain_on_top(text: str) -> None:
    found = placed_sound(text, PLAIN)
    assert [point.gain_db for point in found.place.points] == [-1.0, -3.0]
    assert [point.yaw_deg for point in found.place.points] == [-30.0, 30.0] and found.start_s == 2.0


def test_a_file_whose_name_holds_an_at_has_no_place() -> None:
    Path("me@home.wav").write_bytes(Path("voice.wav").read_bytes())
    assert placed_sound("me@home.wav", PLAIN).path == "me@home.wav"
    assert placed_sound("me@home.wav@yaw=1", PLAIN).path == "me@home.wav"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.wav@yaw=x", "yaw is 'x'; a number"), ("a.wav@left", "'left' is not understood"),
        ("a.wav@yaw=", "'yaw=' is not understood"), ("a.wav@", "'' is not understood"),
        ("a.wav@follow=1.5", "follow is '1.5'"), ("a.wav@follow=1,yaw=2", "direction and region exclude each other"),
        ("a.wav@path.json,distance=2", "distance and spread do not go with the path"),
        ("a.wav@find,spread=2", "do not go with the finding"), ("a.wav@none.json", "no file none.json"),
    ],
)  # fmt: skip
def test_places_that_are_not_understood(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        placed_sound(text, PLAIN)


# Commands -------------------------------------------------------------------------------------------------------------


def test_a_field_and_what_both_ears_hear(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["place", "voice.wav", "--yaw", "90", "-o", "field.wav", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["order"], facts["sample_rate_hz"], facts["duration_s"]) == (1, RATE, 1.0)
    assert facts["tracks"][0][0]["yaw"] == 90 and yaw("field.wav") == pytest.approx(90, abs=0.1)
    assert main(["listen", "field.wav", "-o", "ears.wav", "--json"]) == 0
    assert "KEMAR" in json.loads(capsys.readouterr().out)["ears"]
    left, right = read_sound("ears.wav")[0].waveform
    assert right.norm() > 2 * left.norm()
    assert main(["listen", "field.wav", "-o", "ears.wav", "--yaw", "180"]) == 0
    left, right = read_sound("ears.wav")[0].waveform
    assert left.norm() > 2 * right.norm()
    assert main(["listen", "field.wav", "-o", "turning.wav", "--path", "path.json"]) == 0


def test_several_sounds_on_a_clip(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["place", "voice.wav@yaw=-90", "voice.wav@path.json", "--on", "clip.mp4", "-o", "out.mp4"]
    assert main([*words, "--order", "2"]) == 0
    told = capsys.readouterr()
    assert "yaw -90°, pitch 0°" in told.out and "then along 2 points" in told.out and told.out.endswith("out.mp4\n")
    assert "mono comes from everywhere" in told.err
    assert read_sound("out.mp4")[0].ambisonic_order == 2
    assert main(["place", "voice.wav", "--yaw", "60", "--on", "clip.mp4", "-o", "alone.mp4", "--replace"]) == 0
    assert yaw("alone.mp4") == pytest.approx(60, abs=1)


def test_a_page_with_a_view(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["page", "clip.mp4", "-o", "tour.html", "--view", "clip.mp4@90,0=a = b", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["views"] == 1
    text = Path("tour.html").read_text(encoding="utf-8")
    assert '"caption": "a = b", "yaw": 90.0, "pitch": 0.0' in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["place", "none.wav", "-o", "x.wav"], "no file none.wav"),
        (["place", "voice.wav", "-o", "x.mp4"], "does not end in .wav"),
        (["place", "voice.wav", "--on", "clip.mp4", "-o", "x.wav"], "does not end in .mp4"),
        (["place", "voice.wav", "--replace", "-o", "x.wav"], "about a clip"),
        (["place", "voice.wav", "--find", "-o", "x.wav"], "in a clip alone"),
        (["place", "voice.wav", "--order", "4", "-o", "x.wav"], "order 4"),
        (["place", "voice.wav", "--yaw", "nan", "-o", "x.wav"], "not finite"),
        (["place", "voice.wav", "--pitch", "100", "-o", "x.wav"], "pitch of 100"),
        (["listen", "voice.wav", "-o", "x.wav", "--path", "path.json", "--yaw", "1"], "exclude each other"),
        (["listen", "voice.wav", "-o", "x.wav", "--hrtf", "none.sofa"], "no file none.sofa"),
        (["page", "clip.mp4", "-o", "x.html", "--view", "clip.mp4@left,0"], "FILE@YAW,PITCH=CAPTION"),
        (["page", "clip.mp4", "-o", "x.html", "--views", "none"], "views.json"),
        (["page", "clip.mp4", "-o", "x.html", "--size", "big"], "WIDTHxHEIGHT"),
        (["page", "voice.wav", "-o", "x.html"], "only sound"),
    ],
)
def test_wrong_input_is_one_sentence(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    before = sorted(Path().iterdir())
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert words in said and "Traceback" not in said
    assert sorted(Path().iterdir()) == before
