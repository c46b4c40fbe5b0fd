"""The pack's widgets in a real browser: open, steer, undo, reload, run, look around, play."""

from __future__ import annotations

import re
import shutil
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from browser.hands import ENDS, RECORD, at, drag, show_help, wait
from browser.page import ComfyPage
from comfyui.server import PACK
from shipped_runs import FULL_SIZE, PUBLIC_WEIGHTS, SHIPPED, read

from con360.geometry.sphere import rotation
from con360.media.coders import PictureCoding
from con360.media.writer import write_clip
from con360.records import Sound
from con360.scenes import demo_scene
from con360.sound.ambisonics import stereo_matrix
from con360.sound.rotation import turn_matrices
from con360.timing import ClipSpec
from con360.viewpoint.keyframes import keyframes_from_json
from tools.host import graph

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]

EDITOR = "CentroidToBASD"
NEED_WEIGHTS = {"SalViT360Saliency", "Con360ControlLoader", "Con360ModelLoader", "CubemapCaption"}
# The height of a node's title, which its box leaves out.
TITLE = 30
VIEW = ("choose_by", "rank", "yaw", "pitch", "fov", "keyframes")


@pytest.fixture
def page(comfy: ComfyPage) -> ComfyPage:
    """Open the shipped workflow, short enough to run, its editor in sight."""
    comfy.load(read(PACK / "workflows" / "con360_viewpoint.json"))
    comfy.set_value("JointAVSampler", "steps", 1)
    comfy.set_value("Load360Video", "duration", 1.0)
    comfy.show(EDITOR)
    comfy.complaints.clear()
    return comfy


def view(page: ComfyPage) -> dict[str, Any]:
    return {name: page.value(EDITOR, name) for name in VIEW}


def test_shipped_workflows_open_without_a_red_node(comfy: ComfyPage) -> None:
    """Open all of them on the classic canvas, and two of them in Nodes 2.0, which is slow."""
    for path in SHIPPED:
        if not comfy.name.endswith("nodes2") or path.stem in ("con360_reframe", "con360_viewpoint"):
            opens(comfy, path)
            comfy.shot(path.stem)


def opens(comfy: ComfyPage, path: Path) -> None:
    comfy.complaints.clear()
    comfy.load(read(path))
    nodes = comfy.run(
        """() => window.app.graph._nodes.map((n) => ({ type: n.type, box: [...n.pos, ...n.size],
        known: Boolean(window.LiteGraph.registered_node_types[n.type]), red: Boolean(n.has_errors) }))"""
    )
    assert [node["type"] for node in nodes if not node["known"]] == []
    # The frontend marks nodes whose models are missing, as those of the full-size workflows are here.
    red = {node["type"] for node in nodes if node["red"]}
    assert red <= (NEED_WEIGHTS if path.stem in (FULL_SIZE, PUBLIC_WEIGHTS) else set()), path.stem
    for (x, y, w, h), (x2, y2, w2, h2) in combinations([node["box"] for node in nodes], 2):
        assert x + w <= x2 or x2 + w2 <= x or y + h + TITLE <= y2 or y2 + h2 + TITLE <= y, path.stem
    assert comfy.complaints == [], path.stem


def test_what_the_frontend_saves_and_sends_is_what_the_pack_expects(page: ComfyPage) -> None:
    saved = page.run("() => window.app.graph.serialize()")
    info = page.server.object_info()
    wanted = graph.to_prompt(read(PACK / "workflows" / "con360_viewpoint.json"), info)
    wanted["7"]["inputs"]["steps"], wanted["1"]["inputs"]["duration"] = 1, 1
    sent = {key: node["inputs"] for key, node in page.prompt().items()}
    assert sent == {key: node["inputs"] for key, node in wanted.items()}
    by_id = {node["id"]: node for node in saved["nodes"]}
    assert by_id[3]["widgets_values"] == [8, "subject", 1, "still", 0, 0, 90, "minmax", "", 0, "1:1"]


