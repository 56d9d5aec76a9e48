"""Actions on rows one by one, written for rows that run to the right: `guised` turns them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ttt_jax.tasks.grids import COLOURS
from ttt_jax.train.invented.draws import chance, draw_colours, pick
from ttt_jax.train.invented.patterns.canvas import Action
from ttt_jax.train.invented.patterns.geometry import Kind
from ttt_jax.train.invented.rule import Grid, Rng


def filled_forward(grid: Grid) -> Grid:
    """Each cell of the ground takes the last colour to its left."""
    places = np.where(grid != 0, np.arange(grid.shape[1])[None, :], 0)
    return np.take_along_axis(grid, np.maximum.accumulate(places, 1), 1)


def sorted_rows(rng: Rng, palette: Sequence[int]) -> Action:
    """Rows in the order of how many cells they hold (or how many colours, or where the first cell is)."""
    key, falling = pick(rng, ["cells", "cells", "first", "colours"]), chance(rng, 0.5)

    def ordered(grid: Grid) -> Grid | None:
        if key == "cells":
            values = np.count_nonzero(grid, 1)
        elif key == "first":
            values = np.where(grid.any(1), (grid != 0).argmax(1), grid.shape[1])
        else:
            values = np.asarray([len(set(row)) for row in grid.tolist()])
        # Rows that tie must be alike, or their order would be arbitrary.
        order = np.argsort(-values if falling else values, kind="stable")
        out = grid[order]
        ties = np.diff(values[order]) == 0
        return None if (ties & (out[1:] != out[:-1]).any(1)).any() else out

    return ordered


def settled(rng: Rng, palette: Sequence[int]) -> Action:
    """Cells of each row fall to its end, in their order, or sorted by the rule's order of colours."""
    by_colour = chance(rng, 0.4)
    rank = np.zeros(COLOURS, np.int8)
    rank[list(palette)] = 1 + np.arange(len(palette))

    def fallen(grid: Grid) -> Grid:
        order = np.argsort(rank[grid] if by_colour else grid != 0, axis=1, kind="stable")
        return np.take_along_axis(grid, order, 1)

    return fallen


def sheared(rng: Rng, palette: Sequence[int]) -> Action:
    """Row i is moved by i (or by 0, 1, 0, 1), round the end or out of the grid."""
    step, period, wraps = pick(rng, [1, 1, 2]), pick(rng, [30, 2, 3]), chance(rng, 0.6)

    def moved(grid: Grid) -> Grid:
        width = grid.shape[1]
        by = (np.arange(grid.shape[0]) % period * step)[:, None]
        source = np.arange(width)[None, :] - by
        out = np.take_along_axis(grid, source % width, 1)
        return out if wraps else np.where(source < 0, 0, out)

    return moved


def trails(rng: Rng, palette: Sequence[int]) -> Action:
    """Every cell shoots to the right until another one or the edge, in its own or in a drawn colour."""
    shade = pick(rng, [0, 0, draw_colours(rng, 1, palette)[0]])
    mirrored, parity = chance(rng, 0.25), chance(rng, 0.2)

    def shot(grid: Grid) -> Grid | None:
        if np.count_nonzero(grid) > grid.size // 3:
            return None
        out = filled_forward(grid)
        if mirrored:
            out = np.where(out == 0, filled_forward(grid[:, ::-1])[:, ::-1], out)
        if shade:
            out = np.where((grid == 0) & (out != 0), shade, out)
        if parity:
            out = np.where((grid == 0) & ((np.arange(grid.shape[1]) % 2 == 1)[None, :]), 0, out)
        return out

    return shot


def connected(rng: Rng, palette: Sequence[int]) -> Action:
    """Ground between two cells of one row is painted: cells of the same colour, or any two."""
    shade = pick(rng, [0, draw_colours(rng, 1, palette)[0]])
    columns_too, shade = chance(rng, 0.4), shade

    def between(grid: Grid) -> Grid:
        before, after = filled_forward(grid), filled_forward(grid[:, ::-1])[:, ::-1]
        hit = (grid == 0) & (before != 0) & (before == after)
        return np.where(hit, shade or before, 0)

    def joined(grid: Grid) -> Grid | None:
        if np.count_nonzero(grid) > grid.size // 2:
            return None
        out = between(grid)
        if columns_too:
            down = between(grid.T).T
            out = np.where(out != 0, out, down)
        return np.where(grid == 0, out, grid)

    return joined


