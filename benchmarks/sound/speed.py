"""Measure how much faster than real time sound streams at 48 kHz on one thread, and the memory of an hour."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from con360.geometry.sphere import rotation
from con360.media.writer import write_wav
from con360.placing.listen import ListenSettings, listen
from con360.placing.run import PlacedSound, place_alone
from con360.records import Sound, SourcePoint, SourceTrack
from con360.sound.fields import field_of_track, synthesise_blocks
from con360.sound.headphones import ears_blocks, load_ears
from con360.sound.rotation import turn_blocks
from con360.sound.sources import place_blocks
from con360.sound.stereo import stereo_blocks

from .row import Row

RATE = 48000
# A decoder's blocks.
BLOCK = 1024
TRACK = SourceTrack((0.0, 30.0), (SourcePoint(-170.0, -20.0, 4.0), SourcePoint(170.0, 20.0, 1.0)))
# An hour may take so much more than its first minute.
GROWTH_MB = 32

Chain = Callable[[Iterable[Tensor]], Iterable[Tensor]]


def rows(quick: bool) -> list[Row]:
    """Rows of the table."""
    torch.set_num_threads(1)
    seconds = 20.0 if quick else 60.0
    wide = torch.full((25, 64, 3), 0.3), torch.full((25, 64), 0.5)
    field = field_of_track(TRACK, 10.0)
    ambient = type(field)(wide[0], wide[1])
    return [
        _fast("moving rotation of FOA", 50, 4, seconds, _turned),
        _fast("headphones of FOA", 50, 4, seconds, lambda blocks: ears_blocks(blocks, load_ears(1, RATE))),
        _fast("moving rotation and headphones of FOA", 50, 4, seconds, _worn),
        _fast("moving rotation and headphones of order 3", None, 16, seconds, _worn_third),
        _fast("a moving source placed, order 1", None, 1, seconds, lambda b: place_blocks(b, RATE, TRACK)),
        _fast("a moving source placed, order 3", None, 1, seconds, lambda b: place_blocks(b, RATE, TRACK, 3)),
        _fast("field synthesis, one direction", 40, 1, seconds, lambda b: synthesise_blocks(b, RATE, field)),
        _fast("field synthesis, half diffuse", 40, 1, seconds, lambda b: synthesise_blocks(b, RATE, ambient)),
        _fast("stereo by tangent law", None, 4, seconds, lambda b: stereo_blocks(b, RATE, "tangent")),
        _files(seconds),
        _hour(300.0 if quick else 3600.0),
    ]


def blocks_of(channels: int, seconds: float) -> Iterator[Tensor]:
    """Noise `[C, BLOCK]` after `[C, BLOCK]`, the same second again and again."""
    second = 0.1 * torch.randn(channels, RATE // BLOCK * BLOCK, generator=torch.Generator().manual_seed(0))
    parts = second.split(BLOCK, dim=1)
    for i in range(round(seconds * RATE / BLOCK)):
        yield parts[i % len(parts)]


def _cameras(times_s: np.ndarray) -> Tensor:
    yaw = torch.from_numpy(30.0 * times_s)
    return rotation(yaw, 20 * torch.deg2rad(yaw).sin())


def _turned(blocks: Iterable[Tensor]) -> Iterator[Tensor]:
    return turn_blocks(blocks, RATE, _cameras)


def _worn(blocks: Iterable[Tensor]) -> Iterator[Tensor]:
    return ears_blocks(_turned(blocks), load_ears(1, RATE))


def _worn_third(blocks: Iterable[Tensor]) -> Iterator[Tensor]:
    return ears_blocks(turn_blocks(blocks, RATE, _cameras, 3), load_ears(3, RATE))


def _fast(what: str, wanted: int | None, channels: int, seconds: float, chain: Chain) -> Row:
    for _ in chain(blocks_of(channels, 1.0)):
        pass  # what is made once is made now
    began = time.process_time()
    for _ in chain(blocks_of(channels, seconds)):
        pass
    times = seconds / (time.process_time() - began)
    return _speed(what, wanted, times)


def _speed(what: str, wanted: int | None, times: float) -> Row:
    return Row(what, f"{wanted}x" if wanted else "", f"{times:.0f}x", times >= wanted if wanted else None)


def _files(seconds: float) -> Row:
    """A mono file and a track become a file of four channels, and that with a turning head a file for two ears."""
    with tempfile.TemporaryDirectory() as folder:
        mono, field, ears = (Path(folder) / f"{name}.wav" for name in ("mono", "field", "ears"))
        write_wav(mono, Sound(torch.cat(list(blocks_of(1, seconds)), 1), RATE))
        began = time.process_time()
        place_alone([PlacedSound(mono, TRACK)], field)
        listen(field, ears, ListenSettings(head=TRACK))
        times = seconds / (time.process_time() - began)
    return _speed("from sound and track to field, ears and files", 20, times)


def _hour(seconds: float) -> Row:
    """Memory of placing, turning and headphones over all of a long sound beside that over its first minute."""
    chain = _worn(place_blocks(blocks_of(1, seconds), RATE, TRACK))
    heard, first, later = 0, 0.0, 0.0
    for i, block in enumerate(chain):
        heard += block.shape[1]
        if i % 16 == 0:
            first, later = (max(first, _held_mb()), later) if heard < 60 * RATE else (first, max(later, _held_mb()))
    growth, whole = later - first, 7 * 4 * seconds * RATE / 2**20
    return Row(
        f"memory, {seconds / 60:.0f} minutes of placing, turning and headphones", f"{GROWTH_MB} MB more at most",
        f"{growth:.0f} MB more than in the first minute; all samples are {whole:.0f} MB", growth <= GROWTH_MB,
    )  # fmt: skip


def _held_mb() -> float:
    # Not ru_maxrss: a peak of the measurements before would hide this one.
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20