def test_dragging_the_view_reaches_the_prompt_and_can_be_undone(page: ComfyPage) -> None:
    before = view(page)
    drag(page, at(page, EDITOR, 40, 10), at(page, EDITOR, 100, -20))
    # A press outside the view moves it there; then it follows the pointer.
    moved = view(page)
    assert moved["choose_by"] == "yaw and pitch"
    assert (moved["yaw"], moved["pitch"]) == (pytest.approx(100, abs=2), pytest.approx(-20, abs=2))
    drag(page, at(page, EDITOR, 110, -10), at(page, EDITOR, 200, -10))
    assert view(page)["yaw"] == pytest.approx(-170, abs=2)
    assert page.prompt()["3"]["inputs"]["yaw"] == view(page)["yaw"]
    for keys, wanted in (("Control+z", moved), ("Control+z", before), ("Control+y", moved)):
        page.page.keyboard.press(keys)
        wait(page, lambda: view(page), wanted)
        page.page.wait_for_timeout(1000)
    assert page.complaints == []


def test_after_undo_the_panel_is_still_dragged(page: ComfyPage) -> None:
    """Undo makes each node anew; Nodes 2.0 keeps the panel of the removed node on screen."""
    drag(page, at(page, EDITOR, 40, 10), at(page, EDITOR, 100, -20))
    page.page.keyboard.press("Control+z")
    wait(page, lambda: view(page)["choose_by"], "subject")
    panel = page.panel(EDITOR)
    wait(page, panel.count, 1)
    # A new panel moves to its node with the next redraws.
    page.drawn()
    drag(page, at(page, EDITOR, -40, 10), at(page, EDITOR, -100, -20))
    assert (view(page)["yaw"], view(page)["pitch"]) == (pytest.approx(-100, abs=2), pytest.approx(-20, abs=2))
    assert "yaw -100" in page.panel(EDITOR, "[role=status]").inner_text()
    connected = """() => window.app.graph._nodes.flatMap((n) => n.widgets ?? [])
      .filter((w) => w.element?.classList.contains("con360")).map((w) => w.element.isConnected)"""
    if page.name.endswith("nodes2"):
        assert all(page.run(connected))
    assert page.complaints == []


def test_a_view_is_dragged_off_the_key_and_the_number_that_lie_under_it(page: ComfyPage) -> None:
    page.run(
        """(subject) => window.app.graph._nodes.find((n) => n.type === 'CentroidToBASD')
        .onExecuted({ con360: [{ rankings: { subject, centroid: [] } }] })""",
        [{"rank": 1, "views": [[30, 0]]}],
    )
    wait(page, lambda: "yaw 30" in page.panel(EDITOR, "[role=status]").inner_text(), True)
    page.panel(EDITOR, ".con360-bar button:nth-of-type(2)").click()
    slider = page.panel(EDITOR, "input[type=range]")
    slider.evaluate("(e) => { e.value = 2; e.dispatchEvent(new Event('input')) }")
    drag(page, at(page, EDITOR, 30, 0), at(page, EDITOR, 80, 20))
    frames = keyframes_from_json(view(page)["keyframes"])
    assert [(frame.time_s, round(frame.view.yaw_deg / 5) * 5) for frame in frames] == [(0, 30), (2, 80)]
    assert (view(page)["choose_by"], float(slider.input_value())) == ("keyframes", 2)
    # A click at the same place still chooses the number.
    slider.evaluate("(e) => { e.value = 0; e.dispatchEvent(new Event('input')) }")
    page.page.mouse.click(*at(page, EDITOR, 30, 0))
    wait(page, lambda: (view(page)["choose_by"], view(page)["rank"]), ("subject", 1))


def test_the_wheel_changes_the_field_of_view_within_its_range(page: ComfyPage) -> None:
    page.page.mouse.move(*at(page, EDITOR, 0, 0))
    page.page.mouse.wheel(0, 100)
    page.page.wait_for_timeout(500)
    assert view(page)["fov"] == 90, "an editor without the focus leaves the wheel to the graph"
    page.panel(EDITOR).focus()
    page.page.mouse.move(*at(page, EDITOR, 0, 0))
    for _ in range(3):
        page.page.mouse.wheel(0, 100)
    wait(page, lambda: (view(page)["fov"], view(page)["choose_by"]), (96, "subject"))
    page.set_value(EDITOR, "fov", 147)
    for _ in range(4):
        page.page.mouse.wheel(0, 100)
    wait(page, lambda: view(page)["fov"], 150)


