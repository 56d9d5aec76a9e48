"""Drawing tools of the whole-grid rules, which are written on ground 0 and in one direction: see `guises`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from ttt_jax.tasks.grids import COLOURS, MAX_SIDE
from ttt_jax.train.invented.rule import Pair

Grid = np.ndarray
Rng = np.random.Generator
T = TypeVar("T")


def pick(rng: Rng, options: Sequence[T]) -> T:
    """One of the options."""
    return options[int(rng.integers(len(options)))]


def chance(rng: Rng, share: float) -> bool:
    return bool(rng.random() < share)


def colours(rng: Rng, count: int, avoid: Sequence[int] = ()) -> list[int]:
    """Distinct colours of 1..9, none of them in `avoid`; fewer than `count` where no more are left."""
    free = [c for c in range(1, COLOURS) if c not in avoid]
    return [free[i] for i in rng.permutation(len(free))[:count]]


def speckle(rng: Rng, shape: tuple[int, int], palette: Sequence[int], density: float) -> Grid:
    """Ground 0 with single cells of the palette at that density."""
    grid = np.asarray(palette, np.int8)[rng.integers(len(palette), size=shape)]
    grid[rng.random(shape) >= density] = 0
    return grid


def blob(rng: Rng, height: int, width: int, fill: float = 0.6) -> np.ndarray:
    """A connected bool mask (by sides) that touches all four edges: grown cell by cell to about the share `fill`."""
    mask = np.zeros((height, width), bool)
    row, column = int(rng.integers(height)), int(rng.integers(width))
    mask[row, column] = True
    wanted = max(1, round(fill * height * width))
    # A drunkard's walk; it stops early on large masks, which leaves them looser.
    for step in rng.integers(4, size=6 * height * width).tolist():
        if step == 0:
            row = max(0, row - 1)
        elif step == 1:
            row = min(height - 1, row + 1)
        elif step == 2:
            column = max(0, column - 1)
        else:
            column = min(width - 1, column + 1)
        if not mask[row, column]:
            mask[row, column] = True
            wanted -= 1
        if wanted <= 1 and mask[0].any() and mask[-1].any() and mask[:, 0].any() and mask[:, -1].any():
            break
    return mask


def places(
    rng: Rng, shape: tuple[int, int], sizes: Sequence[tuple[int, int]], gap: int = 1
) -> list[tuple[int, int]] | None:
    """Top left corners of boxes of these sizes that keep `gap` cells between them, or None where they did not fit."""
    taken = np.zeros(shape, bool)
    corners = []
    for height, width in sizes:
        if height > shape[0] or width > shape[1]:
            return None
        for _ in range(8):
            top = int(rng.integers(shape[0] - height + 1))
            left = int(rng.integers(shape[1] - width + 1))
            if not taken[max(0, top - gap) : top + height + gap, max(0, left - gap) : left + width + gap].any():
                taken[top : top + height, left : left + width] = True
                corners.append((top, left))
                break
        else:
            return None
    return corners


def counts(grid: Grid) -> np.ndarray:
    """Cells of each colour, int[10]."""
    return np.bincount(grid.ravel(), minlength=COLOURS)


def content(grid: Grid) -> Grid | None:
    """The smallest box that holds all cells off the ground, or None where there are none."""
    rows, columns = np.flatnonzero(grid.any(1)), np.flatnonzero(grid.any(0))
    return grid[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if len(rows) else None


def extreme(values: np.ndarray, most: bool) -> int | None:
    """Index of the only largest (or smallest) value, or None on a tie."""
    best = values.max() if most else values.min()
    found = np.flatnonzero(values == best)
    return int(found[0]) if len(found) == 1 else None


def shifted(grid: Grid, down: int, right: int, fill: int = 0) -> Grid:
    """The grid moved, cells that enter are `fill`."""
    moved = np.full_like(grid, fill)
    height, width = grid.shape
    moved[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)] = grid[
        max(0, -down) : height + min(0, -down), max(0, -right) : width + min(0, -right)
    ]
    return moved


def near(mask: np.ndarray, diagonals: bool) -> np.ndarray:
    """Cells that are in the mask or beside it."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    if diagonals:
        grown[1:, 1:] |= mask[:-1, :-1]
        grown[:-1, :-1] |= mask[1:, 1:]
        grown[1:, :-1] |= mask[:-1, 1:]
        grown[:-1, 1:] |= mask[1:, :-1]
    return grown


def ring(shape: tuple[int, int]) -> np.ndarray:
    """Of each cell its distance to the border, which is 0."""
    height, width = shape
    rows, columns = np.arange(height), np.arange(width)
    return np.minimum(np.minimum(rows, height - 1 - rows)[:, None], np.minimum(columns, width - 1 - columns)[None, :])


def finished(question: Grid, answer: Grid | None) -> Pair | None:
    """The pair, or None where there is no answer, nothing to do, too little to see or too much to hold."""
    if answer is None or not answer.size or max(*question.shape, *answer.shape) > MAX_SIDE:
        return None
    if question.shape == answer.shape and np.array_equal(question, answer):
        return None
    if not question.any() or not answer.any() or question.size < 2:
        return None
    return np.ascontiguousarray(question, np.int8), np.ascontiguousarray(answer, np.int8)


Action = Callable[[Grid], "Grid | None"]
"""What a rule does to a grid on ground 0; None where the grid does not show it. Never changes its argument."""
