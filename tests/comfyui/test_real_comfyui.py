"""The pack in a real ComfyUI server, over its API."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from comfyui.server import PACK, ComfyServer, Outcome, version_of
from shipped_runs import FOLDER, RUNNABLE, SHIPPED, prepared, write_sample
from tiny_heads import write_hearing_control
from tiny_workflow import tiny_workflow

from con360.media.writer import write_clip
from tools.host import contract, graph

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]

REFRAME = {
    "video": "[built-in sample]", "mode": "yaw and pitch", "rank": 1, "yaw": 0.0, "pitch": 0.0, "fov": 90.0,
    "width": 64, "height": 36, "start": 0.0, "duration": 0.0, "sound": "auto",
}  # fmt: skip


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
        io_type, options = found[name]["input"][kind][item]
        for words in (io_type, options["options"]):  # 0.3.64 has the list as the type, too
            if isinstance(words, list):
                words.remove(choice)
    # Newer cores add fields to a node's entry.
    told = {name: {key: found[name].get(key) for key in entry} for name, entry in expected.items()}
    assert set(found) == set(expected) and told == expected, (
        f"ComfyUI {version_of(server.comfyui)} differs from {contract.recorded().name}"
    )
    assert "Error while calling comfy_entrypoint" not in server.log()


def test_templates_and_help_are_served_with_their_pictures(server: ComfyServer) -> None:
    def kind(path: str) -> str:
        with urllib.request.urlopen(f"http://{server.address}{path}") as answer:
            return answer.headers["Content-Type"].partition(";")[0]

    names = server.get("/workflow_templates")["Con360-AV"]
    assert sorted(names) == [path.stem for path in SHIPPED]
    assert {kind(f"/api/workflow_templates/Con360-AV/{name}.jpg") for name in names} == {"image/jpeg"}
    info = server.object_info().items()
    ours = [name for name, entry in info if entry["category"] == "Con360-AV" and not entry["deprecated"]]
    assert {kind(f"/extensions/Con360-AV/docs/images/{name}.jpg") for name in ours} == {"image/jpeg"}
    # Newer frontends treat an HTML answer as a missing page.
    pages = [f"{name}{end}" for name in ours for end in (".md", "/zh.md")]
    assert "text/html" not in {kind(f"/extensions/Con360-AV/docs/{page}") for page in pages}


def test_the_same_seed_gives_the_same_clip_after_everything_was_freed(server: ComfyServer) -> None:
    first = done(server.run(tiny_workflow(seed=11)))
    assert pictures(server, first).shape == (4, 32, 32, 3)
    assert samples(server, first).shape[1] == 8000
    # The server frees between prompts, on its own thread: a request that just misses that moment takes effect one
    # prompt later.
    for _ in range(3):
        server.free()
        time.sleep(2)
        again = done(server.run(tiny_workflow(seed=11)))
        if "7" in again.ran:
            break
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
    """Use the shipped model: a step takes longer than the request needs to reach the server."""
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


def test_a_term_differentiates_through_the_codec_inside_the_sampler(server: ComfyServer) -> None:
    """The server runs nodes in inference mode; a second pack hands the sampler a term that needs gradients."""
    plain = done(server.run(tiny_workflow(seed=12)))
    prompt = tiny_workflow(seed=12)
    prompt["11"] = {"class_type": "SteerBrighter", "inputs": {"model": ["5", 0]}}
    prompt["7"]["inputs"]["model"] = ["11", 0]
    steered = done(server.run(prompt))
    assert pictures(server, steered).mean() > pictures(server, plain).mean()


def test_a_held_view_and_little_memory(server: ComfyServer) -> None:
    prompt = tiny_workflow(seed=42, hold="picture", memory="low", sampler="dpm++")
    crop = {"frames": ["1", 0], "basd": ["3", 0], "size": 32, "sound": "view", "audio": ["1", 1]}
    prompt["11"] = {"class_type": "Con360ViewpointCrop", "inputs": crop}
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
        ("2", {"faces": "gone.onnx"}, "licence: "),
        ("1", {"video": "gone.mp4"}, "there is no file 'gone.mp4'"),
        ("1", {"eye": "third"}, "not in list"),
        ("3", {"mode": "jump"}, "not in list"),
    ],
)
def test_wrong_widget_values_are_refused_before_anything_runs(
    server: ComfyServer, node: str, values: dict[str, Any], words: str
) -> None:
    prompt = tiny_workflow()
    prompt[node]["inputs"].update(values)
    outcome = server.run(prompt)
    assert outcome.status == "refused"
    # One error, under the input that is wrong.
    (error,) = outcome.refusal["node_errors"][node]["errors"]
    assert [error["extra_info"]["input_name"]] == list(values)
    assert words in f"{error['message']} {error['details']}"


def test_inputs_that_must_agree_are_told_together(server: ComfyServer) -> None:
    prompt = tiny_workflow()
    prompt["3"]["inputs"].update({"choose_by": "keyframes", "keyframes": ""})
    errors = server.run(prompt).refusal["node_errors"]["3"]["errors"]
    assert {error["extra_info"]["input_name"] for error in errors} == {"choose_by", "keyframes"}
    assert all("there are no keyframes" in error["details"] for error in errors)


@pytest.mark.parametrize("path", RUNNABLE, ids=lambda path: path.stem)
def test_shipped_workflows_run(server: ComfyServer, path: Path) -> None:
    """Run the first one in full, the others shortened."""
    prompt = prepared(shipped(server, path), path.stem)
    outcome = done(server.run(prompt))
    ends = {key for key, node in prompt.items() if node["class_type"].startswith(("Save", "Preview"))}
    # Nodes with a viewer or an editor have outputs as well.
    assert ends <= set(outcome.outputs)
    if path.stem == "con360_every_centroid":
        assert len(outcome.outputs["8"]["images"]) == 3
    for saved in (file for output in outcome.outputs.values() for kind in output.values() for file in kind):
        if isinstance(saved, dict) and "filename" in saved:
            assert server.file(saved).stat().st_size > 0


def view_prompt() -> dict[str, Any]:
    """Return a prompt of every node that neither loads a model nor samples, over half a second."""
    nodes = {key: node for key, node in tiny_workflow().items() if key in "123"}
    by_hand = {"frames": ["1", 0], "fps": 8.0, "mode": "still", "yaw": 30.0, "pitch": 5.0, "fov": 90.0,
               "normalization": "minmax", "map_height": 64, "keyframes": ""}  # fmt: skip
    crop = {"frames": ["1", 0], "size": 32, "sound": "view", "audio": ["1", 1]}
    # 22: under the former id of the same node.
    more = {
        "20": ("Con360ViewpointByHand", by_hand),
        "21": ("Con360ViewpointCrop", {**crop, "basd": ["20", 0]}),
        "22": ("ViewpointCrop", {**crop, "basd": ["3", 0]}),
        "23": ("Con360SaliencyKL", {"generated": ["21", 0], "target": ["22", 0], "direction": "generated_to_target"}),
        "24": ("PreviewAny", {"source": ["23", 1]}),
        "25": ("Con360OverlayPreview", {"frames": ["1", 0], "fps": 8.0, "height": 64, "saliency": ["2", 0],
                                        "basd": ["20", 0], "audio": ["1", 1]}),
        "26": ("Con360Compare", {"generated": ["21", 2], "real": ["22", 2], "frames": ["1", 0],
                                 "saliency": ["2", 0], "basd": ["20", 0]}),
        "27": ("Save360Video", {"frames": ["25", 0], "fps": 8.0, "filename_prefix": "pano", "stereo": "mono",
                                "audio": ["1", 1]}),
    }  # fmt: skip
    return nodes | {key: {"class_type": kind, "inputs": values} for key, (kind, values) in more.items()}


def test_views_overlays_and_panoramas_without_a_model(server: ComfyServer) -> None:
    from con360.media.info import probe

    outcome = done(server.run(view_prompt()))
    assert outcome.outputs["24"]["text"][0].startswith("S_KL")
    assert "estimator" in outcome.outputs["24"]["text"][0]
    (overlay,), (compare,) = (outcome.outputs[key]["con360"] for key in ("25", "26"))
    assert overlay["overlay"] and set(compare) == {"generated", "real", "panorama"}
    for shown in (overlay["panorama"], *compare.values()):
        assert (shown["type"], shown["frames"]) == ("temp", 4) and server.file(shown).stat().st_size > 0
    saved = probe(server.file(outcome.outputs["27"]["images"][0]))
    assert (saved.spherical.projection, saved.width, saved.height) == ("equirectangular", 128, 64)
    assert saved.audio_tracks[0].layout == "ambix"


def sound_prompt() -> dict[str, Any]:
    """Return a prompt of the nodes for sound on the sphere, over half a second."""
    nodes = {key: node for key, node in tiny_workflow().items() if key in "12"}
    place = {"mode": "subject", "rank": 1, "yaw": 0.0, "pitch": 0.0, "distance": 1.5, "spread": 0.0, "gain": 0.0,
             "order": 3, "fps": 8.0}  # fmt: skip
    # 22: under the former id of the same node.
    more = {
        "20": ("Con360SampleSound", {"voice": "bell", "duration": 0.5}),
        "21": ("Con360PlaceSound", {"audio": ["20", 0], "frames": ["1", 0], "saliency": ["2", 0], **place}),
        "22": ("Con360MixAmbisonics", {"first": ["21", 0], "second": ["1", 1], "first_gain": 0.0, "second_gain": -6.0}),
        "23": ("Con360RotateAmbisonics", {"audio": ["22", 0], "turn": "the scene", "yaw": 90.0, "pitch": 0.0,
                                          "roll": 0.0}),
        "24": ("Con360AmbisonicsToHeadphones", {"audio": ["23", 0], "ears": "MIT KEMAR (built in)"}),
        "25": ("PreviewAudio", {"audio": ["24", 0]}),
        "26": ("Con360AmbisonicsPreview", {"audio": ["23", 0], "fps": 8.0, "height": 64, "frames": ["1", 0]}),
        "27": ("PreviewImage", {"images": ["26", 1]}),
        "28": ("Con360ViewsAround", {"frames": ["1", 0], "fps": 8.0, "choose_by": "all around", "count": 4,
                                     "above_below": False, "fov": 90.0, "size": 32, "audio": ["1", 1]}),
        "29": ("Con360SoundsToField", {"sounds": ["28", 2], "views": ["28", 4], "order": 1}),
        "30": ("Save360Video", {"frames": ["1", 0], "fps": 8.0, "filename_prefix": "field", "stereo": "mono",
                                "audio": ["29", 0]}),
    }  # fmt: skip
    return nodes | {key: {"class_type": kind, "inputs": values} for key, (kind, values) in more.items()}


def test_sounds_are_placed_turned_heard_and_gathered(server: ComfyServer) -> None:
    from con360.media.info import probe

    outcome = done(server.run(sound_prompt()))
    (editor,), (preview,) = (outcome.outputs[key]["con360"] for key in ("21", "26"))
    assert editor["panorama"]["source"] and editor["rankings"]["subject"] and editor["mode"] == "subject"
    with av.open(str(server.file(preview["panorama"]["field"]))) as container:
        assert container.streams.audio[0].codec_context.channels == 16
    with av.open(str(server.file(outcome.outputs["25"]["audio"][0]))) as container:
        assert container.streams.audio[0].codec_context.channels == 2
        seconds = sum(frame.samples for frame in container.decode(audio=0)) / container.streams.audio[0].rate
        assert seconds == pytest.approx(0.5, abs=0.05)
    assert server.file(outcome.outputs["27"]["images"][0]).stat().st_size > 0
    saved = server.file(outcome.outputs["30"]["images"][0])
    assert probe(saved).audio_tracks[0].layout == "ambix"
    with av.open(str(saved)) as container:
        assert json.loads(container.metadata["prompt"])["30"]["class_type"] == "Save360Video"


def test_a_generated_sound_gets_its_directions(server: ComfyServer) -> None:
    prompt = {key: node for key, node in tiny_workflow().items() if key in "12346"}
    prompt["6"]["inputs"]["control"] = write_hearing_control(server.base / "models")
    linked = {"control": ["6", 0], "saliency": ["2", 0], "basd": ["3", 0], "caption": ["4", 0], "audio": ["20", 0],
              "frames": ["1", 0]}  # fmt: skip
    for key, kind, inputs in (
        ("20", "Con360SampleSound", {"voice": "bell", "duration": 0.5}),
        ("21", "Con360SoundField", linked),
        ("22", "Con360AmbisonicsPreview", {"audio": ["21", 0], "fps": 8.0, "height": 64, "frames": ["1", 0]}),
    ):
        prompt[key] = {"class_type": kind, "inputs": inputs}
    outcome = done(server.run(prompt))
    (heard,) = outcome.outputs["22"]["con360"]
    assert heard["panorama"]["ambisonic"]
    with av.open(str(server.file(heard["panorama"]))) as container:
        assert container.streams.audio[0].codec_context.channels == 4


def made_sound_prompt(seconds: float, server: ComfyServer, **settings: Any) -> dict[str, Any]:
    """Return a prompt that makes sound for a VIDEO as the core's loader gives it."""
    still = torch.rand(1, 3, 64, 128, generator=torch.Generator().manual_seed(0))
    write_clip(server.base / "input" / f"silent{seconds}.mp4", still.expand(round(8 * seconds), -1, -1, -1), 8.0)
    nodes = {
        "1": ("LoadVideo", {"file": f"silent{seconds}.mp4"}),
        "2": ("Con360OmniAudioLoader", {"model": "con360-small (built in)", "pictures": "auto", "precision": "auto"}),
        "3": ("Con360VideoToAmbisonics", {"video": ["1", 0], "fps": 30.0, "seed": 3, "cfg": 2.0, "view": "front",
                                          "model": ["2", 0], **settings}),
        "4": ("Con360AmbisonicsPreview", {"audio": ["3", 0], "fps": 8.0, "height": 64}),
    }  # fmt: skip
    return {key: {"class_type": kind, "inputs": values} for key, (kind, values) in nodes.items()}