def test_the_keyboard_alone_is_enough(page: ComfyPage) -> None:
    page.panel(EDITOR).focus()
    for key in ("ArrowRight", "Shift+ArrowRight", "ArrowUp", "-", "Enter"):
        page.page.keyboard.press(key)
    page.page.wait_for_timeout(400)
    assert keyframes_from_json(view(page)["keyframes"])[0].view == keyframes_from_json(
        '[{"time": 0, "yaw": 11, "pitch": 1, "fov": 92}]')[0].view  # fmt: skip
    assert view(page)["choose_by"] == "keyframes"
    page.shot("keyboard")
    page.page.keyboard.press("Delete")
    page.page.wait_for_timeout(400)
    assert view(page) == {"choose_by": "yaw and pitch", "rank": 1, "yaw": 11, "pitch": 1, "fov": 92, "keyframes": ""}
    assert page.run("() => window.app.graph._nodes.length") == 13, "the key must not delete nodes"


def test_typed_numbers_are_the_editors_numbers(page: ComfyPage) -> None:
    page.set_value(EDITOR, "choose_by", "yaw and pitch")
    page.set_value(EDITOR, "yaw", -45)
    wait(page, lambda: "-45°" in page.panel(EDITOR, "[role=status]").inner_text(), True)


def test_text_that_is_no_keyframes_never_becomes_html(page: ComfyPage) -> None:
    page.set_value(EDITOR, "keyframes", '<img src=x onerror="window.hacked = 1">')
    page.set_value(EDITOR, "choose_by", "keyframes")
    page.page.wait_for_timeout(600)
    assert page.run("() => window.hacked === undefined && !document.querySelector('.con360 img')")
    assert page.complaints == []


@pytest.mark.parametrize("comfy", ENDS[1:], indirect=True)
def test_run_choose_a_subject_set_keyframes_reload_and_play(page: ComfyPage) -> None:
    page.queue()
    page.show(EDITOR)
    page.panel(EDITOR)
    loaded = "() => [...document.querySelectorAll('.con360 video[data-url]')].every((v) => !v.src || v.readyState >= 2)"
    wait(page, lambda: page.run(loaded), True)
    assert "subject 1 · yaw" in page.panel(EDITOR, "[role=status]").inner_text()
    shown = page.run("() => window.app.graph._nodes.find((n) => n.type === 'CentroidToBASD').con360Outputs[0]")
    regions = shown["regions"]
    page.shot("editor")
    choose_by_either_ranking(page, shown["rankings"])
    hear_the_scene_turn(page)
    page.page.mouse.click(*at(page, EDITOR, *regions[1]["views"][0]))
    page.page.wait_for_timeout(400)
    assert (view(page)["choose_by"], view(page)["rank"]) == ("subject", 2)

    # Two keyframes: one here, and one elsewhere near the end of the clip.
    page.panel(EDITOR, ".con360-bar button:nth-of-type(2)").click()
    page.panel(EDITOR, "input[type=range]").evaluate("(e) => { e.value = 0.9; e.dispatchEvent(new Event('input')) }")
    page.page.wait_for_timeout(1000)
    start = at(page, EDITOR, *regions[1]["views"][0])
    drag(page, (start[0] + 15, start[1] + 15), (start[0] + 75, start[1] + 35))
    frames = keyframes_from_json(view(page)["keyframes"])
    assert [frame.time_s for frame in frames] == [0, 0.9]
    assert frames[1].view.yaw_deg > frames[0].view.yaw_deg + 20
    page.shot("keyframes")
    steered = view(page)
    page.queue()
    assert page.prompt()["3"]["inputs"]["keyframes"] == steered["keyframes"]
    play_results(page)
    look_around(page)

    page.page.reload(wait_until="commit")
    page.ready()
    assert view(page) == steered
    page.shot("reloaded")


