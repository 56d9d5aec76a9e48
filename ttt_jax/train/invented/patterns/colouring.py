"""Actions that recolour cells where they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ttt_jax.tasks.grids import COLOURS
from ttt_jax.train.invented.draws import chance, draw_colours, pick
from ttt_jax.train.invented.masks import AROUND, ORTHOGONAL, border_distance, dilated, neighbours
from ttt_jax.train.invented.patterns.canvas import Action, counts, extreme
from ttt_jax.train.invented.patterns.geometry import Kind
from ttt_jax.train.invented.rule import Grid, Rng


def swap(rng: Rng, palette: Sequence[int]) -> Action:
    """A fixed map of the rule's colours: a cycle of them, or each to another."""
    table = np.arange(COLOURS, dtype=np.int8)
    used = list(palette)
    if chance(rng, 0.5):
        table[used] = np.roll(used, 1) if len(used) > 1 else draw_colours(rng, 1, used)
    else:
        changed = used[: int(rng.integers(1, len(used) + 1))]
        table[changed] = draw_colours(rng, len(changed), used)[: len(changed)] or 0
    return lambda grid: table[grid]


def keep(rng: Rng, palette: Sequence[int]) -> Action:
    """Only the rule's first colour stays, or only that one goes."""
    stays, shade = chance(rng, 0.5), pick(rng, [0, 0, draw_colours(rng, 1, palette)[0]])
    return lambda grid: np.where((grid == palette[0]) == stays, grid, np.where(grid != 0, shade, 0))


def extremes(rng: Rng, palette: Sequence[int]) -> Action:
    """The commonest or rarest colour stays alone, goes, or is replaced; or the two change places."""
    most, what, shade = chance(rng, 0.5), pick(rng, ["alone", "gone", "shade", "swap", "fill"]), draw_colours(rng, 1)[0]

    def changed(grid: Grid) -> Grid | None:
        numbers = counts(grid)[1:]
        present = np.flatnonzero(numbers)
        if len(present) < 2:
            return None
        first, second = extreme(numbers[present], most), extreme(numbers[present], not most)
        if first is None or (second is None and what in ("swap", "fill")):
            return None
        chosen = int(present[first]) + 1
        if what == "alone":
            return np.where(grid == chosen, grid, 0)
        if what == "gone":
            return np.where(grid == chosen, 0, grid)
        if what == "shade":
            return np.where(grid == chosen, shade, grid)
        if what == "fill":
            return np.where(grid == 0, chosen, grid)
        other = int(present[second]) + 1 if second is not None else chosen
        return np.where(grid == chosen, other, np.where(grid == other, chosen, grid))

    return changed


def inverted(rng: Rng, palette: Sequence[int]) -> Action:
    """Cells off become on and the other way round, in the grid's own colour or in one of the rule."""
    shade = pick(rng, [0, 0, draw_colours(rng, 1)[0]])

    def inverse(grid: Grid) -> Grid | None:
        present = np.flatnonzero(counts(grid)[1:])
        if not shade and len(present) != 1:
            return None
        return np.where(grid == 0, shade or present[0] + 1, 0)

    return inverse


def by_place(rng: Rng, palette: Sequence[int]) -> Action:
    """Coloured cells (or those of the ground) take a colour from their row, column, diagonal, ring or chequer."""
    period = int(rng.integers(2, 4))
    shades = np.asarray(draw_colours(rng, period), np.int8)
    if chance(rng, 0.4):
        shades[0] = 0
    of = pick(rng, ["row", "column", "diagonal", "chequer", "ring", "half", "quarter", "row of last"])
    ground = chance(rng, 0.2)

    def place(shape: tuple[int, int]) -> np.ndarray:
        rows, columns = np.arange(shape[0])[:, None], np.arange(shape[1])[None, :]
        match of:
            case "row":
                return rows + 0 * columns
            case "row of last":
                return rows[::-1] + 0 * columns
            case "column":
                return columns + 0 * rows
            case "diagonal":
                return rows + columns
            case "chequer":
                return (rows + columns) % 2
            case "ring":
                return border_distance(shape)
            case "half":
                return (columns >= shape[1] / 2) + 0 * rows
        return (columns >= shape[1] / 2) + 1 * (rows >= shape[0] / 2)

    def recoloured(grid: Grid) -> Grid:
        wanted = shades[place(grid.shape) % period]
        keep = shades[0] == 0
        wanted = np.where(wanted == 0, grid, wanted) if keep else wanted
        return np.where((grid == 0) == ground, wanted, grid)

    return recoloured


