"""Shapes one can name: the reader learns, is made once per folder, and says where its answers mean nothing."""

from __future__ import annotations

import pytest
import torch
from known_models import Blind, TruthTeller
from torch.nn.functional import one_hot

from con360.scenes import COLOURS, SHAPES
from train.evaluation import named, shape_reader
from train.evaluation.part import Tools
from train.evaluation.shape_reader import Reading


class Eye(torch.nn.Module):
    """Name the colour that most pixels of the middle have; call every shape a disc."""

    def forward(self, pictures):
        colours = torch.tensor(list(COLOURS.values()))
        side = pictures.shape[-1]
        at = (torch.arange(side) + 0.5) / side * 2 - 1
        near = torch.exp(-4 * (at[:, None].square() + at.square()))
        # Brightness pulses between 0.75 and 1.
        apart = (pictures[:, None] - 0.875 * colours[:, :, None, None]).square().sum(2).sqrt()
        found = ((apart < 0.25) * near).sum((2, 3)).argmax(1)
        return one_hot(found, len(COLOURS)).float(), one_hot(torch.zeros_like(found), len(SHAPES)).float()


@pytest.fixture(autouse=True)
def no_codec(monkeypatch):
    for module in (named, shape_reader):
        monkeypatch.setattr(module, "through_vae", lambda bench, pictures: pictures)


def tools_of(bench, folder, said=None) -> Tools:
    return Tools(bench, lambda: None, folder, (said if said is not None else []).append)


def measured(bench, folder, monkeypatch, right: float = 1.0, scenes: int = 4) -> dict:
    monkeypatch.setattr(named, "shape_reader", lambda *_: Reading(Eye(), right, right))
    return named.reduce_named([named.measure_named(tools_of(bench, folder), i)[0] for i in range(scenes)])


def test_true_views_are_named_and_views_of_elsewhere_are_not(tmp_path, monkeypatch):
    figure = measured(TruthTeller(), tmp_path, monkeypatch)
    assert figure["num_views"] == 8
    assert figure["colour"]["con360"] == figure["colour"]["codec"] == 1.0 > 0.5 > figure["colour"]["baseline"]
    assert figure["shape"]["con360"] == figure["shape"]["codec"] < 0.7
    assert measured(Blind(), tmp_path, monkeypatch)["colour"]["con360"] < 0.7


def test_rows_have_chance_and_codec_beside_them_and_a_poor_reader_gives_none(tmp_path, monkeypatch):
    colour, shape = named.rows_named({"named": measured(TruthTeller(), tmp_path, monkeypatch, scenes=1)})
    assert (colour.chance, shape.chance) == (pytest.approx(1 / 6), 0.25) and colour.floor == 1.0
    assert (colour.bar.low, shape.bar.low) == (0.9, 0.7)
    poor = named.rows_named({"named": measured(TruthTeller(), tmp_path, monkeypatch, 0.9, scenes=1)})
    assert [row.ours for row in poor] == [None, None] and "90.0 % of the colours" in poor[0].beside


def test_a_view_looks_at_its_performer(monkeypatch):
    views = shape_reader.true_views("validation", 6, 32)
    said = Eye()(views.pictures)[0].argmax(1)
    assert torch.equal(said, views.colour) and views.shape.max() < len(SHAPES)


def test_the_reader_learns_and_is_trained_once_per_folder(tmp_path, monkeypatch):
    for name, value in (("TRAINED_ON", 128), ("TRIED_ON", 48), ("STEPS", 40), ("BATCH", 32)):
        monkeypatch.setattr(shape_reader, name, value)
    said: list[str] = []
    path, bench = tmp_path / "reader.safetensors", TruthTeller()
    first = shape_reader.shape_reader(bench, path, said.append)
    # Chance is 17 and 25 %.
    assert first.colour > 0.5 and first.problem
    monkeypatch.setattr(shape_reader, "train", None)
    again = shape_reader.shape_reader(bench, path, said.append)
    pictures = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert (again.colour, again.shape) == (first.colour, first.shape)
    assert all(torch.equal(a, b) for a, b in zip(first.network(pictures), again.network(pictures), strict=True))
    assert sum("once per folder" in line for line in said) == 1
