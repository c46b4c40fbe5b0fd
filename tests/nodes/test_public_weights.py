"""Templates that need published weights: what each asks for, what its files tell the frontend, and that it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
import torch
from public_weights import write_joint_model, write_public_weights
from shipped_runs import FOLDER, FULL_SIZE, PUBLIC_WEIGHTS, SHIPPED, prepared, read

from tools.host import Host, graph

pytestmark = pytest.mark.standin

SVG = ["models/con360/svg", "2409.17550", "CC BY-NC-SA", "drumsticks"]
WANTED = {
    FULL_SIZE: {"5": SVG},
    PUBLIC_WEIGHTS: {
        "2": ["models/con360_saliency/salvit360.pt", "github.com/MertCokelek/SalViT360", "MIT"],
        "4": ["models/con360_captioner/blip2-opt-2.7b", "15 GB", "models/con360_llm/Llama-3.2-1B-Instruct"],
        "5": SVG,
    },
}


def template(name: str) -> dict[str, Any]:
    return read(FOLDER / f"{name}.json")


def api(host: Host, name: str) -> dict[str, Any]:
    return prepared(graph.to_prompt(template(name), host.object_info()), name)


@pytest.mark.parametrize("name", WANTED)
def test_says_where_each_part_belongs_and_comes_from(host: Host, name: str) -> None:
    complaints = host.run(template(name)).complaints
    assert set(complaints) == set(WANTED[name])
    for number, words in WANTED[name].items():
        assert all(word in " ".join(complaints[number]) for word in [*words, "licence: ", "size: "]), complaints[number]


def test_the_full_size_template_runs_with_the_svg_folder_alone(tmp_path: Path) -> None:
    write_joint_model(tmp_path / "models")
    host = Host(tmp_path)
    prompt = api(host, FULL_SIZE)
    done = host.run(prompt)
    assert done.status == "done", (done.complaints, done.error)
    assert done.outputs["6"][0] is None and done.outputs["5"][0].model.name == "tiny-random"
    assert done.outputs["4"][0] == prompt["4"]["inputs"]["text"] and "drumstick" in done.outputs["4"][0]
    (saved,) = done.ui["8"]["images"]
    assert (tmp_path / saved["type"] / saved["subfolder"] / saved["filename"]).stat().st_size > 0


@pytest.mark.slow
def test_the_public_template_runs_with_all_that_can_be_had(tmp_path: Path) -> None:
    write_public_weights(tmp_path / "models")
    host = Host(tmp_path)
    done = host.run(api(host, PUBLIC_WEIGHTS))
    assert done.status == "done", (done.complaints, done.error)
    maps = done.outputs["2"][0]
    assert torch.equal(maps.amax((-1, -2)), torch.ones(len(maps)))
    assert done.outputs["4"][2].startswith("0.0 s, in front") and done.outputs["8"] is not None


def test_without_a_control_the_caption_alone_steers(tmp_path: Path) -> None:
    write_joint_model(tmp_path / "models")
    host = Host(tmp_path)
    clips = []
    for change in ({}, {"3": {"choose_by": "yaw and pitch", "yaw": 120.0}}, {"4": {"text": "a red disc"}}):
        prompt = api(host, FULL_SIZE)
        for number, values in change.items():
            prompt[number]["inputs"] |= values
        clips.append(host.run(prompt).outputs["7"][0])
    usual, elsewhere, otherwise = clips
    assert torch.equal(usual, elsewhere) and not torch.equal(usual, otherwise)


# What the frontend reads (src/platform/missingModel, 1.58.1): names that end so, if they are a widget's value; and
# whose weights it offers to download.
SEEN = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".sft", ".onnx", ".gguf")
OFFERED = ("https://huggingface.co/", "https://civitai.com/", "https://civitai.red/")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_weights_are_told_to_the_frontend(path: Path) -> None:
    nodes = [node for node in read(path)["nodes"] if node["properties"].get("models")]
    wanted = WANTED.get(path.stem, {})
    assert {str(node["id"]) for node in nodes} == set(wanted)
    for node in nodes:
        values = node["widgets_values"]
        for model in node["properties"]["models"]:
            assert set(model) == {"name", "url", "directory"} and urlparse(model["url"]).scheme == "https"
            assert " " not in model["url"]
            place, _, folder = model["directory"].partition("/")
            assert folder in values if folder else model["name"] in values, model
            # A folder's name is no file's: a frontend that lists files would miss it where it is there.
            assert folder != model["name"] and f"models/{place}" in " ".join(wanted[str(node["id"])])


def test_the_dialog_sees_every_single_file_and_offers_what_its_hosts_allow() -> None:
    models = [(model, node["widgets_values"]) for node in template(PUBLIC_WEIGHTS)["nodes"]
              for model in node["properties"].get("models", ())]  # fmt: skip
    seen = [model["name"] for model, values in models if model["name"] in values and model["name"].endswith(SEEN)]
    assert seen == ["salvit360.pt"]
    hub = [model["name"] for model, _ in models if model["url"].startswith(OFFERED)]
    assert hub == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors"]
