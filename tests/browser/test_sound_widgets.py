"""The widgets of placed sound in a real browser: drag the loudspeaker, hear it move, look around in a field."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from browser.hands import ENDS, RECORD, at, changed, drag, wait
from browser.page import ComfyPage
from comfyui.server import PACK
from shipped_runs import read

from con360.geometry.sphere import rotation
from con360.records import SourcePoint, SourceTrack
from con360.sound.ambisonics import stereo_matrix
from con360.sound.rotation import turn_matrices
from con360.sound.sources import source_gains

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]

EDITOR, VIEWER = "Con360PlaceSound", "Con360AmbisonicsPreview"
PLACE = ("mode", "rank", "yaw", "pitch", "distance", "keyframes")
# Records what is started from memory: channels, rate and seconds.
STARTED = """() => {
    const start = AudioBufferSourceNode.prototype.start;
    window.started = [];
    AudioBufferSourceNode.prototype.start = function (...given) {
        const { numberOfChannels, sampleRate, duration } = this.buffer;
        window.started.push([numberOfChannels, sampleRate, Math.round(duration * 100) / 100]);
        return start.apply(this, given);
    };
}"""

# Listens to what a viewer's video sounds like, and to what goes to the loudspeakers.
TAP = """() => {
    const connect = AudioNode.prototype.connect;
    const tap = (name, node, count) => {
        const splitter = new ChannelSplitterNode(node.context, { numberOfOutputs: count });
        connect.call(node, splitter);
        window[name] = Array.from({ length: count }, (_, i) => {
            const meter = new AnalyserNode(node.context, { fftSize: 8192 });
            connect.call(splitter, meter, i);
            return meter;
        });
    };
    AudioNode.prototype.connect = function (to, ...rest) {
        if (this instanceof MediaElementAudioSourceNode && to instanceof ChannelSplitterNode) tap("field", this, 4);
        if (to instanceof AudioDestinationNode) tap("ears", this, 2);
        return connect.call(this, to, ...rest);
    };
}"""
TAPPED = """() => [...window.field, ...window.ears].map((meter) => {
    const samples = new Float32Array(meter.fftSize);
    meter.getFloatTimeDomainData(samples);
    return Array.from(samples);
})"""


@pytest.fixture
def page(comfy: ComfyPage) -> ComfyPage:
    """Open the template, a second long, its editor in sight."""
    comfy.load(read(PACK / "workflows" / "con360_place_sound.json"))
    for name, value in (("duration", 1.0), ("height", 128), ("fps", 8)):
        comfy.set_value("Load360Video", name, value)
    comfy.set_value("Con360SampleSound", "duration", 1.0)
    comfy.show(EDITOR)
    comfy.complaints.clear()
    return comfy


def place(page: ComfyPage) -> dict[str, Any]:
    return {name: page.value(EDITOR, name) for name in PLACE}


def status(page: ComfyPage) -> str:
    return page.panel(EDITOR, "[role=status]").inner_text()


def seek(page: ComfyPage, time_s: float) -> None:
    page.panel(EDITOR, "input[type=range]").evaluate(
        "(e, time) => { e.value = time; e.dispatchEvent(new Event('input')) }", time_s
    )
    page.page.wait_for_timeout(600)


def test_a_new_node_has_room_for_its_panel_and_all_buttons(comfy: ComfyPage) -> None:
    comfy.run(
        """(kind) => {
          window.app.graph.clear();
          const node = window.LiteGraph.createNode(kind);
          node.pos = [0, 0];
          window.app.graph.add(node);
        }""", EDITOR,
    )  # fmt: skip
    comfy.show(EDITOR)
    bar = comfy.panel(EDITOR, ".con360-bar")
    bar.evaluate("(bar) => { for (const button of bar.querySelectorAll('button')) button.hidden = false; }")
    assert bar.evaluate("(bar) => [bar.querySelectorAll('button').length, bar.scrollWidth <= bar.clientWidth]") == [
        6, True]  # fmt: skip
    width, height = comfy.run("() => [...window.app.graph._nodes[0].size]")
    assert width >= 380
    if comfy.name.endswith("classic"):
        scale = comfy.run("() => window.app.canvas.ds.scale")
        box = comfy.panel(EDITOR, "[role=status]").bounding_box()
        top = comfy.run("() => { const { ds } = window.app.canvas; return ds.offset[1] * ds.scale; }")
        canvas = comfy.run("() => window.app.canvas.canvas.getBoundingClientRect().y")
        assert box["y"] + box["height"] <= canvas + top + height * scale


def test_the_loudspeaker_is_dragged_and_the_wheel_is_its_distance(page: ComfyPage) -> None:
    before = place(page)
    assert (before["mode"], before["distance"]) == ("subject", 1.5) and "run once" in status(page)
    drag(page, at(page, EDITOR, 40, 10), at(page, EDITOR, 100, -20))
    moved = place(page)
    assert moved["mode"] == "still"
    assert (moved["yaw"], moved["pitch"]) == (pytest.approx(100, abs=2), pytest.approx(-20, abs=2))
    # A press beside the icon moves it there; a press on it does not.
    drag(page, at(page, EDITOR, 101, -19), at(page, EDITOR, 171, -19))
    assert place(page)["yaw"] == pytest.approx(170, abs=2)
    assert page.prompt()["4"]["inputs"]["yaw"] == place(page)["yaw"]
    page.page.mouse.move(*at(page, EDITOR, 0, 0))
    for _ in range(2):
        page.page.mouse.wheel(0, 100)
    wait(page, lambda: page.value(EDITOR, "distance"), pytest.approx(1.5 * 1.1**2, abs=0.02))
    wait(page, lambda: "by hand · yaw" in status(page) and " m" in status(page), True)
    page.shot("placed")
    page.page.wait_for_timeout(600)
    # Two drags and the wheel: a wheel's notches are one step or two. A loaded machine loses a key that comes while the
    # graph is still being loaded anew, so press until the first state is back, and count what changed.
    steps = 0
    for _ in range(8):
        here = place(page)
        if here == before:
            break
        page.page.keyboard.press("Control+z")
        steps += changed(page, lambda: place(page), here)
    assert (place(page), steps) in [(before, 3), (before, 4)]
    assert page.complaints == []


def test_a_path_of_keyframes_with_distances(page: ComfyPage) -> None:
    drag(page, at(page, EDITOR, 40, 10), at(page, EDITOR, -60, 10))
    page.panel(EDITOR).focus()
    page.page.keyboard.press("Enter")
    seek(page, 2.0)
    drag(page, at(page, EDITOR, -60, 10), at(page, EDITOR, 30, 10))
    page.panel(EDITOR).focus()
    for _ in range(3):
        page.page.keyboard.press("-")
    page.page.wait_for_timeout(400)
    first, second = json.loads(page.value(EDITOR, "keyframes"))
    assert (first["time"], first["distance"]) == (0, 1.5) and first["yaw"] == pytest.approx(-60, abs=2)
    assert second["time"] == 2 and second["distance"] == pytest.approx(1.5 * 1.1**3, abs=0.02)
    assert second["yaw"] == pytest.approx(30, abs=2) and set(second) == {"time", "yaw", "pitch", "distance"}
    assert page.value(EDITOR, "mode") == "keyframes"
    page.shot("path")
    # Text of the API that leaves fields out moves the loudspeaker as well.
    page.set_value(EDITOR, "keyframes", '[{"time": 0, "yaw": 90}, {"time": 4, "yaw": -100, "distance": 3}]')
    wait(page, lambda: status(page).split(" · ")[1], "yaw 175°, pitch 0°, 2 m")


@pytest.mark.parametrize("comfy", ENDS[1:], indirect=True)
def test_the_sound_follows_the_hand_and_the_field_the_view(page: ComfyPage) -> None:
    page.queue()
    page.show(EDITOR)
    loaded = "() => [...document.querySelectorAll('.con360 video[data-url]')].every((v) => !v.src || v.readyState >= 2)"
    wait(page, lambda: page.run(loaded), True)
    assert "subject 1 · yaw" in status(page) and "1.5 m" in status(page)
    page.shot("sound_editor")
    page.run(RECORD)
    page.run(STARTED)
    hear_the_sound_follow(page)
    look_around(page)
    assert page.complaints == []


def hear_the_sound_follow(page: ComfyPage) -> None:
    play = page.panel(EDITOR, "button")
    play.click()
    wait(page, lambda: play.get_attribute("aria-label"), "Pause")
    # The loudspeaker stands on the subject's number, and is dragged from there.
    shown = page.run(f"() => window.app.graph._nodes.find((n) => n.type === '{EDITOR}').con360Outputs[0].path[0]")
    drag(page, at(page, EDITOR, *shown[:2]), at(page, EDITOR, shown[0] + 40, -50))
    seen = place(page)
    assert (seen["mode"], seen["yaw"], seen["pitch"]) == ("still", pytest.approx(shown[0] + 40, abs=2),
                                                          pytest.approx(-50, abs=2))  # fmt: skip
    point = SourcePoint(seen["yaw"], seen["pitch"], seen["distance"])
    field = source_gains(SourceTrack.still(point), [0.0])[0]
    wanted = (stereo_matrix() @ field).tolist()
    wait(page, lambda: page.run("() => window.heard.slice(-2)") == pytest.approx(wanted, abs=1e-6), True)
    # On headphones the source is a field, which the library's filters bring to the ears.
    page.panel(EDITOR, "button[aria-label='Sound for headphones']").click()
    wait(page, lambda: page.panel(EDITOR, "button[aria-label='Sound for loudspeakers']").count(), 1)
    page.panel(EDITOR).focus()
    page.page.keyboard.press("-")
    further = (field * seen["distance"] / page.value(EDITOR, "distance")).tolist()
    wait(page, lambda: page.run("() => window.heard.slice(-4)") == pytest.approx(further, rel=0.02), True)
    play.click()


def look_around(page: ComfyPage) -> None:
    """The template's field is of third order: sixteen channels, turned with the view."""
    page.show(VIEWER)
    play = page.panel(VIEWER, "button")
    play.click()
    wait(page, lambda: page.run("() => window.started.at(-1)"), [16, 48000, 1.0])
    box = page.panel(VIEWER).bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    drag(page, middle, (middle[0] - 100, middle[1]))
    # A drag turns by the view's 90 degrees over the picture's height.
    yaw = 100 * 90 / box["height"]
    matrix = turn_matrices(rotation(yaw, 0.0, dtype=torch.float64), 3)
    degree = torch.arange(16).double().sqrt().floor()
    wanted = matrix[degree[:, None] == degree].tolist()
    heard = f"() => window.heard.slice(-{len(wanted)})"
    wait(page, lambda: page.run(heard) == pytest.approx(wanted, abs=0.02), True)
    page.shot("field")
    play.click()


