"""`python -m benchmarks gpu`: what it counts, what it measures on a small scale, and what docs/gpu.md says of it."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import pytest
import torch
from shared_data import ROOT
from torch import nn

from benchmarks.gpu import run
from benchmarks.gpu.counting import as_autocast, count
from benchmarks.gpu.tables import Figures, cards_table, counted_table, measured_table, training_hours
from benchmarks.gpu.works import LOW, NORMAL, PUBLISHED, TINY, WORKS
from con360.memory import TooLittleMemory
from train.config import from_yaml

PAGE = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
WEEKEND = ROOT / "train" / "weekend.yaml"
# Of NVIDIA's GA102 white paper, and assumed.
PEAK_TFLOPS, SHARE, CLIPS = 71, 0.3, 2000


def page_rows() -> list[Figures]:
    """The stages of the page, as far as it says them."""
    row = r"^\| ([^|]+) \| (\w*) ?\| ([\d.]+) \| [\d.]+ \| ([\d.]+) \| (\d+) \| (?:yes|no)"
    found = re.findall(row, PAGE, re.MULTILINE)
    return [
        Figures(what, mode, held_gb=float(together), tflop=float(tflop)) for what, mode, _, together, tflop in found
    ]


# ---- counting


def test_a_layer_is_counted_by_hand() -> None:
    layer = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64)).to("meta")
    x = torch.empty(10, 64, device="meta")

    def forward() -> None:
        with torch.no_grad():
            layer(x)

    found = count(forward, [layer])
    assert found.flop == 2 * (2 * 10 * 64 * 256)
    # The wide layer's outputs before and after GELU; x and the weights were there before.
    assert found.peak_bytes == 4 * 2 * 10 * 256


def test_attention_is_fused_forward_and_backward() -> None:
    q, k, v = (torch.empty(2, 4, length, 8, device="meta", requires_grad=True) for length in (100, 50, 50))

    def attend() -> torch.Tensor:
        return nn.functional.scaled_dot_product_attention(q, k, v)

    # Two products of 8 numbers for each pair of 8 heads; the backward pass has five.
    products = 2 * (2 * 4 * 100 * 50 * 8) * 2
    assert count(attend, []).flop == products
    both = count(lambda: attend().sum().backward(), [])
    assert both.flop == products * 7 // 2
    assert both.peak_bytes < 4 * 2 * 4 * 100 * 50 * 8, "no matrix of all pairs"


def test_autocast_computes_products_in_half_and_norms_in_full_precision() -> None:
    x = torch.empty(4, 64, device="meta")
    linear, norm = nn.Linear(64, 64, device="meta"), nn.LayerNorm(64, device="meta")
    with as_autocast():
        assert linear(x).dtype == torch.bfloat16 and norm(linear(x)).dtype == torch.float32
    assert linear(x).dtype == torch.float32


@pytest.mark.slow
def test_low_memory_holds_less_and_computes_the_same() -> None:
    works = [WORKS["generation: sampling", mode](TINY, "meta") for mode in (NORMAL, LOW)]
    normal, low = (count(work.run, work.networks) for work in works)
    assert works[1].held_bytes < 0.5 * works[0].held_bytes
    assert abs(low.flop / normal.flop - 1) < 0.01


# ---- the page


def test_the_page_shows_what_its_rows_say() -> None:
    rows = page_rows()
    assert [(row.what, row.mode) for row in rows] == list(WORKS)
    assert cards_table(rows) in PAGE
    for row in rows:
        fits = " | ".join("yes" if row.fits(card) else "no" for card in (8, 12, 16, 24, 48))
        assert re.search(rf"^\| {re.escape(row.what)} \| {row.mode} \|.*\| {re.escape(fits)} \|$", PAGE, re.MULTILINE)


def counted_lines(*keys: tuple[str, str]) -> list[str]:
    rows = list(run.counted(PUBLISHED, {key: WORKS[key] for key in keys}))
    return counted_table(rows).splitlines()[2:]


# The rows left out count the same networks in another way, and take as long as these together.
COUNTED = (
    ("captions: Llama 3.2 1B", ""), ("saliency: SalViT360", ""), ("generation: sampling", NORMAL),
    ("generation: decoding", NORMAL), ("generation: decoding", LOW), ("training `control`", ""),
    ("training: the estimate before", ""),
)  # fmt: skip


@pytest.mark.slow
def test_rows_of_the_page_are_what_is_counted() -> None:
    for line in counted_lines(*COUNTED):
        assert line in PAGE.splitlines()


def test_the_command_prints_both_tables(monkeypatch, capsys) -> None:
    monkeypatch.setattr(run, "counted", partial(run.counted, works=QUICK))
    assert run.main(["--count"]) == 0
    rows = list(run.counted(PUBLISHED))
    assert capsys.readouterr().out.strip() == f"{cards_table(rows)}\n\n{counted_table(rows)}"


def test_hours_and_seconds_follow_from_the_counted_flop() -> None:
    tflop = {row.what: row.tflop for row in page_rows()}
    config = from_yaml(WEEKEND)
    hours = training_hours(tflop, config.train, CLIPS, config.epochs, PEAK_TFLOPS, SHARE)
    each = tflop["training `control+cmcpe`"] + tflop["training: the estimate before"]
    together = next(row.together_gb for row in page_rows() if row.what == "training `control+cmcpe`")
    for path in (WEEKEND, ROOT / "docs" / "training.md"):
        text = " ".join(path.read_text(encoding="utf-8").replace("\n#", "\n").split())
        for words in (
            f"{hours:.0f} hours",
            f"{each:.0f} TFLOP a clip",
            f"{together} GB",
            "30 % of a peak of 71 TFLOP/s",
        ):
            assert words in text, (path.name, words)
    assert f"sampling would take {tflop['generation: sampling'] / (PEAK_TFLOPS * SHARE):.0f} s" in " ".join(
        PAGE.split()
    )


# ---- measuring


def test_without_a_gpu_it_says_so_in_a_sentence(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run.main(["--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.strip() == run.NO_GPU and not (tmp_path / "out").exists()


QUICK = {key: WORKS[key] for key in [("captions: Llama 3.2 1B", ""), ("generation: decoding", LOW)]}


def test_it_measures_and_writes_a_table_and_json(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(run, "WORKS", QUICK)
    assert run.main(["--tiny", "--device", "cpu", "--out", str(tmp_path)]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert [(row["what"], row["mode"]) for row in figures["stages"]] == list(QUICK)
    assert all(row["seconds"] > 0 and not row["problem"] for row in figures["stages"])
    table = (tmp_path / "table.md").read_text()
    assert table in capsys.readouterr().out and measured_table([Figures(**row) for row in figures["stages"]]) in table


def test_a_stage_that_does_not_fit_or_comes_too_late_is_a_line(monkeypatch) -> None:
    def too_large(sizes: object, device: str) -> None:
        raise TooLittleMemory("memory ran out")

    works = {("large", ""): too_large, **QUICK}
    monkeypatch.setattr(run, "WORKS", works)
    large, *rest = run.measured(TINY, "cpu")
    assert large.problem == "does not fit" and not any(row.problem for row in rest)
    monkeypatch.setattr(run, "LAST_START_S", -1.0)
    assert {row.problem for row in run.measured(TINY, "cpu")} == {"not reached in time"}


def test_other_errors_are_not_hidden(monkeypatch) -> None:
    monkeypatch.setattr(run, "WORKS", {("broken", ""): lambda sizes, device: 1 / 0})
    with pytest.raises(ZeroDivisionError):
        list(run.measured(TINY, "cpu"))


@pytest.mark.slow
def test_every_stage_runs(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(run, "ROUNDS", 1)
    assert run.main(["--tiny", "--device", "cpu", "--out", str(tmp_path)]) == 0
    stages = json.loads((tmp_path / "figures.json").read_text())["stages"]
    assert [(row["what"], row["mode"]) for row in stages] == list(WORKS)
    assert all(row["seconds"] > 0 and not row["problem"] for row in stages)
