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
ENDS = ("Con360OverlayPreview", "Con360Compare", "Con360AmbisonicsPreview", "Save360Video", "Con360TimeTrack",
        "Con360TimeTrackPreview", "Con360BestOf")  # fmt: skip

each = pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)


def api_form(path: Path) -> dict[str, Any]:
    return read(PACK / "tests" / "workflows_api" / f"{path.stem}.api.json")


def test_shipped_files_equal_their_descriptions(host: Host) -> None:
    info = host.object_info()
    wanted: dict[Path, str] = {}
    for workflow in workflows.SHIPPED:
        wanted |= workflows.files_of(workflow, info)
    offered = dict(workflows.file_of(subgraph, info) for subgraph in workflows.BLUEPRINTS)
    assert set(offered) == set((PACK / "subgraphs").iterdir())
    for path, text in (wanted | offered).items():
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


@pytest.mark.parametrize("path", [*SHIPPED, *sorted((PACK / "subgraphs").iterdir())], ids=lambda path: path.stem)
def test_every_type_of_a_slot_and_of_a_link_is_one_word(path: Path) -> None:
    """The frontend opens no subgraph with a link whose type is a list, as 0.3.64 gives those of combos."""

    def types(part: Any) -> list[Any]:
        parts = part.values() if isinstance(part, dict) else part if isinstance(part, list) else []
        own = [part["type"]] if isinstance(part, dict) and "type" in part else []
        return own + [found for inner in parts for found in types(inner)]

    assert [found for found in types(read(path)) if not isinstance(found, str)] == []


@each
def test_the_next_node_and_link_numbers_are_free(path: Path) -> None:
    workflow = read(path)
    inner = [node for one in workflow.get("definitions", {}).get("subgraphs", []) for node in one["nodes"]]
    numbers = [node["id"] for node in [*workflow["nodes"], *inner]]
    assert len(set(numbers)) == len(numbers) and workflow["last_node_id"] == max(numbers)
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
    parts = {node["id"]: node for node in read(path)["nodes"] if str(node["id"]) not in prompt}
    for number, widget in app["inputs"]:
        if number in parts:
            (item,) = [item for item in parts[number]["inputs"] if item["name"] == widget]
            assert "widget" in item and item["link"] is None
        else:
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


def test_values_and_links_of_a_subgraphs_node_reach_what_is_inside(host: Host) -> None:
    workflow = read(FOLDER / "con360_1_starts_here.json")
    conditions = next(node for node in workflow["nodes"] if node.get("title") == "Con360 Conditions")
    widgets = [item["name"] for item in conditions["inputs"] if "widget" in item]
    assert len(widgets) == len(conditions["widgets_values"])
    conditions["widgets_values"][widgets.index("rank")] = 2
    prompt = graph.to_prompt(workflow, host.object_info())
    assert prompt["2:23"]["inputs"]["rank"] == 2 and prompt["2:23"]["inputs"]["fps"] == ["1", 2]
    assert prompt["3:32"]["inputs"]["basd"] == ["2:23", 0] and prompt["5"]["inputs"]["video"] == ["3:32", 2]


@pytest.mark.parametrize("path", sorted((PACK / "subgraphs").glob("*.json")), ids=lambda path: path.stem)
def test_a_blueprint_is_one_node_whose_widgets_work(host: Host, path: Path) -> None:
    blueprint = read(path)
    (node,), (inside,) = blueprint["nodes"], blueprint["definitions"]["subgraphs"]
    assert (node["type"], node["title"], inside["name"]) == (inside["id"], path.stem, path.stem)
    assert inside["category"] == "Con360-AV" and inside["description"] == blueprint["extra"]["BlueprintDescription"]
    assert [item["name"] for item in node["inputs"]] == [item["name"] for item in inside["inputs"]]
    assert [item["name"] for item in node["outputs"]] == [item["name"] for item in inside["outputs"]]
    assert all(item["linkIds"] for item in [*inside["inputs"], *inside["outputs"]])
    prompt, info = graph.to_prompt(blueprint, host.object_info()), host.object_info()
    for inner in prompt.values():
        sockets = {name for _, name, kind, _ in graph.inputs_of(info[inner["class_type"]])}
        assert set(inner["inputs"]) <= sockets


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
