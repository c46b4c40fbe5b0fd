"""Recognise the six faces of a cube in one picture, whatever their order and turn: each edge has one partner.

An edge of a face is the edge of one other face, in cubemaps as in EAC. So the 24 edges of six tiles form pairs that
choose each other, and some of these pairs lie apart. In EAC as YouTube stores it each row of three tiles is one strip,
which only the line between the rows breaks.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from ..media.looks import gray

# Columns and rows of tiles.
GRIDS = ((3, 2), (6, 1), (2, 3), (1, 6))
TILE_PX = 96
# An edge continues at another where the step between them is below this many times the usual one.
JOINS = 2.5
# Of the 24 edges so many continue at an edge that continues at them: plain faces and coding spoil a few.
PARTNERS_SHARE, LEAST_BROKEN, PLAIN_STEP = 0.83, 2, 0.5

Edge = tuple[int, int, str]


class Tiles(NamedTuple):
    """A grid of tiles, the borders inside it that break, and the share of edges with a partner."""

    columns: int
    rows: int
    broken: int
    partners: float
    kind: Literal["cubemap", "EAC"]


def find_tiles(pixels: np.ndarray) -> Tiles | None:
    """Return the grid whose tiles are faces of a cube, or None."""
    found = [tiles for grid in GRIDS if (tiles := _measure(pixels, *grid)) is not None]
    return max(found, key=lambda tiles: tiles.partners, default=None)


def _measure(pixels: np.ndarray, columns: int, rows: int) -> Tiles | None:
    picture = gray(pixels, rows * TILE_PX, columns * TILE_PX)
    usual = float((np.abs(np.diff(picture, axis=0)).mean() + np.abs(np.diff(picture, axis=1)).mean()) / 2)
    if usual < PLAIN_STEP:
        return None
    edges = {(r, c, side): edge for r in range(rows) for c in range(columns)
             for side, edge in _edges(picture, r, c).items()}  # fmt: skip
    partners = _partners(edges, JOINS * usual)
    broken = [pair for pair in _inner_borders(rows, columns) if partners.get(pair[0]) != pair[1]]
    share = len(partners) / len(edges)
    if share < PARTNERS_SHARE or len(broken) < LEAST_BROKEN:
        return None
    strips = (columns, rows) == (3, 2) and all(side == "bottom" for (_, _, side), _ in broken)
    return Tiles(columns, rows, len(broken), share, "EAC" if strips else "cubemap")


def _edges(picture: np.ndarray, row: int, column: int) -> dict[str, np.ndarray]:
    tile = picture[row * TILE_PX : (row + 1) * TILE_PX, column * TILE_PX : (column + 1) * TILE_PX]
    return {"top": tile[0], "bottom": tile[-1], "left": tile[:, 0], "right": tile[:, -1]}


def _inner_borders(rows: int, columns: int) -> list[tuple[Edge, Edge]]:
    across = [((r, c, "right"), (r, c + 1, "left")) for r in range(rows) for c in range(columns - 1)]
    return across + [((r, c, "bottom"), (r + 1, c, "top")) for r in range(rows - 1) for c in range(columns)]


def _partners(edges: dict[Edge, np.ndarray], most: float) -> dict[Edge, Edge]:
    """Find for each edge the one of another tile that fits best, in either direction, where both choose each other."""

    def step(one: Edge, other: Edge) -> float:
        a, b = edges[one], edges[other]
        return float(min(np.abs(a - b).mean(), np.abs(a - b[::-1]).mean()))

    best = {one: min((other for other in edges if other[:2] != one[:2]), key=lambda o: step(one, o)) for one in edges}
    return {one: other for one, other in best.items() if best[other] == one and step(one, other) < most}
