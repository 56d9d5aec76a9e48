"""What rules of movement start from: an empty grid, blobs on it, and rays through it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ttt_jax.train.invented.draws import pick, side
from ttt_jax.train.invented.masks import Cell, blob, inside
from ttt_jax.train.invented.placing import boxes
from ttt_jax.train.invented.rule import Rng


def blank(rng: Rng, size: float, least: int = 5, most: int = 30) -> np.ndarray:
    """An empty grid, int8[height, width], often square."""
    height = side(rng, size, least, most)
    width = height if rng.random() < 0.4 else side(rng, size, least, most)
    return np.zeros((height, width), np.int8)


def place_blobs(
    rng: Rng, grid: np.ndarray, count: int, colours: Sequence[int], cells: int = 6, gap: int = 1
) -> list[tuple[Cell, np.ndarray, int]]:
    """Draws up to `count` blobs that do not touch into `grid`: corner, mask and colour of each."""
    placed = []
    for top, left, h, w in boxes(rng, grid.shape, count, 2, 4, gap):
        mask = blob(rng, h, w, int(rng.integers(2, cells + 1)))
        colour = pick(rng, colours)
        grid[top : top + mask.shape[0], left : left + mask.shape[1]][mask] = colour
        placed.append(((top, left), mask, colour))
    return placed


def walk(grid: np.ndarray, start: Cell, step: Cell) -> tuple[list[Cell], Cell | None]:
    """The empty cells that a ray from `start` crosses, and the cell that stops it (None at the border)."""
    cells = []
    r, c = start[0] + step[0], start[1] + step[1]
    while inside(grid, r, c):
        if grid[r, c]:
            return cells, (r, c)
        cells.append((r, c))
        r, c = r + step[0], c + step[1]
    return cells, None


def bar(count: int, colour: int, length: int) -> np.ndarray | None:
    """A count as a row of `length` cells, the first `count` coloured; None where it does not fit or is empty."""
    if not 0 < count <= length:
        return None
    row = np.zeros((1, length), np.int8)
    row[0, :count] = colour
    return row
