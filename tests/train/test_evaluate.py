"""train/evaluate.py as a whole over a tiny untrained model: its files, its keys, going on after a kill, refusals."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_model import make_tiny_joint_model
from tiny_workflow import write_model_files

from con360.caption import typed_caption
from con360.control import load_control
from con360.errors import InputError
from con360.metrics.figure import Definition
from con360.pipeline import default_settings, generate
from con360.records import Conditions, View, ViewTrack
from con360.viewpoint.basd import basd_maps
from train import evaluate
from train.evaluation.bench import MAP_HEIGHT, Bench
from train.evaluation.embeddings import fit
from train.evaluation.paired import compare
from train.evaluation.part import Part, Tools
from train.evaluation.store import Store
from train.examples import scene_of

SECONDS = 0.5


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_model_files(folder)
    return folder


@pytest.fixture(scope="module")
def bench(models) -> Bench:
    model = make_tiny_joint_model()
    control = load_control(models / "con360_control" / "random.safetensors")
    settings = default_settings(model, steps=2, cfg_video=2.0, cfg_audio=2.0)
    return Bench(model, control, None, settings)


def arguments(models, out, *more: str) -> list[str]:
    model, control = models / "con360" / "random", models / "con360_control" / "random.safetensors"
    return ["--model", str(model), "--control", str(control), "--out", str(out), "--steps", "1", *more]


@pytest.fixture(scope="module")
def track() -> ViewTrack:
    return ViewTrack.still(View(30.0, 5.0, 90.0), 4)


def test_a_clip_is_the_pipelines_own(bench, track):
    scene = scene_of("test", 0)
    ask = bench.ask(scene, track, seed=3, seconds=SECONDS)
    conditions = Conditions(ask.conditions.saliency, basd_maps(track, MAP_HEIGHT), typed_caption(ask.caption))
    expected = generate(bench.model, bench.control, conditions, replace(bench.settings, seed=3), seconds=SECONDS)
    made = bench.generate([ask], SECONDS)[0]
    assert torch.allclose(made.frames, expected.frames, atol=1e-4)
    loudest = expected.sound.waveform.abs().max()
    assert (made.sound.waveform - expected.sound.waveform).abs().max() < 1e-3 * loudest


def test_clips_do_not_depend_on_their_batch_and_the_caption_alone_is_no_control(bench, track):
    scene = scene_of("test", 0)
    maps = bench.ask(scene, track, seed=3, seconds=SECONDS)
    asks = [maps, replace(maps, use="caption"), replace(maps, use="saliency"), replace(maps, seed=4)]
    together = replace(bench, batch=4).generate(asks, SECONDS)
    for ask, clip in zip(asks, together, strict=True):
        # Untrained networks amplify the rounding differences between batch sizes.
        assert torch.allclose(bench.generate([ask], SECONDS)[0].frames, clip.frames, atol=1e-3)
    differ = [float((a.frames - together[0].frames).abs().max()) for a in together[1:]]
    assert min(differ) > 1e-2
    plain = Conditions(maps.conditions.saliency, basd_maps(track, MAP_HEIGHT), typed_caption(maps.caption))
    alone = generate(bench.model, None, plain, replace(bench.settings, seed=3), seconds=SECONDS)
    assert torch.allclose(alone.frames, together[1].frames, atol=1e-3)


def test_without_basd_nothing_knows_the_view(bench, track):
    elsewhere = ViewTrack.still(View(-120.0, 0.0, 90.0), 4)
    scene = scene_of("test", 0)
    here, there = (bench.ask(scene, t, 3, "saliency", SECONDS) for t in (track, elsewhere))
    a, b = bench.generate([here, there], SECONDS)
    assert torch.equal(a.frames, b.frames) and torch.equal(a.sound.waveform, b.sound.waveform)
    a, b = bench.generate([replace(here, use="maps"), replace(there, use="maps")], SECONDS)
    assert float((a.frames - b.frames).abs().max()) > 1e-3


def test_a_separate_baseline_makes_the_clips_of_the_caption(bench, track):
    other = replace(bench, baseline=make_tiny_joint_model(seed=5))
    ask = bench.ask(scene_of("test", 0), track, 3, seconds=SECONDS)
    asks = [ask, replace(ask, use="caption")]
    ours, theirs = bench.generate(asks, SECONDS), other.generate(asks, SECONDS)
    assert torch.allclose(ours[0].frames, theirs[0].frames, atol=1e-4)
    assert not torch.allclose(ours[1].frames, theirs[1].frames, atol=1e-3)


@pytest.fixture(scope="module")
def evaluated(models, tmp_path_factory):
    """The command over one scene, paired and turn."""
    out = tmp_path_factory.mktemp("out") / "evaluation"
    from train.evaluation import embeddings

    patch = pytest.MonkeyPatch()
    patch.setattr(embeddings, "FITTED_ON", 6)
    code = evaluate.main(arguments(models, out, "--scenes", "1", "--only", "paired,turn"))
    patch.undo()
    assert code == 0
    return out


def test_metrics_json_has_the_promised_keys_and_plots_are_pictures(evaluated):
    metrics = json.loads((evaluated / "metrics.json").read_text())
    assert metrics["num_scenes"] == 1
    for name in ("s_kl", "picture", "sound"):
        assert {"baseline", "con360", "floor", "ceiling", "interval", "text", "source", "checkpoint", "n"} <= set(
            metrics[name]
        )
    assert {"best_of_12_fraction", "baseline_fraction"} <= set(metrics["turn"])
    assert {"fad", "fvd", "favd_tiny"} <= set(metrics["frechet"])
    assert "TempSAL" in metrics["not_measured"]["S_KL by TempSAL"]
    for name in ("metrics.png", "contact_sheet.png", "spectrograms.png", "turn.png"):
        assert (evaluated / name).read_bytes()[:4] == b"\x89PNG"
    table = (evaluated / "table.md").read_text()
    assert "maps off" in table and "S_KL (generated_to_target)" in table and "| turn" in table
    assert "| sound distance" not in table and "mean levels is no row" in table


def test_paired_figures_alone_unless_probes_are_asked_for():
    parse = evaluate.make_parser().parse_args
    assert parse(["--out", "x"]).probes == () and parse(["--out", "x", "--probes", "all"]).probes == evaluate.PART_NAMES
    assert parse(["--out", "x", "--probes", "turn, level"]).probes == ("turn", "level")


def test_tempsal_judges_where_the_user_has_it(models, tmp_path, monkeypatch):
    class Flat(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.ones(1, 256, 256)

    torch.jit.script(Flat()).save(str(tmp_path / "own_tempsal.pt"))
    given = ["--tempsal", str(tmp_path / "own_tempsal.pt")]
    args = evaluate.make_parser().parse_args(arguments(models, tmp_path, *given))
    monkeypatch.setattr(evaluate, "joint_space", lambda *_: None)
    bench, request, _ = evaluate.make_bench(args)
    judges = evaluate.make_judges(args, bench, print)()
    assert judges.saliency_name == request["tempsal"] == "own_tempsal.pt"
    assert judges.saliency_method(torch.rand(2, 3, 8, 8)).tolist() == torch.ones(2, 256, 256).tolist()
    assert "S_KL by TempSAL" not in evaluate._not_measured(request)


def test_a_folder_of_another_request_is_refused_by_name(evaluated, models, capsys):
    assert evaluate.main(arguments(models, evaluated, "--seed", "1", "--minutes", "0")) == 2
    assert "seed 0, and 1 was asked for" in capsys.readouterr().err


def test_a_killed_run_goes_on_and_equals_an_uninterrupted_one(models, tmp_path, monkeypatch):
    options = ("--only", "turn", "--scenes", "3")
    assert evaluate.main(arguments(models, tmp_path / "whole", *options)) == 0
    calls, turn = [], next(part for part in evaluate.PARTS if part.name == "turn")

    def killed(tools, index):
        calls.append(index)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return turn.measure(tools, index)

    monkeypatch.setattr(evaluate, "PARTS", (replace(turn, measure=killed),))
    with pytest.raises(KeyboardInterrupt):
        evaluate.main(arguments(models, tmp_path / "parts", *options))
    assert evaluate.main(arguments(models, tmp_path / "parts", *options)) == 0
    # Scene 0 was kept, scene 1 was being measured.
    assert calls == [0, 1, 1, 2]
    whole, parts = (json.loads((tmp_path / n / "metrics.json").read_text())["turn"] for n in ("whole", "parts"))
    assert whole == parts
    assert not list((tmp_path / "parts").rglob("*.part*"))


def part_of(name: str, share: float, one_in: int = 1) -> Part:
    return Part(name, lambda tools, i: ({"index": i}, {}), lambda tools, rows: {}, lambda metrics: (), share, one_in)


def quiet(folder) -> Tools:
    return Tools(None, lambda: None, folder, lambda line: None)


def test_the_time_budget_is_split_between_parts(tmp_path):
    store, made = Store(tmp_path, {}), []
    part = part_of("a", 0.75), part_of("b", 0.25)
    clock = evaluate.Clock(store, dict(zip(("a", "b"), part, strict=True)), None, 1.0)
    for _ in range(8):
        name, index = clock.next()
        made.append(name)
        store.put(name, index, {"seconds": 5.0})
        clock.spent[name].append(5.0)
    assert (made.count("a"), made.count("b")) == (6, 2)
    clock.budget_s = 4.0  # less than a scene takes
    assert clock.next() is None


def test_the_number_of_scenes_ends_a_run(tmp_path):
    parts = {"paired": part_of("paired", 0.5), "level": part_of("level", 0.5, 8)}
    evaluate.run(Store(tmp_path, {}), parts, quiet(tmp_path), 9, None)
    counts = [len(list((tmp_path / "scenes" / name).glob("*.json"))) for name in ("paired", "level")]
    assert counts == [9, 2]


def test_shares_make_up_the_whole(tmp_path):
    parts = {"paired": part_of("paired", 1.0)}
    for text, counts in (("2/3", 3), ("3/3", 5), ("1/3", 8)):
        evaluate.run(Store(tmp_path, {}), parts, quiet(tmp_path), 8, None, evaluate._share(text))
        assert len(Store(tmp_path, {}).rows("paired")) == counts
    assert [row["index"] for row in Store(tmp_path, {}).rows("paired")] == list(range(8))


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/0", "a/2"])
def test_a_share_that_is_none_is_named(text):
    with pytest.raises(argparse.ArgumentTypeError, match="wanted K/N"):
        evaluate._share(text)


def test_ratio_above_the_floor_by_hand():
    rows = [
        {"con360": {"x": 2.0}, "baseline": {"x": 4.0}, "floor": {"x": 1.0}, "ceiling": {"x": 9.0}},
        {"con360": {"x": 3.0}, "baseline": {"x": 6.0}, "floor": {"x": 1.0}, "ceiling": {"x": 9.0}},
    ]
    figure = compare(rows, "x", Definition("x", "", ""))
    assert figure["ratio"] == pytest.approx(0.5) and figure["ratio_above_floor"] == pytest.approx(3 / 8)
    assert figure["con360"] == 2.5 and figure["n"] == 2 and figure["interval"][0] >= 2.0


def test_the_linear_space_finds_the_sentence_that_sound_and_picture_were_made_from():
    rng = torch.Generator().manual_seed(0)
    sentences = torch.nn.functional.normalize(torch.randn(200, 8, generator=rng), dim=-1)
    inputs = {kind: sentences @ torch.randn(8, 20, generator=rng) + 3.0 for kind in ("picture", "sound")}
    space = fit({kind: x[:150] for kind, x in inputs.items()}, sentences[:150])
    cosines = [float(space.of("sound", inputs["sound"][i]) @ sentences[i]) for i in range(150, 200)]
    assert np.mean(cosines) > 0.95


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--scenes", "0"), "wanted 1 or more"),
        (("--minutes", "nan"), "wanted 0 or more"),
        (("--batch", "0"), "--batch"),
        (("--clap", "/nowhere/clap", "--scenes", "1", "--only", "paired"), "no folder"),
    ],
)
def test_refusals_are_one_sentence_and_exit_code_2(models, tmp_path, capsys, monkeypatch, more, says):
    monkeypatch.setattr(evaluate, "joint_space", lambda bench, path: None)
    assert evaluate.main(arguments(models, tmp_path / "out", *more)) == 2
    assert says in capsys.readouterr().err


def test_a_damaged_result_is_named(tmp_path):
    store = Store(tmp_path, {})
    store.put("turn", 0, {"seconds": 1.0})
    store.path("turn", 0).write_text("{")
    with pytest.raises(InputError, match="00000.json is damaged"):
        store.rows("turn")


@pytest.mark.slow
def test_true_views_through_the_built_in_vae_all_match(tmp_path):
    from con360.weights.find import control_file, model_folder
    from con360.weights.load import load_joint_model
    from train.evaluation import probes

    model = load_joint_model(model_folder())
    control = load_control(control_file(None, model_folder()))
    bench = Bench(model, control, None, default_settings(model, steps=1))
    rows = [probes.measure_turn(bench, index)[0] for index in range(3)]
    assert probes.reduce_turn(rows)["true_views_through_vae_fraction"] == 1.0
