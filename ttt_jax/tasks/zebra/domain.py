"""The domain `zebra`: logic-grid puzzles as text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ttt_jax.config import TasksConfig
from ttt_jax.tasks.problem_text import ProblemText
from ttt_jax.tasks.source import parse_source
from ttt_jax.tasks.task import Augmenter, LoadedTasks, Task, Transform
from ttt_jax.tasks.text import TextDomain
from ttt_jax.tasks.zebra.answers import WORKED_EXAMPLE, Answer, as_answer, normal, read_answer, template, write_answer
from ttt_jax.tasks.zebra.puzzle import Puzzle
from ttt_jax.tasks.zebra.records import read_records
from ttt_jax.tasks.zebra.scoring import rates, score
from ttt_jax.tasks.zebra.sets import ZebraOptions, make_tasks
from ttt_jax.tasks.zebra.transforms import ZebraTransform, check_kinds, make_views, random_transform


class ZebraDomain(TextDomain):
    """Inputs are `ProblemText`s of a `Puzzle`, answers are `Answer`s."""

    name = "zebra"
    one_line = False
    max_answer_tokens = 1024

    def read(self, config: TasksConfig) -> LoadedTasks:
        """All tasks of `config.path` (public records, zero-shot) or else of `config.source` (generated)."""
        if config.path is None:
            options = parse_source(config.source, self.name, ZebraOptions)
            return LoadedTasks(config.source, tuple(make_tasks(options)))
        records, refused = read_records(config.path)
        tasks = (Task(r.id, (), (ProblemText(r.puzzle),), (r.puzzle.answer(r.solution),)) for r in records)
        return LoadedTasks(str(config.path), tuple(tasks), tuple(refused))

    def instructions(self, demos: Sequence[tuple[str, Answer]]) -> str:
        if demos:
            return "Solve each puzzle. Answer in JSON.\n\n"
        return WORKED_EXAMPLE + "# Puzzle to solve\n\n"

    def question(self, query: str, alone: bool = False) -> str:
        if alone and isinstance(query, ProblemText) and isinstance(query.problem, Puzzle):
            return f"{query}\nGive your reasoning and the solution in this form:\n{template(query.problem)}\n\n"
        return f"{query}\n"

    def answer_text(self, answer: Answer) -> str:
        return write_answer(answer)

    def parse_text(self, text: str) -> Answer | None:
        return read_answer(text)

    def same(self, a: Answer, b: Answer) -> bool:
        return normal(a) == normal(b)

    def key(self, answer: Answer) -> str:
        return json.dumps(sorted([*cell, value] for cell, value in normal(answer).items()), ensure_ascii=False)

    def to_json(self, answer: Answer) -> Answer:
        return answer

    def from_json(self, value: Any) -> Answer:
        """Raises ValueError where the value has no house."""
        answer = as_answer(value)
        if answer is None:
            raise ValueError(f"zebra: {value!r} is no solution: expected {{'House 1': {{attribute: value}}}}")
        return answer

    def transform(self, kinds: Sequence[str], task: Task, rng: np.random.Generator) -> ZebraTransform:
        check_kinds(kinds)
        return random_transform(kinds, task, rng)

    def views(self, kinds: Sequence[str], task: Task, count: int, rng: np.random.Generator) -> list[Transform]:
        check_kinds(kinds)
        return list(make_views(kinds, task, count, rng))

    def augmenter(self, name: str, task: Task, rng: np.random.Generator) -> Augmenter:
        raise ValueError(f"zebra: no augmenter is called {name!r}: every change of a puzzle is invertible")

    def measure(self, tasks: Sequence[Task], answers: Mapping[str, Sequence[Answer | None]]) -> dict[str, Any]:
        """Puzzle, cell and no-answer rates by level.

        Args:
          tasks: with answers; others do not count.
          answers: task id -> the first answer to each query, None for none.
        """
        scores = [
            score(answer, truth)
            for task in tasks
            if task.answers is not None
            for answer, truth in zip(answers.get(task.id, [None] * len(task.answers)), task.answers, strict=True)
        ]
        return rates(scores)
