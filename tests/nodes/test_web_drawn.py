"""Draw on a time track without a browser, and read what is written into its node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_web import in_page

FOUND = {"source": "the audio", "track": '{"onsets": [{"time": 0.7}]}', "found": [0.7], "seconds": 4, "fps": 8}
# A node as far as a drawing needs one; each step is an expression of `drawn`, and its value and widgets are printed.
SCRIPT = """import { Drawn } from "WEB/drawn.js";
const a = JSON.parse(process.argv[1]);
const node = {
  widgets: Object.entries(a.widgets).map(([name, value]) => ({ name, value })),
  properties: {},
  findInputSlot: (name) => a.linked.indexOf(name),
  isInputConnected: () => true,
  con360Outputs: a.shown && [a.shown],
};
const drawn = new Drawn(node);
const seen = a.steps.map((step) => {
  const value = Function("drawn", `return ${step}`)(drawn);
  const widgets = Object.fromEntries(node.widgets.map((widget) => [widget.name, widget.value]));
  return [value ?? null, widgets, drawn.selected ?? null, node.properties];
});
console.log(JSON.stringify(seen));
"""


@pytest.fixture
def draw(tmp_path: Path) -> Any:
    """`draw("drawn.add(1, 0.5)", track="")`: for each step its value, the widgets and what is chosen."""

    def run(*steps: str, shown: Any = None, linked: tuple[str, ...] = (), **widgets: Any) -> list[list[Any]]:
        usual = {"track": "", "source": "what is drawn", "duration": 4, "fps": 8}
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        return in_page(folder, SCRIPT, {"steps": steps, "shown": shown, "linked": linked,
                                        "widgets": {**usual, **widgets}})  # fmt: skip

    return run


def test_an_entry_is_added_changed_and_removed(draw: Any) -> None:
    steps = ("drawn.add(1, 0.5)", "drawn.add(2, 1)", "drawn.shift(-0.01)", "drawn.raise(-2)", "drawn.remove()",
             "drawn.remove()")  # fmt: skip
    texts = [json.loads(widgets["track"] or "{}").get("onsets", []) for _, widgets, *_ in draw(*steps)]
    assert texts[3] == [{"time": 1, "strength": 0.5}, {"time": 1.99, "strength": 0.9}]
    assert texts[4:] == [[{"time": 1, "strength": 0.5}], []]


def test_a_time_stays_on_the_clip_and_a_value_in_its_range(draw: Any) -> None:
    steps = ("drawn.add(3.95, 0.9)", "drawn.shift(1)", "drawn.raise(9)", "drawn.shift(-9)", "drawn.raise(-99)")
    assert [(one["time"], one["strength"]) for _, _, one, _ in draw(*steps)] == [
        (3.95, 0.9), (4, 0.9), (4, 1), (0, 1), (0, 0.01)]  # fmt: skip


def test_points_are_a_layer_of_their_own_whose_level_can_be_free(draw: Any) -> None:
    steps = ("drawn.choose(undefined, 'points')", "drawn.add(1, -20)", "drawn.toggleFree()", "drawn.toggleFree()")
    *_, free, again = (json.loads(widgets["track"] or "{}") for _, widgets, *_ in draw(*steps))
    assert free == {"envelope": {"points": [{"time": 1, "db": -20, "free": 1}]}}
    assert again == {"envelope": {"points": [{"time": 1, "db": -20}]}}


def test_what_was_copied_is_put_at_another_time(draw: Any) -> None:
    steps = ("drawn.paste(1)", "drawn.add(1, 0.5)", "drawn.copy()", "drawn.paste(2.5)")
    values = draw(*steps)
    assert [value for value, *_ in values][::2] == [False, True]
    assert json.loads(values[-1][1]["track"])["onsets"] == [{"time": time, "strength": 0.5} for time in (1, 2.5)]


def test_entries_are_chosen_one_after_the_other(draw: Any) -> None:
    text = json.dumps({"onsets": [{"time": time} for time in (0.5, 1, 3)]})
    steps = ("drawn.step(1, 2.9)", "drawn.step(-1)", "drawn.step(-9)", "drawn.step(1)", "drawn.step(Infinity)")
    assert [one["time"] for _, _, one, _ in draw(*steps, track=text)] == [3, 1, 0.5, 1, 3]


def test_a_found_track_becomes_a_drawing_only_where_none_is_lost(draw: Any) -> None:
    ask = "drawn.open"
    assert draw(ask, source="the audio")[0][0] is False, "nothing is known before a run"
    assert draw(ask, source="the audio", shown=FOUND, track='{"onsets": [{"time": 1}]}')[0][0] is False
    (open_, *_), (_, widgets, *_) = draw(ask, "drawn.add(1, 1)", source="the audio", shown=FOUND)
    assert open_ is True and widgets["source"] == "what is drawn"
    assert widgets["track"] == '{"onsets":[{"time":0.7},{"time":1}]}'


def test_a_text_from_elsewhere_or_a_wrong_one_cannot_be_changed(draw: Any) -> None:
    assert draw("drawn.open", track="{")[0][0] is False
    found = draw("[drawn.open, drawn.track.onsets.length]", linked=("track",), shown=FOUND, track="old")[0]
    assert found[0] == [False, 1]


def test_the_grid_is_a_property_of_the_node_that_workflows_save(draw: Any) -> None:
    steps = ("drawn.snap(1.03, 0)", "drawn.setGrid({ snap: 'tempo', bpm: 100, beat: 0.1 })", "drawn.snap(1.03, 0)",
             "drawn.setGrid({ snap: 'peaks' })", "drawn.snap(0.72, 0.05)")  # fmt: skip
    values = draw(*steps, shown=FOUND)
    assert [values[i][0] for i in (0, 2, 4)] == [1.03, 1.3, 0.7]
    assert values[-1][3] == {"con360_snap": "peaks", "con360_bpm": 100, "con360_beat": 0.1}


def test_all_that_is_drawn_is_in_sight(draw: Any) -> None:
    text = json.dumps({"onsets": [{"time": 6}]})
    assert [draw("drawn.seconds", **given)[0][0] for given in ({}, {"duration": 2}, {"track": text})] == [4, 2, 6]