def test_a_video_of_the_core_gets_ambisonics(server: ComfyServer) -> None:
    outcome = done(server.run(made_sound_prompt(1.0, server, steps=2)))
    (heard,) = outcome.outputs["4"]["con360"]
    assert heard["panorama"]["ambisonic"] and heard["panorama"]["frames"] == 8


def test_making_a_sound_is_cancelled(server: ComfyServer) -> None:
    seen: list[tuple[float, float]] = []

    def stop(kind: str, data: dict[str, Any]) -> None:
        # The pictures are fewer.
        if kind == "progress" and data["node"] == "3" and data["max"] >= 200:
            seen.append((data["value"], data["max"]))
            if len(seen) == 1:
                server.interrupt()

    outcome = server.run(made_sound_prompt(20.0, server, steps=200), stop)
    assert outcome.status == "interrupted"
    assert outcome.of("execution_interrupted")[0]["node_type"] == "Con360VideoToAmbisonics"
    assert seen and max(value / most for value, most in seen) < 0.7


def reframing(server: ComfyServer, name: str, seconds: float, **inputs: Any) -> dict[str, Any]:
    """Write a small panorama of 30 frames per second; return a prompt that reframes it."""
    still = torch.rand(1, 3, 64, 128, generator=torch.Generator().manual_seed(0))
    write_clip(server.base / "input" / name, still.expand(round(30 * seconds), -1, -1, -1), 30.0)
    values = {**REFRAME, "video": name, "mode": "follow", **inputs}
    saved = {"video": ["1", 0], "filename_prefix": "flat", "format": "auto", "codec": "auto"}
    return {
        "1": {"class_type": "Reframe360Video", "inputs": values},
        "2": {"class_type": "SaveVideo", "inputs": saved},
    }


