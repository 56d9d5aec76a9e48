"""The guises of rules of movement: keys, other directions, other grounds, or only what a rule added."""

from __future__ import annotations

from functools import wraps

import numpy as np

from ttt_jax.tasks.grids import COLOURS
from ttt_jax.tasks.transforms import symmetric
from ttt_jax.train.invented.draws import draw_colours, pick
from ttt_jax.train.invented.rule import Family, Pair, PairSampler, Rng, legal, swapped_ground, turned
from ttt_jax.train.invented.trials import redrawn, shows


def _ink_by_key(sampler: PairSampler) -> PairSampler:
    """The one colour that is new in the answer is told by a key cell in the corner of the input."""

    def sample(rng: Rng, size: float) -> Pair | None:
        pair = sampler(rng, size)
        if pair is None or pair[0].shape != pair[1].shape or pair[0][0, 0]:
            return None
        question, answer = pair
        shown, new = (np.bincount(g.ravel(), minlength=COLOURS) > 0 for g in pair)
        inks = np.flatnonzero(new & ~shown)
        if len(inks) != 1:
            return None
        ink = pick(rng, np.flatnonzero(~shown[1:]).tolist()) + 1
        question, answer = question.copy(), np.where(answer == inks[0], np.int8(ink), answer)
        question[0, 0] = answer[0, 0] = ink
        return question, answer

    return sample


def _direction_by_key(sampler: PairSampler, rng: Rng) -> PairSampler:
    """The rule works in one of two or three directions, told by the colour of a key cell in the corner of the input."""
    directions = rng.permutation(8)[: pick(rng, (2, 2, 3))].tolist()
    keys = draw_colours(rng, len(directions))

    def sample(rng: Rng, size: float) -> Pair | None:
        pair = sampler(rng, size)
        if pair is None or pair[0].shape != pair[1].shape:
            return None
        k = int(rng.integers(len(keys)))
        question, answer = (symmetric(g, directions[k]).copy() for g in pair)
        if question[0, 0]:
            return None
        question[0, 0] = answer[0, 0] = keys[k]
        return question, answer

    return sample


def _any_side(sampler: PairSampler) -> PairSampler:
    """The rule works from any side, in each pair from the one where its input begins."""

    def sample(rng: Rng, size: float) -> Pair | None:
        # Rotations only: left and right turns stay what they are.
        return turned(sampler(rng, size), pick(rng, (0, 4, 5, 6)))

    return sample


def guised(family: Family, adds: bool = True, sided: bool = False) -> Family:
    """Rules of `family` turned or reflected, and on grounds of other colours.

    Where a rule `adds` to its input, the answer is sometimes what it added alone; a ground that varies from pair to
    pair takes a colour that the pair does not show. Sometimes a key in the corner tells the rule's colour or
    direction. Where the input shows on which side it begins (`sided`), that side varies in some rules.
    """

    @wraps(family)
    def draw(rng: Rng) -> PairSampler:
        sampler = redrawn(family)(rng)
        guise = rng.random()
        keyed = sampler
        if guise < 0.08:
            keyed = _ink_by_key(sampler)
        elif guise < 0.13:
            keyed = _direction_by_key(sampler, rng)
        elif sided and guise < 0.4:
            keyed = _any_side(sampler)
        if keyed is not sampler and shows(keyed, rng):
            sampler = keyed
        symmetry = int(rng.integers(8))
        ground = pick(rng, ("black",) * 7 + ("fixed", "fixed", "varied"))
        swapped = swapped_ground(int(rng.integers(1, COLOURS)) if ground == "fixed" else 0)
        only_new = adds and rng.random() < 0.08

        def sample(rng: Rng, size: float) -> Pair | None:
            pair = sampler(rng, size)
            pair = pair and legal(*pair)
            if pair is None:
                return None
            question, answer = pair
            if question.shape == answer.shape:
                if not answer.any() or (only_new and not answer[question > 0].all()):
                    return None
                if only_new:
                    answer = np.where(question != answer, answer, np.int8(0))
            colours = swapped
            if ground == "varied":
                used = np.bincount(np.concatenate((question.ravel(), answer.ravel())), minlength=COLOURS)
                if 2 * np.count_nonzero(question == 0) > question.size:  # else nobody could tell what is ground
                    used[0] = 0
                colours = swapped.copy()
                colours[0] = 0 if used[0] else pick(rng, np.flatnonzero(used == 0).tolist())
            return turned((question, answer), symmetry, colours)

        return sample

    return draw
