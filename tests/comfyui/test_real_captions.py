"""Caption models of small random weights in a real ComfyUI server: its folders, memory management and errors."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from comfyui.server import ComfyServer
from tiny_captioners import write_blip2, write_llama
from tiny_workflow import tiny_workflow

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]


@pytest.fixture
def models(server: ComfyServer) -> Iterator[None]:
    folders = [server.base / "models" / "con360_captioner", server.base / "models" / "con360_llm"]
    write_blip2(folders[0] / "tiny-blip2")
    write_llama(folders[1] / "tiny-llama")
    yield
    for folder in folders:  # other tests compare the offered models
        shutil.rmtree(folder)


def prompt(**inputs: Any) -> dict[str, Any]:
    nodes = {key: node for key, node in tiny_workflow().items() if key in "14"}
    nodes["4"]["inputs"] |= {"captioner": "tiny-blip2", "times": 1, **inputs}
    for key, output in (("20", 0), ("21", 1), ("22", 2), ("23", 3)):
        nodes[key] = {"class_type": "PreviewAny", "inputs": {"source": ["4", output]}}
    return nodes


def test_faces_are_captioned_and_merged(server: ComfyServer, models: None) -> None:
    offered = server.object_info()["CubemapCaption"]["input"]["optional"]
    assert "tiny-blip2" in offered["captioner"][1]["options"]
    texts = []
    for language_model in ("none (joined by rule)", "tiny-llama"):
        outcome = server.run(prompt(language_model=language_model))
        assert outcome.status == "success", (outcome.refusal, outcome.of("execution_error"))
        texts.append([outcome.outputs[key]["text"][0] for key in ("20", "21", "22", "23")])
        server.free()
    by_rule, by_model = texts
    assert by_rule[0].startswith("in front: ") and not by_model[0].startswith("in front: ")
    assert by_rule[2] == by_model[2] and len(by_rule[2].splitlines()) == 6


def test_a_folder_that_is_no_captioner_is_an_error_on_the_node(server: ComfyServer, models: None) -> None:
    write_llama(server.base / "models" / "con360_captioner" / "wrong")
    outcome = server.run(prompt(captioner="wrong"))
    [error] = outcome.of("execution_error")
    assert error["node_id"] == "4" and "holds a LlamaForCausalLM" in error["exception_message"]
