"""Rate how well one side of a matrix of scores finds the other: recall at the best few.

Shape legend: N texts, M clips.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InputError
from .figure import Definition

RECALL = Definition(
    "R@K",
    "share of queries whose own answer is among the K best scores of all; of several own answers the best one counts; "
    "chance is K / number of answers",
    "retrieval, as in GRAM (arXiv 2412.11959)",
    unit="share",
    better="higher",
)


def ranks(scores: Tensor, own: Tensor) -> Tensor:
    """Rank of the best own answer of each query, `[N]`, 0 is first; of equal scores the own one comes last.

    Args:
        scores: `[N, M]`, higher is closer. own: `[N, M]` bool, the answers that belong to a query.

    Raises:
        InputError: a query without an answer, or other shapes.
    """
    if scores.shape != own.shape or not own.any(1).all():
        raise InputError(f"ranks need an own answer for each of {len(scores)} queries; some have none.")
    best = scores.masked_fill(~own, -torch.inf).amax(1, keepdim=True)
    return ((scores >= best) & ~own).sum(1)


def recall(found: Tensor, k: int) -> Tensor:
    """Tell of each rank `[N]` of `ranks` if it is among the K best, 0 or 1."""
    return (found < k).float()
