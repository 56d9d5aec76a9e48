"""Cells of a grid as bool[height, width] masks: neighbours, connected parts, floods, boxes around, random shapes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ttt_jax.train.invented.rule import Grid, Rng

Cell = tuple[int, int]
"""Row and column; also a step from a cell to another."""

ORTHOGONAL: tuple[Cell, ...] = ((-1, 0), (0, 1), (1, 0), (0, -1))
"""Up, right, down, left: the next one is a turn to the right."""
DIAGONAL: tuple[Cell, ...] = ((-1, 1), (1, 1), (1, -1), (-1, -1))
AROUND = ORTHOGONAL + DIAGONAL


# -------------------------------------------------------------- neighbours


def inside(grid: np.ndarray, row: int, column: int) -> bool:
    """Whether the cell lies in the grid."""
    return 0 <= row < grid.shape[0] and 0 <= column < grid.shape[1]


def neighbours(mask: np.ndarray, steps: Iterable[Cell] = ORTHOGONAL) -> np.ndarray:
    """How many of the cells that lie `steps` (of -1..1) away are set, int8[height, width]."""
    height, width = mask.shape
    padded = np.zeros((height + 2, width + 2), np.int8)
    padded[1:-1, 1:-1] = mask
    total = np.zeros((height, width), np.int8)
    for r, c in steps:
        total += padded[1 + r : 1 + r + height, 1 + c : 1 + c + width]
    return total


def dilated(mask: np.ndarray, diagonal: bool = False) -> np.ndarray:
    """The mask and the cells beside it, with `diagonal` also those at its corners."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    base = grown.copy() if diagonal else mask
    grown[:, 1:] |= base[:, :-1]
    grown[:, :-1] |= base[:, 1:]
    return grown


def border_distance(shape: tuple[int, int]) -> np.ndarray:
    """Of each cell its distance to the border, which is 0."""
    height, width = shape
    rows, columns = np.arange(height), np.arange(width)
    return np.minimum(np.minimum(rows, height - 1 - rows)[:, None], np.minimum(columns, width - 1 - columns)[None, :])


# ------------------------------------------------------------------- parts


def _flat(mask: np.ndarray, diagonal: bool) -> tuple[bytearray, tuple[int, ...], tuple[int, int]]:
    """A mask with a margin of one cell as bytes, the steps to neighbours in it, and its shape."""
    shape = mask.shape[0] + 2, mask.shape[1] + 2
    padded = np.zeros(shape, np.uint8)
    padded[1:-1, 1:-1] = mask
    return bytearray(padded.tobytes()), tuple(r * shape[1] + c for r, c in (AROUND if diagonal else ORTHOGONAL)), shape


def labelled(mask: np.ndarray, diagonal: bool = False) -> tuple[np.ndarray, int]:
    """Connected parts of a mask: their numbers from 1 on in reading order, int16[height, width], and how many."""
    free, steps, shape = _flat(mask, diagonal)
    numbers = [0] * len(free)
    count = 0
    start = free.find(1)
    while start >= 0:
        count += 1
        free[start] = 0
        part = [start]
        for cell in part:  # grows while it is read
            numbers[cell] = count
            for step in steps:
                if free[cell + step]:
                    free[cell + step] = 0
                    part.append(cell + step)
        start = free.find(1, start)
    return np.array(numbers, np.int16).reshape(shape)[1:-1, 1:-1], count


def components(mask: np.ndarray, diagonal: bool = False) -> list[np.ndarray]:
    """The connected parts of a mask, each bool[height, width] of its full size, in reading order."""
    labels, count = labelled(mask, diagonal)
    return [labels == number for number in range(1, count + 1)]


def flooded(free: np.ndarray, seeds: np.ndarray, diagonal: bool = False) -> np.ndarray:
    """The seeds, which need not be free, and the cells of `free` that are connected with one."""
    left, steps, shape = _flat(free, diagonal)
    reached = np.flatnonzero(np.pad(seeds, 1)).tolist()
    for cell in reached:
        left[cell] = 2
    for cell in reached:  # grows while it is read
        for step in steps:
            if left[cell + step] == 1:
                left[cell + step] = 2
                reached.append(cell + step)
    return np.frombuffer(left, np.uint8).reshape(shape)[1:-1, 1:-1] == 2


def outside(free: np.ndarray, diagonal: bool = False) -> np.ndarray:
    """The cells of `free` that are connected with the border."""
    seeds = free.copy()
    seeds[1:-1, 1:-1] = False
    return flooded(free, seeds, diagonal)


def enclosed(mask: np.ndarray) -> np.ndarray:
    """The cells outside a mask from which no path over sides leads to the border."""
    free = ~mask
    return free & ~outside(free)


# ------------------------------------------------------------------- boxes


def box_of(grid: Grid) -> tuple[slice, slice] | None:
    """Rows and columns of the smallest box around all that is set, or None where nothing is."""
    rows, columns = np.flatnonzero(grid.any(1)), np.flatnonzero(grid.any(0))
    if not len(rows):
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def trim(mask: np.ndarray) -> np.ndarray:
    """The part of a mask within its box; an empty one as it is."""
    box = box_of(mask)
    return mask if box is None else mask[box]


# ------------------------------------------------------------------ shapes


def blob(rng: Rng, height: int, width: int, cells: int, diagonal: bool = False) -> np.ndarray:
    """A random connected shape of about `cells` cells, trimmed, at most height x width; grown from a random cell."""
    steps = AROUND if diagonal else ORTHOGONAL
    draws = iter(rng.random(4 * cells + 4).tolist())
    row, column = int(next(draws) * height), int(next(draws) * width)
    taken = {(row, column)}
    edge = [(row + r, column + c) for r, c in steps]
    while len(taken) < cells and edge:
        # Many draws fall on cells already taken or outside; a shape with fewer cells is as good.
        draw = next(draws, None)
        if draw is None:
            break
        spot = int(draw * len(edge))
        edge[spot], edge[-1] = edge[-1], edge[spot]
        row, column = edge.pop()
        if 0 <= row < height and 0 <= column < width and (row, column) not in taken:
            taken.add((row, column))
            edge += [(row + r, column + c) for r, c in steps]
    mask = np.zeros((height, width), bool)
    mask[tuple(zip(*taken, strict=True))] = True
    return trim(mask)


def spanning_blob(rng: Rng, height: int, width: int, fill: float = 0.6) -> np.ndarray:
    """A connected shape of about the share `fill`, bool[height, width]: unlike `blob` it goes for all four edges."""
    mask = np.zeros((height, width), bool)
    row, column = int(rng.integers(height)), int(rng.integers(width))
    mask[row, column] = True
    wanted = max(1, round(fill * height * width))
    # A drunkard's walk; on large masks it can end before it has met all edges.
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
