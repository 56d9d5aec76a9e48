"""What rules of movement are drawn with: directions, places, floods, and the guises that any rule can have.

Grids are drawn on ground 0 with colours 1..9 and in one direction; `guised` turns them and gives them other grounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import wraps
from typing import TypeVar

import numpy as np

from ttt_jax.tasks.transforms import symmetric
from ttt_jax.train.invented.rule import Family, Pair, PairSampler, side

Cell = tuple[int, int]
Box = tuple[int, int, int, int]
"""Top, left, height, width."""

ORTHOGONAL: tuple[Cell, ...] = ((-1, 0), (0, 1), (1, 0), (0, -1))
"""Up, right, down, left: the next one is a turn to the right."""
DIAGONAL: tuple[Cell, ...] = ((-1, 1), (1, 1), (1, -1), (-1, -1))

T = TypeVar("T")


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of the options."""
    return options[int(rng.integers(len(options)))]


def palette(rng: np.random.Generator, count: int, without: Iterable[int] = ()) -> list[int]:
    """`count` different colours of 1..9, none of `without`."""
    return [c for c in (rng.permutation(9) + 1).tolist() if c not in without][:count]


def amount(rng: np.random.Generator, size: float, least: int, most: int) -> int:
    """A number of things from `least` to the bound that `size` sets between `least` and `most`."""
    return int(rng.integers(least, least + round(size * (most - least)) + 1))


def blank(rng: np.random.Generator, size: float, least: int = 5, most: int = 30) -> np.ndarray:
    """An empty grid, int8[height, width], often square."""
    height = side(rng, size, least, most)
    width = height if rng.random() < 0.4 else side(rng, size, least, most)
    return np.zeros((height, width), np.int8)


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


