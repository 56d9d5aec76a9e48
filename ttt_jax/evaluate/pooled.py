"""Several runs over the same tasks as one: the candidates of all of them, as of more views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ttt_jax.decode.candidate import Candidate, Scores
from ttt_jax.evaluate.saved import SavedRun


@dataclass(frozen=True)
class PooledRuns(SavedRun):
    """A run, and others with adapters of their own (another seed, say) whose candidates join its own.

    Tasks, options and records are the first run's. Where answers are scored, only
    those count that every run has scored, each under the views of all.

    Attributes:
      others: runs over the same tasks.
    """

    others: tuple[SavedRun, ...] = ()

    def __post_init__(self):
        super().__post_init__()
        for other in self.others:
            if missing := sorted(self.records.keys() - other.records.keys()):
                raise ValueError(
                    f"{other.path}: has no task {missing[0]}, which {self.path} has: pool runs over the same"
                )

    def candidates(self, task_id: str) -> dict[str, list[Candidate]]:
        """Arm -> candidates of every run that has the arm, run by run."""
        pooled = super().candidates(task_id)
        for other in self.others:
            for arm, of_arm in other.candidates(task_id).items():
                if arm in pooled:
                    pooled[arm] = pooled[arm] + of_arm
        return pooled

    def scores(self, task_id: str) -> dict[str, list[Scores]]:
        """Arm -> for each query the likelihoods under the views of all runs; empty where one has none."""
        pooled: dict[str, list[Any]] = super().scores(task_id)
        for other in self.others:
            of_other = other.scores(task_id)
            for arm in list(pooled):
                # A run that was not adapted to this task, or has no such arm, has no say in it.
                if arm in of_other:
                    pairs = zip(pooled[arm], of_other[arm], strict=True)
                    pooled[arm] = [{key: [*a[key], *b[key]] for key in a if key in b} for a, b in pairs]
        return pooled
