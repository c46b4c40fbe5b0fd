"""Cubemap Caption with caption models from ComfyUI's folders, in the stand-in, over real tiny networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_captioners import write_blip2, write_llama
from tiny_workflow import tiny_workflow, write_model_files

from tools.host import Host
from tools.host.modules import InterruptProcessingException, installed

pytestmark = pytest.mark.standin


@pytest.fixture(scope="module", autouse=True)
def models(host: Host) -> Path:
    folder = host.base / "models"
    write_model_files(folder)
    write_blip2(folder / "con360_captioner" / "tiny-blip2")
    write_llama(folder / "con360_llm" / "tiny-llama")
    (folder / "con360_captioner" / "no-model").mkdir()
    return folder


@pytest.fixture
def caption(host: Host):
    """`caption(...)`: the node's outputs for two random frames."""
    frames = torch.rand(2, 32, 64, 3, generator=torch.Generator().manual_seed(0))

    def run(**inputs: Any) -> tuple[str, str, str, str]:
        with installed(host._modules):
            return host.classes["CubemapCaption"].execute(**{"frames": frames, "text": "", "fps": 2.0, **inputs}).args

    return run


def test_folders_with_a_configuration_are_offered(host: Host) -> None:
    given = host.object_info()["CubemapCaption"]["input"]["optional"]
    assert given["captioner"][1]["options"] == ["none", "tiny-blip2"]
    assert given["language_model"][1]["options"] == ["none (joined by rule)", "tiny-llama"]


def test_six_faces_at_each_time_and_one_caption(caption: Any) -> None:
    short, long, faces, notices = caption(captioner="tiny-blip2", times=2)
    lines = faces.splitlines()
    assert [line.split(":")[0] for line in lines[:6]] == [
        "0.0 s, in front", "0.0 s, on the right", "0.0 s, behind", "0.0 s, on the left", "0.0 s, above", "0.0 s, below",
    ]  # fmt: skip
    assert len(lines) == 12 and lines[6].startswith("0.5 s, in front")
    assert short.startswith("in front: ") and long.startswith("in front: ")
    assert "CLIP reads 77 tokens (estimated)" in notices


def test_a_language_model_writes_the_caption_and_prompts_are_heard(caption: Any) -> None:
    models = {"captioner": "tiny-blip2", "language_model": "tiny-llama", "times": 1}
    one = caption(**models)
    assert one == caption(**models)
    assert not one[0].startswith("in front:") and one[1] != one[0]
    assert caption(**models, face_prompt="a photo of the sky")[2] != one[2]
    merged = caption(**models, merge_prompt="describe {captions} : a band plays on the left")
    assert merged[2] == one[2] and merged[1] != one[1]


def test_typed_text_comes_first_and_the_captioner_before_the_scenes_own(caption: Any) -> None:
    assert caption(text="a tree", captioner="tiny-blip2")[:3] == ("a tree", "a tree", "")
    assert caption(scene_caption="a tree", captioner="tiny-blip2", times=1)[2]
    assert caption(scene_caption="a tree") == ("a tree", "a tree", "", "")


def test_a_written_caption_reaches_the_sampler(run: Any) -> None:
    prompt = tiny_workflow(control=False, steps=1)
    prompt["4"]["inputs"] |= {"captioner": "tiny-blip2", "times": 1, "model": ["5", 0]}
    del prompt["4"]["inputs"]["scene_caption"], prompt["6"]
    done = run(prompt)
    assert done.status == "done", done.error or done.complaints
    short, _, _, notices = done.outputs["4"]
    assert 0 < len(short.split()) <= 12
    assert "reads 12 tokens" in notices and "estimated" not in notices


def test_choices_that_are_not_there_are_refused(run: Any, models: Path) -> None:
    for name, value in (("captioner", "no-model"), ("language_model", "gone")):
        prompt = tiny_workflow(control=False)
        prompt["4"]["inputs"] |= {name: value}
        del prompt["6"]
        assert f"'{value}' is not available" in run(prompt).complaints["4"][0]


@pytest.mark.parametrize(("inputs", "words"), [
    ({"captioner": "tiny-blip2", "merge_prompt": "describe"}, "{captions}"),
    ({"captioner": "tiny-blip2", "frames": torch.full((1, 32, 64, 3), torch.nan)}, "not finite"),
])  # fmt: skip
def test_unusable_inputs_are_named(caption: Any, inputs: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        caption(**inputs)
    assert words in str(caught.value)


def test_a_language_model_alone_is_left_out_with_a_notice(caption: Any) -> None:
    assert caption(language_model="tiny-llama")[3].startswith("the language model is not used: ")


def test_cancel_stops_between_batches(host: Host, caption: Any) -> None:
    seen = []

    def stop(done: float, total: float) -> None:
        seen.append((done, total))
        if (done, total) == (4, 12):
            host._signals.interrupted = True

    host._signals.listener = stop
    try:
        with pytest.raises(InterruptProcessingException):
            caption(captioner="tiny-blip2", times=2, batch_size=4)
    finally:
        host._signals.listener = None
    assert seen[-1] == (4, 12)


def test_a_changed_folder_is_read_again(run: Any, models: Path) -> None:
    prompt = tiny_workflow(control=False, steps=1)
    prompt["4"]["inputs"] |= {"captioner": "tiny-blip2", "times": 1}
    del prompt["6"]
    first = run(prompt)
    assert first.status == "done", first.error or first.complaints
    write_blip2(models / "con360_captioner" / "tiny-blip2", seed=1)
    assert "4" in run(prompt).executed
