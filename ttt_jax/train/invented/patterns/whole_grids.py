"""Whole grids on ground 0 for rules that take any grid: what they look like is part of the rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ttt_jax.train.invented.draws import chance, draw_colours, pick, side
from ttt_jax.train.invented.masks import spanning_blob
from ttt_jax.train.invented.patterns.canvas import speckle
from ttt_jax.train.invented.placing import boxes
from ttt_jax.train.invented.rule import Grid, Rng

Scene = Callable[[Rng, float], Grid]
"""`(rng, size) -> grid`."""

_Painter = Callable[[Rng, tuple[int, int], Sequence[int], float], Grid]


def draw_scene(rng: Rng, palette: Sequence[int], fixed: bool = False, least: int = 3, most: int = 30) -> Scene:
    """How the grids of a rule look: painter, density, how sides are drawn, whether colours are the rule's.

    Args:
      palette: the rule's colours.
      fixed: all grids use the palette; else they often draw colours of their own.
      least, most: bounds of the sides.
    """
    paint = pick(rng, PAINTERS)
    density = float(rng.uniform(0.15, 0.6))
    count = int(rng.integers(1, len(palette) + 1)) if chance(rng, 0.3) else len(palette)
    own = not fixed and chance(rng, 0.5)
    square = chance(rng, 0.45)
    constant = (int(rng.integers(least, 1 + min(most, 12))), int(rng.integers(least, 1 + min(most, 12))))
    keeps_shape = chance(rng, 0.25)

    def scene(rng: Rng, size: float) -> Grid:
        if keeps_shape:
            shape = (constant[0], constant[0] if square else constant[1])
        else:
            height = side(rng, size, least, most)
            shape = (height, height if square else side(rng, size, least, most))
        used = draw_colours(rng, count) if own else palette[:count]
        return paint(rng, shape, used, density)

    return scene


def _full(rng: Rng, shape: tuple[int, int], palette: Sequence[int], density: float) -> Grid:
    """No ground; one colour is commoner where the density is high."""
    if len(palette) == 1:
        return speckle(rng, shape, palette, density)
    return speckle(rng, shape, [*palette, *([palette[0]] * (2 if density > 0.4 else 0))], 1.0)


def _blobs(rng: Rng, shape: tuple[int, int], palette: Sequence[int], density: float) -> Grid:
    """Connected shapes of one colour each, apart from each other."""
    grid = np.zeros(shape, np.int8)
    for top, left, height, width in boxes(rng, shape, min(6, 1 + round(density * 0.1 * shape[0] * shape[1])), 1, 5):
        grid[top : top + height, left : left + width][spanning_blob(rng, height, width)] = pick(rng, palette)
    return grid


def _one_shape(rng: Rng, shape: tuple[int, int], palette: Sequence[int], density: float) -> Grid:
    """One many-coloured shape somewhere."""
    height = max(1, round(shape[0] * rng.uniform(0.4, 0.9)))
    width = max(1, round(shape[1] * rng.uniform(0.4, 0.9)))
    grid = np.zeros(shape, np.int8)
    top, left = int(rng.integers(shape[0] - height + 1)), int(rng.integers(shape[1] - width + 1))
    mask = spanning_blob(rng, height, width, 0.3 + density / 2)
    shades = np.asarray(palette, np.int8)[rng.integers(len(palette), size=int(mask.sum()))]
    grid[top : top + height, left : left + width][mask] = shades
    return grid


def _boxes(rng: Rng, shape: tuple[int, int], palette: Sequence[int], density: float) -> Grid:
    """Filled boxes and empty ones, apart from each other."""
    grid = np.zeros(shape, np.int8)
    for top, left, height, width in boxes(rng, shape, 1 + round(8 * density), 1, 6):
        grid[top : top + height, left : left + width] = pick(rng, palette)
        if height > 2 and width > 2 and chance(rng, 0.5):
            grid[top + 1 : top + height - 1, left + 1 : left + width - 1] = 0
    return grid


def _lines(rng: Rng, shape: tuple[int, int], palette: Sequence[int], density: float) -> Grid:
    """Whole rows and columns, later ones over earlier ones."""
    grid = np.zeros(shape, np.int8)
    for _ in range(1 + round(density * min(8, *shape))):
        if chance(rng, 0.5):
            grid[int(rng.integers(shape[0]))] = pick(rng, palette)
        else:
            grid[:, int(rng.integers(shape[1]))] = pick(rng, palette)
    return grid


def _bars(rng: Rng, shape: tuple[int, int], palette: Sequence[int], density: float) -> Grid:
    """Columns of drawn heights that stand on the floor."""
    del density
    heights = rng.integers(0, shape[0] + 1, shape[1])
    shades = np.asarray(palette, np.int8)[rng.integers(len(palette), size=shape[1])]
    return np.where(np.arange(shape[0])[::-1, None] < heights, shades[None, :], 0).astype(np.int8)


def _bands(rng: Rng, shape: tuple[int, int], palette: Sequence[int], density: float) -> Grid:
    """Bands of rows, each of one colour, with specks."""
    shades = np.asarray([*palette, 0], np.int8)
    bands = np.cumsum(rng.random(shape[0]) < 0.4) + int(rng.integers(3))
    grid = np.repeat(shades[bands % len(shades)][:, None], shape[1], 1)
    grid[rng.random(shape) < density * 0.15] = pick(rng, palette)
    return grid


def _mirrored(rng: Rng, shape: tuple[int, int], palette: Sequence[int], density: float) -> Grid:
    """Symmetric left to right, mostly."""
    half = speckle(rng, (shape[0], (shape[1] + 1) // 2), palette, density)
    grid = np.concatenate([half, half[:, : shape[1] // 2][:, ::-1]], 1)
    if chance(rng, 0.5):
        grid[int(rng.integers(shape[0])), int(rng.integers(shape[1]))] = pick(rng, palette)
    return grid


def _path(rng: Rng, shape: tuple[int, int], palette: Sequence[int], density: float) -> Grid:
    """A line that turns now and then, of one colour."""
    grid = np.zeros(shape, np.int8)
    row, column, colour = int(rng.integers(shape[0])), int(rng.integers(shape[1])), pick(rng, palette)
    for _ in range(2 + round(6 * density)):
        if chance(rng, 0.5):
            to = int(rng.integers(shape[0]))
            grid[min(row, to) : max(row, to) + 1, column] = colour
            row = to
        else:
            to = int(rng.integers(shape[1]))
            grid[row, min(column, to) : max(column, to) + 1] = colour
            column = to
    return grid


def _few_cells(rng: Rng, shape: tuple[int, int], palette: Sequence[int], density: float) -> Grid:
    """Two to six cells."""
    grid = np.zeros(shape, np.int8)
    for _ in range(2 + round(6 * density)):
        grid[int(rng.integers(shape[0])), int(rng.integers(shape[1]))] = pick(rng, palette)
    return grid


PAINTERS: tuple[_Painter, ...] = (
    speckle, speckle, _full, _full, _blobs, _blobs, _one_shape, _boxes, _lines, _bars, _bands, _mirrored, _path,
    _few_cells,
)  # fmt: skip
"""How a grid can look; what is listed twice is drawn twice as often."""
