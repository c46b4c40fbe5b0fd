"""`con360 generate` with several viewpoints, and with a span made anew."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from test_cli import con360, footage, generate, model  # noqa: F401  (fixtures)
from test_cli_starts import facts, pictures

from con360.cli.scene_views import SAME_SOUND
from con360.media import writer
from con360.media.reader import read_sound

WORDS = ["--caption", "a red disc", "--json"]


def heard(path: str) -> np.ndarray:
    return read_sound(path)[0].waveform.numpy()


def test_two_viewpoints_are_two_files_over_one_sound(generate) -> None:  # noqa: F811
    told = facts(generate("-o", "new/views.mp4", "--viewpoints", "2,1", "--conditions", "why.png", *WORDS))
    views = told["views"]
    assert [view["view"]["rank"] for view in views] == [2, 1]
    assert [Path(view["output"]).name for view in views] == ["views-2.mp4", "views-1.mp4"]
    assert [Path(view["conditions"]).name for view in views] == ["why-2.png", "why-1.png"]
    assert all(Path(view["output"]).is_file() and Path(view["conditions"]).is_file() for view in views)
    assert not Path("new/views.mp4").exists() and not Path("why.png").exists()
    assert np.array_equal(heard("new/views-1.mp4"), heard("new/views-2.mp4"))
    assert not np.array_equal(pictures("new/views-1.mp4"), pictures("new/views-2.mp4"))
    assert sum(SAME_SOUND[1:] in warning for warning in told["warnings"]) == 1
    assert told["stages_s"]["sampling"] > 0 and "generation" not in told["stages_s"]
    # The first is the clip that its rank gives alone.
    alone = facts(generate("-o", "alone.mp4", "--viewpoint", "2", *WORDS))
    assert Path("alone.mp4").read_bytes() == Path("new/views-2.mp4").read_bytes()
    assert len(alone["views"]) == 1 and alone["views"][0]["output"] == alone["output"]


@pytest.mark.slow
def test_tables_name_every_file(generate) -> None:  # noqa: F811
    status, out, err = generate("-o", "views.mp4", "--viewpoints", "1,2", "--field", "around.wav", "--sound", "stereo")
    assert status == 0, err
    assert SAME_SOUND[1:] not in err and len(heard("views-1.mp4")) == 2
    assert [Path(line).name for line in out.splitlines()[-3:]] == ["views-1.mp4", "views-2.mp4", "around.wav"]
    assert "viewpoint 1 *" in out and "viewpoint 2 *" in out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--viewpoints", "1,1"], "--viewpoints names 1 twice"),
        (["--viewpoints", "1,9"], "viewpoint 9 was asked for"),
        (["--viewpoints", "0,1"], "ranks count from 1"),
        (["--viewpoints", "1;2"], "cannot be read; write ranks, such as 1,2"),
        (["--viewpoints", ",".join(map(str, range(1, 18)))], "asks for 17 views; choose up to 16"),
        (["--viewpoints", "1,2", "--viewpoint", "1"], "--viewpoints and --viewpoint exclude each other"),
        (["--viewpoints", "1,2", "--yaw", "3"], "--viewpoints and --yaw or --pitch exclude each other"),
        (["--viewpoints", "1,2", "--hold", "sound"], "--viewpoints and --hold exclude each other"),
        (["--viewpoints", "1,2", "--redo", "0-0.25"], "--viewpoints and --redo exclude each other"),
        (["--redo", "0.5-0.2"], "ends before it begins"),
        (["--redo", "0.2-0.2"], "lasts 0 s"),
        (["--redo", "0.2-0.9"], "reaches outside the clip"),
        (["--redo", "half"], "cannot be read; write its two ends"),
        (["--redo", "0-0.25", "--redo-seed", "-1"], "seed is -1"),
        (["--redo", "0-0.25", "--hold", "picture"], "add --redo-what sound"),
        (["--redo", "0-0.25", "--redo-what", "picture", "--redo-when", "t.csv"], "--redo-what picture keeps the sound"),
        (["--redo", "0-0.25", "--redo-when", "none.csv"], "there is no file none.csv"),
        (["--redo-seed", "7"], "--redo-seed is for a span that is made anew; give --redo"),
        (["--latents", "a.safetensors"], "--latents is for a span"),
        (["--redo", "0-0.25", "--latents", "none.safetensors"], "there is no weight file"),
        (["--redo", "0-0.25", "--latents", "a.safetensors", "--start-from", "view"], "leave --start-from out"),
        (["--save-latents", "a.bin"], "does not end in .safetensors"),
    ],
)
def test_options_that_contradict_are_one_sentence_and_nothing_is_written(generate, options, says) -> None:  # noqa: F811
    status, _, err = generate("-o", "view.mp4", *options)
    assert status == 2 and says in err.strip().splitlines()[-1]
    assert not list(Path().glob("*.mp4"))


@pytest.mark.slow
def test_a_full_disk_leaves_the_views_that_are_finished_and_says_which(generate, monkeypatch) -> None:  # noqa: F811
    write, seen = writer.write_clip, []

    def full(path, *arguments):
        seen.append(path)
        if len(seen) == 2:
            raise OSError(28, "No space left on device")
        return write(path, *arguments)

    monkeypatch.setattr(writer, "write_clip", full)
    status, _, err = generate("-o", "views.mp4", "--viewpoints", "1,2")
    assert status == 1 and "note: Written before this failed: views-1.mp4." in err and "No space left" in err
    assert [path.name for path in Path().glob("*.mp4")] == ["views-1.mp4"]


@pytest.mark.slow
def test_a_span_is_made_anew_from_settings_or_from_latents(generate) -> None:  # noqa: F811
    first = facts(generate("-o", "first.mp4", "--save-latents", "first.safetensors", "--seed", "3", *WORDS))
    assert Path(first["latents"]).is_file() and first["redo"] is None
    redo = ["--redo", "0.25-0.5", "--redo-seed", "7"]
    again = facts(generate("-o", "again.mp4", *redo, "--seed", "3", *WORDS))
    read = facts(generate("-o", "read.mp4", *redo, "--latents", "first.safetensors", "--json"))
    assert again["redo"] == {"from_s": 0.25, "to_s": 0.5, "what": "both", "seed": 7, "caption": None, "latents": None}
    assert Path(read["redo"]["latents"]).samefile("first.safetensors")
    assert read["caption"]["text"] == "a red disc" and "sampling" in again["stages_s"]
    assert "sampling" not in read["stages_s"], "the first result was read, not made"
    assert np.array_equal(pictures("again.mp4"), pictures("read.mp4"))
    assert np.array_equal(heard("again.mp4"), heard("read.mp4"))
    same, other = pictures("first.mp4").astype(float), pictures("again.mp4").astype(float)
    assert np.abs(same - other)[2:].mean() > 3 * np.abs(same - other)[:2].mean(), "the span alone is another"


@pytest.mark.slow
def test_latents_of_another_view_or_length_are_named(generate) -> None:  # noqa: F811
    assert generate("-o", "a.mp4", "--save-latents", "a.safetensors", "--yaw", "20")[0] == 0
    redo = ["--redo", "0-0.25", "--latents", "a.safetensors", "-o", "b.mp4"]
    assert "ask for the same view" in generate(*redo, "--yaw", "50")[2]
    assert "write --duration 0.5" in generate(*redo, "--yaw", "20", "--duration", "1")[2]
    status, _, err = generate(*redo, "--yaw", "20", "--save-latents", "a.safetensors")
    assert status == 2 and "both read and written" in err
    assert not Path("b.mp4").exists()


@pytest.mark.slow
def test_only_the_sound_of_a_held_pictures_clip_is_made_anew(generate) -> None:  # noqa: F811
    words = ["--hold", "picture", "--redo", "0-0.25", "--redo-what", "sound", "--redo-caption", "a green ring"]
    told = facts(generate("-o", "dubbed.mp4", *words, *WORDS))
    assert told["redo"]["caption"] == "a green ring" and told["held_picture"]["frames"] == 4
    assert json.dumps(told["redo"])
