"""Actions whose answer is a small account of the grid: counts, ranks, bars, single cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ttt_jax.tasks.grids import COLOURS
from ttt_jax.train.invented.draws import chance, draw_colours, pick
from ttt_jax.train.invented.patterns.canvas import Action, counts, extreme
from ttt_jax.train.invented.patterns.geometry import Kind
from ttt_jax.train.invented.rule import Grid, Rng


def ranked(grid: Grid, least: int = 2) -> tuple[list[int], list[int]] | None:
    """Colours off the ground from the commonest to the rarest and their counts; None on ties or too few."""
    numbers = counts(grid)
    numbers[0] = 0
    order = [int(c) for c in np.argsort(-numbers, kind="stable") if numbers[c]]
    values = [int(numbers[c]) for c in order]
    return (order, values) if len(order) >= least and len(set(values)) == len(values) else None


def commonest(rng: Rng, palette: Sequence[int]) -> Action:
    """The commonest (rarest) colour as a block of fixed shape, or of the shape of the grid."""
    most, shape = chance(rng, 0.5), pick(rng, [(1, 1), (1, 1), (2, 2), (3, 3), (1, 3), None])

    def told(grid: Grid) -> Grid | None:
        found = ranked(grid)
        return None if found is None else np.full(shape or grid.shape, found[0][0 if most else -1], np.int8)

    return told


def ranking(rng: Rng, palette: Sequence[int]) -> Action:
    """The colours from commonest to rarest in a column, each as a bar of `width` cells."""
    rising, width = chance(rng, 0.4), pick(rng, [1, 1, 2, 3])

    def told(grid: Grid) -> Grid | None:
        found = ranked(grid)
        if found is None:
            return None
        order = found[0][::-1] if rising else found[0]
        return np.repeat(np.asarray(order, np.int8)[:, None], width, 1)

    return told


def bars(rng: Rng, palette: Sequence[int]) -> Action:
    """A bar for each colour as long as its count: by rank, or in the rule's order of colours."""
    by_rank, rising = chance(rng, 0.6), chance(rng, 0.4)
    width = pick(rng, [None, None, 10])

    def told(grid: Grid) -> Grid | None:
        if by_rank:
            found = ranked(grid)
            if found is None:
                return None
            order, values = found
        else:
            numbers = counts(grid)
            order, values = list(palette), [int(numbers[c]) for c in palette]
        if rising:
            order, values = order[::-1], values[::-1]
        longest = width or max(values)
        if not 0 < max(values) <= longest <= 30:
            return None
        out = np.zeros((len(order), longest), np.int8)
        for row, (colour, value) in enumerate(zip(order, values, strict=True)):
            out[row, :value] = colour
        return out

    return told


def tally(rng: Rng, palette: Sequence[int]) -> Action:
    """The number of cells of one colour (or of all) as cells of a strip or of a block filled in reading order."""
    shape = pick(rng, [(1, 9), (3, 3), (2, 5), (1, 5), (4, 4), (5, 1)])
    named, shade = chance(rng, 0.6), pick(rng, [palette[0], draw_colours(rng, 1)[0]])
    snake = chance(rng, 0.25)

    def told(grid: Grid) -> Grid | None:
        number = int(counts(grid)[palette[0]] if named else np.count_nonzero(grid))
        if not 0 < number <= shape[0] * shape[1]:
            return None
        out = np.zeros(shape, np.int8)
        out.ravel()[:number] = shade
        if snake:
            out[1::2] = out[1::2, ::-1]
        return out

    return told


def diagonal_tally(rng: Rng, palette: Sequence[int]) -> Action:
    """A square as large as the count, its diagonal or border in a colour."""
    kind, shade = pick(rng, ["diagonal", "ring", "full", "stairs"]), pick(rng, [palette[0], draw_colours(rng, 1)[0]])

    def told(grid: Grid) -> Grid | None:
        number = int(counts(grid)[palette[0]])
        if not 1 < number <= 15:
            return None
        rows, columns = np.indices((number, number))
        mask = {
            "diagonal": rows == columns,
            "ring": (rows % (number - 1) == 0) | (columns % (number - 1) == 0),
            "full": rows >= 0,
            "stairs": rows >= columns,
        }[kind]
        return np.where(mask, shade, 0)

    return told