def test_reframe_takes_a_video_or_frames_and_hands_its_path_over(server: ComfyServer) -> None:
    from con360.media.info import probe

    prompt = reframing(server, "linked.mp4", 0.5, clip=["5", 0], mode="yaw and pitch", yaw=-40.0, roll=20.0)
    prompt["5"] = {"class_type": "LoadVideo", "inputs": {"file": "linked.mp4"}}
    nodes = {key: node for key, node in tiny_workflow().items() if key in "12"}
    followed = {**REFRAME, "mode": "follow", "width": 0, "height": 64, "aspect": "9:16", "frames": ["11", 0],
                "audio": ["11", 1], "fps": ["11", 2], "saliency": ["12", 0]}  # fmt: skip
    by_hand = {"frames": ["11", 0], "fps": ["11", 2], "mode": "keyframes", "yaw": 0.0, "pitch": 0.0, "fov": 90.0,
               "normalization": "minmax", "map_height": 64, "keyframes": ["13", 2], "aspect": "9:16"}  # fmt: skip
    crop = {"frames": ["11", 0], "basd": ["14", 0], "size": 64, "sound": "view", "audio": ["11", 1]}
    more = {
        "11": nodes["1"],
        "12": {**nodes["2"], "inputs": {**nodes["2"]["inputs"], "frames": ["11", 0]}},
        "13": {"class_type": "Reframe360Video", "inputs": followed},
        "14": {"class_type": "Con360ViewpointByHand", "inputs": by_hand},
        "15": {"class_type": "Con360ViewpointCrop", "inputs": crop},
        "16": {"class_type": "SaveVideo", "inputs": {**prompt["2"]["inputs"], "video": ["15", 2]}},
    }  # fmt: skip
    outcome = done(server.run({**prompt, **more}))
    (linked,), (held,) = (outcome.outputs[key]["con360"] for key in ("1", "13"))
    assert (linked["linked"], linked["sample"]["filename"]) == ("clip", "linked.mp4")
    assert linked["views"] == [[-40.0, 0.0, 90.0, 20.0]] * 2 and linked["path_fps"] == 4.0
    assert held["linked"] == "frames" and server.file(held["panorama"]).stat().st_size > 0
    cut = probe(server.file(outcome.outputs["16"]["images"][0]))
    assert (cut.width, cut.height) == (36, 64)


