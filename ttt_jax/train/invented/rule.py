"""What an invented rule is. Only numpy here: worker processes import this package and must not start jax."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Pair = tuple[np.ndarray, np.ndarray]
"""Input and output, int8[height, width] each, sides 1..30, colours 0..9."""

PairSampler = Callable[[np.random.Generator, float], Pair | None]
"""`(rng, size) -> pair` of one rule: `size` in (0, 1] bounds how large grids are and how much is on them.

None where the drawn input does not show the rule (a tie, nothing to do, no place): the caller draws again.
The sampler keeps no state: all that the rule fixes was drawn when the sampler was made.
"""

Family = Callable[[np.random.Generator], PairSampler]
"""Draws the parameters of one rule. Two draws are mostly two different rules."""


def side(rng: np.random.Generator, size: float, least: int = 3, most: int = 30) -> int:
    """A side drawn from `least` to the bound that `size` sets between `least` and `most`, both included."""
    bound = least + round(size * (most - least))
    return int(rng.integers(least, bound + 1))
