"""Shapes, colours and free places: what scenes of invented rules are put together from.

A mask is bool[height, width]. Masks made here are trimmed (every border row and
column holds a cell) and connected: through sides, or also through corners
where `diagonal` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Literal

import numpy as np

from ttt_jax.tasks.grids import COLOURS

Place = Literal["anywhere", "border", "interior"]

_SIDES = ((0, 1), (1, 0), (0, -1), (-1, 0))
_CORNERS = ((1, 1), (1, -1), (-1, 1), (-1, -1))


# ----------------------------------------------------------------- colours


def colours(rng: np.random.Generator, count: int, avoid: Collection[int] = ()) -> list[int]:
    """`count` different colours, none of those to avoid."""
    return [int(c) for c in rng.permutation(COLOURS) if c not in avoid][:count]


def ground_colour(rng: np.random.Generator) -> int:
    """The colour behind everything: 0 in four of five draws."""
    return 0 if rng.random() < 0.8 else int(rng.integers(COLOURS))


# ------------------------------------------------------------------- masks


def blob(rng: np.random.Generator, height: int, width: int, diagonal: bool = False) -> np.ndarray:
    """A random connected shape of at most height x width, grown cell by cell from a random one."""
    steps = _SIDES + _CORNERS if diagonal else _SIDES
    least = min(height * width, max(height, width))
    target = int(rng.integers(least, max(least, round(0.8 * height * width)) + 1))
    draws = iter(rng.random(4 * target + 4).tolist())
    row, column = int(next(draws) * height), int(next(draws) * width)
    cells = {(row, column)}
    edge = [(row + r, column + c) for r, c in steps]
    while len(cells) < target and edge:
        # Many draws fall on cells already taken or outside; a shape with fewer cells is as good.
        draw = next(draws, None)
        if draw is None:
            break
        spot = int(draw * len(edge))
        edge[spot], edge[-1] = edge[-1], edge[spot]
        row, column = edge.pop()
        if 0 <= row < height and 0 <= column < width and (row, column) not in cells:
            cells.add((row, column))
            edge += [(row + r, column + c) for r, c in steps]
    mask = np.zeros((height, width), bool)
    mask[tuple(zip(*cells, strict=True))] = True
    return trim(mask)


def symmetric_blob(rng: np.random.Generator, height: int, width: int, axes: Literal["lr", "ud", "both"]) -> np.ndarray:
    """A connected shape that is its own mirror image left to right, upside down, or both; at most height x width."""
    across, down = axes in ("lr", "both"), axes in ("ud", "both")
    mask = blob(rng, (height + 1) // 2 if down else height, (width + 1) // 2 if across else width)
    if across:
        mask = np.hstack([mask, mask[:, -1 - width % 2 :: -1]])
    if down:
        mask = np.vstack([mask, mask[-1 - height % 2 :: -1]])
    return mask


def rectangle(height: int, width: int) -> np.ndarray:
    return np.ones((height, width), bool)


def frame(height: int, width: int, thickness: int = 1) -> np.ndarray:
    """The border of a rectangle."""
    mask = np.ones((height, width), bool)
    mask[thickness : height - thickness, thickness : width - thickness] = False
    return mask


def holed(rng: np.random.Generator, height: int, width: int, holes: int) -> np.ndarray:
    """A rectangle with `holes` single cells cut out that do not touch; corners are cut off at random.

    Room for `holes`: (height - 1) // 2 * ((width - 1) // 2) at most; more are not made.
    """
    mask = np.ones((height, width), bool)
    spots = [(r, c) for r in range(1, height - 1, 2) for c in range(1, width - 1, 2)]
    for i in rng.permutation(len(spots))[:holes]:
        mask[spots[i]] = False
    corners = rng.random(4) < 0.3
    mask[[0, 0, -1, -1], [0, -1, 0, -1]] &= ~corners
    return mask


def plus(arm: int) -> np.ndarray:
    """An upright cross with arms of `arm` cells."""
    mask = np.zeros((2 * arm + 1, 2 * arm + 1), bool)
    mask[arm] = mask[:, arm] = True
    return mask


def saltire(arm: int) -> np.ndarray:
    """A diagonal cross, connected through corners only."""
    eye = np.eye(2 * arm + 1, dtype=bool)
    return eye | eye[::-1]


def staircase(steps: int) -> np.ndarray:
    """A triangle of `steps` steps, right angle at the lower left."""
    return np.tril(np.ones((steps, steps), bool))


def trim(mask: np.ndarray) -> np.ndarray:
    """The part of a mask within its bounding box. The mask must have a cell."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def grown(mask: np.ndarray, diagonal: bool = True) -> np.ndarray:
    """bool[height + 2, width + 2]: the mask and every cell that touches it."""
    padded = np.pad(mask, 1)
    out = padded.copy()
    out[1:] |= padded[:-1]
    out[:-1] |= padded[1:]
    base = out.copy() if diagonal else padded
    out[:, 1:] |= base[:, :-1]
    out[:, :-1] |= base[:, 1:]
    return out


