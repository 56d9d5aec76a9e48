"""Rules of tilings: a repeating pattern is damaged, cut short or hidden, and the answer restores or reads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import lcm

import numpy as np

from ttt_jax.train.invented.draws import chance, draw_colours, pick, side
from ttt_jax.train.invented.masks import border_distance, box_of
from ttt_jax.train.invented.patterns.canvas import finished, speckle
from ttt_jax.train.invented.patterns.guises import guised, one_of
from ttt_jax.train.invented.rule import Family, Grid, Pair, PairSampler, Rng

Tiling = Callable[[Rng, tuple[int, int], Sequence[int]], "tuple[Grid, tuple[int, int]]"]
"""`(rng, shape, palette) -> grid without ground and its periods down and right`."""


def unit(rng: Rng, height: int, width: int, palette: Sequence[int]) -> Grid:
    """A tile of the palette (two colours or more) whose rows are not all alike, nor its columns."""
    while True:
        tile = np.asarray(palette, np.int8)[rng.integers(len(palette), size=(height, width))]
        if (height == 1 or (tile != tile[:1]).any()) and (width == 1 or (tile != tile[:, :1]).any()):
            return tile


def _cells(rng: Rng, shape: tuple[int, int], palette: Sequence[int]) -> tuple[Grid, tuple[int, int]]:
    """Any tile repeated."""
    down, right = (int(n) for n in rng.integers(1, 5, 2))
    if down * right == 1:
        right = 2
    tile = unit(rng, down, right, palette)
    return np.resize(np.tile(tile, (1, -(-shape[1] // right)))[:, : shape[1]], shape), (down, right)


def _bricks(rng: Rng, shape: tuple[int, int], palette: Sequence[int]) -> tuple[Grid, tuple[int, int]]:
    """Each row is the one above moved by a step."""
    right = int(rng.integers(2, 6))
    step = int(rng.integers(1, right))
    row = unit(rng, 1, right, palette)[0]
    rows, columns = np.arange(shape[0])[:, None], np.arange(shape[1])[None, :]
    return row[(columns + step * rows) % right], (lcm(step, right) // step, right)


def _formula(rng: Rng, shape: tuple[int, int], palette: Sequence[int]) -> tuple[Grid, tuple[int, int]]:
    """Colours follow one another by a sum, product, maximum or difference of the place."""
    rows, columns = np.arange(shape[0])[:, None], np.arange(shape[1])[None, :]
    count = len(palette)
    order = np.asarray(palette, np.int8)
    match int(rng.integers(5)):
        case 0:
            return order[np.maximum(rows, columns) % count], (99, 99)
        case 1:
            return order[np.minimum(rows, columns) % count], (99, 99)
        case 2:
            return order[np.abs(rows - columns) % count], (99, 99)
        case 3:
            return order[(rows * columns) % count], (count, count)
    return order[border_distance(shape) % count], (99, 99)


def _lattice(rng: Rng, shape: tuple[int, int], palette: Sequence[int]) -> tuple[Grid, tuple[int, int]]:
    """A ground with a regular lattice of lines and another colour inside its meshes."""
    down, right = (int(n) for n in rng.integers(2, 6, 2))
    grid = np.full(shape, palette[0], np.int8)
    grid[::down] = grid[:, ::right] = palette[1]
    if len(palette) > 2:
        grid[::down, ::right] = palette[2]
    if len(palette) > 3 and down > 2 and right > 2:
        grid[down // 2 :: down, right // 2 :: right] = palette[3]
    return grid, (down, right)


_TILINGS: tuple[Tiling, ...] = (_cells, _cells, _bricks, _formula, _lattice)


def _recoverable(hidden: np.ndarray, periods: tuple[int, int]) -> bool:
    """Whether every cell of the tile shows somewhere."""
    down, right = min(periods[0], hidden.shape[0]), min(periods[1], hidden.shape[1])
    if max(periods) > 30:
        return hidden.mean() < 0.3
    rows, columns = np.nonzero(~hidden)
    return len(set(((rows % down) * right + columns % right).tolist())) == down * right


def _stains(rng: Rng, shape: tuple[int, int], kind: str, number: int) -> np.ndarray:
    """What is hidden: boxes, single cells, a stripe or a corner."""
    hidden = np.zeros(shape, bool)
    if kind == "cells":
        return rng.random(shape) < 0.15
    for _ in range(number):
        height, width = (int(rng.integers(1 if n < 6 else 2, 1 + max(2, n * 2 // 5))) for n in shape)
        if kind == "stripe":
            width = shape[1]
            height = min(2, height)
        top, left = int(rng.integers(shape[0] - height + 1)), int(rng.integers(shape[1] - width + 1))
        if kind == "corner":
            top, left = pick(rng, [0, shape[0] - height]), pick(rng, [0, shape[1] - width])
        hidden[top : top + height, left : left + width] = True
    return hidden


def repaired(rng: Rng) -> PairSampler:
    """A tiling with stains: it is repaired, its hidden part is cut out, or the stains are marked or moved."""
    tilings = _TILINGS if chance(rng, 0.4) else (pick(rng, _TILINGS),)
    mask = 0 if chance(rng, 0.6) else draw_colours(rng, 1)[0]
    fixed = draw_colours(rng, pick(rng, [2, 3, 4]), [mask]) if chance(rng, 0.4) else None
    kind = pick(rng, ["boxes", "boxes", "cells", "stripe", "corner"])
    number = pick(rng, [1, 1, 2, 3])
    answer = pick(rng, ["whole", "whole", "whole", "patch", "patch", "stain only"])
    if answer == "patch":
        kind, number = pick(rng, ["boxes", "corner"]), 1

    def sample(rng: Rng, size: float) -> Pair | None:
        shape = side(rng, size, 5), side(rng, size, 5)
        palette = fixed or draw_colours(rng, int(rng.integers(2, 5)), [mask])
        grid, periods = pick(rng, tilings)(rng, shape, palette)
        hidden = _stains(rng, shape, kind, number)
        if not hidden.any() or not _recoverable(hidden, periods):
            return None
        question = np.where(hidden, mask, grid)
        if answer == "whole":
            return finished(question, grid)
        if answer == "stain only":
            return finished(question, np.where(hidden, grid, 0)) if mask else None
        return finished(question, grid[box_of(hidden)])

    return sample


def extended(rng: Rng) -> PairSampler:
    """Only a part of the grid holds the pattern: it goes on through the rest, or beyond the grid."""
    shown = pick(rng, ["rows", "corner", "rows"])
    beyond = chance(rng, 0.3)
    tiling = pick(rng, (_cells, _bricks, _cells))
    factor = pick(rng, [(2, 1), (2, 2), (3, 1)])
    changed = chance(rng, 0.3)
    fixed = draw_colours(rng, 3)
    shades = draw_colours(rng, 3, fixed)
    apart = chance(rng, 0.3)

    def sample(rng: Rng, size: float) -> Pair | None:
        height, width = side(rng, size, 4), side(rng, size, 4)
        palette = fixed if changed else draw_colours(rng, int(rng.integers(2, 5)))
        used = [*palette[:2], 0] if apart else palette
        if beyond:
            height, width = min(height, 30 // factor[0]), min(width, 30 // factor[1])
            whole, periods = tiling(rng, (height * factor[0], width * factor[1]), used)
            part = height, width
        else:
            whole, periods = tiling(rng, (height, width), used)
            part = (periods[0] + int(rng.integers(1, 3)), width)
            if shown == "corner":
                part = part[0], periods[1] + int(rng.integers(1, 3))
        if part[0] <= periods[0] or (part[1] <= periods[1] and shown == "corner") or part[0] > height:
            return None
        if not whole[: part[0], : part[1]].any():
            return None
        if beyond:
            question, answer = whole[: part[0], : part[1]], whole
        else:
            question = np.zeros_like(whole)
            question[: part[0], : part[1]] = whole[: part[0], : part[1]]
            answer = whole
        if changed:
            table = np.arange(10, dtype=np.int8)
            table[fixed] = shades
            answer = table[answer]
        return finished(question, answer)

    return sample


def unit_found(rng: Rng) -> PairSampler:
    """The tile of a tiling, its ground kept or not; or the tiling of a tile that is shown with an example of how."""
    recoloured = chance(rng, 0.3)
    table = np.append(0, rng.permutation(9) + 1).astype(np.int8) if recoloured else np.arange(10, dtype=np.int8)
    tall = pick(rng, [None, 2, 3])
    line = chance(rng, 0.3)
    shade = draw_colours(rng, 1)[0]

    def sample(rng: Rng, size: float) -> Pair | None:
        down, right = (tall or int(rng.integers(2, 5)) for _ in range(2))
        palette = draw_colours(rng, int(rng.integers(1, 4)), [shade])
        tile = speckle(rng, (down, right), palette, 0.8)
        times = [int(rng.integers(2, 2 + max(1, round(size * 20) // n))) for n in (down, right)]
        if not tile.any() or down * times[0] > 30 or right * times[1] > 30:
            return None
        # The tile itself must not repeat, or there would be a smaller one.
        for axis, n in enumerate((down, right)):
            if any(n % p == 0 and np.array_equal(np.roll(tile, p, axis), tile) for p in range(1, n)):
                return None
        if not line:
            return finished(np.tile(tile, times), table[tile])
        padded = np.pad(tile, ((0, 1), (0, 1)), constant_values=shade)
        question = np.tile(padded, times)[:-1, :-1]
        return finished(question, table[tile]) if max(question.shape) <= 30 else None

    return sample


def faulty(rng: Rng) -> PairSampler:
    """Single cells break the pattern: they are mended, marked on the pattern, alone kept, or their rows are cleared."""
    tiling = pick(rng, (_cells, _bricks, _lattice))
    what, shade = pick(rng, ["mended", "marked", "alone", "crossed"]), draw_colours(rng, 1)[0]
    error = pick(rng, [None, draw_colours(rng, 1, [shade])[0]])

    def sample(rng: Rng, size: float) -> Pair | None:
        shape = side(rng, size, 6), side(rng, size, 6)
        avoid = [c for c in (shade, error) if c]
        palette = draw_colours(rng, int(rng.integers(2, 4)), avoid)
        grid, periods = tiling(rng, shape, palette)
        if shape[0] < 3 * periods[0] or shape[1] < 3 * periods[1]:
            return None
        number = int(rng.integers(1, 5))
        wrong = np.zeros(shape, bool)
        wrong[rng.integers(shape[0], size=number), rng.integers(shape[1], size=number)] = True
        wrong_shade = error or draw_colours(rng, 1, [*avoid, *palette])[0]
        question = np.where(wrong, wrong_shade, grid)
        if what == "mended":
            return finished(question, grid)
        if what == "marked":
            return finished(question, np.where(wrong, shade, grid))
        if what == "alone":
            return finished(question, np.where(wrong, wrong_shade, 0))
        return finished(
            question, np.where(wrong.any(1, keepdims=True) | wrong.any(0, keepdims=True), wrong_shade, grid)
        )

    return sample


def chequered(rng: Rng) -> PairSampler:
    """A small motif is tiled over a grid: plain, in a chequer with blanks or with its mirror image or negative."""
    how = pick(rng, ["plain", "chequer", "mirror", "negative", "rows"])
    times = pick(rng, [(2, 2), (3, 3), (2, 3), (4, 4), (3, 2)])
    shade = draw_colours(rng, 1)[0]

    def sample(rng: Rng, size: float) -> Pair | None:
        height, width = (int(rng.integers(2, 3 + round(4 * size))) for _ in range(2))
        motif = speckle(rng, (height, width), draw_colours(rng, int(rng.integers(1, 3)), [shade]), 0.6)
        other = {
            "plain": motif,
            "chequer": np.zeros_like(motif),
            "mirror": motif[:, ::-1],
            "negative": np.where(motif == 0, shade, 0),
            "rows": motif[::-1],
        }[how]
        rows = []
        for i in range(times[0]):
            row = [motif if (i if how == "rows" else i + j) % 2 == 0 else other for j in range(times[1])]
            rows.append(np.concatenate(row, 1))
        return finished(motif, np.concatenate(rows, 0))

    return sample


def continued(rng: Rng) -> PairSampler:
    """Coloured stripes begin at one side (or lie in the first cells of a row) and repeat to the other."""
    kind = pick(rng, ["stripes", "stripes", "seeds", "diagonal"])
    gap = pick(rng, [0, 1, 1, 2])
    mirrored = chance(rng, 0.25)
    fixed = draw_colours(rng, 4) if chance(rng, 0.3) else None
    number_fixed = pick(rng, [None, 2, 3])

    def sample(rng: Rng, size: float) -> Pair | None:
        height, width = side(rng, size, 3), side(rng, size, 8)
        number = number_fixed or int(rng.integers(2, 4))
        order = (fixed or draw_colours(rng, number))[:number]
        period = [c for shade in order for c in (shade, *([0] * gap))]
        if mirrored:
            period = [*period, *[c for shade in order[-2:0:-1] for c in (shade, *([0] * gap))]]
        if len(period) + 1 > width:
            return None
        row = np.resize(np.asarray(period, np.int8), width)
        start = np.where(np.arange(width) < len(period), row, 0)
        if kind == "stripes":
            return finished(np.tile(start, (height, 1)), np.tile(row, (height, 1)))
        if kind == "seeds":
            at = int(rng.integers(height))
            question = np.zeros((height, width), np.int8)
            question[at] = start
            return finished(question, np.tile(row, (height, 1)))
        columns = (np.arange(width)[None, :] + np.arange(height)[:, None]) % len(period)
        question = np.zeros((height, width), np.int8)
        question[0] = start
        return finished(question, np.asarray(period, np.int8)[columns])

    return sample


FAMILIES: tuple[Family, ...] = (
    guised(repaired),
    guised(one_of(repaired, faulty)),
    guised(one_of(extended, unit_found, chequered, continued)),
)
