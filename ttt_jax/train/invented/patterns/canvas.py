"""Drawing tools of the whole-grid rules, which are written on ground 0 and in one direction: see `guises`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ttt_jax.tasks.grids import COLOURS
from ttt_jax.train.invented.rule import Grid, Pair, Rng, legal

Action = Callable[[Grid], "Grid | None"]
"""What a rule does to a grid on ground 0; None where the grid does not show it. Never changes its argument."""


def speckle(rng: Rng, shape: tuple[int, int], palette: Sequence[int], density: float) -> Grid:
    """Ground 0 with single cells of the palette at that density."""
    grid = np.asarray(palette, np.int8)[rng.integers(len(palette), size=shape)]
    grid[rng.random(shape) >= density] = 0
    return grid


def counts(grid: Grid) -> np.ndarray:
    """Cells of each colour, int[10]."""
    return np.bincount(grid.ravel(), minlength=COLOURS)


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


def finished(question: Grid, answer: Grid | None) -> Pair | None:
    """The pair, or None where there is no answer, nothing to do, too little to see or too much to hold."""
    if answer is None or question.size < 2 or not question.any() or not answer.any():
        return None
    return legal(question, answer)
