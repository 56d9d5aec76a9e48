"""The guise in which a rule appears: turned, on another ground, drawn large or between lines, followed by a change."""

from __future__ import annotations

from functools import wraps

import numpy as np

from ttt_jax.tasks.grids import COLOURS, MAX_SIDE
from ttt_jax.train.invented.draws import chance, draw_colours, pick
from ttt_jax.train.invented.patterns import colouring, geometry, rows
from ttt_jax.train.invented.patterns.canvas import Action, finished
from ttt_jax.train.invented.rule import Family, Grid, Pair, PairSampler, Rng, swapped_ground, turned
from ttt_jax.train.invented.trials import redrawn

_AFTERWARDS = (
    geometry.turn, geometry.turn, geometry.mosaic, geometry.mosaic, geometry.crop, geometry.enlarge, geometry.framed,
    geometry.peeled, geometry.stacked, geometry.spaced, colouring.by_place, colouring.extremes, colouring.inverted,
    colouring.edges, colouring.outlined, rows.settled, rows.sheared, rows.sorted_rows, rows.flipped_rows,
)  # fmt: skip
_AFTERWARDS_SHARE = 0.12
_DRESSED_SHARE = 0.1


def one_of(*families: Family) -> Family:
    """Draws one of the families, then a rule of it; named after them all."""

    def draw(rng: Rng) -> PairSampler:
        return pick(rng, families)(rng)

    draw.__name__ = "_or_".join(dict.fromkeys(family.__name__ for family in families))
    return draw


def guised(family: Family, plain: bool = False) -> Family:
    """The family's rules in all directions and on other grounds than 0; now and then dressed or with a second step.

    A rule that does not show itself, as when its second step has nothing to do, is drawn again: see `redrawn`.

    Args:
      plain: neither dress nor second step, for families that draw their own.
    """

    @redrawn
    @wraps(family)
    def draw(rng: Rng) -> PairSampler:
        sampler = family(rng)
        if not plain and chance(rng, _AFTERWARDS_SHARE):
            sampler = _followed(sampler, pick(rng, _AFTERWARDS)(rng, draw_colours(rng, 3)))
        if not plain and chance(rng, _DRESSED_SHARE):
            sampler = _dressed(sampler, rng)
        symmetry = int(rng.integers(8))
        swapped = swapped_ground(int(rng.integers(1, COLOURS)) if chance(rng, 0.2) else 0)
        return lambda rng, size: turned(sampler(rng, size), symmetry, swapped)

    return draw


def _followed(sampler: PairSampler, action: Action) -> PairSampler:
    """What the rule answers is changed once more."""

    def sample(rng: Rng, size: float) -> Pair | None:
        pair = sampler(rng, size)
        return None if pair is None else finished(pair[0], action(pair[1]))

    return sample


def _dressed(sampler: PairSampler, rng: Rng) -> PairSampler:
    """Both grids drawn with blocks for cells, with lines between the cells, or in a frame."""
    style = pick(rng, ["blocks", "lines", "wide lines", "frame"])
    line = draw_colours(rng, 1)[0]

    def dress(grid: Grid) -> Grid:
        if style == "frame":
            return np.pad(grid, 1, constant_values=line)
        if style == "blocks":
            return np.repeat(np.repeat(grid, 2, 0), 2, 1)
        block = 2 if style == "lines" else 3
        rows, columns = grid.shape
        out = np.full((rows * block, columns * block), line, np.int8)
        for i in range(block - 1):
            for j in range(block - 1):
                out[i::block, j::block] = grid
        return out[:-1, :-1]

    def sample(rng: Rng, size: float) -> Pair | None:
        pair = sampler(rng, size * (0.9 if style == "frame" else 0.35))
        if pair is None or max(*pair[0].shape, *pair[1].shape) > (MAX_SIDE - 2 if style == "frame" else 10):
            return None
        return dress(pair[0]), dress(pair[1])

    return sample
