"""Volumes and their contrastive loss: recorded values and gradients of the published code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from published_svg import read_json, relative_error, tensors

from con360.meaning.measure import CaptionVectors, meaning_of
from con360.metrics.gram import gram_volume, pair_volumes_squared
from con360.metrics.retrieval import ranks, recall
from train.meaning.losses import pair_loss, volume_loss, volumes

ORDER = "tvasd"
VALUES, GRADIENTS = 1e-5, 1e-4


def recorded() -> dict[str, torch.Tensor]:
    return tensors("gram_volume.safetensors")


def vectors(case: str, count: int) -> list[torch.Tensor]:
    return [recorded()[f"{case}/{name}"].clone().requires_grad_() for name in ORDER[:count]]


def close_gradients(found: list[torch.Tensor], name: str) -> None:
    for letter, vector in zip(ORDER, found, strict=False):
        assert relative_error(vector.grad, recorded()[f"{name}_{letter}"]) < GRADIENTS


@pytest.mark.parametrize("case", ["plain", "rect", "related", "raw"])
@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_volumes_of_all_pairs_are_the_published_ones(case: str, count: int) -> None:
    found = pair_volumes_squared(*vectors(case, count)).detach().sqrt()
    assert relative_error(found, recorded()[f"{case}/volume{count}"]) < VALUES


@pytest.mark.parametrize("case", ["plain", "related"])
@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_their_gradients_are_the_published_ones(case: str, count: int) -> None:
    given = vectors(case, count)
    (volumes(*given) * recorded()[f"{case}/weight{count}"]).sum().backward()
    close_gradients(given, f"{case}/volume{count}_grad")


@pytest.mark.parametrize("case", ["plain", "related"])
@pytest.mark.parametrize(("form", "counts"), [("train", (3, 4, 5)), ("readme", (2, 3, 4, 5))])
def test_the_volume_loss_is_the_published_one(form: str, counts: tuple[int, ...], case: str) -> None:
    facts = read_json("gram_volume.json")
    for count in counts:
        given, name = vectors(case, count), f"{form}/{case}/{count}"
        loss = volume_loss(*given, one_sided=form == "train").mean()
        wanted = facts["training_loss"][name]["loss_area"] if form == "train" else facts["readme_loss"][name]["loss"]
        assert loss.item() == pytest.approx(wanted, rel=VALUES)
        loss.backward()
        close_gradients(given, f"{name}/grad")


@pytest.mark.parametrize("case", ["plain", "related"])
def test_wrong_pairs_are_as_likely_as_published(case: str) -> None:
    for count in (3, 4, 5):
        logits = -volumes(*vectors(case, count)).detach() / 0.07
        for way, rows in (("t2d", logits), ("d2t", logits.T)):
            weights = (rows.softmax(1) + 1e-4).fill_diagonal_(0)
            assert relative_error(weights, recorded()[f"train/{case}/{count}/hard_negative_weights_{way}"]) < GRADIENTS


def test_ranks_are_the_published_ones() -> None:
    facts, (t, v, a) = read_json("gram_volume.json")["rank"], vectors("rank", 3)
    found = pair_volumes_squared(t, v, a).detach().clamp_min(0).sqrt()
    assert relative_error(found, recorded()["rank/volume3"]) < VALUES
    own = torch.eye(len(t), dtype=torch.bool)

    def said(scores: torch.Tensor, of: torch.Tensor = own) -> str:
        return "/".join(f"{100 * recall(ranks(scores, of), k).mean():.1f}" for k in (1, 5, 10))

    assert said(-found) == facts["one caption per clip, text to data by volume"]["forward_recall"]
    assert said(-found.T) == facts["data to text by volume"]["backward_recall"]
    assert said(t @ v.T) == facts["text to video by cosine"]["forward_recall"]
    assert said(t @ a.T) == facts["text to audio by cosine"]["forward_recall"]
    assert found.argsort(1).tolist() == facts["order of clips per caption (volume ascending)"]
    two, clips = recorded()["rank/two_captions_volume3"], torch.arange(24)[:, None] // 2 == torch.arange(12)
    assert said(-two, clips) == facts["two captions per clip, text to data"]["forward_recall"]
    assert (
        said(-two.T, clips.T) == facts["two captions per clip, data to text (best of its captions)"]["backward_recall"]
    )


def test_figures_of_the_published_table_follow_from_a_measure() -> None:
    class Named:
        name, shared = "recorded", True

    t, v, a = (x.detach() for x in vectors("related", 3))
    found, wanted = meaning_of(Named(), CaptionVectors(t, t, t), v, a), read_json("gram_volume.json")["table8"]
    tv, ta, va = (1 - cosine for cosine in (found.tv, found.ta, found.va))
    rows = torch.stack((found.volume, tv + ta + va, tv, ta, va), dim=1)
    np.testing.assert_allclose(rows, wanted["rows"], rtol=VALUES)


def test_nearly_equal_vectors_keep_their_volume() -> None:
    kept = recorded()
    for spread in ("1", "0.1", "0.01", "0.001"):
        near = [
            torch.nn.functional.normalize(
                kept["near/base/common"].double() + float(spread) * kept[f"near/base/{k}"].double(), dim=-1
            )
            for k in "tva"
        ]
        exact = torch.linalg.qr(torch.stack(near, -1))[1].diagonal(dim1=-2, dim2=-1).prod(-1).abs()
        found = pair_volumes_squared(*near).diagonal().clamp_min(0).sqrt()
        torch.testing.assert_close(found, exact, rtol=2e-4, atol=0)
        torch.testing.assert_close(gram_volume(*near), exact, rtol=2e-4, atol=0)


def test_equal_vectors_have_a_gradient() -> None:
    """The published function has none there."""
    same = [torch.nn.functional.normalize(torch.ones(2, 8), dim=-1).requires_grad_() for _ in range(3)]
    volume_loss(*same).mean().backward()
    assert all(x.grad.isfinite().all() for x in same)


def test_the_pair_loss_is_lowest_for_own_pairs() -> None:
    unit = torch.eye(4)
    own, others = (pair_loss(unit, y, torch.tensor(0.07)).mean() for y in (unit, unit.roll(1, 0)))
    assert own < 0.01 < 10 < others