def test_the_sound_that_a_model_made_turns_with_the_view(comfy: ComfyPage) -> None:
    """Runs the template in a second of small frames; what is heard is the field's stereo for the view."""
    comfy.load(read(PACK / "workflows" / "con360_ambisonics.json"))
    for name, value in (("duration", 1.0), ("height", 128)):
        comfy.set_value("Load360Video", name, value)
    comfy.set_value("Con360VideoToAmbisonics", "steps", 2)
    comfy.complaints.clear()
    comfy.queue()
    comfy.run(TAP)
    comfy.show(VIEWER)
    comfy.panel(VIEWER, "button").click()
    wait(comfy, lambda: turned_by(comfy, 0.0), True)
    box = comfy.panel(VIEWER).bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    # A drag turns by the view's 90 degrees over the picture's height.
    drag(comfy, middle, (middle[0] - box["height"] / 2, middle[1]))
    wait(comfy, lambda: turned_by(comfy, 45.0), True)
    assert not turned_by(comfy, 0.0)
    comfy.shot("made_sound")
    assert comfy.complaints == []


def turned_by(page: ComfyPage, yaw: float) -> bool:
    """Tell whether what is heard is the field's stereo for a view; a reading between two blocks is none."""
    if not page.run("() => Boolean(window.field && window.ears)"):
        return False
    heard = torch.tensor(page.run(TAPPED), dtype=torch.float64)
    wanted = stereo_matrix() @ turn_matrices(rotation(yaw, 0.0, dtype=torch.float64)) @ heard[:4]
    return bool(wanted.norm() > 0) and float((heard[4:] - wanted).norm() / wanted.norm()) < 0.02