def enclosed(mask: np.ndarray) -> np.ndarray:
    """The cells outside a mask from which no path over sides leads out of its bounding box."""
    free = np.pad(~mask, 1, constant_values=True)
    out = np.zeros_like(free)
    out[[0, -1]] = out[:, [0, -1]] = True
    count = 0
    while (reached := int(np.count_nonzero(out))) != count:
        count = reached
        wider = out.copy()
        wider[1:] |= out[:-1]
        wider[:-1] |= out[1:]
        wider[:, 1:] |= out[:, :-1]
        wider[:, :-1] |= out[:, 1:]
        out = wider & free
    return (free & ~out)[1:-1, 1:-1]


def components(mask: np.ndarray, diagonal: bool = False) -> list[np.ndarray]:
    """The connected parts of a mask, each bool[height, width] of its full size, in reading order."""
    height, width = mask.shape
    steps = [r * (width + 2) + c for r, c in (_SIDES + _CORNERS if diagonal else _SIDES)]
    left = set(np.flatnonzero(np.pad(mask, 1)).tolist())
    parts = []
    for start in sorted(left):
        if start not in left:
            continue
        left.remove(start)
        part = [start]
        for cell in part:  # grows while it is read
            for step in steps:
                if cell + step in left:
                    left.remove(cell + step)
                    part.append(cell + step)
        full = np.zeros((height + 2) * (width + 2), bool)
        full[part] = True
        parts.append(full.reshape(height + 2, width + 2)[1:-1, 1:-1])
    return parts


def same_up_to_symmetry(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two masks are one shape turned or mirrored."""
    turned = (b, np.rot90(b), b[::-1, ::-1], np.rot90(b, 3))
    return any(np.array_equal(a, t) or np.array_equal(a, t[:, ::-1]) for t in turned)


Maker = Callable[[np.random.Generator, int], np.ndarray]
"""`(rng, bound) -> mask` with sides of at most `bound` (2 or more)."""


def any_blob(rng: np.random.Generator, bound: int) -> np.ndarray:
    """A blob of random extent; through corners in one of four."""
    height, width = rng.integers(min(2, bound), bound + 1, 2).tolist()
    return blob(rng, height, width, diagonal=bool(rng.random() < 0.25))


def any_rectangle(rng: np.random.Generator, bound: int) -> np.ndarray:
    return rectangle(*rng.integers(1, bound + 1, 2).tolist())


def any_square(rng: np.random.Generator, bound: int) -> np.ndarray:
    n = int(rng.integers(2, bound + 1))
    return rectangle(n, n)


def any_frame(rng: np.random.Generator, bound: int) -> np.ndarray:
    """A frame of at least 3 x 3."""
    return frame(*rng.integers(3, max(3, bound) + 1, 2).tolist())


def any_line(rng: np.random.Generator, bound: int) -> np.ndarray:
    n = int(rng.integers(2, bound + 1))
    return rectangle(1, n) if rng.random() < 0.5 else rectangle(n, 1)


def any_symmetric(rng: np.random.Generator, bound: int) -> np.ndarray:
    """A shape with a mirror axis; at least 3 cells long on one side so that the axis shows."""
    height, width = rng.integers(min(3, bound), bound + 1, 2).tolist()
    return symmetric_blob(rng, height, width, ("lr", "ud", "both")[int(rng.integers(3))])


def any_holed(rng: np.random.Generator, bound: int) -> np.ndarray:
    """A shape with one hole or more."""
    height, width = rng.integers(3, max(3, bound) + 1, 2).tolist()
    return holed(rng, height, width, int(rng.integers(1, 4)))


def any_figure(rng: np.random.Generator, bound: int) -> np.ndarray:
    """A cross, a diagonal cross or a staircase, in a random attitude."""
    which = int(rng.integers(3))
    if which == 2:
        return np.rot90(staircase(int(rng.integers(2, bound + 1))), int(rng.integers(4)))
    arm = int(rng.integers(1, max(1, (bound - 1) // 2) + 1))
    return (plus, saltire)[which](arm)


# ------------------------------------------------------------------ places


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