def by_neighbours(rng: Rng, palette: Sequence[int]) -> Action:
    """Coloured cells take a colour, or vanish, by how many of their neighbours are coloured."""
    diagonals, shade = chance(rng, 0.4), pick(rng, [0, draw_colours(rng, 1)[0], draw_colours(rng, 1)[0]])
    test = pick(rng, ["alone", "social", "inner", "one", "two", "ground with two", "ground with three"])

    def recoloured(grid: Grid) -> Grid:
        lit = grid != 0
        number = neighbours(lit, AROUND if diagonals else ORTHOGONAL)
        chosen = {
            "alone": lit & (number == 0),
            "social": lit & (number > 0),
            "inner": lit & (number == (8 if diagonals else 4)),
            "one": lit & (number == 1),
            "two": lit & (number == 2),
            "ground with two": ~lit & (number == 2),
            "ground with three": ~lit & (number >= 3),
        }[test]
        wanted = (shade or 5) if test.startswith("ground") else shade
        return np.where(chosen, wanted, grid)

    return recoloured


def outlined(rng: Rng, palette: Sequence[int]) -> Action:
    """Ground beside coloured cells (or beside those of one colour) is painted; twice for a double rim."""
    diagonals, rims = chance(rng, 0.5), draw_colours(rng, pick(rng, [1, 1, 2]), palette)
    named = palette[0] if chance(rng, 0.4) else None

    def rimmed(grid: Grid) -> Grid | None:
        mask = grid != 0 if named is None else grid == named
        out = grid.copy()
        for shade in rims:
            grown = dilated(mask, diagonals)
            out[grown & (out == 0)] = shade
            mask = grown
        return out if grid.size > 2 * np.count_nonzero(grid) else None

    return rimmed


def edges(rng: Rng, palette: Sequence[int]) -> Action:
    """Cells at the border of the grid, or the border of what is coloured, in a colour."""
    shade, inner = draw_colours(rng, 1)[0], chance(rng, 0.5)
    own = chance(rng, 0.5)

    def drawn(grid: Grid) -> Grid | None:
        if own:
            full = (neighbours(grid != 0) == 4) & (grid != 0)
            if not full.any():
                return None
            return np.where(full if inner else (grid != 0) & ~full, shade, grid)
        mask = border_distance(grid.shape) == 0
        return np.where(mask & ((grid == 0) if inner else (grid != 0)), shade, grid)

    return drawn


def lone(rng: Rng, palette: Sequence[int]) -> Action:
    """Rows and columns (or one of the two) without any coloured cell are painted, or those that are full."""
    shade, which = draw_colours(rng, 1)[0], pick(rng, ["rows", "columns", "both", "either"])

    def painted(grid: Grid) -> Grid:
        rows, columns = ~grid.any(1, keepdims=True), ~grid.any(0, keepdims=True)
        free = {
            "rows": rows & (grid == 0),
            "columns": columns & (grid == 0),
            "both": rows & columns,
            "either": (rows | columns) & (grid == 0),
        }[which]
        return np.where(free, shade, grid)

    return painted


def crossings(rng: Rng, palette: Sequence[int]) -> Action:
    """Where rows and columns that hold a coloured cell meet."""
    shade, how = draw_colours(rng, 1, palette)[0], pick(rng, ["meet", "rows", "both"])

    def painted(grid: Grid) -> Grid | None:
        if np.count_nonzero(grid) > grid.size // 4:
            return None
        rows, columns = grid.any(1, keepdims=True), grid.any(0, keepdims=True)
        mask = {"meet": rows & columns, "rows": rows | np.zeros_like(columns), "both": rows | columns}[how]
        return np.where(mask & (grid == 0), shade, grid)

    return painted


KINDS = (
    Kind(swap, reads=True), Kind(swap, reads=True), Kind(keep, reads=True), Kind(extremes), Kind(extremes),
    Kind(inverted), Kind(by_place), Kind(by_place), Kind(by_place), Kind(by_neighbours), Kind(by_neighbours),
    Kind(outlined, reads=True), Kind(edges), Kind(lone), Kind(crossings, reads=True),
)  # fmt: skip
