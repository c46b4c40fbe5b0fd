"""The camera's editor in a real browser: Reframe's panel steers it, keyframes are edited, a path is handed over."""

from __future__ import annotations

from typing import Any

import pytest
from browser.hands import at, drag, on_strip, tick, wait
from browser.page import ComfyPage

from con360.media.writer import write_clip
from con360.scenes import demo_scene
from con360.timing import ClipSpec
from con360.viewpoint.keyframes import Keyframe, keyframes_from_json

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]

NODE, FILE = "Reframe360Video", "camera.mp4"
VIEW = ("mode", "yaw", "pitch", "fov", "roll", "aspect", "keyframes")
PATH = (
    '[{"time": 0, "yaw": 10, "pitch": 0, "fov": 90, "ease": "smooth"}, {"time": 2, "yaw": 90, "pitch": 20, "fov": 90}]'
)


@pytest.fixture
def page(comfy: ComfyPage) -> ComfyPage:
    """Open Reframe alone, 380 px wide, with a file of 4 s that has not run."""
    target = comfy.server.base / "input" / FILE
    if not target.exists():
        clip = demo_scene().panorama(128, ClipSpec(seconds=4.0, fps=8.0))
        write_clip(target, clip.frames, clip.fps, clip.sound, panorama="mono")
    comfy.run(
        """([kind, file]) => {
          window.app.graph.clear();
          const make = document.createElement.bind(document);
          document.createElement = (tag, ...rest) => {
            const made = make(tag, ...rest);
            if (tag === "video") window.lastVideo = made;
            return made;
          };
          const node = window.LiteGraph.createNode(kind);
          node.pos = [0, 0];
          window.app.graph.add(node);
          node.setSize([380, node.size[1]]);
          node.widgets.find((w) => w.name === "video").value = file;
        }""", [NODE, FILE],
    )  # fmt: skip
    wait(comfy, lambda: comfy.panel(NODE, ".con360-clock").inner_text(), "0.0 / 4.0 s")
    comfy.show(NODE)
    comfy.complaints.clear()
    return comfy


def view(page: ComfyPage) -> dict[str, Any]:
    return {name: page.value(NODE, name) for name in VIEW}


def keys(page: ComfyPage) -> list[tuple[float, float, str]]:
    """Time, yaw and ease of the keyframes, yaw to 5 degrees."""
    found: tuple[Keyframe, ...] = keyframes_from_json(page.value(NODE, "keyframes"))
    return [(frame.time_s, 5 * round(frame.view.yaw_deg / 5), frame.ease) for frame in found]


def press(page: ComfyPage, *names: str) -> None:
    for name in names:
        page.page.keyboard.press(name)
    page.page.wait_for_timeout(300)


def test_reframes_panel_is_the_camera(page: ComfyPage) -> None:
    assert view(page)["mode"] == "follow"
    drag(page, at(page, NODE, 0, 0), at(page, NODE, 60, -10))
    wait(page, lambda: view(page)["mode"], "yaw and pitch")
    assert (view(page)["yaw"], view(page)["pitch"]) == (pytest.approx(60, abs=2), pytest.approx(-10, abs=2))
    map_moved = view(page)

    # The framed picture turns under the hand, and the camera with it.
    picture = page.panel(NODE, ".con360-framed canvas")
    box, before = picture.bounding_box(), picture.screenshot()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.page.mouse.move(x, y)
    page.page.mouse.down()
    page.page.mouse.move(x + box["width"] / 3, y, steps=3)
    assert picture.screenshot() != before
    page.page.mouse.up()
    wait(page, lambda: view(page)["yaw"], pytest.approx(map_moved["yaw"] - 30, abs=3))
    press(page, "Control+z")
    wait(page, lambda: view(page), map_moved)
    # Undo makes the node anew, and its panel takes the place of the old one.
    wait(page, page.panel(NODE).count, 1)
    page.page.wait_for_timeout(1000)

    page.panel(NODE).focus()
    press(page, "e", "Shift+E", "-")
    assert (view(page)["roll"], view(page)["fov"]) == (11, 92)
    page.panel(NODE, ".con360-lens select").select_option("9:16")
    picture = page.panel(NODE, ".con360-framed canvas")
    wait(page, lambda: shape(picture), pytest.approx(9 / 16, abs=0.02))
    assert view(page)["aspect"] == "9:16"
    assert cut(page) == []
    page.shot("camera_380")
    assert page.complaints == []


def shape(picture: Any) -> float:
    box = picture.bounding_box()
    return box["width"] / box["height"]


