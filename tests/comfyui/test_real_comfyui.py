"""The pack in a real ComfyUI server, over its API."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comfyui.server import PACK, ComfyServer, Outcome, version_of
from host import contract, graph
from tiny_workflow import tiny_workflow

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]

SHIPPED = sorted((PACK / "workflows").glob("*.json"))


def done(outcome: Outcome) -> Outcome:
    assert outcome.status == "success", (outcome.status, outcome.refusal, outcome.of("execution_error"))
    assert not outcome.refusal
    return outcome


def pictures(server: ComfyServer, outcome: Outcome, node: str = "9") -> np.ndarray:
    from PIL import Image

    return np.stack([np.asarray(Image.open(server.file(saved))) for saved in outcome.outputs[node]["images"]])


def samples(server: ComfyServer, outcome: Outcome, node: str = "10") -> np.ndarray:
    import av

    with av.open(str(server.file(outcome.outputs[node]["audio"][0]))) as container:
        return np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)


def test_every_node_is_offered_and_the_contract_holds(server: ComfyServer) -> None:
    info = server.object_info()
    ours = [name for name, entry in info.items() if entry["category"] == "Con360-AV"]
    expected = json.loads(contract.recorded().read_text(encoding="utf-8"))
    found = contract.normalise(info, ours)
    # The recorded server knows no model files; this one has the tests' own.
    for name, kind, item, choice in (
        ("Con360ModelLoader", "required", "model", "random"), ("Con360ModelLoader", "optional", "connectors", "random"),
        ("Con360ControlLoader", "required", "control", "random.safetensors"),
    ):  # fmt: skip
        found[name]["input"][kind][item][1]["options"].remove(choice)
    assert found == expected, f"ComfyUI {version_of(server.comfyui)} differs from {contract.recorded().name}"
    assert "Error while calling comfy_entrypoint" not in server.log()


def test_the_same_seed_gives_the_same_clip_after_everything_was_freed(server: ComfyServer) -> None:
    first = done(server.run(tiny_workflow(seed=11)))
    assert pictures(server, first).shape == (4, 32, 32, 3)
    assert samples(server, first).shape[1] == 8000
    server.free()
    # The server frees between prompts, on its own thread.
    time.sleep(2)
    again = done(server.run(tiny_workflow(seed=11)))
    assert "7" in again.ran
    assert np.array_equal(pictures(server, first), pictures(server, again))
    assert np.array_equal(samples(server, first), samples(server, again))


def test_only_what_changed_runs_again(server: ComfyServer) -> None:
    done(server.run(tiny_workflow(seed=21)))
    assert done(server.run(tiny_workflow(seed=21))).ran == []
    assert sorted(done(server.run(tiny_workflow(seed=22))).ran, key=int) == ["7", "8", "9", "10"]


def shipped(server: ComfyServer, path: Path, **sampling: Any) -> dict[str, Any]:
    """A shipped workflow as a prompt; `sampling` goes to its samplers."""
    prompt = graph.to_prompt(json.loads(path.read_text(encoding="utf-8")), server.object_info())
    for node in prompt.values():
        if node["class_type"] == "JointAVSampler":
            node["inputs"] |= sampling
    return prompt


def test_an_interrupt_stops_within_a_step_and_the_server_goes_on(server: ComfyServer) -> None:
    """With the shipped model: its steps last long beside the request's way to the server."""
    steps: list[float] = []

    def stop_at_two(kind: str, data: dict[str, Any]) -> None:
        if kind == "progress" and data["node"] == "7" and data["max"] == 40:
            steps.append(data["value"])
            if data["value"] == 2:
                server.interrupt()

    outcome = server.run(shipped(server, PACK / "workflows" / "con360_viewpoint.json", steps=40), stop_at_two)
    assert outcome.status == "interrupted"
    assert outcome.of("execution_interrupted")[0]["node_type"] == "JointAVSampler"
    # One step may end while the request is on its way.
    assert max(steps) <= 3
    done(server.run(tiny_workflow(seed=32)))


