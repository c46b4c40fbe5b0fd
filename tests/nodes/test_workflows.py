"""Each shipped workflow, UI and API format, in the stand-in: made from its description, tidy, and running."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image
from shipped_runs import FIRST, FOLDER, RUNNABLE, SHIPPED, prepared, read

from tools import workflows
from tools.host import Host, graph
from tools.host.contract import CORE_NAMES
from tools.host.run import PACK

pytestmark = pytest.mark.standin

# Our own nodes that a workflow may end in.
ENDS = ("OverlayPreview", "Con360Compare", "Con360AmbisonicsPreview", "Save360Video")

each = pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)


def api_form(path: Path) -> dict[str, Any]:
    return read(PACK / "tests" / "workflows_api" / f"{path.stem}.api.json")


def test_shipped_files_equal_their_descriptions(host: Host) -> None:
    info = host.object_info()
    wanted: dict[Path, str] = {}
    for workflow in workflows.SHIPPED:
        wanted |= workflows.files_of(workflow, info)
    for path, text in wanted.items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run `python -m tools.workflows`"
    assert set(wanted) == {*FOLDER.glob("*.json"), *(PACK / "tests" / "workflows_api").glob("*.json")}


@each
def test_both_formats_say_the_same(host: Host, path: Path) -> None:
    assert graph.to_prompt(read(path), host.object_info()) == api_form(path)


@each
def test_ends_in_core_nodes_or_ours_and_leaves_their_formats_alone(host: Host, path: Path) -> None:
    info = host.object_info()
    for node in api_form(path).values():
        if info[node["class_type"]]["output_node"]:
            assert node["class_type"] in (*CORE_NAMES, *ENDS)
        if node["class_type"] == "SaveVideo":
            assert (node["inputs"]["format"], node["inputs"]["codec"]) == ("auto", "auto")


@each
def test_the_next_node_and_link_numbers_are_free(path: Path) -> None:
    workflow = read(path)
    assert workflow["last_node_id"] == max(node["id"] for node in workflow["nodes"])
    assert workflow["last_link_id"] == max(link[0] for link in workflow["links"])


@each
def test_says_what_it_does_lies_in_groups_and_apart(path: Path) -> None:
    workflow = read(path)
    (note,) = [node for node in workflow["nodes"] if node["type"] == "MarkdownNote"]
    assert len(note["widgets_values"][0]) > 200
    for first, second in combinations(workflow["nodes"], 2):
        apart = [first["pos"][i] + first["size"][i] + 10 <= second["pos"][i] or
                 second["pos"][i] + second["size"][i] + 10 <= first["pos"][i] for i in (0, 1)]  # fmt: skip
        assert any(apart), (first["type"], second["type"])
    for node in workflow["nodes"]:
        inside = [all(group["bounding"][i] <= node["pos"][i] and node["pos"][i] + node["size"][i] <=
                      group["bounding"][i] + group["bounding"][i + 2] for i in (0, 1))
                  for group in workflow["groups"]]  # fmt: skip
        assert sum(inside) == 1, node["type"]


@each
def test_app_mode_shows_widgets_and_results_that_are_there(host: Host, path: Path) -> None:
    prompt, info, app = api_form(path), host.object_info(), read(path)["extra"]["linearData"]
    assert app["inputs"] and app["outputs"]
    for number, widget in app["inputs"]:
        assert not graph.is_link(prompt[str(number)]["inputs"][widget])
    assert all(info[prompt[str(number)]["class_type"]]["output_node"] for number in app["outputs"])


@each
def test_has_a_small_picture_for_the_template_browser(path: Path) -> None:
    picture = path.with_suffix(".jpg")
    assert picture.stat().st_size < 40_000
    with Image.open(picture) as image:
        assert image.format == "JPEG" and image.width == image.height == 400


def test_every_picture_has_its_workflow() -> None:
    assert {path.with_suffix(".jpg") for path in SHIPPED} == set(FOLDER.glob("*.jpg"))


# The other workflows have no node that these lack.
QUICK = (FIRST, "con360_every_centroid", "con360_reframe", "con360_any_generator")


@pytest.mark.parametrize(
    "path", [pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem not in QUICK)) for path in RUNNABLE]
)
def test_runs_on_a_fresh_pack(tmp_path: Path, path: Path) -> None:
    host = Host(tmp_path)
    prompt = prepared(api_form(path), path.stem)
    for node in prompt.values():
        if node["class_type"] == "JointAVSampler":
            node["inputs"]["steps"] = 1  # tests/comfyui runs all steps in the real server
    done = host.run(prompt)
    assert done.status == "done", (done.failed_node, done.error, done.complaints)
    loaded = next((node["inputs"] for node in prompt.values() if node["class_type"] == "Load360Video"), {})
    seconds = 4.0 if path.stem == FIRST else 0.5
    frames = round(seconds * loaded.get("fps", 8.0))
    clips = [saved for number, node in prompt.items() if node["class_type"] in ("SaveVideo", "Save360Video")
             for saved in done.ui[number]["images"]]  # fmt: skip
    assert len(clips) == {"con360_control_ablation": 4, "con360_every_centroid": 3}.get(path.stem, len(clips)) > 0
    for saved in clips:
        with av.open(str(tmp_path / saved["type"] / saved["subfolder"] / saved["filename"])) as container:
            assert sum(1 for _ in container.decode(video=0)) == frames
            container.seek(0)
            assert sum(frame.samples for frame in container.decode(audio=0)) >= seconds * 16000
