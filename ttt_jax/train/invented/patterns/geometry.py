"""Actions that move, cut, repeat or scale whole grids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ttt_jax.tasks.transforms import symmetric
from ttt_jax.train.invented.draws import chance, draw_colours, pick
from ttt_jax.train.invented.masks import box_of
from ttt_jax.train.invented.patterns.canvas import Action, counts, extreme
from ttt_jax.train.invented.rule import Grid, Rng


class Kind(NamedTuple):
    """A kind of action and the grids that it wants.

    Attributes:
      make: draws an action; it is given the colours of the rule.
      most: bound of the sides of its grids.
      reads: it names a colour of the rule, so that grids must be of these colours.
    """

    make: Callable[[Rng, Sequence[int]], Action]
    most: int = 30
    reads: bool = False


def turn(rng: Rng, palette: Sequence[int]) -> Action:
    symmetry = int(rng.integers(1, 8))
    return lambda grid: symmetric(grid, symmetry)


def roll(rng: Rng, palette: Sequence[int]) -> Action:
    shift = pick(rng, [(1, 0), (0, 1), (1, 1), (2, 0), (0, -2), (-1, 2), (1, -1)])
    return lambda grid: np.roll(grid, shift, (0, 1))


def mosaic(rng: Rng, palette: Sequence[int]) -> Action:
    """Copies side by side, each turned in its own way, some of them left out or recoloured."""
    rows, columns = pick(rng, [(1, 2), (2, 1), (2, 2), (2, 2), (1, 3), (3, 1), (3, 3), (2, 3)])
    used = pick(rng, [(0, 3), (0, 2), (0, 5), (0, 2, 3, 5), (0, 3, 5)])
    ops = rng.choice(used, (rows, columns))
    if chance(rng, 0.3):
        ops = np.asarray(used)[np.add.outer(np.arange(rows), np.arange(columns)) % len(used)]
    ops[0, 0] = pick(rng, (0, ops[0, 0]))
    absent = rng.random((rows, columns)) < (0.25 if rows * columns > 2 and chance(rng, 0.4) else 0.0)
    shade = int(pick(rng, draw_colours(rng, 9)))
    shaded = rng.random((rows, columns)) < (0.4 if chance(rng, 0.2) else 0.0)
    gap = int(chance(rng, 0.15))

    def tiled(grid: Grid) -> Grid:
        height, width = grid.shape[0] + gap, grid.shape[1] + gap
        out = np.zeros((rows * height - gap, columns * width - gap), np.int8)
        for i in range(rows):
            for j in range(columns):
                if not absent[i, j]:
                    copy = symmetric(grid, int(ops[i, j]))
                    copy = np.where(copy != 0, shade, 0) if shaded[i, j] else copy
                    out[i * height : i * height + grid.shape[0], j * width : j * width + grid.shape[1]] = copy
        return out

    return tiled


def part(rng: Rng, palette: Sequence[int]) -> Action:
    """A half, a third or a quarter."""
    pieces_down, pieces_right = pick(rng, [(2, 1), (1, 2), (2, 2), (3, 1), (1, 3), (3, 3)])
    i, j = int(rng.integers(pieces_down)), int(rng.integers(pieces_right))

    def cut(grid: Grid) -> Grid | None:
        height, width = grid.shape[0] // pieces_down, grid.shape[1] // pieces_right
        if grid.shape[0] % pieces_down or grid.shape[1] % pieces_right:
            return None
        return grid[i * height : (i + 1) * height, j * width : (j + 1) * width]

    return cut


def crop(rng: Rng, palette: Sequence[int]) -> Action:
    """The box around everything, or around the commonest or rarest colour, with or without the rest."""
    which, cleared = pick(rng, ["all", "most", "least"]), chance(rng, 0.5)
    margin = int(chance(rng, 0.2))

    def cropped(grid: Grid) -> Grid | None:
        if which == "all":
            found = box_of(grid)
            return None if found is None else np.pad(grid[found], margin)
        numbers = counts(grid)[1:]
        present = np.flatnonzero(numbers)
        best = extreme(numbers[present], which == "most") if len(present) > 1 else None
        if best is None:
            return None
        mask = grid == present[best] + 1
        return (np.where(mask, grid, 0) if cleared else grid)[box_of(mask)]

    return cropped


def crop_colour(rng: Rng, palette: Sequence[int]) -> Action:
    """The box around one colour of the rule, with the rest or with that colour taken away."""
    colour, kept = palette[0], chance(rng, 0.5)

    def cropped(grid: Grid) -> Grid | None:
        found = box_of(grid == colour)
        if found is None:
            return None
        return grid[found] if kept else np.where(grid[found] == colour, 0, grid[found])

    return cropped


def enlarge(rng: Rng, palette: Sequence[int]) -> Action:
    """By a fixed factor, or by the number of colours or of cells."""
    by = pick(rng, ["fixed", "fixed", "colours", "cells", "rows"])
    factors = pick(rng, [(2, 2), (3, 3), (2, 1), (1, 2), (1, 3), (2, 3), (4, 4)])

    def enlarged(grid: Grid) -> Grid | None:
        if by == "fixed":
            down, right = factors
        else:
            down = right = {
                "colours": int((counts(grid)[1:] > 0).sum()),
                "cells": np.count_nonzero(grid),
                "rows": int(grid.any(1).sum()),
            }[by]
        if not 1 <= down * grid.shape[0] <= 30 or not 1 <= right * grid.shape[1] <= 30:
            return None
        return np.repeat(np.repeat(grid, down, 0), right, 1)

    return enlarged


def fractal(rng: Rng, palette: Sequence[int]) -> Action:
    """Each cell becomes a copy of the grid where the cell is on, off, or of the commonest or rarest colour."""
    where = pick(rng, ["on", "on", "off", "most", "least"])
    what = pick(rng, ["grid", "grid", "inverse", "cell", "turned"])
    symmetry = pick(rng, [2, 3, 5])

    def replaced(grid: Grid) -> Grid | None:
        if grid.size > 25:
            return None
        if where in ("most", "least"):
            numbers = counts(grid)
            present = np.flatnonzero(numbers)
            best = extreme(numbers[present], where == "most")
            if best is None:
                return None
            mask = grid == present[best]
        else:
            mask = (grid != 0) == (where == "on")
        inner = grid
        if what == "inverse":
            shades = np.flatnonzero(counts(grid)[1:])
            if len(shades) != 1:
                return None
            inner = np.where(grid == 0, shades[0] + 1, 0)
        elif what == "turned":
            inner = symmetric(grid, symmetry)
        if what == "cell" and where == "on":
            return np.kron(grid, inner != 0)
        return np.kron(mask, inner)

    return replaced


def smaller(rng: Rng, palette: Sequence[int]) -> Action:
    """Every other row and column, or the commonest colour of each block."""
    step, start = pick(rng, [(2, 2), (2, 1), (1, 2), (3, 3)]), pick(rng, [0, 1])

    def thinned(grid: Grid) -> Grid | None:
        out = grid[(start if step[0] > 1 else 0) :: step[0], (start if step[1] > 1 else 0) :: step[1]]
        return out if out.size > 1 else None

    return thinned


def framed(rng: Rng, palette: Sequence[int]) -> Action:
    """A border of one or two colours or of the grid's own edge, on all sides or on two."""
    first, second = draw_colours(rng, 2)
    style = pick(rng, ["plain", "plain", "edge", "double", "mirror", "corners"])
    sides = pick(rng, [((1, 1), (1, 1)), ((1, 1), (1, 1)), ((1, 1), (0, 0)), ((1, 0), (0, 1))])

    def bordered(grid: Grid) -> Grid:
        if style == "edge":
            return np.pad(grid, sides, mode="edge")
        if style == "mirror":
            return np.pad(grid, sides, mode="symmetric")
        out = np.pad(grid, sides, constant_values=first)
        if style == "double":
            out = np.pad(out, 1, constant_values=second)
        if style == "corners":
            out[[0, 0, -1, -1], [0, -1, 0, -1]] = second
        return out

    return bordered


