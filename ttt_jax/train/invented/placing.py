"""Places that do not overlap. `Space` finds every free one; `scatter` and `boxes` give up after a few tries.

The second kind takes no time, and draws cells or the sides of boxes itself; it suits rules that do with fewer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ttt_jax.train.invented.masks import Cell
from ttt_jax.train.invented.rule import Rng

Box = tuple[int, int, int, int]
"""Top, left, height, width."""

Place = Literal["anywhere", "border", "interior"]


class Space:
    """Which cells of a grid are still free.

    Args:
      height, width: of the grid.
      gap: free cells between the bounding boxes of what is placed; 1 or more keeps shapes from touching.
    """

    def __init__(self, height: int, width: int, gap: int = 1):
        self.taken = np.zeros((height, width), bool)
        self._gap = gap

    def take(self, row: int, column: int, height: int, width: int) -> None:
        """Marks a rectangle as used; it may reach beyond the grid."""
        self.taken[max(0, row) : max(0, row + height), max(0, column) : max(0, column + width)] = True

    def place(
        self, rng: np.random.Generator, height: int, width: int, where: Place = "anywhere"
    ) -> tuple[int, int] | None:
        """Row and column of a free rectangle, which is then taken; None if there is none.

        `where`: touching the border of the grid, not touching it, or either.
        """
        free = self.free(height, width)
        if free.size == 0:
            return None
        if where == "border":
            free[1:-1, 1:-1] = False
        elif where == "interior":
            free[[0, -1]] = free[:, [0, -1]] = False
        spots = np.flatnonzero(free)
        if len(spots) == 0:
            return None
        row, column = divmod(int(spots[int(rng.integers(len(spots)))]), free.shape[1])
        self.take(row, column, height, width)
        return row, column

    def free(self, height: int, width: int) -> np.ndarray:
        """bool[rows, columns]: where the upper left corner of such a rectangle may be; empty if it is too large."""
        gap = self._gap
        rows, columns = self.taken.shape
        if height > rows or width > columns:
            return np.zeros((0, 0), bool)
        total = np.zeros((rows + 2 * gap + 1, columns + 2 * gap + 1), np.int32)
        total[gap + 1 : gap + 1 + rows, gap + 1 : gap + 1 + columns] = self.taken
        total = total.cumsum(0, dtype=np.int32).cumsum(1, dtype=np.int32)
        h, w = height + 2 * gap, width + 2 * gap
        return total[h:, w:] - total[:-h, w:] - total[h:, :-w] + total[:-h, :-w] == 0


def places(rng: Rng, shape: tuple[int, int], sizes: Sequence[tuple[int, int]], gap: int = 1) -> list[Cell] | None:
    """Corners of boxes of these sizes that keep `gap` cells between them, or None where one found no place."""
    space = Space(*shape, gap)
    corners = []
    for height, width in sizes:
        corner = space.place(rng, height, width)
        if corner is None:
            return None
        corners.append(corner)
    return corners


def scatter(rng: np.random.Generator, shape: tuple[int, ...], count: int, gap: int = 1, margin: int = 0) -> list[Cell]:
    """Up to `count` cells, more than `gap` apart in some direction and `margin` from the border; fewer if full."""
    height, width = shape
    if min(height, width) <= 2 * margin:
        return []
    rows = rng.integers(margin, height - margin, 4 * count + 4).tolist()
    columns = rng.integers(margin, width - margin, 4 * count + 4).tolist()
    cells: list[Cell] = []
    for r, c in zip(rows, columns, strict=True):
        if all(max(abs(r - a), abs(c - b)) > gap for a, b in cells):
            cells.append((r, c))
            if len(cells) == count:
                break
    return cells


def boxes(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    count: int,
    least: int = 2,
    most: int = 6,
    gap: int = 1,
    margin: int = 0,
) -> list[Box]:
    """Up to `count` rectangles with sides `least`..`most`, with `gap` free cells between them and `margin` around."""
    height, width = shape
    tries = 3 * count + 2
    sides = rng.integers(least, most + 1, (tries, 2)).tolist()
    places = rng.random((tries, 2)).tolist()
    placed: list[Box] = []
    for (h, w), (y, x) in zip(sides, places, strict=True):
        if h > height - 2 * margin or w > width - 2 * margin:
            continue
        top = margin + int(y * (height - 2 * margin - h + 1))
        left = margin + int(x * (width - 2 * margin - w + 1))
        if all(
            top >= t + a + gap or t >= top + h + gap or left >= s + b + gap or s >= left + w + gap
            for t, s, a, b in placed
        ):
            placed.append((top, left, h, w))
            if len(placed) == count:
                break
    return placed
