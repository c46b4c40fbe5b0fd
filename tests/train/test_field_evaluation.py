"""Evaluate Ambisonics: rows that stand beside, tables, folders of clips, scenes; planted angles, tiny networks."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_ambisonics import write_tiny_ambisonics
from tiny_judges import write_judges

from con360.media.wav import wav_stream
from con360.media.writer import write_clip
from con360.metrics.directions import angular_errors
from con360.records import Sound
from con360.sound.ambisonics import encode
from train import evaluate
from train.evaluation.field_clips import clips_of, video_of
from train.evaluation.field_tables import DIRECTIONS, PAPER, fd, summaries, table
from train.evaluation.fields import BESIDE, beside, figures
from train.omniaudio import judge

RATE = 16000
YAWS = {"a": 20.0, "b": 70.0, "c": -40.0}


def field(yaw: float, seconds: float = 1.0, seed: int = 0) -> Sound:
    mono = 0.1 * torch.randn(round(seconds * RATE), generator=torch.Generator().manual_seed(seed))
    return Sound(encode(mono, yaw, 0.0), RATE, "ambix")


def write(path: Path, sound: Sound) -> None:
    with wav_stream(path, 4, RATE) as wav:
        wav.add(sound.waveform.numpy())


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Path:
    """Three true sounds, and their mirror images under the same names."""
    folder = tmp_path_factory.mktemp("bench")
    for name in ("true", "generated"):
        (folder / name).mkdir()
    for number, (name, yaw) in enumerate(YAWS.items()):
        write(folder / "true" / f"{name}.wav", field(yaw, seed=number))
        write(folder / "generated" / f"{name}.wav", field(-yaw, seed=number))
    return write_judges(folder)


def test_what_stands_beside_reads_its_planted_angles():
    true = field(50.0)
    rows = {name: figures(sound, true) for name, sound in beside(true, field(-30.0, seed=4), None, 7).items()}
    assert list(rows) == [name for name in BESIDE if name != "found"]
    wanted = {"another": 80.0, "ahead": 50.0, "placed": 0.0}
    assert {name: rows[name]["clip"] for name in wanted} == pytest.approx(wanted, abs=0.01)
    # Only another clip sounds otherwise.
    assert rows["another"]["log_mel"] > 1 > rows["ahead"]["log_mel"] == rows["anywhere"]["log_mel"] == 0.0
    assert rows["placed"]["cc_0"] == pytest.approx(1.0) and rows["ahead"]["within"] == 0.0


def test_chance_is_90_degrees_over_many_clips():
    true = field(50.0, 0.2)
    errors = [angular_errors(beside(true, true, None, n)["anywhere"], true).mean_deg for n in range(200)]
    assert np.mean(errors) == pytest.approx(90.0, abs=6) and np.std(errors) == pytest.approx(39.2, abs=5)


def test_tables_leave_out_columns_without_an_answer():
    clips = [{"clip": 10.0, "within": 1.0}, {"clip": 20.0, "within": 0.5}, {"clip": math.nan, "within": 0.0}]
    text = table(summaries({"ours": clips}, DIRECTIONS), DIRECTIONS, {"ours": "**ours**"})
    assert text.splitlines()[0] == "| sound | clip, median, degrees | bands within 30, % | N |"
    assert text.splitlines()[2] == "| **ours** | 15.0 [10.0, 20.0] | 50 [0, 100] | 3 |"
    assert table(summaries({"ours": clips}, PAPER), PAPER, {}).splitlines()[0] == "| sound | N |"


def test_fd_is_over_all_windows():
    g = np.random.default_rng(0)
    true = [g.normal(size=(n, 3)) for n in (4, 7, 5)]
    assert fd(true, true)[0] == pytest.approx(0.0, abs=1e-9)
    value, around = fd([one + 2.0 for one in true], true)
    assert value == pytest.approx(12.0) and around == pytest.approx([12.0, 12.0])


def test_a_folder_of_clips_gives_the_papers_row(bench, tmp_path, capsys):
    out = tmp_path / "out"
    options = ["--data", str(bench / "true"), "--generated", str(bench / "generated"), "--out", str(out)]
    networks = ["--openl3", str(bench / "openl3.pt"), "--passt", str(bench / "passt.pt")]
    assert evaluate.main([*options, *networks]) == 0
    text = (out / "table.md").read_text()
    assert text in capsys.readouterr().out and "| sound | FD | KL | d_theta | d_phi | d_angular | N |" in text
    found = json.loads((out / "metrics.json").read_text())["figures"]
    assert found["generated"]["clip"]["value"] == pytest.approx(80.0, abs=0.1)
    assert found["ahead"]["clip"]["value"] == pytest.approx(40.0, abs=0.1)
    assert abs(found["generated"]["kl"]["value"]) < 0.01 < found["another"]["log_mel"]["value"]
    # The same W: nothing between the sets of windows. Of three clips, another's are the same set, too.
    assert found["generated"]["fd"]["value"] == pytest.approx(0.0, abs=1e-6) and found["generated"]["fd"]["n"] == 3
    # Left and right are the first axis of the paper's reading: read so, a mirror image has 180 degrees of theta.
    assert found["generated"]["theta"]["value"] == pytest.approx(math.pi, abs=0.01)
    assert found["generated"]["log_mel"] == {"value": 0.0, "interval": [0.0, 0.0], "n": 3}
    # A second run measures nothing, and another request does not mix in.
    capsys.readouterr()
    assert evaluate.main([*options, *networks]) == 0 and "1 of 3" not in capsys.readouterr().out
    assert evaluate.main(options) == 2 and "networks" in capsys.readouterr().err


def test_clips_of_unseen_videos_have_a_table_of_their_own(bench, tmp_path, capsys):
    assert [video_of(name) for name in ("ab_-345678l_10", "ab_-3456789l_10", "ab_-3456789_0")] == [
        "ab_-345678l", "ab_-3456789", "ab_-3456789",
    ]  # fmt: skip
    (bench / "named").mkdir()
    for name, video in (("a", "seen-video1"), ("b", "other-video"), ("c", "third-video")):
        write(bench / "named" / f"{video}_10.wav", field(YAWS[name]))
    (tmp_path / "train.txt").write_text("seen-video1l_70")
    options = ["--data", str(bench / "named"), "--generated", str(bench / "named"), "--out", str(tmp_path / "out")]
    assert evaluate.main([*options, "--seen", str(tmp_path / "train.txt")]) == 0
    assert "2 clips of videos that were not trained on" in capsys.readouterr().out


def test_folders_that_cannot_be_used_are_refused(bench, tmp_path, capsys):
    for data, word in ((tmp_path / "none", "there is no"), (tmp_path, "0 of 0 files")):
        assert evaluate.main(["--data", str(data), "--out", str(tmp_path / "out")]) == 2
        assert word in capsys.readouterr().err
    missing = ["--generated", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
    assert evaluate.main(["--data", str(bench / "true"), *missing]) == 2
    assert "no folder" in capsys.readouterr().err
    (tmp_path / "text.wav").write_text("no sound")
    assert clips_of([bench / "true", tmp_path]) == sorted((bench / "true").iterdir())


def test_a_model_makes_the_sound_of_clips_with_a_picture(bench, tmp_path, capsys):
    clips = tmp_path / "clips"
    clips.mkdir()
    frames = torch.rand(16, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    write_clip(clips / "seen.mp4", frames, 8.0, field(60.0, 2.0), panorama="mono")
    write(clips / "heard.wav", field(20.0, 2.0))
    model = write_tiny_ambisonics(tmp_path / "small", trained_s=4.0)
    options = ["--data", str(clips), "--model", str(model), "--out", str(tmp_path / "out")]
    assert evaluate.main(options) == 0
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())["figures"]
    # The sound alone has neither a picture to make a sound for nor one to find it in.
    assert {name: row["clip"]["n"] for name, row in found.items()} == {
        "small": 1, **dict.fromkeys(BESIDE, 2), "found": 1,
    }  # fmt: skip
    assert found["ahead"]["clip"]["value"] == pytest.approx(40.0, abs=1.0)


def test_scenes_are_judged_beside_everything(bench, tmp_path, capsys, monkeypatch):
    # Watching takes seconds; without windows nothing is found, and the sound stays diffuse.
    monkeypatch.setattr(judge, "watched", lambda scenes, index: ())
    models = [
        write_tiny_ambisonics(tmp_path / name, seed, trained_s=4.0) for seed, name in enumerate(("ours", "theirs"))
    ]
    out = ["--out", str(tmp_path / "out"), "--scenes", "2", "--follows", "colour", "--rates", "30"]
    assert judge.main([*out, "--minutes", "0", "--no-model"]) == 0
    assert "| sound |" not in capsys.readouterr().out
    assert judge.main([*out, "--model", str(models[0]), "--beside", str(models[1])]) == 0
    text = (tmp_path / "out" / "judged.md").read_text()
    for name in ("**ours**", "**theirs**", "ours, another scene's pictures", *BESIDE.values()):
        assert f"\n| {name} | " in text
    assert "all moving 30 degrees a second" in text and "ours to theirs: " in text and "2 sources" in text
    found = json.loads((tmp_path / "out" / "judged.json").read_text())["colour-30"]
    assert found["scenes"] == 2
    assert found["figures"]["placed"]["clip"]["value"] < 0.1 < found["figures"]["placed"]["band"]["value"]
    assert judge.main([*out, "--no-model", "--clips", str(bench / "true")]) == 0
    assert "# Directions of 3 clips" in capsys.readouterr().out
    # Results serve a later run, and the same name with other weights does not mix in.
    capsys.readouterr()
    assert judge.main([*out, "--model", str(models[0])]) == 0 and "1 of 2" not in capsys.readouterr().out
    other = write_tiny_ambisonics(tmp_path / "elsewhere" / "ours", 5, trained_s=4.0)
    assert judge.main([*out, "--model", str(other)]) == 2
    assert "model" in capsys.readouterr().err


@pytest.mark.slow
def test_find_the_place_is_near_the_truth_where_everything_moves(tmp_path, capsys):
    out = ["--out", str(tmp_path), "--scenes", "1", "--follows", "colour", "--rates", "30", "--no-model"]
    assert judge.main(out) == 0
    found = json.loads((tmp_path / "judged.json").read_text())["colour-30"]["figures"]["found"]
    assert found["clip"]["value"] < 5 and found["second"]["value"] < 5 and found["within"]["value"] == 1.0
