"""`con360 caption` and captions by models in `con360 generate`, run for real over tiny random models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_captioners import write_blip2, write_llama
from tiny_workflow import write_model_files

from con360.cli import main
from con360.media.writer import write_clip
from con360.records import Sound
from con360.scenes import demo_scene
from con360.timing import ClipSpec


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("cli")
    clip = demo_scene().panorama(96, ClipSpec(0.5))
    write_clip(root / "scene.mp4", clip.frames, clip.fps, Sound(clip.sound.waveform[:1], 16000))
    write_model_files(root)
    return {
        "input": root / "scene.mp4", "captioner": write_blip2(root / "blip2"), "llm": write_llama(root / "llama"),
        "model": root / "con360" / "random", "control": root / "con360_control" / "random.safetensors",
    }  # fmt: skip


@pytest.fixture
def con360(place: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    """`con360(command, ...)` on half a second of the scene: (exit status, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def run(command: str, *arguments: str | Path) -> tuple[int, str, str]:
        status = main([command, str(place["input"]), "--duration", "0.5", *map(str, arguments)])
        return status, *capsys.readouterr()

    return run


def models(place: dict[str, Path]) -> list[Path | str]:
    return ["--captioner", place["captioner"], "--caption-llm", place["llm"], "--caption-times", "1"]


def test_a_caption_for_people(con360, place: dict[str, Path]) -> None:
    status, out, err = con360("caption", "--captioner", place["captioner"], "--caption-times", "2")
    assert status == 0, err
    short, long = out.split("short caption:\n")[1].split("\n")[0], out.split("long caption:\n")[1].split("\n")[0]
    assert short.startswith("in front: ") and long.startswith("in front: ")
    assert "merged by rule" in out and "peak memory" in out
    lines = [line.split() for line in out.splitlines() if " s  " in line]
    assert [line[0] for line in lines] == ["0.1"] * 6 + ["0.4"] * 6
    assert lines[0][2:4] == ["in", "front"] and lines[2][2] == "behind"


def test_json_says_everything_and_prompts_come_from_text_and_file(con360, place: dict[str, Path]) -> None:
    Path("merge.txt").write_text("describe {captions} : a band\n", encoding="utf-8")
    facts = []
    for more in ([], ["--merge-prompt", "@merge.txt", "--face-prompt", ""]):
        status, out, err = con360("caption", *models(place), "--model", place["model"], "--json", *more)
        assert status == 0, err
        [line] = out.splitlines()
        facts.append(json.loads(line))
    assert [f["origin"] for f in facts] == ["models", "models"]
    assert facts[1]["prompts"]["merge"] == "describe {captions} : a band" and facts[1]["prompts"]["face"] == ""
    assert facts[0]["faces"] != facts[1]["faces"] and facts[0]["long"] != facts[1]["long"]
    assert [face["direction"] for face in facts[0]["faces"]][:3] == ["in front", "on the right", "behind"]
    assert any("reads 12 tokens" in warning for warning in facts[0]["warnings"])
    assert len(facts[0]["short"].split()) <= 12


def test_a_manifests_tokenizers_measure_the_caption(con360, place: dict[str, Path]) -> None:
    Path("mine").mkdir()
    Path("mine/con360-model.json").write_text(json.dumps({"joint": str(place["model"])}))
    for model in ("mine", "mine/con360-model.json"):
        status, out, err = con360("caption", *models(place), "--model", model, "--json")
        assert status == 0, err
        assert any("reads 12 tokens" in warning for warning in json.loads(out)["warnings"])


def test_generate_writes_its_own_caption(con360, place: dict[str, Path]) -> None:
    status, out, err = con360(
        "generate", "-o", "view.mp4", *models(place), "--model", place["model"], "--control", place["control"],
        "--steps", "1", "--json", "--conditions", "why.png",
    )  # fmt: skip
    assert status == 0, err
    caption = json.loads(out)["caption"]
    assert caption["origin"] == "models" and caption["text"] and caption["long"] and len(caption["faces"]) == 6
    assert Path("view.mp4").is_file() and Path("why.png").is_file()


@pytest.mark.parametrize(("arguments", "words"), [
    (["--captioner", "nowhere"], "there is no captioner folder nowhere"),
    (["--captioner", "LLM"], "holds a LlamaForCausalLM"),
    (["--captioner", "CAPTIONER", "--caption-llm", "CAPTIONER"], "which writes no text"),
    (["--captioner", "CAPTIONER", "--caption-times", "0"], "caption times: 0"),
    (["--captioner", "CAPTIONER", "--caption-batch", "0"], "caption batch size: 0"),
    (["--captioner", "CAPTIONER", "--merge-prompt", "hello"], "{captions}"),
    (["--captioner", "CAPTIONER", "--short-prompt", "@none.txt"], "none.txt"),
    (["--captioner", "CAPTIONER", "--caption", "typed"], "exclude each other"),
    (["--caption-llm", "LLM"], "give --captioner"),
], ids=lambda value: value if isinstance(value, str) else "")  # fmt: skip
def test_what_is_wrong_is_said_before_anything_is_read(
    con360, place: dict[str, Path], arguments: list[str], words: str
) -> None:
    folders = {"CAPTIONER": place["captioner"], "LLM": place["llm"]}
    status, out, err = con360(
        "generate", "-o", "view.mp4", "--model", place["model"], *(folders.get(a, a) for a in arguments)
    )  # fmt: skip
    assert (status, out) == (2, "")
    assert words in err and "Traceback" not in err and "reading" not in err
    assert not Path("view.mp4").exists()
