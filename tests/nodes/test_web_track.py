"""Compare the time track's script with the library, and try what the editor does to a track."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from test_web import node

from con360.sound.onset_text import onsets_from_text, onsets_to_text
from con360.sound.time_tracks import MAX_POINTS, time_track_from_text

pytestmark = pytest.mark.standin

POINTS = [(0.0, -30), (0.5, -20), (0.9, -20), (1.2, -50), (2.0, -6), (2.1, -7), (3.0, -60), (3.5, -58), (3.9, -60)]
TRACK = {
    "onsets": [{"time": 2, "strength": 0.5, "label": "hit"}, {"time": 0.5}],
    "envelope": {"points": [{"time": time, "db": db} for time, db in POINTS]}, "decay_s": 0.2,
}  # fmt: skip


def drawn_levels(points: list[dict[str, float]], duration: float) -> tuple[list[float], list[bool], Any]:
    """Levels of a text by the library, where they are meant, and by the script, at the same times."""
    envelope = time_track_from_text(json.dumps({"envelope": {"points": points}}), duration).envelope
    times = [(i + 0.5) / envelope.rate_hz for i in range(len(envelope.values))]
    values = 20 * np.log10(np.maximum(envelope.values.double().numpy(), 1e-3))
    meant = [True] * len(times) if envelope.present is None else (envelope.present > 0.5).tolist()
    return values.tolist(), meant, node("t.levelsAt(t.readTrack(a[0]).points, a[1])",
                                        [json.dumps({"envelope": {"points": points}}), times])  # fmt: skip


def test_the_editors_envelope_is_the_librarys() -> None:
    for count in (1, 2, 3, len(POINTS)):
        values, meant, drawn = drawn_levels([{"time": time, "db": db} for time, db in POINTS[:count]], 4.0)
        assert all(meant) and drawn == pytest.approx(values, abs=2e-3), count


def test_a_level_that_is_free_in_between_is_free_in_the_editor() -> None:
    points = [{"time": 0.5, "db": -20, "free": 1}, {"time": 1.5, "db": -30}, {"time": 2.5, "db": -10, "free": 1},
              {"time": 3.0, "db": -40}]  # fmt: skip
    values, meant, drawn = drawn_levels(points, 4.0)
    assert [level is not None for level in drawn] == meant and 0 < sum(meant) < len(meant)
    for ours, theirs in zip(values, drawn, strict=True):
        assert theirs is None or theirs == pytest.approx(ours, abs=2e-3)


def test_what_the_editor_writes_the_library_reads() -> None:
    text = node("t.writeTrack(t.readTrack(a))", json.dumps(TRACK))
    ours, again = time_track_from_text(json.dumps(TRACK), 4.0), time_track_from_text(text, 4.0)
    assert again.onsets == ours.onsets and again.decay_s == 0.2
    assert np.array_equal(again.envelope.values, ours.envelope.values)
    assert node("t.writeTrack(t.readTrack(a))", '[{"time": 1}]') == '{"onsets":[{"time":1}]}'
    assert node("a.map((text) => t.writeTrack(t.readTrack(text)))", ["", "{}", " "]) == ["", "", ""]


@pytest.mark.parametrize(("wrong", "key"), [
    ("{", "noJson"), ("3", "noTrack"), ('{"envelope": []}', "noTrack"), ('{"onsets": 3}', "noTrack"),
    ('{"onsets": [{"time": -1}]}', "noOnset"), ('{"onsets": [{"time": 1, "strength": 0}]}', "noOnset"),
    ('{"onsets": [{"time": 1, "label": 3}]}', "noOnset"), ('{"onsets": [{"time": "1"}]}', "noOnset"),
    ('{"envelope": {"points": [{"time": 1}]}}', "noPoint"),
    ('{"envelope": {"points": [{"time": 1, "db": 0}, {"time": 1, "db": -3}]}}', "noPoint"),
], ids=range(10))  # fmt: skip
def test_what_cannot_be_read_is_empty_and_says_why(wrong: str, key: str) -> None:
    found = node("t.readTrack(a)", wrong)
    assert (found["wrong"][0], found["onsets"], found["points"]) == (key, [], [])


def test_more_points_than_the_library_reads_are_refused() -> None:
    script = """t.readTrack(JSON.stringify(
      { envelope: { points: Array.from({ length: a }, (_, i) => ({ time: i, db: 0 })) } })).wrong ?? null"""
    assert [node(script, count) for count in (MAX_POINTS, MAX_POINTS + 1)] == [
        None, ["tooMany", {"count": MAX_POINTS + 1, "most": MAX_POINTS}]]  # fmt: skip


def test_entries_are_put_in_order_and_one_at_a_time() -> None:
    """Those that are merely near stay, or a drag through a dense track would lose some."""
    script = """(() => {
      const [one, entry] = t.put(t.EMPTY, "onsets", { time: 2, strength: 0.333 });
      const [two] = t.put(one, "onsets", { time: 1, strength: 7 });
      const [same] = t.put(two, "onsets", { time: 2, strength: 0 });
      const [dense] = t.put(two, "onsets", { time: 2.0004, strength: 1 });
      const [early] = t.put(two, "points", { time: -1, db: -99 });
      return [entry, two.onsets, same.onsets, dense.onsets, early.points, t.removed(two, "onsets", entry).onsets];
    })()"""
    entry, two, same, dense, early, left = node(script, None)
    assert entry == {"time": 2, "strength": 0.33, "label": ""}
    assert [(onset["time"], onset["strength"]) for onset in two] == [(1, 1), (2, 0.33)]
    assert [(onset["time"], onset["strength"]) for onset in same] == [(1, 1), (2, 0.01)]
    assert [onset["time"] for onset in dense] == [1, 2, 2.0004]
    assert early == [{"time": 0, "db": -60}] and [onset["time"] for onset in left] == [1]


def test_times_snap_to_the_grid_in_use() -> None:
    grid = {"fps": 8, "bpm": 90, "division": 2, "beat": 0.1, "marks": [1.03, 1.2], "reach": 0.05}
    asked = [("off", 1.04), ("frames", 1.05), ("tempo", 1.2), ("peaks", 1.06), ("peaks", 1.11), ("peaks", 1.3)]
    times = node("a[0].map(([snap, time]) => t.snapped(time, { ...a[1], snap }))", [asked, grid])
    assert times == pytest.approx([1.04, 1.0, 0.1 + 3 / 3, 1.03, 1.11, 1.3])


@pytest.mark.parametrize(("kind", "name"), [("csv", "table"), ("txt", "labels")])
def test_the_editors_files_are_the_librarys(kind: str, name: str) -> None:
    written = node("t.exported(t.readTrack(a[0]), a[1])", [json.dumps(TRACK), kind])
    ours = time_track_from_text(json.dumps(TRACK)).onsets
    assert written == onsets_to_text(ours, name)
    read = node("t.imported(t.EMPTY, a[0], a[1])", [written, kind])
    assert [(onset["time"], onset["label"]) for onset in read["onsets"]] == [(0.5, ""), (2, "hit")]
    assert onsets_from_text(written, name).times_s == (0.5, 2.0)
    refused = node("t.imported(t.readTrack(a[0]), a[1], a[2])", [json.dumps(TRACK), "0.5,x\nsoon,y\n", kind])
    assert refused["wrong"] == ["noLine", {"number": 1 if kind == "txt" else 2}]
