"""Sample a sound of any length: windows that overlap, in groups.

Inside a group the predictions of windows are averaged where they overlap, at every step. A group takes the finished
rows that it shares with the one before, noised to each step's level. Memory holds one group.

Source: joint diffusion of overlapping windows, MultiDiffusion (arXiv 2302.08113).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..protocols import Denoiser, Film, Schedule
from ..records import AV
from .steer import Step, Term


@dataclass(frozen=True)
class Group:
    """Windows that are sampled together.

    Args:
        starts: first row of each window, sorted.
        rows: of each window.
        shared: leading rows that the group before has finished.
    """

    starts: tuple[int, ...]
    rows: int
    shared: int

    @property
    def start(self) -> int:
        return self.starts[0]

    @property
    def stop(self) -> int:
        return self.starts[-1] + self.rows


def groups_of(total: int, rows: int, overlap: int, windows: int) -> list[Group]:
    """Cover `total` rows by windows of `rows` rows.

    The last window ends with the clip and may overlap more. A clip shorter than a window is one shorter window.

    Args:
        overlap: least number of rows that neighbours share.
        windows: of a group, at most.

    Raises:
        InputError: there is no row, or the overlap leaves no step forward.
    """
    if total < 1:
        raise InputError("the clip is shorter than one latent row of the model; give a longer one.")
    if not 0 <= overlap < rows or windows < 1:
        raise InputError(f"windows of {rows} rows cannot overlap by {overlap}; choose fewer, and 1 window or more.")
    rows = min(rows, total)
    starts = [*range(0, total - rows, max(1, rows - overlap)), total - rows]
    groups, done = [], 0
    for first in range(0, len(starts), windows):
        own = tuple(starts[first : first + windows])
        groups.append(Group(own, rows, max(0, done - own[0])))
        done = own[-1] + rows
    return groups


class WindowedDenoiser:
    """A sound's denoiser over a group: each window by itself, averaged where windows overlap.

    Features are `[B, windows, ...]`, one entry a window, as the network reads them.

    Args:
        network: the denoiser of one window.
        group: where its windows lie.
    """

    groups: tuple[tuple[str, ...], ...] = (("audio",),)
    takes_film = False

    def __init__(self, network: Denoiser, group: Group) -> None:
        self.network, self.group = network, group

    @property
    def device(self) -> torch.device:
        return self.network.device

    @property
    def dtype(self) -> torch.dtype:
        return self.network.dtype

    def embed_times(self, modality: str, times: Tensor, like: Tensor) -> Tensor:
        return self.network.embed_times(modality, times, like)

    def read(self, features: AV) -> list[Any]:
        return [self.network.read(AV(audio=one)) for one in features.audio.unbind(1)]

    def share(self, x: AV, t: AV, x0: AV, heard: tuple[str, ...]) -> Any:
        return self.network.share(x, t, x0, heard)

    def predict(self, group: tuple[str, ...], x: AV, t: AV, features: list[Any], shared: Any, film: Film | None) -> AV:
        """The weighted mean of the windows' predictions."""
        total, weight = torch.zeros_like(x.audio), x.audio.new_zeros(x.audio.shape[-1])
        for start, own in zip(self.group.starts, features, strict=True):
            span = slice(start - self.group.start, start - self.group.start + self.group.rows)
            made = self.network.predict(group, AV(audio=x.audio[..., span]), t, own, shared, film).audio
            share = _fade(self.group, start).to(made)
            total[..., span] += share * made
            weight[span] += share
        return AV(audio=total / weight)

    def parts(self, group: tuple[str, ...] = ()) -> list[nn.Module]:
        return self.network.parts(group)


def _fade(group: Group, start: int) -> Tensor:
    """Weights of a window's rows: they fall towards an end that a neighbour reaches over."""
    weight = torch.ones(group.rows)
    ends = [other + group.rows - start for other in group.starts if other < start]
    heads = [start + group.rows - other for other in group.starts if other > start]
    if ends and (over := max(ends)) > 0:
        weight[:over] *= (torch.arange(over) + 1) / (over + 1)
    if heads and (over := max(heads)) > 0:
        weight[-over:] *= ((torch.arange(over) + 1) / (over + 1)).flip(0)
    return weight


class FinishedRows(Term):
    """Keep the leading rows of a sound as they were finished, noised to each step's level.

    Args:
        rows: `[B, Z, r]`, clean. noise: of the same shape, that of the start.
        schedule: of the sound. times: the run's timesteps.
    """

    def __init__(self, rows: Tensor, noise: Tensor, schedule: Schedule, times: Sequence[float]) -> None:
        self.rows, self.noise, self.schedule, self.times = rows, noise, schedule, (*times, 0)

    def on_latents(self, step: Step) -> AV:
        moved = step.moved.audio.clone()
        level = self.times[step.index + 1]
        kept = self.rows if level == 0 else self.schedule.noised(self.rows, self.noise, level)
        moved[..., : kept.shape[-1]] = kept
        return AV(audio=moved)
