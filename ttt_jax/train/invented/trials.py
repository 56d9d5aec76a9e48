"""Rules drawn freely can come to nothing: a few trial pairs tell, and such a rule is drawn again."""

from __future__ import annotations

from collections import Counter
from functools import wraps

from ttt_jax.train.invented.rule import Family, PairSampler, Rng

_DRAWS = 8
_TRIALS = 6
_SIZE = 0.3


def shows(sampler: PairSampler, rng: Rng) -> bool:
    """Whether a few inputs show the rule: three answers among them, or two that both come again."""
    answers: Counter[tuple[bytes, tuple[int, ...]]] = Counter()
    for _ in range(_TRIALS):
        pair = sampler(rng, _SIZE)
        if pair is not None:
            answers[pair[1].tobytes(), pair[1].shape] += 1
            if len(answers) > 2:
                return True
    return len(answers) == 2 and min(answers.values()) > 1


def redrawn(family: Family) -> Family:
    """The family, its rules drawn again (not forever) until one shows itself in trial pairs."""

    @wraps(family)
    def draw(rng: Rng) -> PairSampler:
        sampler = family(rng)
        for _ in range(_DRAWS - 1):
            if shows(sampler, rng):
                break
            sampler = family(rng)
        return sampler

    return draw
