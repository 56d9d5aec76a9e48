"""What an invented rule is. Only numpy here: worker processes import this package and must not start jax."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ttt_jax.tasks.grids import COLOURS, MAX_SIDE
from ttt_jax.tasks.transforms import symmetric

Grid = np.ndarray
Rng = np.random.Generator

Pair = tuple[Grid, Grid]
"""Input and output, int8[height, width] each, sides 1..30, colours 0..9."""

PairSampler = Callable[[Rng, float], Pair | None]
"""`(rng, size) -> pair` of one rule: `size` in (0, 1] bounds how large grids are and how much is on them.

None where the drawn input does not show the rule (a tie, nothing to do, no place): the caller draws again.
The sampler keeps no state: all that the rule fixes was drawn when the sampler was made.
"""

Family = Callable[[Rng], PairSampler]
"""Draws the parameters of one rule. Two draws are mostly two different rules."""

_SAME_COLOURS = np.arange(COLOURS, dtype=np.int8)


def legal(question: Grid, answer: Grid) -> Pair | None:
    """The two as a pair; None where a grid is empty or too large, or where the answer is the question."""
    if min(*question.shape, *answer.shape) < 1 or max(*question.shape, *answer.shape) > MAX_SIDE:
        return None
    if question.shape == answer.shape and np.array_equal(question, answer):
        return None
    return np.ascontiguousarray(question, np.int8), np.ascontiguousarray(answer, np.int8)


def turned(pair: Pair | None, symmetry: int, colours: np.ndarray = _SAME_COLOURS) -> Pair | None:
    """Both grids of a pair under `SYMMETRIES[symmetry]`, colour c drawn as colours[c]; None stays None."""
    if pair is None:
        return None
    question, answer = (np.ascontiguousarray(colours[symmetric(grid, symmetry)]) for grid in pair)
    return question, answer


def swapped_ground(ground: int) -> np.ndarray:
    """int8[10]: the table of colours by which 0 and the colour `ground` change places."""
    table = _SAME_COLOURS.copy()
    table[[0, ground]] = ground, 0
    return table