def cut(page: ComfyPage) -> list[str]:
    """Parts of the panel that reach beyond it."""
    page.panel(NODE)
    return page.run(
        """(kind) => {
          const panel = document.querySelector(`[data-test=${kind}]`);
          const room = panel.getBoundingClientRect();
          const shown = [...panel.querySelectorAll("button, select, input, canvas, .con360-status, .con360-clock")]
            .filter((part) => part.offsetParent && part.tagName !== "I");
          return shown.filter((part) => {
            const box = part.getBoundingClientRect();
            return box.left < room.left - 1 || box.right > room.right + 1 || box.bottom > room.bottom + 1
              || part.scrollWidth > part.clientWidth + 2 && part.tagName === "DIV";
          }).map((part) => part.getAttribute("aria-label") ?? part.className);
        }""", NODE,
    )  # fmt: skip


def test_the_timeline_moves_copies_eases_and_deletes_keyframes(page: ComfyPage) -> None:
    page.panel(NODE).focus()
    press(page, "Enter")
    page.page.mouse.click(*on_strip(page, NODE, 2))
    wait(page, lambda: page.panel(NODE, ".con360-clock").inner_text(), "2.0 / 4.0 s")
    drag(page, at(page, NODE, 0, 0), at(page, NODE, -60, 20))
    assert keys(page) == [(0, 0, "linear"), (2, -60, "linear")]
    drag(page, tick(page, NODE, 1), (on_strip(page, NODE, 1.02)[0], tick(page, NODE, 1)[1]))
    assert keys(page) == [(1, 0, "linear"), (2, -60, "linear")], "it snaps to a tenth of a second"
    moved = page.value(NODE, "keyframes")
    page.page.keyboard.down("Alt")
    drag(page, tick(page, NODE, 1), (on_strip(page, NODE, 3)[0], tick(page, NODE, 1)[1]))
    page.page.keyboard.up("Alt")
    assert keys(page) == [(1, 0, "linear"), (2, -60, "linear"), (3, 0, "linear")]
    page.panel(NODE, ".con360-lens select:last-of-type").select_option("smooth")
    wait(page, lambda: keys(page)[2], (3, 0, "smooth"))
    page.shot("timeline")
    page.panel(NODE, ".con360-tick:nth-of-type(3)").focus()
    press(page, "ArrowRight", "Control+c", "Delete")
    assert page.value(NODE, "keyframes") == moved
    page.page.mouse.click(*on_strip(page, NODE, 3.5))
    wait(page, lambda: page.panel(NODE, ".con360-clock").inner_text(), "3.5 / 4.0 s")
    press(page, "Control+v")
    assert keys(page) == [(1, 0, "linear"), (2, -60, "linear"), (3.5, 0, "smooth")]
    assert page.run("() => window.app.graph._nodes.length") == 1, "the key must not paste nodes"
    press(page, "Control+z")
    wait(page, lambda: page.value(NODE, "keyframes"), moved)
    page.panel(NODE, ".con360-bar select").select_option("0.5")
    assert page.run("() => window.lastVideo.playbackRate") == 0.5
    assert page.complaints == []


def test_a_followed_path_is_shown_and_handed_over_as_keyframes(page: ComfyPage) -> None:
    hand_over = page.panel(NODE, "button[aria-label^='Turn the path']")
    assert not hand_over.is_visible()
    page.run(
        "([kind, data]) => window.app.graph._nodes.find((n) => n.type === kind).onExecuted({ con360: [data] })",
        [NODE, {
            "video": FILE, "views": [[10 + 10 * i, 2.5 * i, 90, 0] for i in range(9)], "path_fps": 4.0,
            "keyframes": PATH,
            "asked": {"video": FILE, "mode": "follow", "rank": 1, "start": 0}, "excerpt": [0, 0], "notices": [],
        }],
    )  # fmt: skip
    status = page.panel(NODE, "[role=status]")
    wait(page, status.inner_text, "following the subject · yaw 10°, pitch 0°, FoV 90°")
    page.page.mouse.click(*on_strip(page, NODE, 1))
    wait(page, status.inner_text, "following the subject · yaw 50°, pitch 10°, FoV 90°")
    page.shot("followed")
    hand_over.click()
    wait(page, lambda: (view(page)["mode"], keys(page)), ("keyframes", [(0, 10, "smooth"), (2, 90, "linear")]))
    # Another rank was not followed; what is in sight can still be held.
    page.set_value(NODE, "mode", "follow")
    wait(page, hand_over.is_visible, True)
    page.set_value(NODE, "rank", 2)
    wait(page, hand_over.is_visible, False)
    page.set_value(NODE, "mode", "keyframes")
    page.panel(NODE, "button[aria-label^='Keep this view']").click()
    wait(page, lambda: (view(page)["mode"], view(page)["yaw"]), ("yaw and pitch", pytest.approx(50, abs=1)))
    assert page.complaints == []
