"""Rules about separate things: some are told apart, and something is done to them."""

from __future__ import annotations

from functools import wraps

import numpy as np

from ttt_jax.train.invented.objects import accounts, composites, copies, crops, edits, matching, pointed, relations
from ttt_jax.train.invented.rule import Family, PairSampler

_TRIALS = 5


def lively(family: Family) -> Family:
    """The family without rules that seldom come to a pair (a tie in most scenes, nothing to change) or whose outputs
    are all the same: a rule is drawn anew until two of a few trial pairs have different outputs."""

    @wraps(family)
    def drawn(rng: np.random.Generator) -> PairSampler:
        while True:
            sample = family(rng)
            first = None
            for _ in range(_TRIALS):
                pair = sample(rng, 0.3)
                if pair is None:
                    continue
                if first is None:
                    first = pair[1]
                elif not np.array_equal(first, pair[1]):
                    return sample

    return drawn


FAMILIES: tuple[Family, ...] = tuple(
    lively(family)
    for module in (edits, accounts, relations, crops, copies, composites, matching, pointed)
    for family in module.FAMILIES
)