@pytest.mark.parametrize("mode", ["follow", "yaw and pitch"])
def test_reframe_is_cancelled_within_a_few_frames(server: ComfyServer, mode: str) -> None:
    """Cancel while it computes saliency, and while it writes."""
    prompt, seen = reframing(server, f"{mode}.mp4", 20, mode=mode), []
    before = set((server.base / "temp").iterdir())

    def stop(kind: str, data: dict[str, Any]) -> None:
        if kind == "progress" and data["node"] == "1":
            seen.append((data["value"], data["max"]))
            # Newer cores tell no more than ten values a second.
            if len([done for done, _ in seen if done >= 3]) == 1:
                server.interrupt()

    outcome = server.run(prompt, stop)
    assert outcome.status == "interrupted"
    total = 80 if mode == "follow" else 600
    # Small frames are fast: some are finished before the request arrives, most must not be.
    assert {most for _, most in seen} == {total} and max(done for done, _ in seen) < 0.7 * total
    assert set((server.base / "temp").iterdir()) == before


def test_two_prompts_at_once_are_both_answered(server: ComfyServer) -> None:
    alone = [pictures(server, done(server.run(tiny_workflow(seed=seed)))) for seed in (51, 52)]
    server.free()
    with ThreadPoolExecutor() as pool:
        both = list(pool.map(lambda seed: done(server.run(tiny_workflow(seed=seed))), (51, 52)))
    for outcome, wanted in zip(both, alone, strict=True):
        assert {data["prompt_id"] for _, data in outcome.messages if "prompt_id" in data} == {outcome.prompt_id}
        assert np.array_equal(pictures(server, outcome), wanted)


