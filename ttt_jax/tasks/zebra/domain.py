"""The domain `zebra`: logic-grid puzzles as text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ttt_jax.config import TasksConfig
from ttt_jax.tasks.problem_domain import ProblemDomain
from ttt_jax.tasks.problem_text import ProblemText, with_steps
from ttt_jax.tasks.task import LoadedTasks, Task
from ttt_jax.tasks.zebra.answers import WORKED_EXAMPLE, Answer, as_answer, normal, read_answer, template, write_answer
from ttt_jax.tasks.zebra.puzzle import Puzzle
from ttt_jax.tasks.zebra.records import read_records
from ttt_jax.tasks.zebra.scoring import rates, score
from ttt_jax.tasks.zebra.sets import ZebraOptions, draw_task, make_tasks
from ttt_jax.tasks.zebra.transforms import KINDS, ZebraTransform, make_views, random_transform

STEPS_OPENING = """\
Solve each puzzle step by step, one step a line: the clues used, then the cells that they fix or exclude. For example
Step 1: clues 1, 4 -> House 2 Name = Eric; House 3 Pet != cat
When every cell is fixed, give the solution in JSON.

"""


class ZebraDomain(ProblemDomain):
    """Inputs are `ProblemText`s of a `Puzzle`, answers are `Answer`s."""

    name = "zebra"
    problem = Puzzle
    kinds = KINDS
    options = ZebraOptions
    make_tasks = staticmethod(make_tasks)
    draw_task = staticmethod(draw_task)
    max_answer_tokens = 1024

    def read_path(self, config: TasksConfig) -> LoadedTasks:
        """Public records, zero-shot."""
        records, refused = read_records(config.path or "")
        tasks = (Task(r.id, (), (ProblemText(r.puzzle),), (r.puzzle.answer(r.solution),)) for r in records)
        return LoadedTasks(str(config.path), tuple(tasks), tuple(refused))

    def opening(self, demos: Sequence[tuple[Any, Answer]], query: Any) -> str:
        if with_steps(demos[0][0] if demos else query):
            return STEPS_OPENING
        return super().opening(demos, query)

    def instructions(self, demos: Sequence[tuple[str, Answer]]) -> str:
        if demos:
            return "Solve each puzzle. Answer in JSON.\n\n"
        return WORKED_EXAMPLE + "# Puzzle to solve\n\n"

    def question(self, query: str, alone: bool = False) -> str:
        if alone and isinstance(query, ProblemText) and isinstance(query.problem, Puzzle):
            asked = "Give your steps, then the solution" if query.steps else "Give your reasoning and the solution"
            return f"{query}\n{asked} in this form:\n{template(query.problem, not query.steps)}\n\n"
        return f"{query}\n"

    def answer_text(self, answer: Answer) -> str:
        return write_answer(answer)

    def parse_text(self, text: str) -> Answer | None:
        return read_answer(text)

    def same(self, a: Answer, b: Answer) -> bool:
        return normal(a) == normal(b)

    def key(self, answer: Answer) -> str:
        return json.dumps(sorted([*cell, value] for cell, value in normal(answer).items()), ensure_ascii=False)

    def from_json(self, value: Any) -> Answer:
        """Raises ValueError where the value has no house."""
        answer = as_answer(value)
        if answer is None:
            raise ValueError(f"zebra: {value!r} is no solution: expected {{'House 1': {{attribute: value}}}}")
        return answer

    def draw_transform(self, kinds: Sequence[str], task: Task, rng: np.random.Generator) -> ZebraTransform:
        return random_transform(kinds, task, rng)

    def draw_views(
        self, kinds: Sequence[str], task: Task, count: int, rng: np.random.Generator
    ) -> list[ZebraTransform]:
        return make_views(kinds, task, count, rng)

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
