"""Test running out of memory: the errors that count, one retry in smaller pieces, then one sentence."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from con360.memory import TooLittleMemory, in_smaller_pieces, is_out_of_memory


def work_that_fits(most: int, asked: list[int]):
    def work(size: int) -> int:
        asked.append(size)
        if size > most:
            raise torch.OutOfMemoryError("CUDA out of memory.\nGPU 0 ...")
        return size

    return work


def test_one_smaller_attempt(caplog):
    asked: list[int] = []
    with caplog.at_level(logging.WARNING, "con360"):
        assert in_smaller_pieces(work_that_fits(2, asked), 8, 2, what="looking", advice="wait") == 2
    assert asked == [8, 2] and "memory ran out while looking" in caplog.text


@pytest.mark.parametrize(("usual", "smaller", "attempts"), [(8, 2, [8, 2]), (1, 1, [1])])
def test_a_second_failure_gives_one_sentence(usual, smaller, attempts):
    asked: list[int] = []
    with pytest.raises(TooLittleMemory, match=r"^memory ran out while looking \(CUDA out of memory.\); wait\.$"):
        in_smaller_pieces(work_that_fits(0, asked), usual, smaller, what="looking", advice="wait")
    assert asked == attempts


def test_other_errors_pass_at_once():
    def fails(size: int) -> int:
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        in_smaller_pieces(fails, 8, 2, what="looking", advice="wait")


def test_errors_of_the_real_libraries_are_recognised():
    for allocate in (lambda: torch.empty(2**60, dtype=torch.uint8), lambda: np.empty(2**60, np.uint8)):
        with pytest.raises((RuntimeError, MemoryError)) as caught:
            allocate()
        assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError()) and not is_out_of_memory(RuntimeError("shape"))
    assert not is_out_of_memory(ValueError("can't allocate memory"))