def peeled(rng: Rng, palette: Sequence[int]) -> Action:
    """Without its outermost ring, or that ring alone, or only its corners."""
    kind = pick(rng, ["inside", "ring", "corners", "cross"])

    def left(grid: Grid) -> Grid | None:
        if min(grid.shape) < 3:
            return None
        if kind == "inside":
            return grid[1:-1, 1:-1]
        if kind == "corners":
            return grid[np.ix_([0, -1], [0, -1])]
        out = grid.copy()
        if kind == "ring":
            out[1:-1, 1:-1] = 0
        else:
            if not (grid.shape[0] % 2 and grid.shape[1] % 2):
                return None
            keep = np.zeros(grid.shape, bool)
            keep[grid.shape[0] // 2] = keep[:, grid.shape[1] // 2] = True
            out[~keep] = 0
        return out

    return left


def spaced(rng: Rng, palette: Sequence[int]) -> Action:
    """Lines of ground or of a colour between the rows, the columns or both."""
    shade = pick(rng, [0, 0, draw_colours(rng, 1)[0]])
    down, right = pick(rng, [(2, 2), (2, 1), (1, 2), (3, 3)])
    outer = chance(rng, 0.3)

    def apart(grid: Grid) -> Grid:
        out = np.full((grid.shape[0] * down, grid.shape[1] * right), shade, np.int8)
        out[::down, ::right] = grid
        out = out[: out.shape[0] - down + 1, : out.shape[1] - right + 1]
        return np.pad(out, 1, constant_values=shade) if outer else out

    return apart


def compressed(rng: Rng, palette: Sequence[int]) -> Action:
    """Without rows and columns that repeat their neighbour, that are empty, or that came before."""
    kind, both = pick(rng, ["repeats", "empty", "full"]), chance(rng, 0.7)

    def squeeze(grid: Grid) -> Grid:
        if kind == "empty":
            keep = grid.any(1)
        elif kind == "full":
            keep = ~((grid == grid[:, :1]).all(1) & grid.any(1))
        else:
            keep = np.append(True, (grid[1:] != grid[:-1]).any(1))
        return grid[keep]

    def squeezed(grid: Grid) -> Grid | None:
        out = squeeze(grid)
        if both and out.size:
            out = squeeze(out.T).T
        return out if out.size > 1 else None

    return squeezed


def stacked(rng: Rng, palette: Sequence[int]) -> Action:
    """The grid over its own copy: moved or mirrored, the copy in front, behind, or where both are."""
    moved = pick(rng, [(1, 0), (1, 1), (0, 2)]) if chance(rng, 0.3) else None
    symmetry = pick(rng, [2, 3, 5])
    how, shade = pick(rng, ["front", "behind", "both", "either", "one"]), draw_colours(rng, 1)[0]

    def overlaid(grid: Grid) -> Grid:
        copy = np.roll(grid, moved, (0, 1)) if moved else symmetric(grid, symmetry)
        if how == "front":
            return np.where(copy != 0, copy, grid)
        if how == "behind":
            return np.where(grid != 0, grid, copy)
        on, other = grid != 0, copy != 0
        mask = {"both": on & other, "either": on | other, "one": on ^ other}[how]
        return np.where(mask, shade, 0)

    return overlaid


KINDS = (
    Kind(turn), Kind(roll), Kind(mosaic, 10), Kind(mosaic, 10), Kind(mosaic, 10), Kind(part), Kind(crop), Kind(crop),
    Kind(crop_colour, reads=True), Kind(enlarge, 10), Kind(enlarge, 6), Kind(fractal, 4), Kind(fractal, 5),
    Kind(smaller), Kind(framed, 26), Kind(peeled), Kind(spaced, 12), Kind(compressed), Kind(stacked), Kind(stacked),
)  # fmt: skip
