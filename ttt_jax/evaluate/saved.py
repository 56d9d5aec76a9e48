"""Reading a run directory back: replaying, comparing and reporting need nothing else, and no accelerator."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ttt_jax.config import RunConfig
from ttt_jax.config_loader import from_yaml
from ttt_jax.decode.candidate import Candidate, Scores
from ttt_jax.runtime.journal import Record, read_journal
from ttt_jax.tasks.registry import get_domain
from ttt_jax.tasks.task import Domain, Task


@dataclass(frozen=True)
class SavedRun:
    """A run directory, read as far as asked for. Nothing is written.

    Attributes:
      path: the directory.
    """

    path: Path

    def __post_init__(self):
        for name in ("config.yaml", "journal.jsonl"):
            if not (self.path / name).exists():
                raise ValueError(f"{self.path}: no {name}: not a run directory")

    @cached_property
    def config(self) -> RunConfig:
        return from_yaml(RunConfig, self.path / "config.yaml")

    @cached_property
    def domain(self) -> Domain:
        return get_domain(self.config.tasks.domain)

    @cached_property
    def records(self) -> dict[str, Record]:
        """Task id -> journal record, of finished tasks."""
        return read_journal(self.path / "journal.jsonl")

    @cached_property
    def raw_tasks(self) -> dict[str, dict[str, Any]]:
        """tasks.json: task id -> {"demos": [[input, output], ..], "queries", "answers"} in plain JSON."""
        return self._read("tasks.json") or {}

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """Task id -> task, answers as the domain has them."""
        tasks = {}
        for id_, raw in self.raw_tasks.items():
            answers = None if raw["answers"] is None else tuple(map(self.domain.from_json, raw["answers"]))
            demos = tuple((_array(x), self.domain.from_json(y)) for x, y in raw["demos"])
            tasks[id_] = Task(id_, demos, tuple(map(_array, raw["queries"])), answers)
        return tasks

    @cached_property
    def metrics(self) -> dict[str, Any] | None:
        """metrics.json; None where the run has not come to its end."""
        return self._read("metrics.json")

    def curves(self, task_id: str) -> dict[str, list[float | None]] | None:
        """The adaptation of a task: step, loss, grad_norm and learning_rate; None where it has none."""
        return self._read(f"curves/{task_id}.json")

    def candidates(self, task_id: str) -> dict[str, list[Candidate]]:
        """Arm -> candidates of all queries of a task."""
        saved = self._read(f"candidates/{task_id}.json") or {}
        return {arm: [self._candidate(c) for c in of] for arm, of in saved.items() if arm != "scores"}

    def scores(self, task_id: str) -> dict[str, list[Scores]]:
        """Arm -> for each query {answer key: log-probability under each view}; empty where none were made."""
        saved = (self._read(f"candidates/{task_id}.json") or {}).get("scores") or {}
        return {
            arm: [{key: [_nats(x) for x in nats] for key, nats in query.items()} for query in queries]
            for arm, queries in saved.items()
        }

    def _candidate(self, saved: dict[str, Any]) -> Candidate:
        answer = saved["answer"]
        return Candidate(
            query=saved["query"],
            view=saved["view"],
            group=saved["group"],
            sample=saved["sample"],
            tokens=tuple(saved["tokens"]),
            logprob=_nats(saved["logprob"]),
            answer=None if answer is None else self.domain.from_json(answer),
            searched=saved.get("searched", False),
            steps=None if saved.get("steps") is None else tuple(map(tuple, saved["steps"])),
        )

    def _read(self, name: str) -> Any:
        file = self.path / name
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ValueError(f"{file}: not JSON: {error}") from None


def _nats(logprob: float | None) -> float:
    """Strict JSON has no infinity: null is a log-probability that was not finite."""
    return float("-inf") if logprob is None else logprob


def _array(value: Any) -> Any:
    """A grid as an array, text as it is."""
    return np.array(value, np.int8) if isinstance(value, list) else value
