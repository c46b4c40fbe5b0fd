"""`con360 generate --guide` and `--best-of`, as a user runs them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from test_cli import con360, footage, generate, model  # noqa: F401  (fixtures)
from tiny_meaning import make_tiny_meaning

from con360.meaning.built_in import codecs_fingerprint
from con360.weights.load import load_joint_model
from con360.weights.meaning import MEANING_FILE, save_meaning_network

CAPTION = ("--caption", "a red disc humming")
# The random model's own sound is silence; the footage's is not.
HEARD = ("--hold", "sound")


@pytest.fixture(scope="module")
def meaning(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """The model in a folder that has an encoder, with another one beside it."""
    folder = shutil.copytree(model, tmp_path_factory.mktemp("meaning") / "random")
    joint = load_joint_model(folder)
    for seed, path in enumerate((folder / MEANING_FILE, folder.parent / "judge.safetensors")):
        save_meaning_network(make_tiny_meaning(joint, seed).network, path, {}, codecs_fingerprint(joint))
    return folder


@pytest.mark.slow
def test_the_best_of_three_is_written_and_all_are_told(generate, meaning):  # noqa: F811
    asked = (*CAPTION, *HEARD, "--guide", "safe", "--guide-steer", "picture", "--guide-start", "0", "--best-of", "3")
    judge = ("--judge", meaning.parent / "judge.safetensors")
    status, out, err = generate("-o", "v.mp4", *asked, *judge, "--seed", "7", "--json", "--model", meaning)
    assert status == 0, err
    told = json.loads(out)
    found = told["meaning"]
    assert sorted(one["seed"] for one in found["candidates"]) == [7, 8, 9]
    assert told["seed"] == found["candidates"][0]["seed"] and Path("v.mp4").exists()
    assert found["guide"]["encoder"] == "con360-meaning" and found["judge"] == "judge.safetensors"
    assert len(found["guided_steps"]) == 1 and "flatter" not in err


@pytest.mark.slow
def test_figures_of_the_guides_own_encoder_are_marked(generate, meaning):  # noqa: F811
    asked = (*CAPTION, *HEARD, "--guide", "pairwise", "--guide-steer", "both", "--best-of", "2")
    status, out, err = generate("-o", "v.mp4", *asked, "--model", meaning)
    assert status == 0, err
    assert "flatter" in err and "text-picture" in out and "written" in out


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (("--best-of", "0"), "choose 2 to 64"),
        (("--best-of", "1000"), "choose 2 to 64"),
        (("--best-of", "2", "--viewpoints", "1,2"), "exclude each other"),
        (("--judge", "built-in"), "give --best-of"),
        (("--guide-strength", "2"), "give --guide safe"),
        (("--guide", "safe", "--guide-strength", "nan"), "strength is nan"),
        (("--guide", "safe", "--hold", "sound"), "--guide-steer picture"),
        (("--guide", "safe", "--best-of", "2", "--judge", "built-in"), "cannot judge"),
        (("--guide", "safe", "--encoder", "imagbind"), "no encoder 'imagbind'"),
    ],
)
def test_wrong_options_are_named_before_the_clip_is_read(generate, monkeypatch, asked, says):  # noqa: F811
    monkeypatch.setattr("con360.media.reader.read_panorama", lambda *_, **__: pytest.fail("the clip was read"))
    status, _, err = generate("-o", "v.mp4", *asked)
    assert status == 2 and says in err and not Path("v.mp4").exists(), err


@pytest.mark.slow
def test_clips_without_meaning_are_named(generate, meaning):  # noqa: F811
    status, _, err = generate("-o", "v.mp4", "--best-of", "2", *CAPTION, "--model", meaning)
    assert status == 2 and "no candidate can be measured: a sound is silent" in err and not Path("v.mp4").exists()
    status, _, err = generate("-o", "v.mp4", "--guide", "safe", *CAPTION)
    assert status == 2 and "no meaning.safetensors" in err and not Path("v.mp4").exists()