@pytest.mark.parametrize("comfy", ENDS[1:], indirect=True)
def test_the_last_picture_comes_back_after_a_reload_and_from_the_cache(page: ComfyPage) -> None:
    def shown() -> list[str]:
        """The hints over two pictures, empty where there is a picture; one of them may be outside the window."""
        return page.run(
            """(kinds) => kinds.map((kind) => window.app.graph._nodes.find((n) => n.type === kind).widgets
              .map((w) => w.element?.querySelector(".con360-hint")?.textContent).join(""))""",
            [EDITOR, "Con360OverlayPreview"],
        )

    page.queue()
    wait(page, shown, ["", ""])
    workflow = page.run("() => window.app.graph.serialize()")
    page.page.reload(wait_until="commit")
    page.ready()
    wait(page, shown, ["", ""])
    # The server never ran a workflow of this name, but has all its results.
    page.load({**workflow, "id": "5e1f9a0c-2b7d-4c3e-8f6a-1d2c3b4a5968"})
    page.show(EDITOR)
    wait(page, lambda: all(shown()), True)
    page.queue()
    wait(page, shown, ["", ""])
    # The saved workflow, opened again, shows what it showed.
    page.load(workflow)
    wait(page, shown, ["", ""])
    page.shot("last_picture")
    assert page.complaints == []


def choose_by_either_ranking(page: ComfyPage, rankings: dict[str, Any]) -> None:
    """Click the small numbers of the other ranking, which never cover the large ones; press R to switch the ranking."""
    first, second = (rankings[name][0]["views"][0] for name in ("subject", "centroid"))
    assert rankings["subject"] != rankings["centroid"] and abs(first[0] - second[0]) < 5
    x, y = at(page, EDITOR, *first)
    canvas = page.panel(EDITOR)
    page.page.mouse.move(x, y + 20)
    wait(page, lambda: canvas.get_attribute("title"), "centroid 1")
    page.page.mouse.click(x, y + 20)
    wait(page, lambda: (view(page)["choose_by"], view(page)["rank"]), ("centroid", 1))
    page.shot("centroids")
    apart = max(rankings["centroid"], key=lambda one: min(abs(one["views"][0][0] - other["views"][0][0])
                                                          for other in rankings["subject"]))  # fmt: skip
    page.page.mouse.click(*at(page, EDITOR, *apart["views"][0]))
    wait(page, lambda: (view(page)["choose_by"], view(page)["rank"]), ("centroid", apart["rank"]))
    page.page.keyboard.press("1")
    page.page.keyboard.press("r")
    wait(page, lambda: (view(page)["choose_by"], view(page)["rank"]), ("subject", 1))
    wait(page, lambda: "subject 1" in page.panel(EDITOR, "[role=status]").inner_text(), True)
    assert page.run("() => window.app.graph._nodes.length") == 13


def test_a_list_saved_before_subjects_existed_keeps_its_centroids(comfy: ComfyPage) -> None:
    workflow = read(PACK / "workflows" / "con360_every_centroid.json")
    comfy.load(workflow)
    assert comfy.value("Con360Centroids", "choose_by") == "subject"
    (saved,) = (node for node in workflow["nodes"] if node["type"] == "Con360Centroids")
    assert saved["widgets_values"].pop() == "subject"
    comfy.load(workflow)
    assert comfy.value("Con360Centroids", "choose_by") == "centroid"
    assert [node["inputs"]["choose_by"] for node in comfy.prompt().values()
            if node["class_type"] == "Con360Centroids"] == ["centroid"]  # fmt: skip


# Measures the loudness of each ear in decibels, over two seconds of the sample seen at a yaw, by the widget's module.
# An audio worklet sums the samples, so a busy page misses none.
METER = """registerProcessor("meter", class extends AudioWorkletProcessor {
    constructor() {
        super();
        this.energy = 0;
        this.port.onmessage = () => this.port.postMessage(this.energy);
    }
    process([input]) {
        for (const samples of input) for (const value of samples) this.energy += value * value;
        return true;
    }
});"""
LISTEN = """async ([url, module, yaw, meter]) => {
    const { Hearing } = await import(module);
    const video = Object.assign(document.createElement("video"), { src: url, loop: true });
    const hearing = new Hearing(video);
    hearing.ambisonic = true;
    hearing.turn({ yaw, pitch: 0 });
    await video.play();
    const { context } = hearing.gains[0][0];
    await context.audioWorklet.addModule(URL.createObjectURL(new Blob([meter], { type: "text/javascript" })));
    const ears = hearing.gains.map((row) => {
        const ear = new AudioWorkletNode(context, "meter");
        for (const gain of row) gain.connect(ear);
        return ear;
    });
    await new Promise((done) => setTimeout(done, 2000));
    video.pause();
    hearing.stop();
    const read = (ear) => new Promise((done) => {
        ear.port.onmessage = ({ data }) => done(10 * Math.log10(data));
        ear.port.postMessage("read");
    });
    return await Promise.all(ears.map(read));
}"""


