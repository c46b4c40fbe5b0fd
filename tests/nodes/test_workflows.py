"""Each shipped workflow, UI and API format, run in the stand-in as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import pytest
from host import Host, graph
from host.contract import CORE_NAMES
from host.run import PACK

pytestmark = pytest.mark.standin

SHIPPED = sorted((PACK / "workflows").glob("*.json"))


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def api_form(path: Path) -> Path:
    return PACK / "tests" / "workflows_api" / f"{path.stem}.api.json"


def test_there_are_workflows_to_ship() -> None:
    assert "con360_viewpoint" in [path.stem for path in SHIPPED]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_both_formats_say_the_same(host: Host, path: Path) -> None:
    assert graph.to_prompt(read(path), host.object_info()) == read(api_form(path))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_ends_in_core_nodes_or_ours_and_leaves_their_formats_alone(host: Host, path: Path) -> None:
    info = host.object_info()
    for node in read(api_form(path)).values():
        if info[node["class_type"]]["output_node"]:
            assert node["class_type"] in (*CORE_NAMES, "OverlayPreview", "Con360Compare")
        if node["class_type"] == "SaveVideo":
            assert (node["inputs"]["format"], node["inputs"]["codec"]) == ("auto", "auto")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_next_node_and_link_numbers_are_free(path: Path) -> None:
    workflow = read(path)
    assert workflow["last_node_id"] == max(node["id"] for node in workflow["nodes"])
    assert workflow["last_link_id"] == max(link[0] for link in workflow["links"])


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_runs_as_shipped_on_a_fresh_pack(tmp_path: Path, path: Path) -> None:
    host = Host(tmp_path)
    done = host.run(read(path))
    assert done.status == "done", (done.failed_node, done.error, done.complaints)
    for number, node in read(api_form(path)).items():
        if node["class_type"] == "SaveVideo":
            saved = done.ui[number]["images"][0]
            with av.open(str(tmp_path / saved["type"] / saved["subfolder"] / saved["filename"])) as container:
                assert sum(1 for _ in container.decode(video=0)) == 32
                container.seek(0)
                assert sum(frame.samples for frame in container.decode(audio=0)) >= 4 * 16000
    # The API format is the same prompt: nothing is left to compute.
    assert host.run(read(api_form(path))).executed == []
