"""`con360 models` and the choice of parts on the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from published_layouts import write_everything, write_json
from tiny_model import make_tiny_joint_model

from con360.cli import main
from con360.control import ControlConfig, ControlModule, save_control
from con360.errors import InputError
from con360.weights import find as known
from con360.weights.catalog import KNOWN_PARTS, advice
from con360.weights.find import chosen_parts, find, model_folder, model_roots
from con360.weights.save import save_joint_model


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A models folder with one of everything that can be made small."""
    made, root = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("models")
    write_everything(made)
    for place in ("con360", "checkpoints", "animatediff_models", "con360_control", "con360_captioner", "con360_llm"):
        (root / place).mkdir()
    shutil.move(made / "audioldm", root / "con360" / "audioldm-m-full")
    shutil.move(made / "sd.safetensors", root / "checkpoints" / "any name.safetensors")
    shutil.copytree(made / "sd" / "tokenizer", root / "clip")
    shutil.move(made / "mm.ckpt", root / "animatediff_models" / "v3.ckpt")
    save_joint_model(make_tiny_joint_model(), root / "con360" / "svg")
    config = ControlConfig({"video.up.0": 8}, map_height=16, widths=(4,), strides=(2,), hidden=4)
    save_control(
        root / "con360_control" / "c.safetensors", ControlModule(config), base="x", base_fingerprint="", training={},
        saliency="training-free",
    )  # fmt: skip
    write_json(root / "con360_captioner" / "blip2" / "config.json", {"model_type": "blip-2"})
    write_json(root / "con360_llm" / "small" / "config.json", {"architectures": ["LlamaForCausalLM"]})
    (root / "con360_saliency").mkdir()
    (root / "con360_saliency" / "salvit360.pt").write_text("version https://git-lfs.github.com/spec/v1\nsize 9\n")
    return root


def listed(models: Path, capsys) -> dict[str, dict]:
    assert main(["models", "--folder", str(models), "--json"]) == 0
    return {part["part"]: part for part in json.loads(capsys.readouterr().out)["parts"]}


def test_parts_are_recognised_by_content(models, capsys):
    parts = listed(models, capsys)
    here = {key: Path(part["found"][0]["path"]).name for key, part in parts.items() if part["status"] == "found"}
    assert here == {
        "con360-tiny": "bundle", "svg": "svg", "audio": "audioldm-m-full", "video": "any name.safetensors",
        "motion": "v3.ckpt", "control": "c.safetensors", "captioner": "blip2", "language model": "small",
    }  # fmt: skip
    assert parts["video"]["found"][0]["bytes"] == (models / "checkpoints" / "any name.safetensors").stat().st_size
    assert parts["salvit360"]["status"] == "unusable" and "LFS pointer" in parts["salvit360"]["found"][0]["problem"]
    assert parts["clap"]["status"] == "missing"
    assert "drumsticks" in parts["svg"]["note"] and "drumsticks" in advice("svg") and not parts["audio"]["note"]
    assert parts["clap"]["belongs"] == [str(models / "con360_metrics" / "clap-htsat-unfused")]


def test_every_part_says_licence_address_and_size(models, capsys):
    parts = listed(models, capsys)
    assert {"con360-tiny", "svg", "audio", "video", "motion", "salvit360", "captioner", "language model", "clap", "i3d",
            "tempsal"} <= parts.keys()  # fmt: skip
    assert all(part["licence"] and part["address"] and part["size"] for part in parts.values())
    assert "CC BY-NC-SA" in parts["audio"]["licence"] and "CC BY-NC-SA" in parts["svg"]["licence"]


def test_the_text_says_what_to_do(tmp_path, capsys):
    assert main(["models", "--folder", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "missing   audio" in said and str(tmp_path / "con360" / "audioldm-m-full") in said
    assert "not for commercial use" in said
    assert main(["models", "--folder", str(tmp_path / "none")]) == 2


def test_a_folder_named_by_the_environment_comes_first(models, tmp_path, monkeypatch):
    monkeypatch.setenv("CON360_MODELS", str(models))
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    assert model_roots()[0] == models and tmp_path / "models" in model_roots()
    assert model_folder("svg") == models / "con360" / "svg"
    with pytest.raises(InputError, match="give 'con360-tiny', 'svg'"):
        model_folder("nothing")


def test_a_damaged_part_is_shown_with_its_reason(models, tmp_path):
    shutil.copytree(models / "con360" / "svg", tmp_path / "con360" / "svg")
    path = next((tmp_path / "con360" / "svg" / "vae_v").glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-10])
    svg = next(part for part in KNOWN_PARTS if part.key == "svg")
    (found,) = find(svg, [tmp_path])
    assert "cut off" in (found.problem or "")


def test_parts_alone_make_a_model_and_find_a_tokenizer(models, monkeypatch, tmp_path):
    monkeypatch.setenv("CON360_MODELS", str(tmp_path / "nothing"))
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    shutil.copytree(models / "clip", tmp_path / "comfy" / "sd1_tokenizer")
    parts = chosen_parts("con360-tiny", _parts(models))
    assert parts.sources["tokenizer_v"] == tmp_path / "comfy" / "sd1_tokenizer"
    assert "unet_svg" not in parts.sources and parts.sources["unet_a"] == models / "con360/audioldm-m-full/unet"
    monkeypatch.setattr(known, "comfyui_folders", lambda: [])
    with pytest.raises(InputError, match="pick tokenizer"):
        chosen_parts("con360-tiny", _parts(models))
    over = chosen_parts("con360-tiny", ["connectors=none"])
    assert "unet_svg" not in over.sources and over.sources["unet_a"] == model_folder() / "unet_a"
    for text in ("audio", "audio=", "=x"):
        with pytest.raises(InputError, match="NAME=PATH|no part of a model"):
            chosen_parts("con360-tiny", [text])


def _parts(models: Path) -> list[str]:
    return [
        f"video={models / 'checkpoints' / 'any name.safetensors'}",
        f"motion={models / 'animatediff_models' / 'v3.ckpt'}",
        f"audio={models / 'con360' / 'audioldm-m-full'}",
    ]


def test_generate_refuses_a_wrong_part_before_it_reads_the_video(models, tmp_path, capsys):
    (tmp_path / "clip.mp4").write_bytes(b"not a video, and never looked at")
    parts = [p for text in _parts(models)[::2] for p in ("--part", text)]
    wrong = [
        "--part",
        f"motion={models / 'con360_control' / 'c.safetensors'}",
        "--part",
        f"tokenizer={models / 'clip'}",
    ]
    assert main(["generate", str(tmp_path / "clip.mp4"), "-o", str(tmp_path / "o.mp4"), *parts, *wrong]) == 2
    assert "is a Con360 control file; motion wants a motion module" in capsys.readouterr().err


@pytest.mark.slow
def test_generate_from_parts(models, tmp_path, capsys):
    from con360.media.writer import write_clip

    generator = torch.Generator().manual_seed(0)
    write_clip(tmp_path / "in.mp4", torch.rand(8, 3, 64, 128, generator=generator), 8.0, None)
    parts = [p for text in (*_parts(models), f"tokenizer={models / 'clip'}") for p in ("--part", text)]
    arguments = [
        "generate",
        str(tmp_path / "in.mp4"),
        "-o",
        str(tmp_path / "o.mp4"),
        "--duration",
        "0.5",
        "--steps",
        "2",
    ]
    assert main([*arguments, *parts]) == 0
    assert (tmp_path / "o.mp4").is_file() and "side by side" in capsys.readouterr().err
