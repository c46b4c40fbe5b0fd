"""`con360 views` as a user runs it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from con360.cli import main
from con360.media.info import probe
from con360.media.reader import read_sound
from con360.media.writer import write_clip, write_wav
from con360.records import Sound
from con360.sound.ambisonics import encode

RATE = 16000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A panorama with a bright spot on the right, from where a tone comes."""
    frames = torch.zeros(8, 3, 64, 128)
    frames[:, :, 26:38, 90:102] = 1.0
    tone = 0.3 * torch.sin(2 * math.pi * 500 * torch.arange(RATE) / RATE)
    path = tmp_path / "in.mp4"
    write_clip(path, frames, 8.0, Sound(encode(tone, 90.0, 0.0), RATE, "ambix"), panorama="mono")
    return path


def listed(folder: Path) -> list[dict]:
    return json.loads((folder / "views.json").read_text())["views"]


def test_views_around_without_sound(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "views"
    assert main(["views", str(source), "--out", str(out), "--count", "4", "--size", "32x32", "--fov", "75"]) == 0
    assert sorted(path.name for path in out.iterdir()) == [*(f"view-{i}.mp4" for i in range(1, 5)), "views.json"]
    facts = json.loads((out / "views.json").read_text())
    assert (facts["source"], facts["fps"], facts["start_s"], facts["duration_s"]) == ("../in.mp4", 8.0, 0.0, 1.0)
    assert [(row["name"], row["yaw"], row["fov"], row["caption"]) for row in facts["views"]] == [
        ("view-1", 0, 75, "in front"), ("view-2", 90, 75, "on the right"),
        ("view-3", -180, 75, "behind"), ("view-4", -90, 75, "on the left"),
    ]  # fmt: skip
    first = probe(out / "view-2.mp4")
    assert (first.width, first.height, first.audio_tracks) == (32, 32, ())
    assert "on the right" in capsys.readouterr().out


def test_views_with_what_their_microphones_hear(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "views"
    words = ["--count", "3", "--above-below", "--with-sound", "--size", "32x32", "--json"]
    assert main(["views", str(source), "--out", str(out), *words]) == 2
    words[1] = "4"
    assert main(["views", str(source), "--out", str(out), *words]) == 0
    assert [row["caption"] for row in listed(out)] == ["in front", "behind", "above", "below"]
    words[1:3] = ["4"]
    assert main(["views", str(source), "--out", str(out), *words]) == 0
    right, left = (read_sound(out / f"view-{i}.mp4")[0].waveform[0, 2000:-2000].std() for i in (2, 4))
    assert 20 * math.log10(right / left) == pytest.approx(6.0, abs=0.3)


def test_the_most_salient_regions(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "views"
    words = ["--regions", "2", "--saliency", "training-free", "--size", "32x32", "--json"]
    assert main(["views", str(source), "--out", str(out), *words]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["folder"] == str(out) and told["views"] == listed(out)
    assert told["views"][0]["yaw"] == pytest.approx(90, abs=15)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--count", "1"], "2 to 16"), (["--regions", "2", "--count", "6"], "exclude each other"),
        (["--regions", "0"], "at least one"), (["--fov", "10"], "field of view"), (["--size", "31x31"], "even"),
        (["--faces", "none"], "give --regions"), (["--start", "-1"], "start"),
    ],
)  # fmt: skip
def test_wrong_input_is_one_sentence_and_leaves_nothing(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["views", str(source), "--out", str(tmp_path / "views"), *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said and "Traceback" not in said
    assert not (tmp_path / "views").exists()


def test_a_file_is_no_folder(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["views", str(source), "--out", str(source)]) == 2
    assert "is a file" in capsys.readouterr().err


# Placing --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def views(source: Path, tmp_path: Path) -> Path:
    """Four views, of which the one behind has a sound."""
    out = tmp_path / "views"
    assert main(["views", str(source), "--out", str(out), "--count", "4", "--size", "32x32", "--start", "0.25"]) == 0
    tone = 0.3 * torch.sin(2 * math.pi * 800 * torch.arange(RATE) / RATE)
    write_wav(out / "view-3.wav", Sound(tone[None], RATE))
    return out


def test_sounds_of_views_are_placed_on_the_clip_that_the_list_names(
    views: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.mp4"
    assert main(["place", "--sounds", str(views), "--replace", "-o", str(out)]) == 0
    told = capsys.readouterr()
    assert "view-3.wav" in told.out and "View-1 has no sound" in told.err
    assert "views: it goes on after the clip's end" not in told.err.lower()
    sound = read_sound(out)[0]
    w, _, _, x = sound.waveform
    # The views begin a quarter of a second after the clip.
    assert w[: RATE // 4 - 1100].abs().max() < 1e-3
    loud = slice(RATE // 4 + 1100, -1100)
    assert (w[loud] + x[loud]).abs().max() < 0.02 < w[loud].abs().max()


def test_sounds_of_views_make_a_field_of_any_order(views: Path, tmp_path: Path) -> None:
    out = tmp_path / "field.wav"
    assert main(["place", "--sounds", str(views), "--order", "3", "-o", str(out)]) == 0
    field = read_sound(out)[0].waveform
    assert field.shape == (16, RATE + RATE // 4)


def test_other_sounds_join_them(views: Path, tmp_path: Path) -> None:
    voice, out = tmp_path / "voice.wav", tmp_path / "field.wav"
    write_wav(voice, Sound(0.1 * torch.ones(1, RATE), RATE))
    assert main(["place", f"{voice}@yaw=0", "--sounds", str(views), "-o", str(out)]) == 0
    w, _, _, x = read_sound(out)[0].waveform
    assert (w - x)[: RATE // 4].abs().max() < 0.002 < 0.1 < (w - x).abs().max()


@pytest.mark.parametrize("words", [[], ["--sounds", "away"]])
def test_nothing_to_place_is_one_sentence(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["place", *words, "-o", str(tmp_path / "out.wav")]) == 2
    said = capsys.readouterr().err
    assert ("nothing to place" in said or "no folder away" in said) and not (tmp_path / "out.wav").exists()


def test_a_clip_that_went_away_is_named(views: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source.rename(source.with_name("moved.mp4"))
    assert main(["place", "--sounds", str(views), "-o", str(views.parent / "out.mp4")]) == 2
    assert "in.mp4, is not there; give it by --on" in capsys.readouterr().err
