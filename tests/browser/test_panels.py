"""Nodes with a panel in a real browser: wide enough when new, when narrow and when loaded; a whole session is quiet."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from browser.hands import ENDS, choose_file, drag, show_help, wait
from browser.page import ComfyPage
from shipped_runs import write_sample

from con360.media.writer import write_clip
from con360.records import Sound

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]

PANELS = (
    "CentroidToBASD", "Con360ViewpointByHand", "Con360PlaceSound", "Load360Video", "Con360OverlayPreview",
    "Reframe360Video", "Con360AmbisonicsPreview", "Con360Compare", "Con360Level360Video", "Con360BestOf",
)  # fmt: skip
# As in web/parts.js.
LEAST_WIDTH, NEW_WIDTH = 320, 380
REFRAME = "Reframe360Video"
CLEAR = """() => {
    const { graph, canvas } = window.app;
    for (const node of [...graph._nodes]) graph.remove(node);
    Object.assign(canvas.ds, { scale: 0.55, offset: [0, 0] });
    canvas.setDirty(true, true);
}"""
ADD = """([kind, size]) => {
    const { graph, canvas } = window.app;
    const node = window.LiteGraph.createNode(kind);
    node.pos = [300, 100];
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


def test_no_button_of_a_panel_is_cut_when_new_or_as_narrow_as_can_be(comfy: ComfyPage) -> None:
    for kind in PANELS:
        comfy.run(CLEAR)
        comfy.run(ADD, [kind, None])
        new = measured(comfy)
        assert new["cut"] == [] and new["width"] >= NEW_WIDTH, kind
        corner = new["corner"][0] - 3, new["corner"][1] - 3
        drag(comfy, corner, (corner[0] - 250, corner[1]))
        narrow = measured(comfy)
        assert narrow["cut"] == [] and LEAST_WIDTH <= narrow["width"] < new["width"], kind
        comfy.shot(f"narrow_{kind}")
    assert comfy.complaints == []


def test_a_saved_width_is_kept_unless_it_is_below_the_least(comfy: ComfyPage) -> None:
    for saved, shown in ((200, LEAST_WIDTH), (LEAST_WIDTH, LEAST_WIDTH), (500, 500)):
        comfy.run(CLEAR)
        comfy.run(ADD, ["Con360ViewpointByHand", [saved, 700]])
        found = measured(comfy)
        assert (found["width"], found["cut"]) == (shown, [])


def test_candidates_stand_side_by_side_and_one_is_heard(comfy: ComfyPage, tmp_path: Path) -> None:
    shown = []
    for rank in (1, 2, 3):
        write_clip(
            tmp_path / f"{rank}.mp4", torch.full((8, 3, 64, 64), rank / 4), 8.0, Sound(torch.zeros(1, 16000), 16000)
        )
        shutil.copy(tmp_path / f"{rank}.mp4", comfy.server.base / "output" / f"seed_{rank}.mp4")
        clip = {"filename": f"seed_{rank}.mp4", "subfolder": "", "type": "output", "fps": 8}
        shown.append({"clip": clip, "text": f"seed {rank}, V 0.{rank}00"})
    comfy.run(CLEAR)
    comfy.run(ADD, ["Con360BestOf", [600, 500]])
    comfy.run("(rows) => window.app.graph._nodes[0].onExecuted({ con360: [{ candidates: rows }] })", shown)
    captions = "() => [...document.querySelectorAll('.con360-candidates figcaption')].map((c) => c.textContent)"
    wait(comfy, lambda: comfy.run(captions), [f"{i}. seed {i}, V 0.{i}00" for i in (1, 2, 3)])
    heard = "() => [...document.querySelectorAll('.con360-candidates video')].map((v) => !v.muted)"
    assert comfy.run(heard) == [True, False, False]
    wait(comfy, lambda: comfy.panel("Con360BestOf", ".con360-clock").inner_text(), "0.0 / 1.0 s")
    comfy.panel("Con360BestOf", "[aria-label='Hear clip 2']").click()
    assert comfy.run(heard) == [False, True, False]
    comfy.panel("Con360BestOf", "[aria-label=Play]").click()
    times = "() => [...document.querySelectorAll('.con360-candidates video')].map((v) => v.currentTime > 0)"
    wait(comfy, lambda: comfy.run(times), [True, True, True])
    comfy.shot("candidates")
    assert comfy.complaints == []


@pytest.mark.parametrize("comfy", ENDS[:1], indirect=True)
def test_a_whole_session_leaves_the_console_quiet(comfy: ComfyPage, tmp_path: Path) -> None:
    add_by_search_and_paste(comfy)
    comfy.open_template("con360_reframe")
    upload_and_undo(comfy, tmp_path / f"{comfy.name}.mp4")
    comfy.set_value(REFRAME, "duration", 0.5)
    comfy.queue()
    comfy.show(REFRAME)
    wait(comfy, lambda: comfy.panel(REFRAME, ".con360-hint").inner_text(), "")
    comfy.shot("session")
    show_help(comfy, REFRAME, "Reframe 360° Video")
    comfy.shot("session_help")
    assert comfy.complaints == []


def add_by_search_and_paste(page: ComfyPage) -> None:
    page.run(CLEAR)
    # Until the empty graph is drawn, a click meets the nodes of before.
    page.drawn()
    page.page.mouse.dblclick(500, 300)
    page.page.wait_for_timeout(1500)
    page.page.keyboard.type("Viewpoint by Hand")
    page.page.wait_for_timeout(1500)
    page.page.keyboard.press("Enter")
    page.page.wait_for_timeout(500)
    # Newer frontends let the node hang at the pointer until a click.
    page.page.mouse.click(520, 320)
    widths = "() => window.app.graph._nodes.map((node) => node.size[0])"
    wait(page, lambda: page.run(widths), [NEW_WIDTH])
    page.run("() => window.app.canvas.selectNode(window.app.graph._nodes[0])")
    for keys in ("Control+c", "Control+v"):
        page.page.keyboard.press(keys)
        page.page.wait_for_timeout(500)
    wait(page, lambda: page.run(widths), [NEW_WIDTH, NEW_WIDTH])


def upload_and_undo(page: ComfyPage, clip: Path) -> None:
    """Upload by the node's button, move the node, and undo both: no node may miss its file."""
    write_sample(clip)
    choose_file(page, REFRAME, clip)
    wait(page, lambda: page.value(REFRAME, "video"), clip.name)
    page.run(
        """kind => {
          const { canvas, graph } = window.app;
          canvas.emitBeforeChange();
          graph._nodes.find((n) => n.type === kind).pos = [40, 40];
          canvas.emitAfterChange();
        }""",
        REFRAME,
    )
    # Undo twice and redo twice, whatever steps a frontend makes of an upload.
    for keys in ("Control+z", "Control+z", "Control+y", "Control+y"):
        page.page.keyboard.press(keys)
        page.page.wait_for_timeout(1000)
        assert not page.run("() => window.app.graph._nodes.some((node) => node.has_errors)")
    wait(page, lambda: page.value(REFRAME, "video"), clip.name)
