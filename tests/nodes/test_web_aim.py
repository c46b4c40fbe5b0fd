"""Steer the camera's editor without a browser, and read what it writes into a node's widgets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_web import in_page

WIDGETS = {
    "video": "clip.mp4", "mode": "follow", "rank": 1, "yaw": 0, "pitch": 0, "fov": 90, "roll": 0, "aspect": "1:1",
    "width": 0, "height": 0, "start": 0, "keyframes": "",
}  # fmt: skip
KEYS = [
    {"time": 0, "yaw": 10, "pitch": 0, "fov": 90, "ease": "smooth"}, {"time": 2, "yaw": 90, "pitch": 20, "fov": 90},
]  # fmt: skip
FOLLOWED = {
    "video": "clip.mp4", "views": [[10 + 10 * i, 2.5 * i, 90, 0] for i in range(9)], "path_fps": 4,
    "keyframes": json.dumps(KEYS), "asked": {"video": "clip.mp4", "mode": "follow", "rank": 1, "start": 0},
}  # fmt: skip
# A node as far as the aim needs one; each step is an expression of `aim`, and its values and the place are printed.
SCRIPT = """import { Aim } from "WEB/aim.js";
const a = JSON.parse(process.argv[1]);
const node = {
  comfyClass: "Reframe360Video",
  widgets: Object.entries(a.widgets).map(([name, value]) => ({ name, value })),
  findInputSlot: (name) => a.linked.indexOf(name),
  isInputConnected: () => true,
  con360Outputs: a.shown && [a.shown],
};
const clock = { time: 0, fps: 8 };
const aim = new Aim(node, clock);
const seen = a.steps.map((step) => {
  const value = Function("aim", "clock", `return ${step}`)(aim, clock);
  const widgets = Object.fromEntries(node.widgets.map((widget) => [widget.name, widget.value]));
  return [value ?? null, { ...widgets, keyframes: JSON.parse(widgets.keyframes || "[]") }, aim.place ?? null];
});
console.log(JSON.stringify(seen));
"""


@pytest.fixture
def steer(tmp_path: Path) -> Any:
    """`steer("aim.turn({ yaw: 5 })", mode="keyframes")`: for each step its value, the widgets and the place."""

    def run(*steps: str, shown: Any = None, linked: tuple[str, ...] = (), **widgets: Any) -> list[list[Any]]:
        given = {"steps": steps, "shown": shown, "linked": linked, "widgets": {**WIDGETS, **widgets}}
        return in_page(tmp_path, SCRIPT, given)

    return run


def test_a_turn_by_hand_leaves_following(steer: Any) -> None:
    before, zoomed, turned = steer("0", "aim.turn({ fov: 200 })", "aim.turn({ yaw: 190.04, pitch: -95 })")
    assert before[2] is None
    assert (zoomed[1]["mode"], zoomed[1]["fov"]) == ("follow", 150)
    assert {name: turned[1][name] for name in ("mode", "yaw", "pitch")} == {
        "mode": "yaw and pitch", "yaw": -170, "pitch": -90}  # fmt: skip
    assert turned[2] == {"yaw": -170, "pitch": -90, "fov": 150, "roll": 0}


def test_a_turn_between_keyframes_sets_one_that_eases_as_the_way_did(steer: Any) -> None:
    (turned, again) = steer("(clock.time = 1, aim.turn({ roll: 5 }))", "aim.turn({ yaw: 0 })", mode="keyframes",
                            keyframes=json.dumps(KEYS))  # fmt: skip
    middle = {"time": 1, "yaw": 50, "pitch": 10, "fov": 90, "roll": 5, "ease": "smooth"}
    assert turned[1]["keyframes"] == [KEYS[0], middle, KEYS[1]]
    assert again[1]["keyframes"] == [KEYS[0], middle | {"yaw": 0}, KEYS[1]] and again[1]["yaw"] == 0


def test_the_followed_path_is_shown_and_handed_over(steer: Any) -> None:
    seen = steer("(clock.time = 0.9, 0)", "(clock.time = 9, 0)", "aim.handOver()", "aim.followed.length",
                 shown=FOLLOWED, fov=60)  # fmt: skip
    assert seen[0][2] == pytest.approx({"yaw": 46, "pitch": 9, "fov": 60, "roll": 0})
    assert seen[1][2] == {"yaw": 90, "pitch": 20, "fov": 60, "roll": 0}
    assert seen[2][1]["mode"] == "keyframes" and seen[2][1]["keyframes"] == [frame | {"fov": 60} for frame in KEYS]
    assert seen[3][0] == 0, "keyframes are no path that was followed"


@pytest.mark.parametrize("changed", [{"rank": 2}, {"video": "other.mp4"}, {"start": 3}])
def test_a_path_of_another_request_is_not_handed_over(steer: Any, changed: dict[str, Any]) -> None:
    (seen,) = steer("aim.followed.length", shown=FOLLOWED, **changed)
    assert (seen[0], seen[2]) == (0, None)


def test_keyframes_of_another_node_are_shown_and_left_alone(steer: Any) -> None:
    seen = steer("(clock.time = 2, aim.turn({ yaw: 0 }))", "aim.selected.time", shown=FOLLOWED, linked=("keyframes",),
                 mode="keyframes")  # fmt: skip
    assert seen[0][1]["keyframes"] == [] and seen[0][2]["yaw"] == 90 and seen[1][0] == 2


def test_the_last_keyframe_that_goes_becomes_a_still_view(steer: Any) -> None:
    alone = json.dumps([{"time": 1, "yaw": 30, "pitch": 5, "fov": 70, "roll": 12}])
    copied, removed, pasted = steer("(clock.time = 1, aim.copy())", "aim.remove(aim.selected)",
                                    "(clock.time = 2, aim.paste())", mode="keyframes", keyframes=alone)  # fmt: skip
    assert copied[0] is True
    assert {name: removed[1][name] for name in ("mode", "yaw", "pitch", "fov", "roll", "keyframes")} == {
        "mode": "yaw and pitch", "yaw": 30, "pitch": 5, "fov": 70, "roll": 12, "keyframes": []}  # fmt: skip
    assert [frame["time"] for frame in pasted[1]["keyframes"]] == [2] and pasted[1]["mode"] == "keyframes"


def test_a_shape_keeps_the_longer_side_of_a_size(steer: Any) -> None:
    tall, wide, named = steer('aim.reshape("9:16")', 'aim.reshape("16:9")', "aim.shape", width=1920, height=1080)
    assert (tall[1]["width"], tall[1]["height"], tall[1]["aspect"]) == (1080, 1920, "9:16")
    assert (wide[1]["width"], wide[1]["height"], wide[1]["aspect"]) == (1920, 1080, "16:9")
    assert named[0] == "16:9"


def test_a_size_of_no_shape_is_named_in_pixels(steer: Any) -> None:
    (free,) = steer("aim.shape", width=1920, height=1080, aspect="1:1")
    assert free[0] == "1920×1080"


def test_a_shape_without_a_size_is_the_aspect_alone(steer: Any) -> None:
    (seen,) = steer('aim.reshape("4:5")')
    assert (seen[1]["width"], seen[1]["height"], seen[1]["aspect"]) == (0, 0, "4:5")
