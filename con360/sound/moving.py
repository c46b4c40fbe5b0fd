"""Mix channels by matrices that change over time, block by block and without a jump at any sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# Seconds from one matrix to the next; outputs are cross-faded linearly in between.
STEP_S = 0.01
# Matrices asked for at once, a second of them: many small calls would cost more than the mixing.
_ASKED = 100


def mix_moving(waveform: Tensor, matrices: Tensor, step: int, late: int = 0) -> Tensor:
    """Mix channels by matrices that change over time, without a jump at any sample.

    Args:
        waveform: `[C, N]`; channels that the matrices do not read stay as they are, behind the mixed ones.
        matrices: `[M, D, C]` at the samples 0, step, 2 step, ...; at least N / step + 1 of them. Between two matrices,
            their outputs are cross-faded linearly.
        late: samples from the first matrix to the waveform's first, less than `step`.

    Returns:
        `[D, N]`.
    """
    read, rest = waveform[: matrices.shape[-1]], waveform[matrices.shape[-1] :]
    count = waveform.shape[1]
    pieces = -(-(late + count) // step)
    whole = F.pad(read, (late, pieces * step - late - count)).unflatten(1, (pieces, step)).transpose(0, 1)
    matrices = matrices[: pieces + 1].to(waveform)
    share = torch.arange(step, dtype=waveform.dtype, device=waveform.device) / step
    mixed = torch.lerp(matrices[:-1] @ whole, matrices[1:] @ whole, share)
    return torch.cat((mixed.transpose(0, 1).flatten(1)[:, late : late + count], rest))


def mix_blocks(
    blocks: Iterable[Tensor], rate_hz: int, matrices_at: Callable[[np.ndarray], Tensor]
) -> Iterator[Tensor]:  # fmt: skip
    """Mix blocks `[C, n]` as they come; blocks of any length give the same samples.

    Args:
        matrices_at: maps times `[M]`, in seconds from the first sample and up to a second past the last one, to
            matrices `[M, D, C]`.

    Yields:
        `[D, n]` of each block that is not empty.
    """
    step, at = max(1, round(STEP_S * rate_hz)), 0
    matrices, first = torch.empty(0), 0
    for block in blocks:
        if not block.shape[1]:
            continue
        begin, end = at // step, (at + block.shape[1] - 1) // step + 2
        if end > first + len(matrices):
            times_s = np.arange(begin, max(end, begin + _ASKED)) * (step / rate_hz)
            matrices, first = matrices_at(times_s).to(block), begin
        yield mix_moving(block, matrices[begin - first : end - first], step, at - begin * step)
        at += block.shape[1]


def rows_of(blocks: Iterable[Tensor], length: int) -> Iterator[Tensor]:
    """Regroup blocks `[C, n]` of any lengths into rows of `length` samples; the last one may be shorter."""
    waiting: list[Tensor] = []
    count = 0
    for block in blocks:
        waiting.append(block)
        count += block.shape[1]
        if count >= length:
            *rows, rest = torch.cat(waiting, dim=1).split(length, dim=1)
            if rest.shape[1] == length:
                rows, rest = [*rows, rest], rest[:, :0]
            yield from rows
            waiting, count = [rest], rest.shape[1]
    if count:
        yield torch.cat(waiting, dim=1)
