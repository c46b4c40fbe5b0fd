"""Test folders of caption models: complete ones load, for all others an error names the fault."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_captioners import SIZE, write_blip2, write_json, write_llama

from con360.caption.captioner import check_captioner, load_captioner
from con360.caption.writer import check_writer, load_writer
from con360.errors import InputError

PICTURE = Image.effect_noise((SIZE, SIZE), 90).convert("RGB")


@pytest.fixture
def copy(folders: dict[str, Path], tmp_path: Path):
    def make(name: str) -> Path:
        return Path(shutil.copytree(folders[name], tmp_path / name))

    return make


def complaint(call, *arguments) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments)
    return str(caught.value)


@pytest.mark.parametrize(("check", "words"), [
    (check_captioner, ("huggingface.co/Salesforce/blip2-opt-2.7b", "MIT", "15 GB")),
    (check_writer, ("huggingface.co/meta-llama/Llama-3.2-1B-Instruct", "Llama 3.2 Community License", "2.5 GB")),
])  # fmt: skip
def test_a_missing_model_is_named_with_its_address(check, words: tuple[str, ...], tmp_path: Path) -> None:
    said = complaint(check, tmp_path / "nothing")
    assert all(word in said for word in (*words, "nothing", "config.json"))
    (tmp_path / "empty").mkdir()
    assert "holds no config.json" in complaint(check, tmp_path / "empty")


def test_another_kind_of_model_is_named_before_it_is_read(copy) -> None:
    assert "holds a LlamaForCausalLM" in complaint(check_captioner, copy("llama"))
    assert "holds a Blip2ForConditionalGeneration, which writes no text" in complaint(check_writer, copy("blip2"))
    folder = copy("blip")
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {**config, "architectures": ["BlipForQuestionAnswering"]})
    assert "BlipForQuestionAnswering" in complaint(load_captioner, folder)
    (folder / "config.json").write_text("{")
    assert "config.json cannot be read" in complaint(load_captioner, folder)


def test_missing_files_are_named(copy) -> None:
    folder = copy("blip2")
    (folder / "model.safetensors").unlink()
    assert "lacks model.safetensors" in complaint(check_captioner, folder)
    shards = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    write_json(folder / "model.safetensors.index.json", shards)
    (folder / "model-00001-of-00002.safetensors").write_bytes(b"x")
    assert "lacks model-00002-of-00002.safetensors." in complaint(check_captioner, folder)
    folder = copy("blip")
    (folder / "preprocessor_config.json").unlink()
    assert "preprocessor_config.json" in complaint(load_captioner, folder)
    folder = copy("llama")
    (folder / "tokenizer.json").unlink()
    assert "tokenizer.json" in complaint(load_writer, folder)


def damaged(path: Path, how: str) -> None:
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-1000])
        return
    weights = load_file(path)
    name = max((n for n, t in weights.items() if t.ndim == 2), key=lambda n: weights[n].numel())
    if how == "missing":
        del weights[name]
    elif how == "nan":
        weights[name][0, 0] = torch.nan
    else:
        weights[name] = weights[name][:-1].clone()
    save_file(weights, path, metadata={"format": "pt"})


@pytest.mark.parametrize(("how", "words"), [
    ("cut", "cannot be loaded"), ("missing", "is missing"), ("nan", "NaN"), ("shape", "cannot be loaded"),
])  # fmt: skip
@pytest.mark.parametrize("kind", ["blip2", "llama"])
def test_damaged_weights_are_named(copy, kind: str, how: str, words: str) -> None:
    folder = copy(kind)
    damaged(folder / "model.safetensors", how)
    assert words in complaint(load_captioner if kind == "blip2" else load_writer, folder)


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickled_weights_are_read_and_pickled_code_is_not_run(copy, tmp_path: Path) -> None:
    folder = copy("llama")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    want = load_writer(folder).write("a man plays", 8)
    (folder / "model.safetensors").unlink()
    assert load_writer(folder).write("a man plays", 8) == want
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Evil(tmp_path / "ran")}))
    assert "cannot be loaded" in complaint(load_writer, folder)
    assert not (tmp_path / "ran").exists()


def test_an_older_folder_without_the_pictures_token_still_sees_the_picture(copy, folders) -> None:
    folder = copy("blip2")
    (folder / "processor_config.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {**config, "image_token_index": None})
    new, old = load_captioner(folders["blip2"]), load_captioner(folder)
    for prompt in ("", "a photo of"):
        assert old.describe([PICTURE], prompt) == new.describe([PICTURE], prompt)
    white = Image.new("RGB", (SIZE, SIZE), "white")
    assert old.describe([white], "a photo of") != old.describe([PICTURE], "a photo of")


def test_a_tokenizer_with_too_few_places_for_the_picture_is_refused(copy) -> None:
    captioner = load_captioner(copy("blip2"))
    captioner.processor.num_query_tokens = 2
    assert "gives 2 places for the picture, its network wants 4" in complaint(captioner.describe, [PICTURE], "a photo")


def test_folders_load_in_half_precision(tmp_path: Path) -> None:
    captioner = load_captioner(write_blip2(tmp_path / "b"), dtype=torch.bfloat16)
    assert captioner.model.language_model.dtype == torch.bfloat16
    assert captioner.describe([PICTURE], "a photo of")
    assert load_writer(write_llama(tmp_path / "l"), dtype=torch.bfloat16).write("a man", 4)[0]
