"""New puzzles: a random solution, every true clue about it, and then as few of them as still suffice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from ttt_jax.tasks.zebra.puzzle import Attribute, Clue, Puzzle, Solution
from ttt_jax.tasks.zebra.solver import ClueSolver, solve

REMOVAL_WEIGHTS = {
    "found_at": 0.75,
    "not_at": 0.75,
    "same_house": 0.75,
    "consecutive": 1.0,
    "beside": 1.2,
    "left_of": 1.2,
    "right_of": 1.2,
    "one_between": 1.5,
    "two_between": 1.5,
}
"""How readily a clue is dropped (the generator of arXiv 2502.01100)."""

_BATCHES = (0.1, 0.05)


@dataclass(frozen=True)
class Generated:
    """A puzzle with what is known of it.

    Attributes:
      puzzle: its clues are subset-minimal: without any one of them it has other solutions.
      solution: the only one.
      conflicts: of a SAT solver that finds the solution.
      proof_conflicts: of one that also proves it the only one.
    """

    puzzle: Puzzle
    solution: Solution
    conflicts: int
    proof_conflicts: int


def generate(
    attributes: Sequence[Attribute], rng: np.random.Generator, *, wording: str = "plain", convention: str = ""
) -> Generated:
    """A puzzle about these attributes, which have as many values as there are houses."""
    houses, count = len(attributes[0].values), len(attributes)
    solution = tuple(tuple(rng.permutation(houses).tolist()) for _ in range(count))
    clues = reduce_clues(true_clues(solution, rng), solution, rng)
    order = rng.permutation(len(clues))
    puzzle = Puzzle(tuple(attributes), tuple(clues[i] for i in order.tolist()), wording, convention)
    solved = solve(puzzle)
    assert solved.solution == solution and solved.unique
    return Generated(puzzle, solution, solved.conflicts, solved.proof_conflicts)


def true_clues(solution: Solution, rng: np.random.Generator) -> list[Clue]:
    """Every clue that holds, but of `consecutive` and `beside` one for each pair, and of left and right."""
    houses = len(solution[0])
    at = [[(a, places.index(h)) for a, places in enumerate(solution)] for h in range(houses)]
    clues = []
    for h in range(houses):
        for item in at[h]:
            clues.append(Clue("found_at", item, house=h))
            clues += [Clue("not_at", item, house=other) for other in range(houses) if other != h]
        for pair in combinations(at[h], 2):
            a, b = _shuffled(pair, rng)
            clues.append(Clue("same_house", a, b))
    for left, right in combinations(range(houses), 2):
        for a, b in product(at[left], at[right]):
            if rng.random() < 0.5:
                clues.append(Clue("left_of", a, b))
            else:
                clues.append(Clue("right_of", b, a))
            match right - left:
                case 1 if rng.random() < 0.5:
                    clues.append(Clue("consecutive", a, b))
                case 1:
                    clues.append(Clue("beside", *_shuffled((a, b), rng)))
                case 2:
                    clues.append(Clue("one_between", *_shuffled((a, b), rng)))
                case 3:
                    clues.append(Clue("two_between", *_shuffled((a, b), rng)))
    return clues


def reduce_clues(clues: Sequence[Clue], solution: Solution, rng: np.random.Generator) -> list[Clue]:
    """Drops clues while the solution stays the only one, until none can go.

    Weighted batches of 10% and then of 5% go until one cannot; then single
    clues in weighted order, each tried once: whatever was needed among more
    clues is needed among fewer, so one round leaves a subset-minimal set.
    """
    with ClueSolver(len(solution[0]), len(solution), clues) as solver:
        solver.forbid(solution)
        kept = np.arange(len(clues))
        weights = np.array([REMOVAL_WEIGHTS[clue.kind] for clue in clues])
        for share in _BATCHES:
            while size := int(len(kept) * share):
                gone = rng.choice(kept, size, replace=False, p=weights[kept] / weights[kept].sum())
                fewer = np.setdiff1d(kept, gone)
                if solver.possible(fewer.tolist()):
                    break
                kept = fewer
        for i in rng.choice(kept, len(kept), replace=False, p=weights[kept] / weights[kept].sum()).tolist():
            fewer = kept[kept != i]
            if not solver.possible(fewer.tolist()):
                kept = fewer
    return [clues[i] for i in kept.tolist()]


def _shuffled(pair: tuple, rng: np.random.Generator) -> tuple:
    return pair if rng.random() < 0.5 else pair[::-1]