def compare(rng: Rng, palette: Sequence[int]) -> Action:
    """One cell (or a small sign) that says which of two things holds."""
    test = pick(rng, ["wide", "mirror", "top", "more", "even"])
    yes, no = draw_colours(rng, 2, palette)
    shape = pick(rng, [(1, 1), (2, 2), (1, 2)])

    def told(grid: Grid) -> Grid | None:
        height, width = grid.shape
        if test == "wide":
            answer = None if height == width else width > height
        elif test == "mirror":
            answer = np.array_equal(grid, grid[:, ::-1])
        elif test == "top":
            up, down = np.count_nonzero(grid[: height // 2]), np.count_nonzero(grid[(height + 1) // 2 :])
            answer = None if up == down else up > down
        elif test == "more":
            numbers = counts(grid)
            first, second = numbers[palette[0]], numbers[palette[-1]]
            answer = None if first == second else first > second
        else:
            answer = np.count_nonzero(grid) % 2 == 0
        return None if answer is None else np.full(shape, yes if answer else no, np.int8)

    return told


def margin(rng: Rng, palette: Sequence[int]) -> Action:
    """One column: of each row its commonest colour, its count as presence, its first colour, or one cell's colour."""
    kind = pick(rng, ["first", "any", "diagonal", "full", "only"])
    shade = draw_colours(rng, 1)[0]

    def told(grid: Grid) -> Grid | None:
        if kind == "diagonal":
            return np.diagonal(grid)[None, :]
        if kind == "first":
            return np.take_along_axis(grid, (grid != 0).argmax(1)[:, None], 1)
        chosen = {
            "any": grid.any(1),
            "full": grid.all(1),
            "only": np.count_nonzero(grid, 1) == 1,
        }[kind]
        return np.where(chosen, shade, 0)[:, None]

    return told


def profile(rng: Rng, palette: Sequence[int]) -> Action:
    """A bar for each row as long as its number of cells (of all colours, or of one)."""
    shade, named = draw_colours(rng, 1)[0], chance(rng, 0.3)

    def told(grid: Grid) -> Grid:
        number = np.count_nonzero(grid == palette[0] if named else grid, 1)
        return np.where(np.arange(grid.shape[1])[None, :] < number[:, None], shade, 0)

    return told


def only_row(rng: Rng, palette: Sequence[int]) -> Action:
    """The row with the most (fewest) cells, or the one of which there is no second."""
    kind = pick(rng, ["most", "fewest", "unlike"])

    def told(grid: Grid) -> Grid | None:
        if kind == "unlike":
            same = (grid[:, None, :] == grid[None, :, :]).all(2).sum(1)
            alone = np.flatnonzero(same == 1)
            return grid[alone[0]][None, :] if len(alone) == 1 and len(grid) > 2 else None
        best = extreme(np.count_nonzero(grid, 1), kind == "most")
        return None if best is None else grid[best][None, :]

    return told


def blocks(rng: Rng, palette: Sequence[int]) -> Action:
    """A small grid with one cell for each block of the large one: on where the block holds anything, or is full."""
    down, right = pick(rng, [(2, 2), (3, 3), (2, 3)])
    kind, shade = pick(rng, ["any", "full", "most"]), draw_colours(rng, 1)[0]

    def told(grid: Grid) -> Grid | None:
        height, width = grid.shape
        if height % down or width % right or height == down or width == right:
            return None
        parts = grid.reshape(down, height // down, right, width // right)
        number = np.count_nonzero(parts, (1, 3))
        if kind == "any":
            return np.where(number > 0, shade, 0)
        if kind == "full":
            return np.where(number == parts.shape[1] * parts.shape[3], shade, 0)
        best = extreme(number.ravel(), True)
        return None if best is None else np.where(np.arange(number.size) == best, shade, 0).reshape(down, right)

    return told


def distinct(rng: Rng, palette: Sequence[int]) -> Action:
    """The colours of the grid in reading order of their first cell, in one row."""

    def told(grid: Grid) -> Grid | None:
        seen = [c for c in dict.fromkeys(grid.ravel().tolist()) if c]
        return np.asarray([seen], np.int8) if 1 < len(seen) < COLOURS else None

    return told


KINDS = (
    Kind(commonest, 12), Kind(ranking, 12), Kind(bars, 9, reads=True), Kind(tally, 6, reads=True),
    Kind(diagonal_tally, 7, reads=True), Kind(compare, 9, reads=True), Kind(margin, 14), Kind(profile, 12),
    Kind(only_row, 10), Kind(blocks, 14), Kind(distinct, 10),
)  # fmt: skip
