"""Test Frechet distances, GRAM volumes and bootstrap intervals against known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from con360.errors import InputError
from con360.metrics.figure import Definition, bootstrap_interval, summary
from con360.metrics.frechet import frechet_distance
from con360.metrics.gram import gram_volume, gram_volume_squared


def textbook_distance(a: np.ndarray, b: np.ndarray) -> float:
    s1, s2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    return float(np.square(a.mean(0) - b.mean(0)).sum() + np.trace(s1 + s2 - 2 * sqrtm(s1 @ s2).real))


def test_frechet_of_hand_sized_sets():
    # One dimension: means 1 and 5, variances (N - 1) 2 and 8: 16 + 2 + 8 - 2 sqrt(16) = 18.
    assert frechet_distance(np.array([[0.0], [2.0]]), np.array([[3.0], [7.0]])) == pytest.approx(18.0)


def test_frechet_equals_the_textbook_formula():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(60, 5)) @ rng.normal(size=(5, 5)), rng.normal(1.0, 2.0, size=(40, 5))
    assert frechet_distance(a, b) == pytest.approx(textbook_distance(a, b), rel=1e-8)


def test_frechet_with_fewer_samples_than_dimensions_is_zero_for_equal_sets_and_symmetric():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(6, 40)), rng.normal(size=(9, 40))
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-9)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))
    assert frechet_distance(a, a + 2.0) == pytest.approx(4.0 * 40)


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        (np.zeros((1, 3)), np.zeros((4, 3)), "at least 2"),
        (np.zeros((4, 3)), np.zeros((4, 2)), r"\[4, 3\] and \[4, 2\]"),
        (np.full((4, 3), np.nan), np.zeros((4, 3)), "NaN"),
    ],
)
def test_frechet_refuses(a, b, says):
    with pytest.raises(InputError, match=says):
        frechet_distance(a, b)


def test_gram_volume_of_known_figures():
    x, y, z = torch.eye(3)
    assert float(gram_volume(x, y, z)) == pytest.approx(1.0)
    assert float(gram_volume(x, y, x + y)) == pytest.approx(0.0, abs=1e-7)
    # Two vectors at 30 degrees: the sine, whatever their lengths.
    tilted = torch.tensor([math.cos(math.pi / 6), 0.5, 0.0])
    assert float(gram_volume(5 * x, 0.1 * tilted)) == pytest.approx(0.5)


def test_the_formula_for_three_is_the_square_of_the_determinants():
    vectors = [torch.randn(7, 16, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    assert torch.allclose(gram_volume_squared(*vectors), gram_volume(*vectors) ** 2, atol=1e-10)


def test_the_squared_volume_has_a_finite_gradient_where_the_vectors_are_alike():
    x = torch.randn(8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    gram_volume_squared(x, x.detach().clone(), x.detach().clone()).backward()
    assert torch.isfinite(x.grad).all()


def test_gram_refuses_one_vector_and_odd_shapes():
    with pytest.raises(InputError, match="two or more"):
        gram_volume(torch.ones(3))
    with pytest.raises(InputError, match="one shape"):
        gram_volume(torch.ones(3), torch.ones(4))


def test_the_bootstrap_interval_of_a_mean_is_near_the_normal_one_and_repeats():
    values = np.random.default_rng(3).normal(10.0, 2.0, size=400)
    low, high = bootstrap_interval(values, seed=5)
    half = 1.96 * values.std(ddof=1) / 20
    assert low == pytest.approx(values.mean() - half, abs=0.03) and high == pytest.approx(
        values.mean() + half, abs=0.03
    )
    assert bootstrap_interval(values, seed=5) == [low, high] != bootstrap_interval(values, seed=6)


def test_paired_rows_stay_paired():
    # Whatever is drawn, the second column is half of the first: the ratio has no spread.
    rows = np.random.default_rng(0).uniform(1, 2, size=(20, 1)) * np.array([[1.0, 0.5]])
    assert bootstrap_interval(rows, lambda r: r[:, 1].sum() / r[:, 0].sum()) == pytest.approx([0.5, 0.5])


def test_one_scene_has_no_interval_and_a_wrong_confidence_is_refused():
    assert bootstrap_interval(np.array([1.0])) is None
    with pytest.raises(InputError, match="between 0 and 1"):
        bootstrap_interval(np.arange(5.0), confidence=95)


def test_a_figure_says_what_it_is_and_counts_scenes_without_an_answer():
    figure = summary(Definition("x", "what", "where", "which"), [1.0, 3.0, math.nan])
    assert figure["value"] == 2.0 and figure["n"] == 2 and figure["without_answer"] == 1
    assert [figure[k] for k in ("text", "source", "checkpoint")] == ["what", "where", "which"]
    assert summary(Definition("x", "", ""), [])["value"] is None
