"""Azimuths of voices in the evaluation's table: marks, what stands beside, and a control without a head."""

from __future__ import annotations

from types import SimpleNamespace

from train.evaluation.directions_of_voices import FOUND, WORD
from train.evaluation.directions_rows import ASKED, PART
from train.evaluation.part import Tools
from train.evaluation.row import table


def rows_of(results):
    return {row.name: row for row in PART.rows(PART.reduce(None, results))}


def test_voices_of_all_scenes_are_joined_and_held_to_the_marks():
    true_maps, told = "generated: caption, true maps", "generated W, caption, true maps"
    found = rows_of([{"errors": {true_maps: [1.0, 15.0], WORD: [5.0, 30.0]}}, {"errors": {true_maps: [2.0, 3.0]}}])
    assert found[f"azimuth of voices, {told}: within 20 degrees"].ours == 1.0
    assert found[f"azimuth of voices, {told}: within 10 degrees"].ours == 0.75
    assert found[f"azimuth of voices, {told}: median, degrees"].ours == 2.5
    assert f"{WORD} 50 %" in found[f"azimuth of voices, {told}: within 20 degrees"].beside
    text = table(found.values(), {})
    assert "95 %; **missed** by 20 %" in text and "| 3 at most | 2.5 |" in text


def test_rows_without_a_mark_are_one_line_with_find_the_place_beside():
    key = "generated: no directions, true maps"
    found = rows_of([{"errors": {key: [1.0, 90.0], f"generated: {FOUND}": [90.0, 90.0]}}])
    mine = [row for name, row in found.items() if "generated W, no direction words, true maps" in name]
    assert len(mine) == 1 and mine[0].bar is None and f"generated: {FOUND} 0 %" in mine[0].beside


def test_a_control_without_a_head_is_not_measured(tmp_path):
    bench = SimpleNamespace(control=SimpleNamespace(field_head=None))
    result, _ = PART.measure(Tools(bench, lambda: None, tmp_path, print), 0)
    rows = rows_of([result])
    assert len(rows) == len(ASKED) and {row.ours for row in rows.values()} == {None}
    assert all("gives no directions" in row.beside for row in rows.values())