def test_steps_show_pictures_over_the_websocket(server: ComfyServer) -> None:
    from PIL import Image

    previews = done(server.run(tiny_workflow(steps=3, seed=41))).previews
    assert len(previews) == 3
    for message in previews:
        # Four bytes say that it is a picture (1), four that it is JPEG (1).
        assert message[:8] == bytes((0, 0, 0, 1, 0, 0, 0, 1))
        with Image.open(io.BytesIO(message[8:])) as picture:
            assert picture.format == "JPEG" and picture.size[0] == picture.size[1]


def test_a_held_view_and_little_memory(server: ComfyServer) -> None:
    prompt = tiny_workflow(seed=42, hold="picture", memory="low", sampler="dpm++")
    crop = {"frames": ["1", 0], "basd": ["3", 0], "size": 32, "sound": "view", "audio": ["1", 1]}
    prompt["11"] = {"class_type": "ViewpointCrop", "inputs": crop}
    prompt["12"] = {"class_type": "PreviewImage", "inputs": {"images": ["11", 0]}}
    prompt["7"]["inputs"] |= {"start_images": ["11", 0], "start_audio": ["11", 1]}
    outcome = done(server.run(prompt))
    assert np.array_equal(pictures(server, outcome), pictures(server, outcome, "12"))


@pytest.mark.parametrize(
    ("name", "content"),
    [("empty.mp4", b""), ("text.mp4", b"this is no video\n" * 100)],
    ids=["empty", "text"],
)
def test_a_malformed_file_is_an_error_on_its_node_and_the_server_goes_on(
    server: ComfyServer, name: str, content: bytes
) -> None:
    (server.base / "input" / name).write_bytes(content)
    prompt = tiny_workflow()
    prompt["1"]["inputs"]["video"] = name
    outcome = server.run(prompt)
    (error,) = outcome.of("execution_error")
    assert (error["node_id"], error["node_type"]) == ("1", "Load360Video")
    assert error["exception_type"].endswith("con360.errors.InputError")
    assert name in error["exception_message"]
    done(server.run(tiny_workflow()))


@pytest.mark.parametrize(
    ("node", "values", "words"),
    [
        ("1", {"video": "../../models/con360/random/model_index.json"}, "lies outside"),
        ("1", {"height": 8}, "smaller than min"),
        ("5", {"model": "../random"}, "is not available"),
        ("2", {"method": "guess"}, "is not available"),
    ],
)
def test_wrong_widget_values_are_refused_before_anything_runs(
    server: ComfyServer, node: str, values: dict[str, Any], words: str
) -> None:
    prompt = tiny_workflow()
    prompt[node]["inputs"].update(values)
    outcome = server.run(prompt)
    assert outcome.status == "refused"
    (error,) = outcome.refusal["node_errors"][node]["errors"]
    assert words in f"{error['message']} {error['details']}"


def test_values_that_the_server_lets_through_are_errors_on_their_node(server: ComfyServer) -> None:
    prompt = tiny_workflow()
    prompt["3"]["inputs"]["mode"] = "jump"
    (error,) = server.run(prompt).of("execution_error")
    assert error["node_id"] == "3"
    assert "the mode 'jump' is not available" in error["exception_message"]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_workflows_run_as_they_are(server: ComfyServer, path: Path) -> None:
    prompt = shipped(server, path)
    outcome = done(server.run(prompt))
    ends = {key for key, node in prompt.items() if node["class_type"].startswith(("Save", "Preview"))}
    # Nodes with a viewer or an editor on them hand it something as well.
    assert ends <= set(outcome.outputs)
    for saved in (file for output in outcome.outputs.values() for kind in output.values() for file in kind):
        if isinstance(saved, dict) and "filename" in saved:
            assert server.file(saved).stat().st_size > 0
