"""Small figures around a middle cell, and how they are stamped into a grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ttt_jax.train.invented.draws import pick
from ttt_jax.train.invented.rule import Grid, Rng


def draw_stencil(rng: Rng, reach: int, shades: Sequence[int]) -> Grid:
    """A figure int8[2 reach + 1, 2 reach + 1] on 0, its middle 0: mostly symmetric, of the first one or two shades."""
    rows, columns = np.abs(np.indices((2 * reach + 1, 2 * reach + 1)) - reach)
    far = np.maximum(rows, columns)
    form = pick(rng, ("plus", "cross", "ring", "diamond", "star", "corners", "free", "free", "one-sided"))
    match form:
        case "plus":
            mask = (rows == 0) | (columns == 0)
        case "cross":
            mask = rows == columns
        case "ring":
            mask = far == reach
        case "diamond":
            mask = rows + columns == reach
        case "star":
            mask = (rows == 0) | (columns == 0) | (rows == columns)
        case "corners":
            mask = (rows == reach) & (columns == reach)
        case _:
            mask = rng.random(rows.shape) < 0.45
            if form == "one-sided":
                mask[: reach + 1] = False
            elif rng.random() < 0.6:
                mask |= mask[:, ::-1]
    stencil = np.where(mask, np.int8(shades[0]), np.int8(0))
    if len(shades) > 1:
        second = pick(rng, (far == reach, rows == columns, (rows + columns) % 2 == 0))
        stencil[mask & second] = shades[1]
    stencil[reach, reach] = 0
    if not stencil.any():
        stencil[0, reach] = shades[0]
    return stencil


def stamp(grid: Grid, stencil: Grid, row: int, column: int) -> None:
    """Draws the stencil's coloured cells around a cell, as far as they lie in the grid."""
    reach = len(stencil) // 2
    top, left = row - reach, column - reach
    view = grid[max(0, top) : top + len(stencil), max(0, left) : left + len(stencil)]
    part = stencil[max(0, -top) :, max(0, -left) :][: view.shape[0], : view.shape[1]]
    view[part > 0] = part[part > 0]
