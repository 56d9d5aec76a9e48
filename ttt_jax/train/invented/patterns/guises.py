"""The guise in which a rule appears: turned, on another ground, drawn large or between lines, followed by a change."""

from __future__ import annotations

from collections import Counter

import numpy as np

from ttt_jax.tasks.grids import COLOURS, MAX_SIDE
from ttt_jax.tasks.transforms import symmetric
from ttt_jax.train.invented.patterns import colouring, geometry, rows
from ttt_jax.train.invented.patterns.canvas import Action, Grid, Rng, chance, colours, finished, pick
from ttt_jax.train.invented.rule import Family, Pair, PairSampler

_AFTERWARDS = (
    geometry.turn, geometry.turn, geometry.mosaic, geometry.mosaic, geometry.crop, geometry.enlarge, geometry.framed,
    geometry.peeled, geometry.stacked, geometry.spaced, colouring.by_place, colouring.extremes, colouring.inverted,
    colouring.edges, colouring.outlined, rows.settled, rows.sheared, rows.sorted_rows, rows.flipped_rows,
)  # fmt: skip
_AFTERWARDS_SHARE = 0.12
_DRESSED_SHARE = 0.1
_DRAWS = 6


def one_of(*families: Family) -> Family:
    """Draws one of the families, then a rule of it."""
    return lambda rng: pick(rng, families)(rng)


def guised(family: Family, plain: bool = False) -> Family:
    """The family's rules in all directions and on other grounds than 0; now and then dressed or with a second step.

    A rule that does not show itself, as when its second step has nothing to do, is drawn again.

    Args:
      plain: neither dress nor second step, for families that draw their own.
    """

    def draw(rng: Rng) -> PairSampler:
        sampler = drawn(rng)
        for _ in range(_DRAWS - 1):
            if _shows(sampler, rng):
                break
            sampler = drawn(rng)
        return sampler

    def drawn(rng: Rng) -> PairSampler:
        sampler = family(rng)
        if not plain and chance(rng, _AFTERWARDS_SHARE):
            sampler = _followed(sampler, pick(rng, _AFTERWARDS)(rng, colours(rng, 3)))
        if not plain and chance(rng, _DRESSED_SHARE):
            sampler = _dressed(sampler, rng)
        symmetry = int(rng.integers(8))
        ground = int(rng.integers(1, COLOURS)) if chance(rng, 0.2) else 0
        if not symmetry and not ground:
            return sampler
        swapped = np.arange(COLOURS, dtype=np.int8)
        swapped[[0, ground]] = swapped[[ground, 0]]

        def sample(rng: Rng, size: float) -> Pair | None:
            pair = sampler(rng, size)
            if pair is None:
                return None
            x, y = (np.ascontiguousarray(swapped[symmetric(grid, symmetry)]) for grid in pair)
            return x, y

        return sample

    return draw


def _shows(sampler: PairSampler, rng: Rng) -> bool:
    """Whether a few inputs mostly show the rule, with three answers among them, or with two that both come again."""
    pairs = [pair for pair in (sampler(rng, 0.25) for _ in range(6)) if pair is not None]
    answers = Counter((y.tobytes(), y.shape) for _, y in pairs)
    return len(answers) > 2 or (len(answers) == 2 and min(answers.values()) > 1)


def _followed(sampler: PairSampler, action: Action) -> PairSampler:
    """What the rule answers is changed once more."""

    def sample(rng: Rng, size: float) -> Pair | None:
        pair = sampler(rng, size)
        return None if pair is None else finished(pair[0], action(pair[1]))

    return sample


def _dressed(sampler: PairSampler, rng: Rng) -> PairSampler:
    """Both grids drawn with blocks for cells, with lines between the cells, or in a frame."""
    style = pick(rng, ["blocks", "lines", "wide lines", "frame"])
    line = colours(rng, 1)[0]

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
