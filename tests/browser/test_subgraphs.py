"""Subgraphs in a browser: the starter's, and the blueprints as newer cores offer them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from browser.hands import at, drag, wait
from browser.page import ComfyPage
from shipped_runs import FOLDER, read

from tools.host.run import PACK

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]
EDITOR = "CentroidToBASD"
EMPTY = {"nodes": [], "links": [], "last_node_id": 0, "last_link_id": 0, "version": 0.4}
BLUEPRINTS = sorted((PACK / "subgraphs").glob("*.json"))


@pytest.fixture
def offered(comfy: ComfyPage) -> Iterator[None]:
    """Answer as newer cores do that list blueprints; 0.3.64 lists none."""
    listed = {path.stem: {"name": path.stem, "source": "custom_node", "info": {"node_pack": "custom_nodes.Con360-AV"}}
              for path in BLUEPRINTS}  # fmt: skip

    def answer(route: Any) -> None:
        name = route.request.url.rpartition("/")[2].replace("%20", " ")
        one = {**listed[name], "data": (PACK / "subgraphs" / f"{name}.json").read_text()} if name in listed else listed
        route.fulfill(status=200, content_type="application/json", body=json.dumps(one))

    comfy.page.route("**/global_subgraphs**", answer)
    comfy.page.reload()
    comfy.ready()
    comfy.complaints.clear()
    yield
    comfy.page.unroute("**/global_subgraphs**")


def outer(page: ComfyPage, title: str, name: str, value: Any = None) -> Any:
    """The value of a widget on the node of this title, after setting it where one is given."""
    return page.run(
        """([title, name, value]) => { const w = window.app.graph._nodes.find((n) => n.title === title)
          .widgets.find((w) => w.name === name); if (value !== null) { w.value = value; w.callback?.(value) }
          return w.value }""", [title, name, value],
    )  # fmt: skip


def test_the_starter_runs_and_its_editor_works_inside_the_subgraph(comfy: ComfyPage) -> None:
    comfy.load(read(FOLDER / "con360_1_starts_here.json"))
    sent = {key: node["inputs"] for key, node in comfy.prompt().items()}
    wanted = read(PACK / "tests" / "workflows_api" / "con360_1_starts_here.api.json")
    assert sent == {key: node["inputs"] for key, node in wanted.items()}
    outer(comfy, "Con360 Generate", "steps", 1)
    outer(comfy, "Load 360° Video", "duration", 1.0)
    comfy.queue()
    comfy.run("""() => { const host = window.app.graph._nodes.find((n) => n.title === "Con360 Conditions");
      window.app.canvas.openSubgraph(host.subgraph, host) }""")
    shown = "() => window.app.canvas.graph._nodes.find((n) => n.type === 'CentroidToBASD')?.con360Outputs?.length"
    wait(comfy, lambda: comfy.run(shown), 1)
    comfy.run("() => { const c = window.app.canvas; c.ds.scale = 1; c.ds.offset[0] = -200; c.ds.offset[1] = -100 }")
    comfy.drawn()
    drag(comfy, at(comfy, EDITOR, -89, 4), at(comfy, EDITOR, -30, 20))
    comfy.run("() => window.app.canvas.setGraph(window.app.rootGraph ?? window.app.graph)")
    assert outer(comfy, "Con360 Conditions", "choose_by") == "yaw and pitch"
    turned = comfy.prompt()["2:23"]["inputs"]
    assert (turned["choose_by"], turned["yaw"]) == ("yaw and pitch", pytest.approx(-30, abs=3))
    assert comfy.complaints == []


# Frontend 1.27 asks for no blueprints.
@pytest.mark.parametrize("comfy", ["current-nodes2"], indirect=True)
@pytest.mark.usefixtures("offered")
def test_blueprints_are_found_and_dropped_on_the_graph(comfy: ComfyPage) -> None:
    for path in BLUEPRINTS:
        _drop(comfy, path.stem)
        wait(comfy, lambda: comfy.run("() => window.app.graph._nodes.map((n) => n.title)"), [path.stem])
    assert comfy.complaints == []


def _drop(comfy: ComfyPage, name: str) -> None:
    """Search for a node on an empty graph and set it down."""
    comfy.load(EMPTY)
    comfy.page.mouse.dblclick(600, 400)
    wait(comfy, lambda: comfy.run("() => document.activeElement.tagName"), "INPUT")
    comfy.page.keyboard.type(name, delay=20)
    # What is typed is no inner text; what is found is.
    wait(comfy, lambda: comfy.run("name => document.body.innerText.includes(name)", name), True)
    comfy.page.wait_for_timeout(500)
    comfy.page.keyboard.press("Enter")
    comfy.page.wait_for_timeout(1000)
    comfy.page.mouse.click(600, 300)
