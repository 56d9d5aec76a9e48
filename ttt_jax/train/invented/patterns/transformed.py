"""Rules that take any grid: a scene, and one or two actions on it in one of several ways."""

from __future__ import annotations

import numpy as np

from ttt_jax.train.invented.draws import chance, draw_colours, pick
from ttt_jax.train.invented.patterns import colouring, contents, geometry, rows, summaries
from ttt_jax.train.invented.patterns.canvas import Action, finished
from ttt_jax.train.invented.patterns.geometry import Kind
from ttt_jax.train.invented.patterns.guises import guised, one_of
from ttt_jax.train.invented.patterns.whole_grids import draw_scene
from ttt_jax.train.invented.rule import Family, Grid, Pair, PairSampler, Rng

_CHANGES = (geometry.KINDS, colouring.KINDS, rows.KINDS, contents.KINDS)


def _applied(kind: Kind, action: Action, palette: list[int], rng: Rng) -> PairSampler:
    scene = draw_scene(rng, palette, fixed=kind.reads, most=kind.most)

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = scene(rng, size)
        return None if grid is None else finished(grid, action(grid))

    return sample


def single(kinds: tuple[Kind, ...]) -> Family:
    """One action of these kinds; named after their module."""

    def draw(rng: Rng) -> PairSampler:
        palette = draw_colours(rng, pick(rng, [1, 2, 3, 3, 4]))
        kind = pick(rng, kinds)
        return _applied(kind, kind.make(rng, palette), palette, rng)

    draw.__name__ = kinds[0].make.__module__.rpartition(".")[2]
    return draw


def chained(rng: Rng) -> PairSampler:
    """A change, then another change or a summary."""
    palette = draw_colours(rng, pick(rng, [2, 2, 3, 4]))
    first = pick(rng, pick(rng, _CHANGES))
    second = pick(rng, pick(rng, (*_CHANGES, geometry.KINDS)))
    act, then = first.make(rng, palette), second.make(rng, palette)

    def action(grid: Grid) -> Grid | None:
        between = act(grid)
        if between is None or not between.size or max(between.shape) > 30:
            return None
        return then(np.ascontiguousarray(between, np.int8))

    most = min(first.most, second.most)
    if first.most < 15 and second.most < 15:
        most = max(4, most // 2)
    return _applied(Kind(first.make, most, first.reads or second.reads), action, palette, rng)


def beside(rng: Rng) -> PairSampler:
    """The grid next to what an action makes of it, perhaps with a line between."""
    palette = draw_colours(rng, pick(rng, [1, 2, 3]))
    kind = pick(rng, pick(rng, _CHANGES))
    act, behind, line = kind.make(rng, palette), chance(rng, 0.4), pick(rng, [None, None, draw_colours(rng, 1)[0]])

    def action(grid: Grid) -> Grid | None:
        made = act(grid)
        if made is None or made.shape[0] != grid.shape[0] or np.array_equal(made, grid):
            return None
        parts = [made, grid] if behind else [grid, made]
        if line is not None:
            parts.insert(1, np.full((grid.shape[0], 1), line, np.int8))
        return np.concatenate(parts, 1)

    return _applied(Kind(kind.make, min(kind.most, 14), kind.reads), action, palette, rng)


def conditional(rng: Rng) -> PairSampler:
    """Which action is done is told by the colour of a corner cell, or by the shape of the grid."""
    palette = draw_colours(rng, pick(rng, [1, 2, 3]))
    kinds = [
        pick(rng, pick(rng, (geometry.KINDS[:3], geometry.KINDS[5:6], colouring.KINDS, rows.KINDS, contents.KINDS)))
        for _ in range(2)
    ]
    acts = [kind.make(rng, palette) for kind in kinds]
    signals = draw_colours(rng, 2, palette)
    scene = draw_scene(rng, palette, fixed=True, most=min(20, *(kind.most for kind in kinds)))
    by_shape, stays = chance(rng, 0.3), chance(rng, 0.3)

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = scene(rng, size)
        if grid is None:
            return None
        if by_shape:
            if grid.shape[0] == grid.shape[1]:
                return None
            return finished(grid, acts[int(grid.shape[0] > grid.shape[1])](grid))
        chosen = int(rng.integers(2))
        made = acts[chosen](grid)
        if made is None or np.array_equal(made, grid):
            return None
        question = np.pad(grid, ((1, 0), (0, 0)))
        question[0, 0] = signals[chosen]
        if stays and made.shape == grid.shape:
            made = np.vstack([question[:1], made])
        return finished(question, made)

    return sample


FAMILIES: tuple[Family, ...] = (
    *(guised(single(kinds), plain=True) for kinds in (*_CHANGES, summaries.KINDS)),
    guised(chained, plain=True),
    guised(one_of(beside, conditional), plain=True),
)
"""Each is drawn alike."""
