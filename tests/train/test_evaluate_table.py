"""The evaluation's table: marks, an earlier evaluation beside it, the new parts through the one command."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest
import torch
from tiny_model import make_tiny_joint_model
from tiny_workflow import write_model_files

from con360.control import load_control
from con360.pipeline import default_settings
from con360.records import Sound, View, ViewTrack
from con360.sound.envelopes import envelope_of_onsets, shape_sound
from con360.sound.levels import to_mono
from train import evaluate
from train.evaluation import drawn_rows, embeddings, field_levels, shape_reader, two_views
from train.evaluation.bench import Bench
from train.evaluation.part import Tools
from train.evaluation.parts import PARTS
from train.evaluation.row import Bar, Row, decibels, interval, percent, table
from train.examples import scene_of


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_model_files(folder)
    return folder


def cells(row: Row, before: Row | None = None) -> list[str]:
    return row.cells(before)[1:4]


def test_a_mark_says_what_is_wanted_and_by_how_much_it_is_missed():
    assert cells(Row("a", 0.44, percent, bar=Bar(low=0.8))) == ["", "80 %; **missed** by 36 %", "44 %"]
    assert cells(Row("a", 0.9, percent, bar=Bar(low=0.8))) == ["", "80 %", "90 %"]
    assert cells(Row("a", 2.8, decibels, [2.0, 3.0], Bar(high=1.5))) == [
        "", "1.50 dB at most; **missed** by 1.30 dB", "2.80 dB [2.00 dB, 3.00 dB]",
    ]  # fmt: skip
    assert cells(Row("a", 0.7, bar=Bar(0.8, 1.2)))[1] == "0.8 to 1.2; **missed** by 0.1"
    assert cells(Row("a", None, bar=Bar(low=0.8)))[1:] == ["0.8", "not measured"]
    assert interval(None) == "" and interval([0.1, 0.2], percent) == "[10 %, 20 %]"


def test_not_worse_is_held_to_the_interval_of_the_figure_before():
    before = Row("a", 0.98, percent, [0.94, 1.0])
    assert cells(Row("a", 0.95, percent, bar=Bar()), before) == ["98 %", "not worse", "95 %"]
    assert cells(Row("a", 0.90, percent, bar=Bar()), before)[1] == "not worse; **missed** by 4 %"
    lower = Bar(better="lower")
    assert cells(Row("a", 0.2, bar=lower), Row("a", 0.16))[1] == "not worse; **missed** by 0.04"
    assert cells(Row("a", 0.2, bar=lower), Row("a", 0.16, around=[0.1, 0.25]))[1] == "not worse"
    assert cells(Row("a", 0.2, bar=lower)) == ["", "not worse", "0.2"]


def test_every_line_of_the_table_has_the_columns_of_its_head():
    text = table([Row("a", 1.0), Row("b", None, beside="why")], {"a": Row("a", 2.0)})
    lines = text.strip().splitlines()
    assert len({line.count("|") for line in lines}) == 1 and len(lines) == 4


def test_parts_have_names_of_their_own_and_give_no_row_unmeasured():
    assert len({part.name for part in PARTS}) == len(PARTS)
    assert [part.rows({}) for part in PARTS if part.rows({})] == []


@pytest.fixture(scope="module")
def evaluated(models, tmp_path_factory):
    """Run every part over one scene, in small."""
    out, patch = tmp_path_factory.mktemp("out") / "evaluation", pytest.MonkeyPatch()
    small = [(embeddings, "FITTED_ON", 4), (field_levels, "SECONDS", 2.0), (two_views, "SECONDS", 0.5)]
    small += [(shape_reader, name, n) for name, n in (("TRAINED_ON", 16), ("TRIED_ON", 16), ("STEPS", 2))]
    for module, name, value in small:
        patch.setattr(module, name, value)
    model, control = models / "con360" / "random", models / "con360_control" / "random.safetensors"
    given = ["--model", str(model), "--control", str(control), "--out", str(out), "--steps", "1", "--scenes", "1"]
    assert evaluate.main([*given, "--only", "named,field,two_views"]) == 0
    patch.undo()
    return out


def test_one_command_prints_the_table_and_says_what_cannot_be_measured(evaluated):
    text = (evaluated / "table.md").read_text()
    assert "the reader names" in text and "| colour of what the view holds" in text
    assert "gives no directions; the true field on this sound" in text
    assert "| two views of one scene, sounds" in text and "| shared part of two views" in text
    assert (evaluated / "shape_reader.safetensors").is_file()
    metrics = json.loads((evaluated / "metrics.json").read_text())
    assert {"none", "found", "true", "floor"} == set(metrics["field"]["fields"])
    assert metrics["field"]["fields"]["floor"]["sectors_db"] < 0.5


def test_an_earlier_evaluation_stands_beside(evaluated, capsys, tmp_path):
    metrics = json.loads((evaluated / "metrics.json").read_text())
    rows = {row.name: row for row in evaluate.rows_of(metrics)}
    name = "shared part of two views: picture distance"
    assert rows[name].cells(rows[name])[1] == f"{rows[name].ours:.3g}"
    assert evaluate.read_before(evaluated) == metrics and evaluate.read_before(None) == {}
    args = ["--out", str(tmp_path / "out"), "--before", str(tmp_path), "--minutes", "0"]
    assert evaluate.main(args) == 2
    assert "metrics.json" in capsys.readouterr().err


def test_the_true_sound_is_the_downmix_for_a_control_that_learned_it(models):
    control = load_control(models / "con360_control" / "random.safetensors")
    model, scene = make_tiny_joint_model(), scene_of("test", 0)
    viewed = copy.deepcopy(control)
    viewed.module.config = replace(control.module.config, sound="view")
    omni, view = (Bench(model, c, None, default_settings(model, steps=1)) for c in (control, viewed))
    spec, tracks = omni.spec(0.5), [ViewTrack.still(View(yaw), 4) for yaw in (0.0, 120.0)]
    first, second = (omni.truth(scene, track, 0.5).sound.waveform for track in tracks)
    assert torch.equal(first, second) and torch.equal(first, to_mono(scene.foa(spec)).waveform)
    seen = view.truth(scene, tracks[0], 0.5).sound.waveform
    assert torch.equal(seen, scene.view_sound(tracks[0], spec).waveform) and not torch.equal(seen, first)


def test_drawn_onsets_stand_in_the_table_seed_by_seed(models, monkeypatch, tmp_path):
    """A model that makes exactly what was drawn, where a way guides it, and steady noise elsewhere."""

    def sound(self, index, seed, track, way=None):
        noise = Sound(0.2 * torch.randn(1, 64000, generator=torch.Generator().manual_seed(seed)), 16000)
        return noise if way is None else shape_sound(noise, envelope_of_onsets(track.onsets, 4.0))[0]

    monkeypatch.setattr(drawn_rows.Subject, "sound", sound)
    control = load_control(models / "con360_control" / "random.safetensors")
    bench = Bench(None, control, None, None)
    part = drawn_rows.PART
    assert part.count(256) == 192 and part.count(1) == 1
    tools = Tools(bench, lambda: None, tmp_path, print)
    results = [part.measure(tools, index)[0] for index in (2, 3)]
    assert [(r["scene"], r["seed"]) for r in results] == [(0, 2), (1, 0)]
    rows = {row.name: row for row in part.rows(part.reduce(tools, results))}
    found = {name: row.ours for name, row in rows.items() if "training-free" in name}
    assert found["drawn onsets, training-free: F within 50 ms"] > 0.9
    assert found["drawn onsets, training-free: lag of a sound drawn 200 ms later, s"] == pytest.approx(0.2, abs=0.01)
    trained = rows["drawn onsets, trained: F within 50 ms"]
    assert trained.ours is None and trained.beside.startswith("the control reads no time tracks; unguided ")