def by_count(rng: Rng, palette: Sequence[int]) -> Action:
    """Rows with most, fewest or a given number of cells are painted, cleared or kept alone."""
    test, what = (
        pick(rng, ["most", "fewest", "one", "two", "even", "full"]),
        pick(rng, ["paint", "clear", "alone", "fill"]),
    )
    shade = draw_colours(rng, 1)[0]

    def changed(grid: Grid) -> Grid | None:
        number = np.count_nonzero(grid, 1)
        if test in ("most", "fewest"):
            live = number[number > 0]
            if not len(live):
                return None
            chosen = number == (live.max() if test == "most" else live.min())
            if chosen.sum() != 1:
                return None
        else:
            chosen = {
                "one": number == 1,
                "two": number == 2,
                "even": (number % 2 == 0) & (number > 0),
                "full": number == grid.shape[1],
            }[test]
        chosen = chosen[:, None]
        if what == "paint":
            return np.where(chosen & (grid != 0), shade, grid)
        if what == "clear":
            return np.where(chosen, 0, grid)
        if what == "alone":
            return np.where(chosen, grid, 0)
        return np.where(chosen & (grid == 0), shade, grid)

    return changed


def dominated(rng: Rng, palette: Sequence[int]) -> Action:
    """Each row takes its commonest colour, or that of its first or last cell."""
    by, lit_only = pick(rng, ["most", "first", "last"]), chance(rng, 0.5)

    def painted(grid: Grid) -> Grid | None:
        if by == "most":
            table = (grid[:, :, None] == np.arange(COLOURS)).sum(1)
            table[:, 0] = 0
            best = np.sort(table, 1)
            if (best[:, -1] == best[:, -2])[grid.any(1)].any():
                return None
            shade = table.argmax(1)
        else:
            flipped = grid if by == "first" else grid[:, ::-1]
            shade = np.take_along_axis(flipped, (flipped != 0).argmax(1)[:, None], 1)[:, 0]
        return np.where(grid != 0, shade[:, None], 0) if lit_only else np.repeat(shade[:, None], grid.shape[1], 1)

    return painted


def alternating(rng: Rng, palette: Sequence[int]) -> Action:
    """Of the cells of each row every second (or third), counted from the left, is painted."""
    period, shade, first = (
        pick(rng, [2, 2, 3]),
        pick(rng, [0, draw_colours(rng, 1)[0], draw_colours(rng, 1)[0]]),
        int(rng.integers(2)),
    )

    def painted(grid: Grid) -> Grid:
        order = np.cumsum(grid != 0, 1)
        return np.where((grid != 0) & (order % period == first), shade, grid)

    return painted


def ends(rng: Rng, palette: Sequence[int]) -> Action:
    """The first, the last or the middle cell of each row is painted, or stays alone."""
    which, shade, alone = pick(rng, ["first", "last", "both"]), draw_colours(rng, 1)[0], chance(rng, 0.4)

    def painted(grid: Grid) -> Grid:
        lit = grid != 0
        first = lit & (np.cumsum(lit, 1) == 1)
        last = lit & (np.cumsum(lit[:, ::-1], 1)[:, ::-1] == 1)
        chosen = {"first": first, "last": last, "both": first | last}[which]
        return np.where(chosen, grid, 0) if alone else np.where(chosen, shade, grid)

    return painted


def flipped_rows(rng: Rng, palette: Sequence[int]) -> Action:
    """Every second row is turned round, or rows change places in twos."""
    kind, first = pick(rng, ["flip", "swap"]), int(rng.integers(2))

    def turned(grid: Grid) -> Grid:
        out = grid.copy()
        if kind == "flip":
            out[first::2] = grid[first::2, ::-1]
        else:
            pairs = grid.shape[0] // 2
            out[0 : 2 * pairs : 2], out[1 : 2 * pairs : 2] = grid[1 : 2 * pairs : 2], grid[0 : 2 * pairs : 2]
        return out

    return turned


def accumulated(rng: Rng, palette: Sequence[int]) -> Action:
    """Each row shows all cells of the rows above it; or where it differs from the row above."""
    kind, shade = pick(rng, ["all", "differs", "same"]), draw_colours(rng, 1)[0]

    def run(grid: Grid) -> Grid:
        if kind == "all":
            return filled_forward(grid.T).T
        above = np.vstack([np.zeros_like(grid[:1]), grid[:-1]])
        hit = (grid != above) if kind == "differs" else ((grid == above) & (grid != 0))
        return np.where(hit, shade, 0)

    return run


KINDS = (
    Kind(sorted_rows, 14), Kind(settled, reads=True), Kind(settled, reads=True), Kind(sheared), Kind(trails),
    Kind(trails), Kind(connected), Kind(connected), Kind(by_count), Kind(by_count), Kind(dominated), Kind(alternating),
    Kind(ends), Kind(flipped_rows), Kind(accumulated),
)  # fmt: skip
