"""What is drawn everywhere: one of several options, sides and amounts that `size` bounds, colours."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TypeVar

from ttt_jax.tasks.grids import COLOURS
from ttt_jax.train.invented.rule import Rng

T = TypeVar("T")


def pick(rng: Rng, options: Sequence[T]) -> T:
    """One of the options."""
    return options[int(rng.integers(len(options)))]


def weighted(rng: Rng, options: Sequence[tuple[T, float]]) -> T:
    """One of the options, each with its share (they need not add up to 1)."""
    left = rng.random() * sum(share for _, share in options)
    for option, share in options:
        left -= share
        if left < 0:
            return option
    return options[-1][0]  # rounding


def chance(rng: Rng, share: float) -> bool:
    """True in that share of draws."""
    return bool(rng.random() < share)


def side(rng: Rng, size: float, least: int = 3, most: int = 30) -> int:
    """A side drawn from `least` to the bound that `size` sets between `least` and `most`, both included."""
    bound = least + round(size * (most - least))
    return int(rng.integers(least, bound + 1))


def amount(rng: Rng, size: float, least: int, most: int) -> int:
    """A number of things, drawn as `side` draws sides."""
    return side(rng, size, least, most)


def draw_colours(rng: Rng, count: int, avoid: Collection[int] = ()) -> list[int]:
    """Different colours of 1..9, none of those to avoid; fewer than `count` where no more are left."""
    return [c for c in (rng.permutation(COLOURS - 1) + 1).tolist() if c not in avoid][:count]
