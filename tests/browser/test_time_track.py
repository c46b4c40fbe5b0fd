"""Time Track's editor and its preview in a real browser: draw, drag, snap, nudge, undo, save, run, see what came."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from browser.hands import ENDS, drag, wait
from browser.page import ComfyPage

from tools.workflow_form import Column, Node, To, Workflow, ui_format

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]

EDITOR, PLAYER = "Con360TimeTrack", "Con360TimeTrackPreview"
# A sound of 4 s with onsets at 0.25 s and each 0.25 s after, drawn over and compared with the drawing.
WORKFLOW = Workflow("time_track_test", [Column("all", 420, [
    Node(1, "Con360SampleSound", 110, voice="tick"),
    Node(2, EDITOR, 560, audio=To(1, "audio")),
    Node(3, PLAYER, 480, track=To(2, "track"), audio=To(1, "audio")),
])], app=([], []))  # fmt: skip
# Room around the plot, as in web/track_view.js.
SIDE, TOP, RULER = 8, 10, 18
SECONDS = 4.0


@pytest.fixture
def page(comfy: ComfyPage) -> ComfyPage:
    comfy.load(ui_format(WORKFLOW, comfy.server.object_info()))
    comfy.show(EDITOR)
    comfy.complaints.clear()
    return comfy


def spot(page: ComfyPage, time: float, height: float, kind: str = EDITOR) -> tuple[float, float]:
    """Return the place on the screen of a time and of a height, from 0 to 1."""
    canvas = page.panel(kind)
    box, (width, tall) = canvas.bounding_box(), canvas.evaluate("(c) => [c.clientWidth, c.clientHeight]")
    zoom = box["width"] / width
    x, y = SIDE + time / SECONDS * (width - 2 * SIDE), TOP + (1 - height) * (tall - TOP - RULER)
    return box["x"] + zoom * x, box["y"] + zoom * y


def click(page: ComfyPage, time: float, height: float) -> None:
    page.page.mouse.click(*spot(page, time, height))
    page.page.wait_for_timeout(300)


def press(page: ComfyPage, *names: str) -> None:
    for name in names:
        page.page.keyboard.press(name)
    page.page.wait_for_timeout(300)


def choose(page: ComfyPage, what: int, value: str) -> None:
    """Choose in the editor's second row: 0 is the layer, 1 what times snap to, 2 the beat's parts."""
    page.panel(EDITOR)
    page.page.locator(f"[data-test={EDITOR}] select").nth(what).select_option(value)
    page.page.wait_for_timeout(300)


def track(page: ComfyPage) -> dict[str, Any]:
    return json.loads(page.value(EDITOR, "track") or "{}")


def onsets(page: ComfyPage) -> list[tuple[float, float]]:
    return [(onset["time"], onset.get("strength", 1)) for onset in track(page).get("onsets", [])]


def status(page: ComfyPage) -> str:
    return page.panel(EDITOR, "[role=status]").inner_text()


def near(*wanted: tuple[float, float]) -> list[Any]:
    """Times and strengths as a hand hits them: within a pixel or two."""
    return [(pytest.approx(time, abs=0.03), pytest.approx(strength, abs=0.06)) for time, strength in wanted]


@pytest.mark.parametrize("comfy", ENDS, indirect=True)
def test_onsets_are_added_dragged_removed_and_undone(page: ComfyPage) -> None:
    click(page, 1, 0.8)
    click(page, 3, 0.5)
    assert onsets(page) == near((1, 0.8), (3, 0.5))
    assert "onset 2 of 2" in status(page)
    drag(page, spot(page, *onsets(page)[0]), spot(page, 2, 0.4))
    assert onsets(page) == near((2, 0.4), (3, 0.5)), "time and strength follow the hand"
    dragged = onsets(page)
    # By its stem, sideways alone: the strength stays.
    drag(page, spot(page, dragged[1][0], 0.2), spot(page, 3.5, 0.21))
    assert onsets(page) == [dragged[0], (pytest.approx(3.5, abs=0.03), dragged[1][1])]
    press(page, "Control+z")
    wait(page, lambda: onsets(page), dragged)
    press(page, "Control+z", "Control+z")
    wait(page, lambda: onsets(page), near((1, 0.8)))
    press(page, "Control+y")
    wait(page, lambda: len(onsets(page)), 2)
    page.page.wait_for_timeout(1000)
    click(page, *onsets(page)[1])
    press(page, "Delete")
    wait(page, lambda: onsets(page), near((1, 0.8)))
    press(page, "Delete")
    wait(page, lambda: page.value(EDITOR, "track"), "")
    assert page.complaints == []


@pytest.mark.parametrize("comfy", ENDS[1:], indirect=True)
def test_onsets_snap_and_are_nudged(page: ComfyPage) -> None:
    choose(page, 1, "frames")
    click(page, 1.04, 0.9)
    assert [time for time, _ in onsets(page)] == [1.0], "frames at 8 a second"
    press(page, "ArrowRight", "ArrowRight", "Shift+ArrowRight", "ArrowUp", "Shift+ArrowDown")
    wait(page, lambda: onsets(page), [(1.145, pytest.approx(0.94, abs=0.06))])
    choose(page, 1, "tempo")
    page.panel(EDITOR, "input[type=number]").fill("100")
    page.page.keyboard.press("Tab")
    choose(page, 2, "2")
    drag(page, spot(page, *onsets(page)[0]), spot(page, 2.05, 0.9))
    assert [time for time, _ in onsets(page)] == [2.1], "half beats at 100 a minute"
    page.page.keyboard.down("Shift")
    drag(page, spot(page, *onsets(page)[0]), spot(page, 2.5, 0.9))
    page.page.keyboard.up("Shift")
    assert onsets(page)[0][0] not in (2.4, 2.7) and onsets(page) == near((2.5, 0.9))
    page.shot("time_track_tempo")
    # What the sound's own onsets are is known after a run.
    page.queue()
    choose(page, 1, "peaks")
    drag(page, spot(page, *onsets(page)[0]), spot(page, 3.02, 0.9))
    (heard,) = [time for time, _ in onsets(page)]
    assert heard == pytest.approx(2.99, abs=0.02)
    shown = page.run("(kind) => window.app.graph._nodes.find((n) => n.type === kind).con360Outputs[0].found", EDITOR)
    assert min(abs(time - heard) for time in shown) < 0.001
    assert page.complaints == []


@pytest.mark.parametrize("comfy", ENDS[1:], indirect=True)
def test_a_drawing_is_saved_loaded_run_and_compared(page: ComfyPage) -> None:
    choose(page, 1, "frames")
    for time in (0.25, 0.5, 1.5, 1.98, 3.26):
        click(page, time, 0.9)
    page.panel(EDITOR).focus()
    press(page, "e")
    for time, height in ((0, 0.4), (2, 0.8), (3.5, 0.2)):
        click(page, time, height)
    drag(page, spot(page, 2, 0.8), spot(page, 2, 0.6))
    drawn = track(page)
    assert [point["time"] for point in drawn["envelope"]["points"]] == [0, 2, 3.5]
    assert [point["db"] for point in drawn["envelope"]["points"]] == [
        pytest.approx(db, abs=2) for db in (-36, -24, -48)
    ]
    saved = page.run("() => window.app.graph.serialize()")
    page.load(ui_format(WORKFLOW, page.server.object_info()))
    assert track(page) == {}
    page.load(saved)
    assert track(page) == drawn
    assert page.panel(EDITOR, "select >> nth=1").input_value() == "frames", "the grid is saved with the node"
    page.queue()
    page.shot("time_track_drawn")
    page.show(PLAYER)
    page.shot("time_track_preview")
    facts = page.panel(PLAYER, ".con360-facts").inner_text()
    assert "5 of 5 asked came within 50 ms" in facts and "E-L1" in facts and "silence" in facts
    play(page, PLAYER)
    page.show(EDITOR)
    play(page, EDITOR)
    assert page.complaints == []


def play(page: ComfyPage, kind: str) -> None:
    """Play, and see that time goes on."""

    def clock() -> str:
        return page.panel(kind, ".con360-clock").inner_text()

    assert clock() == "0.0 / 4.0 s"
    page.panel(kind).focus()
    press(page, "Space")
    page.page.wait_for_timeout(700)
    assert clock() != "0.0 / 4.0 s"
    press(page, "Space")
    assert page.panel(kind, ".con360-hint").inner_text() == "", "a sound needs no picture"


@pytest.mark.parametrize("comfy", ENDS[:1], indirect=True)
def test_a_wrong_text_stays_and_a_long_one_is_drawn(page: ComfyPage) -> None:
    wrong = '{"onsets": [{"time": 1}'
    page.set_value(EDITOR, "track", wrong)
    wait(page, lambda: "no JSON" in status(page), True)
    click(page, 2, 0.5)
    assert page.value(EDITOR, "track") == wrong, "nothing is lost"
    many = json.dumps({"onsets": [{"time": i * 0.0004} for i in range(10_000)]})
    page.set_value(EDITOR, "track", many)
    wait(page, lambda: "10000" in status(page), True)
    page.shot("time_track_many")
    drag(page, spot(page, 1, 0.5), spot(page, 1, 0.3))
    assert len(track(page)["onsets"]) == 10_000
    assert page.complaints == []


@pytest.mark.parametrize("comfy", ENDS[1:], indirect=True)
def test_files_are_read_and_written(page: ComfyPage, tmp_path: Path) -> None:
    for name, text in (("a.csv", "0.5,hit\n1.25,\n"), ("b.txt", "0.5\t0.6\thit\n1.25\t1.25\t\n")):
        (tmp_path / name).write_text(text, encoding="utf-8")
        page.set_value(EDITOR, "track", "")
        page.panel(EDITOR, "input[type=file]").set_input_files(tmp_path / name)
        wait(page, lambda: onsets(page), [(0.5, 1), (1.25, 1)])
    (tmp_path / "c.csv").write_text("time,label\n0.5,\n", encoding="utf-8")
    page.panel(EDITOR, "input[type=file]").set_input_files(tmp_path / "c.csv")
    wait(page, lambda: "Line 1" in status(page), True)
    assert onsets(page) == [(0.5, 1), (1.25, 1)]
    page.panel(EDITOR)
    with page.page.expect_download() as download:
        page.page.locator(f"[data-test={EDITOR}] select").nth(3).select_option("txt")
    written = Path(download.value.path()).read_text(encoding="utf-8")
    assert written == "0.500000\t0.500000\thit\n1.250000\t1.250000\t\n"
    assert page.complaints == []