def hear_the_scene_turn(page: ComfyPage) -> None:
    """Drag the view while the clip plays; the editor must mix sound as the library's reframing does."""
    saved = page.run("() => window.app.graph._nodes.find((n) => n.type === 'CentroidToBASD').con360Outputs[0].panorama")
    assert saved["sound"] and saved["ambisonic"]
    page.run(RECORD)
    play = page.panel(EDITOR, "button")
    play.click()
    wait(page, lambda: play.get_attribute("aria-label"), "Pause")
    # Start on the ground, where there is no centroid to click.
    drag(page, at(page, EDITOR, 10, -60), at(page, EDITOR, 100, 20))
    seen = view(page)
    assert seen["yaw"] > 40
    wanted = stereo_matrix() @ turn_matrices(rotation(seen["yaw"], seen["pitch"], dtype=torch.float64))
    last = "() => window.heard.slice(-8)"
    wait(page, lambda: page.run(last) == pytest.approx(wanted.flatten().tolist(), abs=1e-6), True)
    play.click()
    page.panel(EDITOR, "input[type=range]").evaluate("(e) => { e.value = 0; e.dispatchEvent(new Event('input')) }")

    # The ears' levels must differ as in the sample's sound, mixed for the same yaw.
    scene_sound = demo_scene().panorama(64, ClipSpec(seconds=1.0, fps=8.0)).sound.waveform.double()
    module = next(url for url in page.server.get("/extensions") if url.endswith("/hearing.js"))
    address = f"/view?filename={saved['filename']}&subfolder={saved['subfolder']}&type={saved['type']}"
    for yaw in (-135, 45):
        left, right = page.run(LISTEN, [address, module, yaw, METER])
        mixed = stereo_matrix() @ turn_matrices(rotation(yaw, 0.0, dtype=torch.float64)) @ scene_sound
        levels = 10 * mixed.square().sum(1).log10()
        assert left - right == pytest.approx(float(levels[0] - levels[1]), abs=1.0), yaw


def play_results(page: ComfyPage) -> None:
    page.show("Con360Compare")
    play = page.panel("Con360Compare", "button")
    clips = "[...document.querySelectorAll('[data-test=Con360Compare] video')]"
    assert page.run(f"() => {clips}.map((v) => v.muted)") == [False, True]
    play.click()
    wait(page, lambda: page.run(f"() => {clips}.length === 2 && {clips}.every((v) => v.currentTime > 0)"), True)
    page.shot("compare")
    play.click()
    wait(page, lambda: page.run(f"() => {clips}.every((v) => v.paused && !v.seeking)"), True)
    page.page.wait_for_timeout(1000)
    still = page.run(f"() => {clips}.map((v) => v.currentTime)")
    assert max(still) - min(still) < 0.15
    page.panel("Con360Compare", "button[aria-label^=Sound]").click()
    assert page.panel("Con360Compare", "button[aria-label^='Sound: real view']").count() == 1
    assert page.run(f"() => {clips}.map((v) => v.muted)") == [True, False]


def look_around(page: ComfyPage) -> None:
    page.show("Con360OverlayPreview")
    picture = page.panel("Con360OverlayPreview")
    before = picture.screenshot()
    page.panel("Con360OverlayPreview", "button[aria-label='Hide the overlay']").click()
    page.page.wait_for_timeout(400)
    plain = picture.screenshot()
    assert plain != before
    box = picture.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    drag(page, middle, (middle[0] + 80, middle[1] + 10))
    page.shot("viewer")
    assert picture.screenshot() != plain