def test_unloaded_networks_come_back_without_loading_the_file_again(server: ComfyServer) -> None:
    first = done(server.run(tiny_workflow(seed=61)))
    server.post("/free", {"unload_models": True})
    time.sleep(2)
    assert "5" not in done(server.run(tiny_workflow(seed=62))).ran
    again = done(server.run(tiny_workflow(seed=61)))
    assert np.array_equal(pictures(server, first), pictures(server, again))


@pytest.fixture
def guide(server: ComfyServer, tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """The headless guide's script as it is written; `guide(prompt, *videos)`: exit status and what it printed."""
    text = (PACK / "docs" / "headless.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "run.py").write_text(code, encoding="utf-8")
    environment = {**os.environ, "COMFYUI": f"http://{server.address}"}

    def go(prompt: dict[str, Any], *videos: str) -> tuple[int, str]:
        (tmp_path / "prompt.json").write_text(json.dumps(prompt), encoding="utf-8")
        command = [sys.executable, "run.py", "prompt.json", *videos]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert not done.stderr
        return done.returncode, done.stdout

    return go


def test_the_headless_guides_example_runs_a_workflow_over_files(server: ComfyServer, guide: Any) -> None:
    for name in ("first.mp4", "second.mp4"):
        write_sample(server.base / "input" / name)
    status, said = guide(tiny_workflow(steps=1), "first.mp4", "second.mp4")
    pattern = r"first.mp4\n  success\n.*test_\d+_.mp4.*\nsecond.mp4\n  success\n.*test_\d+_.mp4.*\n"
    assert status == 0 and re.fullmatch(pattern, said, re.DOTALL), said


def test_the_headless_guides_example_prints_the_servers_sentences(guide: Any) -> None:
    status, said = guide(tiny_workflow(steps=1), "missing.mp4")
    assert status == 1 and said.startswith("missing.mp4\n  refused\n  1: ")
    assert "there is no file 'missing.mp4'" in said
    status, said = guide({})
    assert status == 1 and "refused\n  Prompt has no outputs" in said
    reframe = {"1": {"class_type": "Reframe360Video", "inputs": REFRAME | {"start": 99.0}}}
    saved = {"video": ["1", 0], "filename_prefix": "flat", "format": "auto", "codec": "auto"}
    status, said = guide(reframe | {"2": {"class_type": "SaveVideo", "inputs": saved}})
    assert status == 1 and re.match(r"None\n  error\n  1 Reframe360Video: .*99 s", said), said


def test_help_is_sent_in_every_language_and_templates_in_the_users(server: ComfyServer) -> None:
    """Both addresses come before the core's own, which send the files as they are."""
    help_of = f"http://{server.address}/extensions/{server.pack_name}/docs/Con360Compare"
    english = (PACK / "web" / "docs" / "Con360Compare.md").read_bytes()
    for address in (f"{help_of}/en.md", f"{help_of}/de.md", f"{help_of}.md"):
        assert urllib.request.urlopen(address, timeout=60).read() == english, address
    template = f"/api/workflow_templates/{server.pack_name}/con360_reframe.json"
    own = json.loads((FOLDER / "con360_reframe.json").read_text(encoding="utf-8"))
    assert server.get(template) == own
    server.post("/settings", {"Comfy.Locale": "zh"})
    try:
        sent = server.get(template)
    finally:
        server.post("/settings", {"Comfy.Locale": "en"})
    assert [group["title"] for group in sent["groups"]] == ["1  您的片段", "2  结果"]
    assert sent["links"] == own["links"]
