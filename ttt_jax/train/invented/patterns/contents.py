"""Actions on what a grid holds as one thing (its box), and on runs of cells in its rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ttt_jax.tasks.transforms import symmetric
from ttt_jax.train.invented.draws import chance, draw_colours, pick
from ttt_jax.train.invented.masks import box_of, outside
from ttt_jax.train.invented.patterns.canvas import Action
from ttt_jax.train.invented.patterns.geometry import Kind
from ttt_jax.train.invented.rule import Grid, Rng


def _box(grid: Grid) -> tuple[int, int, int, int] | None:
    """First and last row and column off the ground, the last ones excluded; None for an empty grid."""
    box = box_of(grid)
    return box and (box[0].start, box[0].stop, box[1].start, box[1].stop)


def boxed(rng: Rng, palette: Sequence[int]) -> Action:
    """The box around everything (or around the rule's first colour) is filled, framed or marked at its corners."""
    shade, named = draw_colours(rng, 1, palette)[0], chance(rng, 0.5)
    what = pick(rng, ["fill", "frame", "frame", "corners", "cross"])

    def marked(grid: Grid) -> Grid | None:
        box = _box(np.where(grid == palette[0], grid, 0) if named else grid)
        if box is None:
            return None
        a, b, c, d = box
        out = grid.copy()
        if what == "fill":
            inside = out[a:b, c:d]
            inside[inside == 0] = shade
            return out
        if what == "cross":
            middle = out[a:b, :]
            middle[middle == 0] = shade
            return out
        if a == 0 or c == 0 or b == grid.shape[0] or d == grid.shape[1]:
            return None
        if what == "corners":
            out[[a - 1, a - 1, b, b], [c - 1, d, c - 1, d]] = shade
            return out
        ring = out[a - 1 : b + 1, c - 1 : d + 1]
        inner = ring[1:-1, 1:-1].copy()
        ring[:] = shade
        ring[1:-1, 1:-1] = inner
        return out

    return marked


def placed(rng: Rng, palette: Sequence[int]) -> Action:
    """Everything together is moved to a side, a corner or the middle."""
    moves = [("first", None), ("first", "first"), ("last", None), ("middle", "middle"), ("middle", None)]
    down, right = pick(rng, moves)

    def at(where: str | None, start: int, length: int, whole: int) -> int | None:
        if where == "middle":
            return (whole - length) // 2 if (whole - length) % 2 == 0 else None
        return {"first": 0, "last": whole - length, None: start}[where]

    def moved(grid: Grid) -> Grid | None:
        box = _box(grid)
        if box is None:
            return None
        a, b, c, d = box
        top, left = at(down, a, b - a, grid.shape[0]), at(right, c, d - c, grid.shape[1])
        if top is None or left is None:
            return None
        out = np.zeros_like(grid)
        out[top : top + b - a, left : left + d - c] = grid[a:b, c:d]
        return out

    return moved


def turned_in_place(rng: Rng, palette: Sequence[int]) -> Action:
    """What the box holds is mirrored inside its box, over the box's edge, or repeated to the end of the grid."""
    what, symmetry = pick(rng, ["inside", "over edge", "repeat", "repeat", "repeat back"]), pick(rng, [2, 3, 5])
    gap = int(rng.integers(2))
    shade = pick(rng, [0, 0, draw_colours(rng, 1, palette)[0]])

    def turned(grid: Grid) -> Grid | None:
        box = _box(grid)
        if box is None:
            return None
        a, b, c, d = box
        inner, out = grid[a:b, c:d], grid.copy()
        if what == "inside":
            out[a:b, c:d] = symmetric(inner, symmetry)
            return out
        copy = inner[:, ::-1] if what == "over edge" else inner
        copy = np.where(copy != 0, shade, 0) if shade else copy
        step = d - c + gap
        starts = [d + (gap if what != "over edge" else 0)]
        if what != "over edge":
            starts = list(range(c + step, grid.shape[1], step))
            if what == "repeat back":
                starts += [s for s in range(c - step, -(d - c), -step) if s >= 0]
        for start in starts:
            room = min(d - c, grid.shape[1] - start)
            if room > 0:
                out[a:b, start : start + room] = copy[:, :room]
        return out

    return turned


def enclosed(rng: Rng, palette: Sequence[int]) -> Action:
    """Ground that cannot reach the border of the grid is painted; or the ground that can."""
    shade, outer = draw_colours(rng, 1, palette)[0], chance(rng, 0.25)

    def painted(grid: Grid) -> Grid | None:
        ground = grid == 0
        reached = outside(ground)
        inner = ground & ~reached
        if not inner.any():
            return None
        return np.where(reached if outer else inner, shade, grid)

    return painted


def runs(rng: Rng, palette: Sequence[int]) -> Action:
    """Runs of cells of one colour in a row are painted, dropped or kept by their length."""
    test = pick(rng, ["longest", "single", "at least three", "even", "two"])
    what, shade = pick(rng, ["paint", "paint", "drop", "keep"]), draw_colours(rng, 1)[0]

    def changed(grid: Grid) -> Grid | None:
        height, width = grid.shape
        flat = np.hstack([grid, np.full((height, 1), -1, np.int8)]).ravel()
        starts = np.flatnonzero(np.append(True, flat[1:] != flat[:-1]))
        lengths = np.diff(np.append(starts, len(flat)))
        lit = flat[starts] > 0
        if not lit.any():
            return None
        longest = lengths[lit].max()
        if test == "longest" and (lit & (lengths == longest)).sum() != 1:
            return None
        chosen = (
            lit
            & {
                "longest": lengths == longest,
                "single": lengths == 1,
                "at least three": lengths >= 3,
                "even": lengths % 2 == 0,
                "two": lengths == 2,
            }[test]
        )
        mask = np.repeat(chosen, lengths).reshape(height, width + 1)[:, :width]
        if what == "paint":
            return np.where(mask, shade, grid)
        return np.where(mask == (what == "keep"), grid, 0)

    return changed


def bridged(rng: Rng, palette: Sequence[int]) -> Action:
    """The gap between two neighbours in a row is filled: half from each, in turns, or but for its middle."""
    how, shade = pick(rng, ["halves", "turns", "middle", "left"]), draw_colours(rng, 1, palette)[0]

    def filled(grid: Grid) -> Grid | None:
        if np.count_nonzero(grid) > grid.size // 3:
            return None
        width = grid.shape[1]
        columns = np.arange(width)[None, :]
        before = np.maximum.accumulate(np.where(grid != 0, columns, -1), 1)
        after = np.minimum.accumulate(np.where(grid != 0, columns, width)[:, ::-1], 1)[:, ::-1]
        gap = (grid == 0) & (before >= 0) & (after < width)
        left = np.take_along_axis(grid, np.maximum(before, 0), 1)
        right = np.take_along_axis(grid, np.minimum(after, width - 1), 1)
        nearer = (columns - before) - (after - columns)
        out = {
            "halves": np.where(nearer < 0, left, np.where(nearer > 0, right, shade)),
            "turns": np.where((columns - before) % 2 == 0, left, shade),
            "middle": np.where(nearer == 0, shade, 0),
            "left": left,
        }[how]
        return np.where(gap, out, grid)

    return filled


KINDS = (
    Kind(boxed, reads=True), Kind(boxed, reads=True), Kind(placed), Kind(turned_in_place), Kind(turned_in_place),
    Kind(enclosed), Kind(runs), Kind(runs), Kind(bridged), Kind(bridged),
)  # fmt: skip