def test_the_results_of_a_list_are_shown_one_at_a_time(page: ComfyPage) -> None:
    """A node fed with a list runs once for each item; its widget shows one result at a time."""
    give = """(count) => {
        const node = window.app.graph._nodes.find((n) => n.type === 'Con360Compare');
        const clip = (i) => ({ filename: `view ${i}.mp4`, subfolder: '', type: 'temp' });
        node.onExecuted({ con360: [...Array(count).keys()].map((i) => ({ generated: clip(i) })) });
    }"""
    shown = "() => document.querySelector('[data-test=Con360Compare] video').dataset.url"
    page.show("Con360Compare")
    bar = page.panel("Con360Compare", ".con360-pages")
    page.run(give, 1)
    wait(page, lambda: "view+0" in (page.run(shown) or ""), True)
    assert not bar.is_visible()
    page.run(give, 3)
    wait(page, bar.is_visible, True)
    assert bar.locator("output").inner_text() == "1 / 3"
    bar.get_by_label("Previous result").click()
    wait(page, lambda: ("view+2" in page.run(shown), bar.locator("output").inner_text()), (True, "3 / 3"))
    page.shot("list")
    bar.get_by_label("Next result").click()
    wait(page, lambda: ("view+0" in page.run(shown), bar.locator("output").inner_text()), (True, "1 / 3"))
    # After a later run with two results, the third must not be shown.
    bar.get_by_label("Previous result").click()
    page.run(give, 2)
    wait(page, lambda: ("view+1" in page.run(shown), bar.locator("output").inner_text()), (True, "2 / 2"))


def test_a_file_is_streamed_by_its_address(page: ComfyPage, tmp_path: Path) -> None:
    tone = 0.2 * torch.sin(torch.arange(16000) * 0.2)[None]
    write_clip(tmp_path / "own clip.mp4", torch.rand(8, 3, 64, 128), 8.0, Sound(tone, 16000))
    (page.server.base / "input" / "folder").mkdir(exist_ok=True)
    shutil.copy(tmp_path / "own clip.mp4", page.server.base / "input" / "folder" / "own clip.mp4")
    asked: list[Any] = []
    page.page.on("response", lambda answer: asked.append(answer) if "own+clip" in answer.url else None)
    page.set_value("Load360Video", "video", "folder/own clip.mp4")
    page.show("Load360Video")
    clock = page.panel("Load360Video", ".con360-clock")
    wait(page, clock.inner_text, "0.0 / 1.0 s")
    # Only the chosen piece is played, again and again.
    page.set_value("Load360Video", "start", 0.25)
    page.set_value("Load360Video", "duration", 0.5)
    wait(page, clock.inner_text, "0.0 / 0.5 s")
    page.panel("Load360Video", "[aria-label=Play]").click()
    times = []
    while len(times) < 200 and sum(b < a for a, b in pairwise(times)) < 2:
        times.append(float(clock.inner_text().split(" / ")[0]))
        page.page.wait_for_timeout(50)
    assert sum(b < a for a, b in pairwise(times)) == 2 and max(times) <= 0.6, times
    page.panel("Load360Video", "[aria-label=Pause]").click()
    assert {answer.status for answer in asked} <= {200, 206} and asked
    assert any("range" in answer.request.headers for answer in asked)
    found = {
        "width": 3840, "height": 1920, "fps": 30000 / 1001, "seconds": 12.34, "projection": "equirectangular",
        "stereo": "mono", "channels": 4, "layout": "ambix", "sample_rate_hz": 48000,
    }  # fmt: skip
    give = "(data) => window.app.graph._nodes.find((n) => n.type === 'Load360Video').onExecuted({ con360: [data] })"
    page.run(give, {"video": "folder/own clip.mp4", "found": found, "notices": ["<b>a notice</b>"]})
    line = "3840×1920 · 29.97 fps · 12.3 s · equirectangular · Ambisonics 48 kHz"
    facts = page.panel("Load360Video", ".con360-facts")
    wait(page, lambda: facts.inner_text().split("\n"), [line, "<b>a notice</b>"])
    page.shot("file")
    page.set_value("Load360Video", "video", "[built-in sample]")
    wait(page, facts.inner_text, "")
    assert page.complaints == []


