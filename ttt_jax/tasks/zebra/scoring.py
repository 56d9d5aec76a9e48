"""Puzzle, cell and no-answer rates, by difficulty (arXiv 2502.01100)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ttt_jax.evaluate.intervals import mean, proportion
from ttt_jax.tasks.zebra.answers import Answer, normal
from ttt_jax.tasks.zebra.puzzle import LEVELS, level, search_space


@dataclass(frozen=True)
class Score:
    """One answer against the solution.

    Attributes:
      level: S, M, L or XL.
      cells: how many cells the solution has.
      right: how many of them the answer has right; 0 where there is no answer.
      answered: whether anything could be read.
    """

    level: str
    cells: int
    right: int
    answered: bool

    @property
    def solved(self) -> bool:
        return self.right == self.cells


def score(answer: Answer | None, truth: Answer) -> Score:
    """Cells are compared lower-cased and stripped; cells that the solution lacks count for nothing."""
    wanted, found = normal(truth), normal(answer or {})
    houses = len(truth)
    space = search_space(houses, len(wanted) // houses)
    return Score(level(space), len(wanted), sum(found.get(c) == v for c, v in wanted.items()), answer is not None)


def rates(scores: Sequence[Score]) -> dict[str, dict[str, Any]]:
    """{"all" and each level that occurs: {"puzzle", "cell", "no_answer"}}, with 95% intervals.

    Cell accuracy is the mean over puzzles of the share of right cells.
    """
    groups = {"all": list(scores)} | {name: [s for s in scores if s.level == name] for name, _ in LEVELS}
    found = {}
    for name, of in groups.items():
        if not of:
            continue
        share = [s.right / s.cells for s in of]
        found[name] = {
            "puzzle": proportion([s.solved for s in of]),
            "cell": mean(share),
            "no_answer": proportion([not s.answered for s in of]),
        }
    return found
