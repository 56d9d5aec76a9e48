"""Puzzles as propositional formulas, and the SAT solver that decides everything about them.

One variable for each (value, house). A clue's clauses are guarded by a selector
variable, so one solver answers for every subset of clues.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, product

from ttt_jax.tasks.zebra.puzzle import RELATIONS, Clue, Item, Puzzle, Solution

Cell = tuple[Item, int]
"""A value and a house."""

_SOLVER = "glucose4"


class ClueSolver:
    """A SAT solver that knows the rules of the grid and a list of clues, any of which can be left out.

    Args:
      houses: N.
      attributes: M.
      clues: those that the methods name by index.
    """

    def __init__(self, houses: int, attributes: int, clues: Sequence[Clue]):
        from pysat.solvers import Solver

        self.houses, self.attributes, self.clues = houses, attributes, tuple(clues)
        self._solver = Solver(name=_SOLVER)
        for attribute in range(attributes):
            for k in range(houses):
                self._exactly_one([self._var((attribute, k), h) for h in range(houses)])
                self._exactly_one([self._var((attribute, v), k) for v in range(houses)])
        first = houses * houses * attributes
        self._selectors = [first + 1 + i for i in range(len(self.clues))]
        for clue, selector in zip(self.clues, self._selectors, strict=True):
            for clause in self._clauses(clue):
                self._solver.add_clause([-selector, *clause])

    def __enter__(self) -> ClueSolver:
        return self

    def __exit__(self, *_: object) -> None:
        self._solver.delete()

    @property
    def conflicts(self) -> int:
        """Conflicts met so far, a measure of search (arXiv 2502.01100, section 2)."""
        stats = self._solver.accum_stats()
        return int(stats["conflicts"]) if stats else 0

    def solution(self, clues: Iterable[int], facts: Iterable[tuple[Cell, bool]] = ()) -> Solution | None:
        """Any assignment that satisfies these clues and facts (a cell, and whether it holds); None where none does."""
        if not self._solver.solve(self._assume(clues, facts)):
            return None
        true = {literal for literal in self._solver.get_model() or () if literal > 0}
        return tuple(
            tuple(next(h for h in range(self.houses) if self._var((a, v), h) in true) for v in range(self.houses))
            for a in range(self.attributes)
        )

    def possible(self, clues: Iterable[int], facts: Iterable[tuple[Cell, bool]] = ()) -> bool:
        """Whether some assignment satisfies these clues and facts."""
        return bool(self._solver.solve(self._assume(clues, facts)))

    def entails(self, clues: Iterable[int], facts: Iterable[tuple[Cell, bool]], cell: Cell, holds: bool = True) -> bool:
        """Whether these clues and facts leave no other choice than that the cell holds (or does not)."""
        return not self.possible(clues, [*facts, (cell, not holds)])

    def core(self, clues: Sequence[int], facts: Sequence[tuple[Cell, bool]]) -> list[int]:
        """Of clues that contradict the facts, a subset-minimal few that still do.

        Raises:
          ValueError: they do not contradict them.
        """
        if self._solver.solve(self._assume(clues, facts)):
            raise ValueError("core: the clues and facts can all be true")
        used = set(self._solver.get_core() or ())
        kept = [i for i in clues if self._selectors[i] in used]
        for i in tuple(kept):
            fewer = [k for k in kept if k != i]
            if not self.possible(fewer, facts):
                kept = fewer
        return kept

    def forbid(self, solution: Solution) -> None:
        """From now on this assignment counts as none."""
        self._solver.add_clause(
            [-self._var((a, v), h) for a, places in enumerate(solution) for v, h in enumerate(places)]
        )

    def _var(self, item: Item, house: int) -> int:
        return (item[0] * self.houses + item[1]) * self.houses + house + 1

    def _assume(self, clues: Iterable[int], facts: Iterable[tuple[Cell, bool]]) -> list[int]:
        literals = [self._selectors[i] for i in clues]
        literals += [self._var(*cell) if holds else -self._var(*cell) for cell, holds in facts]
        return literals

    def _exactly_one(self, variables: Sequence[int]) -> None:
        self._solver.add_clause(list(variables))
        for a, b in combinations(variables, 2):
            self._solver.add_clause([-a, -b])

    def _clauses(self, clue: Clue) -> Iterable[list[int]]:
        relation, houses = RELATIONS[clue.kind], range(self.houses)
        if clue.b is None:
            assert clue.house is not None
            return [[-self._var(clue.a, h)] for h in houses if not relation(h, clue.house)]
        return [
            [-self._var(clue.a, i), -self._var(clue.b, j)] for i, j in product(houses, houses) if not relation(i, j)
        ]


@dataclass(frozen=True)
class Solved:
    """What solving a puzzle from scratch found.

    Attributes:
      solution: None where the clues contradict each other.
      unique: whether it is the only one.
      conflicts: the solver's, until the solution was found.
      proof_conflicts: those, and the ones until a second solution was found or excluded.
    """

    solution: Solution | None
    unique: bool
    conflicts: int
    proof_conflicts: int


def solve(puzzle: Puzzle) -> Solved:
    """Solves a puzzle by its clues alone."""
    every = range(len(puzzle.clues))
    with ClueSolver(*puzzle.size, puzzle.clues) as solver:
        solution = solver.solution(every)
        conflicts = solver.conflicts
        if solution is None:
            return Solved(None, False, conflicts, conflicts)
        solver.forbid(solution)
        unique = not solver.possible(every)
        return Solved(solution, unique, conflicts, solver.conflicts)