def test_a_saved_file_is_looked_around_in_and_its_notices_stand_below(page: ComfyPage, tmp_path: Path) -> None:
    write_clip(tmp_path / "saved.mp4", torch.rand(8, 3, 64, 128), 8.0, None)
    shutil.copy(tmp_path / "saved.mp4", page.server.base / "output" / "saved.mp4")
    page.run(
        """(data) => { const node = window.LiteGraph.createNode("Save360Video"); window.app.graph.add(node);
        node.onExecuted({ con360: [data] }); }""",
        {"saved": {"filename": "saved.mp4", "subfolder": "", "type": "output", "stereo": "mono", "fps": 8},
         "notices": ["players will stretch it"]},
    )  # fmt: skip
    page.show("Save360Video")
    wait(page, lambda: page.panel("Save360Video", ".con360-clock").inner_text(), "0.0 / 1.0 s")
    assert page.panel("Save360Video", ".con360-facts").inner_text() == "players will stretch it"
    page.shot("saved")
    # Of a master the browser knows the sound alone; a preview stands in, two panoramas above each other.
    write_clip(
        page.server.base / "output" / "master.mov", torch.rand(8, 3, 64, 128), 8.0,
        Sound(torch.zeros(1, 16000), 16000), coding=PictureCoding("ProRes"),
    )  # fmt: skip
    write_clip(page.server.base / "output" / "stand_in.mp4", torch.rand(4, 3, 128, 128), 8.0, None)
    master = {"filename": "master.mov", "subfolder": "", "type": "output", "stereo": "mono", "fps": 8}
    give = "(data) => window.app.graph._nodes.find((n) => n.type === 'Save360Video').onExecuted({ con360: [data] })"
    page.run(give, {"saved": master})
    hint = page.panel("Save360Video", ".con360-hint")
    wait(page, hint.inner_text, "This browser cannot play the file; the node still reads it.")
    page.run(give, {"saved": master, "preview": {**master, "filename": "stand_in.mp4"}})
    clock = page.panel("Save360Video", ".con360-clock")
    wait(page, lambda: (hint.inner_text(), clock.inner_text()), ("", "0.0 / 0.5 s"))
    assert page.complaints == []


# Frontend 1.27 has neither; one way to draw nodes is enough for both.
@pytest.mark.parametrize("comfy", ["current-classic"], indirect=True)
def test_app_mode_shows_its_layout_and_help_its_picture(page: ComfyPage) -> None:
    toggle = "async () => { await window.app.extensionManager.command.execute('Comfy.ToggleLinear') }"
    page.run(toggle)
    wait(page, lambda: page.page.get_by_text("[built-in sample]").count() > 0, True)
    for widget in ("video", "text", "rank", "seed"):
        assert page.page.get_by_text(widget, exact=True).count() > 0
    assert page.page.get_by_text("cfg_video", exact=True).count() == 0
    page.shot("app")
    page.run(toggle)
    page.open_template("con360_three_dials")
    page.run(toggle)
    for dial in ("rank", "source", "text"):
        wait(page, lambda dial=dial: page.page.get_by_text(dial, exact=True).count() > 0, True)
    assert page.page.get_by_text("seed", exact=True).count() == 0
    page.shot("app_dials")
    page.run(toggle)
    page.open_template("con360_viewpoint")
    page.page.wait_for_timeout(1000)
    page.page.keyboard.press("Escape")
    show_help(page, EDITOR, "Centroid→BASD")
    page.shot("help")


@pytest.mark.parametrize("comfy", ENDS[1:], indirect=True)
@pytest.mark.parametrize("language", ["zh"])
def test_the_users_language_and_the_light_theme(comfy: ComfyPage, language: str) -> None:
    nodes2 = comfy.name.endswith("nodes2")
    comfy.open(**{"Comfy.Locale": language, "Comfy.ColorPalette": "light", "Comfy.VueNodes.Enabled": nodes2})
    comfy.open_template("con360_viewpoint")
    comfy.show(EDITOR)
    assert comfy.panel(EDITOR, "button[aria-label='播放']").count() == 1
    note = "window.app.graph._nodes.find((n) => n.type === 'MarkdownNote')"
    titles = f"() => [...window.app.graph._groups.map((g) => g.title), {note}.title, {note}.widgets[0].value]"
    assert [title for title in comfy.run(titles) if not re.search("[\u4e00-\u9fff]", title)] == []
    # What is chosen is stored and sent as ever; frontend 1.27 shows it so, too.
    assert comfy.prompt()["3"]["inputs"]["choose_by"] == "subject"
    if nodes2:
        assert comfy.page.locator("[data-node-id='3']").get_by_text("主体", exact=True).count() > 0
    show_help(comfy, EDITOR, "质心→BASD")
    comfy.shot(f"light_{language}")
    assert comfy.complaints == []
    comfy.open(**{"Comfy.Locale": "en", "Comfy.ColorPalette": "dark", "Comfy.VueNodes.Enabled": nodes2})
    assert comfy.complaints == []
