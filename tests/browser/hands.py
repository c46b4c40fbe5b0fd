"""Use the widgets as a person does: wait, point, drag; and record what is heard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from browser.page import ComfyPage

# The oldest and the newest way to draw nodes: ComfyUI's own frontend, and Nodes 2.0 of the current one. The longest
# tests run on one of them.
ENDS = ["pinned-classic", "current-nodes2"]
# The playhead keeps so far inside a timeline's strip, as in web/timeline.js.
THUMB_PX = 12
# Records the values that the gains of a page's sound are set to, in order.
RECORD = """() => {
    const set = AudioParam.prototype.setTargetAtTime;
    window.heard = [];
    AudioParam.prototype.setTargetAtTime = function (value, ...rest) {
        window.heard.push(value);
        return set.call(this, value, ...rest);
    };
}"""


def wait(page: ComfyPage, read: Callable[[], Any], wanted: Any) -> None:
    """Wait until `read` returns the wanted value: a loaded machine takes its time."""
    for _ in range(300):
        if (found := read()) == wanted:
            return
        page.page.wait_for_timeout(200)
    assert found == wanted


def changed(page: ComfyPage, read: Callable[[], Any], before: Any) -> bool:
    """Wait up to four seconds until `read` returns something else than before; say whether it did."""
    for _ in range(20):
        page.page.wait_for_timeout(200)
        if read() != before:
            page.drawn()
            return True
    return False


def choose_file(page: ComfyPage, kind: str, file: Path) -> None:
    """Choose a file by a node's upload button."""
    with page.page.expect_file_chooser() as chooser:
        page.run(
            "kind => window.app.graph._nodes.find((n) => n.type === kind)"
            ".widgets.find((w) => w.type === 'button').callback()", kind,
        )  # fmt: skip
    chooser.value.set_files(file)


def at(page: ComfyPage, kind: str, yaw: float, pitch: float) -> tuple[float, float]:
    """Return the place of a direction on the screen, by the flat map of a node's editor."""
    box = _box(page, kind)
    width = min(box["width"], 2 * box["height"])
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    return middle[0] + yaw / 360 * width, middle[1] - pitch / 180 * width / 2


def _box(page: ComfyPage, kind: str) -> dict[str, float]:
    """Find where a node's panel lies, as soon as it is shown: after an undo it has no place for a moment."""
    for _ in range(100):
        if box := page.panel(kind).bounding_box():
            return box
        page.page.wait_for_timeout(200)
    raise AssertionError(f"the panel of {kind} is not shown")


def drag(page: ComfyPage, start: tuple[float, float], end: tuple[float, float]) -> None:
    mouse = page.page.mouse
    mouse.move(*start)
    mouse.down()
    mouse.move(*end, steps=4)
    mouse.up()
    page.page.wait_for_timeout(400)


def on_strip(page: ComfyPage, kind: str, time_s: float, duration_s: float = 4.0) -> tuple[float, float]:
    """Return the place of a time on the screen, on the ruler above the ticks of a node's timeline."""
    strip = page.panel(kind, ".con360-timeline")
    box, width = strip.bounding_box(), strip.evaluate("(e) => e.clientWidth")
    zoom = box["width"] / width
    return box["x"] + zoom * (THUMB_PX / 2 + (width - THUMB_PX) * time_s / duration_s), box["y"] + 5 * zoom


def tick(page: ComfyPage, kind: str, number: int) -> tuple[float, float]:
    box = page.panel(kind, f".con360-tick:nth-of-type({number})").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def _offered(page: ComfyPage, button: Any) -> bool:
    """Wait up to eight seconds for a button."""
    for _ in range(40):
        if button.count():
            return True
        page.page.wait_for_timeout(200)
    return False


def show_help(page: ComfyPage, kind: str, title: str) -> None:
    """Wait until a node's help page of this title is there with its picture."""
    choose = """kind => {
      const { canvas, graph } = window.app;
      canvas.deselectAll();
      canvas.selectNode(graph._nodes.find((n) => n.type === kind));
    }"""
    button = page.page.locator("[data-testid=info-button]")
    for _ in range(12):
        # A graph that is still being loaded anew, as after an undo, forgets what was chosen. Choose again, but not
        # before a loaded machine had the time to show the button.
        page.run(choose, kind)
        page.drawn()
        if _offered(page, button):
            break
    else:
        raise AssertionError(f"no help is offered for {kind}")
    # The button of so large a node may lie outside the window, where the mouse cannot click it.
    button.evaluate("(button) => button.click()")
    shown = """([end, title]) => [...document.images].some(
      (i) => i.src.endsWith(end) && i.alt === title && i.naturalWidth)"""
    wait(page, lambda: page.run(shown, [f"/docs/images/{kind}.jpg", title]), True)
