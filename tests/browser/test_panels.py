"""Nodes with a panel in a real browser: wide enough when new, when narrow and when loaded; a whole session is quiet."""

from __future__ import annotations

from typing import Any

import pytest
from browser.hands import ENDS, drag
from browser.page import ComfyPage

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]

PANELS = (
    "CentroidToBASD", "ViewpointByHand", "Con360PlaceSound", "Load360Video", "OverlayPreview", "Reframe360Video",
    "Con360AmbisonicsPreview", "Con360Compare",
)  # fmt: skip
# As in web/parts.js.
LEAST_WIDTH, NEW_WIDTH = 320, 380
ADD = """([kind, size]) => {
    const { graph, canvas } = window.app;
    for (const node of [...graph._nodes]) graph.remove(node);
    Object.assign(canvas.ds, { scale: 0.7, offset: [0, 0] });
    const node = window.LiteGraph.createNode(kind);
    node.pos = [300, 120];
    graph.add(node);
    if (size) node.configure({ ...node.serialize(), size });
    canvas.setDirty(true, true);
}"""
# Names what is cut, with every button shown that a run may bring; the node's width and its right lower corner.
MEASURE = """() => {
    const { graph, canvas } = window.app;
    const [node] = graph._nodes;
    const panel = node.widgets.find((w) => w.element?.classList.contains("con360")).element;
    for (const hidden of panel.querySelectorAll("[hidden]")) hidden.hidden = false;
    const { scale, offset } = canvas.ds;
    const edge = canvas.canvas.getBoundingClientRect();
    const frame = document.querySelector(`[data-node-id="${node.id}"]`)?.getBoundingClientRect();
    const right = frame?.right ?? edge.left + (node.pos[0] + node.size[0] + offset[0]) * scale;
    const bottom = frame?.bottom ?? edge.top + (node.pos[1] + node.size[1] + offset[1]) * scale;
    const box = panel.getBoundingClientRect();
    const cut = [...panel.querySelectorAll("button, input, canvas, .con360-clock")].filter((part) => {
        const { left, right, bottom } = part.getBoundingClientRect();
        return left < box.left || right > box.right + 0.5 || bottom > box.bottom + 0.5;
    });
    const names = cut.map((part) => part.getAttribute("aria-label") ?? part.className);
    if (box.right > right || box.bottom > bottom) names.push("the panel hangs over");
    return { cut: names, width: node.size[0], corner: [right, bottom] };
}"""


def measured(page: ComfyPage) -> dict[str, Any]:
    """Measure the only node, after the time in which Nodes 2.0 lays it out."""
    page.drawn()
    return page.run(MEASURE)


@pytest.mark.parametrize("comfy", ENDS, indirect=True)
def test_no_button_of_a_panel_is_cut_when_new_or_as_narrow_as_can_be(comfy: ComfyPage) -> None:
    for kind in PANELS:
        comfy.run(ADD, [kind, None])
        new = measured(comfy)
        assert new["cut"] == [] and new["width"] >= NEW_WIDTH, kind
        corner = new["corner"][0] - 3, new["corner"][1] - 3
        drag(comfy, corner, (corner[0] - 250, corner[1]))
        narrow = measured(comfy)
        assert narrow["cut"] == [] and LEAST_WIDTH <= narrow["width"] < new["width"], kind
        comfy.shot(f"narrow_{kind}")
    assert comfy.complaints == []


@pytest.mark.parametrize("comfy", ENDS, indirect=True)
def test_a_saved_width_is_kept_unless_it_is_below_the_least(comfy: ComfyPage) -> None:
    for saved, shown in ((200, LEAST_WIDTH), (LEAST_WIDTH, LEAST_WIDTH), (500, 500)):
        comfy.run(ADD, ["ViewpointByHand", [saved, 700]])
        found = measured(comfy)
        assert (found["width"], found["cut"]) == (shown, [])
