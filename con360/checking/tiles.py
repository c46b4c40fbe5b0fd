"""Recognise the six faces of a cube in one picture, whatever their order and turn: broken borders find partners.

Cubemaps and EAC share their borders: each edge of a face is the edge of another face. So inside a picture of six tiles
some borders break, and each broken edge continues at another tile. In EAC as YouTube stores it each row of three is
one strip, which only the line between the rows breaks.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from .shape import gray

# Columns and rows of tiles.
GRIDS = ((3, 2), (6, 1), (2, 3), (1, 6))
TILE_PX = 96
# A border breaks where its step is this many times the usual one; an edge has a partner where none is below this.
BREAKS, JOINS = 3.0, 2.5
# Of six tiles so many edges must have partners: plain faces have a few by chance, and coding hides a few.
PARTNERS_SHARE = 0.85


class Tiles(NamedTuple):
    """A grid of tiles, the borders inside it that break, and the share of open edges that continue elsewhere."""

    columns: int
    rows: int
    broken: int
    partners: float
    kind: Literal["cubemap", "EAC"]


def find_tiles(pixels: np.ndarray) -> Tiles | None:
    """Return the grid whose tiles are faces of a cube, or None."""
    found = [tiles for grid in GRIDS if (tiles := _measure(pixels, *grid)) is not None]
    return max(found, key=lambda tiles: (tiles.partners, tiles.broken), default=None)


def _measure(pixels: np.ndarray, columns: int, rows: int) -> Tiles | None:
    picture = gray(pixels, rows * TILE_PX, columns * TILE_PX)
    usual = float((np.abs(np.diff(picture, axis=0)).mean() + np.abs(np.diff(picture, axis=1)).mean()) / 2)
    tiles = {(r, c): _tile(picture, r, c) for r in range(rows) for c in range(columns)}
    edges = {(*place, side): edge for place, tile in tiles.items() for side, edge in _edges(tile).items()}
    inner = _inner_borders(rows, columns)
    broken = [pair for pair in inner if _step(edges[pair[0]], edges[pair[1]], usual) > BREAKS]
    joined = {edge for pair in inner if pair not in broken for edge in pair}
    open_edges = [key for key in edges if key not in joined]
    partners = np.mean([_has_partner(key, edges, usual) for key in open_edges])
    between_rows = [pair for pair in broken if pair[0][2] == "bottom"]
    if usual < 0.5 or len(broken) < 3 or partners < PARTNERS_SHARE:
        return None
    strips = (columns, rows) == (3, 2) and len(between_rows) == len(broken)
    return Tiles(columns, rows, len(broken), float(partners), "EAC" if strips else "cubemap")


def _tile(picture: np.ndarray, row: int, column: int) -> np.ndarray:
    return picture[row * TILE_PX : (row + 1) * TILE_PX, column * TILE_PX : (column + 1) * TILE_PX]


def _edges(tile: np.ndarray) -> dict[str, np.ndarray]:
    return {"top": tile[0], "bottom": tile[-1], "left": tile[:, 0], "right": tile[:, -1]}


def _inner_borders(rows: int, columns: int) -> list[tuple[tuple[int, int, str], tuple[int, int, str]]]:
    across = [((r, c, "right"), (r, c + 1, "left")) for r in range(rows) for c in range(columns - 1)]
    return across + [((r, c, "bottom"), (r + 1, c, "top")) for r in range(rows - 1) for c in range(columns)]


def _step(one: np.ndarray, other: np.ndarray, usual: float) -> float:
    return float(np.abs(one - other).mean()) / max(usual, 1e-6)


def _has_partner(key: tuple[int, int, str], edges: dict[tuple[int, int, str], np.ndarray], usual: float) -> bool:
    others = [edge for other, edge in edges.items() if other[:2] != key[:2]]
    return min(min(_step(edges[key], e, usual), _step(edges[key], e[::-1], usual)) for e in others) < JOINS
