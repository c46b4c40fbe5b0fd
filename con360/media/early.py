"""Times of what a Matroska or WebM file stores before its time 0.

A cut without new timestamps can leave a file that begins at -1.5 s. Players show all of it. FFmpeg hands such packets
out without a time, or with one that it made up, so the times are read from the blocks themselves. In an MP4 the same
numbers mean what an edit list cuts off, which FFmpeg does.

Source: Matroska specification, block structure.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .spherical import CLUSTER, ENTRY, SEGMENT, TRACKS, Span, elements, read_at

Times = tuple[float | None, ...]

_INFO, _SCALE = 0x1549A966, 0x2AD7B1
_NUMBER, _CODEC_DELAY = 0xD7, 0x56AA
_TIME, _SIMPLE_BLOCK, _GROUP, _BLOCK = 0xE7, 0xA3, 0xA0, 0xA1
_LACED = 0x06


def early_times(path: Path) -> tuple[float, dict[int, Times]]:
    """The file's beginning in seconds, and the times of each track's first packets, past the last one before 0.

    Returns:
        0 and nothing for most files. Tracks count from 0 and packets follow in the file's order; those that share a
        block with the one before (lacing) have None.
    """
    with open(path, "rb") as file:
        end = file.seek(0, 2)
        if read_at(file, 0, 4) == b"\x1a\x45\xdf\xa3":
            for kind, segment in elements(file, (0, end)):
                if kind == SEGMENT:
                    return _of_segment(file, segment)
    return 0.0, {}


def _of_segment(file: BinaryIO, segment: Span) -> tuple[float, dict[int, Times]]:
    scale_s, begin_s = 1e-3, 0.0
    tracks: dict[int, tuple[int, float]] = {}
    found: dict[int, Times] = {}
    for kind, span in elements(file, segment):
        if kind == _INFO:
            scale_s = max(1, _number(file, span, _SCALE, 1_000_000)) / 1e9
        elif kind == TRACKS:
            entries = [inner for entry, inner in elements(file, span) if entry == ENTRY]
            for index, inner in enumerate(entries):
                delay_s = _number(file, inner, _CODEC_DELAY, 0) / 1e9
                tracks[_number(file, inner, _NUMBER, 0)] = index, delay_s
        elif kind == CLUSTER:
            blocks = [block for block in _blocks(file, span) if block[0] in tracks]
            if not any(ticks < 0 for _, ticks, _ in blocks):  # what is early comes first
                break
            for number, ticks, packets in blocks:
                index, delay_s = tracks[number]
                begin_s = min(begin_s, ticks * scale_s)
                # As FFmpeg counts: what a coder needs to settle comes before the block's time, in whole ticks.
                time_s = (ticks - int(delay_s / scale_s + 0.5)) * scale_s
                found[index] = (*found.get(index, ()), time_s, *[None] * (packets - 1))
    return begin_s, found


def _number(file: BinaryIO, span: Span, wanted: int, usual: int) -> int:
    for kind, (start, stop) in elements(file, span):
        if kind == wanted:
            return int.from_bytes(read_at(file, start, min(stop - start, 8)), "big")
    return usual


def _blocks(file: BinaryIO, cluster: Span) -> Iterator[tuple[int, int, int]]:
    """Track number, ticks and packets of each block of a cluster."""
    begin = 0
    for kind, span in elements(file, cluster):
        if kind == _TIME:
            begin = int.from_bytes(read_at(file, span[0], min(span[1] - span[0], 8)), "big")
        inner = elements(file, span) if kind == _GROUP else ((kind, span),)
        for name, (start, _) in inner:
            head = read_at(file, start, 12) if name in (_SIMPLE_BLOCK, _BLOCK) else b""
            length = 9 - head[0].bit_length() if head and head[0] else 9
            if len(head) >= length + 4:
                number = int.from_bytes(head[:length], "big") & ((1 << 7 * length) - 1)
                ticks = begin + int.from_bytes(head[length : length + 2], "big", signed=True)
                yield number, ticks, head[length + 3] + 1 if head[length + 2] & _LACED else 1