def blob(rng: np.random.Generator, count: int, most: int = 5) -> np.ndarray:
    """A connected shape of about `count` cells, bool, cropped, sides up to `most`."""
    mask = np.zeros((most, most), bool)
    cells = [(most // 2, most // 2)]
    mask[cells[0]] = True
    for which, step in zip(rng.random(3 * count).tolist(), rng.integers(4, size=3 * count).tolist(), strict=True):
        r, c = cells[int(which * len(cells))]
        r, c = r + ORTHOGONAL[step][0], c + ORTHOGONAL[step][1]
        if 0 <= r < most and 0 <= c < most and not mask[r, c]:
            mask[r, c] = True
            cells.append((r, c))
            if len(cells) >= count:
                break
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def place_blobs(
    rng: np.random.Generator, grid: np.ndarray, count: int, colours: Sequence[int], cells: int = 6, gap: int = 1
) -> list[tuple[Cell, np.ndarray, int]]:
    """Draws up to `count` blobs that do not touch into `grid`: corner, mask and colour of each."""
    placed = []
    for top, left, h, w in boxes(rng, grid.shape, count, 2, 4, gap):
        mask = blob(rng, int(rng.integers(2, cells + 1)), min(h, w))
        colour = pick(rng, colours)
        grid[top : top + mask.shape[0], left : left + mask.shape[1]][mask] = colour
        placed.append(((top, left), mask, colour))
    return placed


def inside(grid: np.ndarray, r: int, c: int) -> bool:
    """Whether the cell lies in the grid."""
    return 0 <= r < grid.shape[0] and 0 <= c < grid.shape[1]


def neighbours(mask: np.ndarray, steps: Iterable[Cell]) -> np.ndarray:
    """How many of the cells that lie `steps` (of -1..1) away are set, int8[height, width]."""
    height, width = mask.shape
    padded = np.zeros((height + 2, width + 2), np.int8)
    padded[1:-1, 1:-1] = mask
    total = np.zeros((height, width), np.int8)
    for r, c in steps:
        total += padded[1 + r : 1 + r + height, 1 + c : 1 + c + width]
    return total


def dilated(mask: np.ndarray, steps: Iterable[Cell] = ORTHOGONAL) -> np.ndarray:
    """The mask and its neighbours."""
    return mask | (neighbours(mask, steps) > 0)


def labelled(mask: np.ndarray, diagonal: bool = False) -> tuple[np.ndarray, int]:
    """Connected parts of a mask: their numbers from 1 on, uint8[height, width], and how many there are (up to 253)."""
    height, width = mask.shape
    stride = width + 2
    padded = np.zeros((height + 2, stride), np.uint8)
    padded[1:-1, 1:-1] = mask
    flat = bytearray(padded.tobytes())
    steps = (1, -1, stride, -stride) + ((stride + 1, stride - 1, -stride + 1, -stride - 1) if diagonal else ())
    number = 1
    start = flat.find(1)
    while start >= 0 and number < 254:
        number += 1
        flat[start] = number
        stack = [start]
        while stack:
            i = stack.pop()
            for step in steps:
                if flat[i + step] == 1:
                    flat[i + step] = number
                    stack.append(i + step)
        start = flat.find(1, start)
    labels = np.frombuffer(flat, np.uint8).reshape(padded.shape)[1:-1, 1:-1]
    return np.where(labels > 1, labels - np.uint8(1), np.uint8(0)), number - 1


def flooded(free: np.ndarray, seeds: Iterable[Cell], diagonal: bool = False) -> np.ndarray:
    """The cells of `free` that are connected with a seed (which need not be free itself), bool[height, width]."""
    free = free.copy()
    seeds = list(seeds)
    for cell in seeds:
        free[cell] = True
    labels, _ = labelled(free, diagonal)
    reached = np.zeros(256, bool)
    for cell in seeds:
        reached[labels[cell]] = True
    return reached[labels]


def outside(free: np.ndarray, diagonal: bool = False) -> np.ndarray:
    """The cells of `free` that are connected with the border, bool[height, width]."""
    padded = np.pad(free, 1, constant_values=True)
    return flooded(padded, [(0, 0)], diagonal)[1:-1, 1:-1]


def bar(count: int, colour: int, length: int) -> np.ndarray | None:
    """A count as a row of `length` cells, the first `count` coloured; None where it does not fit or is empty."""
    if not 0 < count <= length:
        return None
    row = np.zeros((1, length), np.int8)
    row[0, :count] = colour
    return row


def _living(family: Family, rng: np.random.Generator) -> PairSampler:
    """A rule of `family` whose pairs mostly come about: parameters drawn freely can exclude each other."""
    sampler = family(rng)
    for _ in range(8):
        if _lives(sampler, rng):
            break
        sampler = family(rng)
    return sampler


def _lives(sampler: PairSampler, rng: np.random.Generator) -> bool:
    return sum(sampler(rng, 0.4) is not None for _ in range(4)) >= 2


def _ink_by_key(sampler: PairSampler) -> PairSampler:
    """The one colour that is new in the answer is told by a key cell in the corner of the input."""

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
        pair = sampler(rng, size)
        if pair is None or pair[0].shape != pair[1].shape or pair[0][0, 0]:
            return None
        question, answer = pair
        shown, new = (np.bincount(g.ravel(), minlength=10) > 0 for g in pair)
        inks = np.flatnonzero(new & ~shown)
        if len(inks) != 1:
            return None
        ink = pick(rng, np.flatnonzero(~shown[1:]).tolist()) + 1
        question, answer = question.copy(), np.where(answer == inks[0], np.int8(ink), answer)
        question[0, 0] = answer[0, 0] = ink
        return question, answer

    return sample


def _direction_by_key(sampler: PairSampler, rng: np.random.Generator) -> PairSampler:
    """The rule works in one of two or three directions, told by the colour of a key cell in the corner of the input."""
    directions = rng.permutation(8)[: pick(rng, (2, 2, 3))].tolist()
    keys = palette(rng, len(directions))

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
        pair = sampler(rng, size)
        if pair is None or pair[0].shape != pair[1].shape:
            return None
        k = int(rng.integers(len(keys)))
        question, answer = (symmetric(g, directions[k]).copy() for g in pair)
        if question[0, 0]:
            return None
        question[0, 0] = answer[0, 0] = keys[k]
        return question, answer

    return sample


def _any_side(sampler: PairSampler) -> PairSampler:
    """The rule works from any side, in each pair from the one where its input begins."""

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
        pair = sampler(rng, size)
        turn = pick(rng, (0, 4, 5, 6))  # rotations only: left and right turns stay what they are
        return pair and (symmetric(pair[0], turn), symmetric(pair[1], turn))

    return sample


def guised(family: Family, adds: bool = True, sided: bool = False) -> Family:
    """Rules of `family` turned or reflected, and on grounds of other colours.

    Where a rule `adds` to its input, the answer is sometimes what it added alone; a ground that varies from pair to
    pair takes a colour that the pair does not show. Sometimes a key in the corner tells the rule's colour or
    direction. Where the input shows on which side it begins (`sided`), that side varies in some rules.
    """

    @wraps(family)
    def draw(rng: np.random.Generator) -> PairSampler:
        sampler = _living(family, rng)
        guise = rng.random()
        keyed = sampler
        if guise < 0.08:
            keyed = _ink_by_key(sampler)
        elif guise < 0.13:
            keyed = _direction_by_key(sampler, rng)
        elif sided and guise < 0.4:
            keyed = _any_side(sampler)
        if keyed is not sampler and _lives(keyed, rng):
            sampler = keyed
        symmetry = int(rng.integers(8))
        ground = pick(rng, ("black",) * 7 + ("fixed", "fixed", "varied"))
        swapped = np.arange(10, dtype=np.int8)
        if ground == "fixed":
            other = int(rng.integers(1, 10))
            swapped[[0, other]] = other, 0
        only_new = adds and rng.random() < 0.08

        def sample(rng: np.random.Generator, size: float) -> Pair | None:
            pair = sampler(rng, size)
            if pair is None:
                return None
            question, answer = pair
            if max(*question.shape, *answer.shape) > 30 or min(*question.shape, *answer.shape) < 1:
                return None
            if question.shape == answer.shape:
                changed = question != answer
                if not (changed.any() and answer.any()):
                    return None
                if only_new:
                    if not answer[question > 0].all():
                        return None
                    answer = np.where(changed, answer, 0)
            colours = swapped
            if ground == "varied":
                used = np.bincount(np.concatenate((question.ravel(), answer.ravel())), minlength=10)
                if 2 * np.count_nonzero(question == 0) > question.size:  # else nobody could tell what is ground
                    used[0] = 0
                colours = np.arange(10, dtype=np.int8)
                colours[0] = 0 if used[0] else pick(rng, np.flatnonzero(used == 0).tolist())
            question, answer = (np.ascontiguousarray(colours[symmetric(g, symmetry)]) for g in (question, answer))
            return question, answer

        return sample

    return draw
