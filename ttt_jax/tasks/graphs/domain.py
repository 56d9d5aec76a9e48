"""The domain `graphs`: thirteen questions about graphs in text."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ttt_jax.config import TasksConfig
from ttt_jax.evaluate.intervals import proportion
from ttt_jax.tasks.graphs.answers import Answer, normal, problem_of_truth, read_boxed, right, truth
from ttt_jax.tasks.graphs.graph import GraphError
from ttt_jax.tasks.graphs.questions import QUESTIONS, GraphProblem, read_problem
from ttt_jax.tasks.graphs.sets import GraphOptions, draw_task, make_tasks
from ttt_jax.tasks.graphs.transforms import KINDS, GraphTransform, make_views, random_transform
from ttt_jax.tasks.problem_domain import ProblemDomain
from ttt_jax.tasks.problem_text import ProblemText, with_steps
from ttt_jax.tasks.task import LoadedTasks, Refused, Task


class GraphsDomain(ProblemDomain):
    """Thirteen questions.

    Inputs are `ProblemText`s of a `GraphProblem`. An answer is text in normal
    form; the answers of tasks are truths, which know every right answer, so
    `same` is not symmetric in what it accepts: two answers are the same where
    their texts are, an answer and a truth where the answer is right.
    """

    name = "graphs"
    problem = GraphProblem
    kinds = KINDS
    options = GraphOptions
    make_tasks = staticmethod(make_tasks)
    draw_task = staticmethod(draw_task)
    max_answer_tokens = 768

    def read_path(self, config: TasksConfig) -> LoadedTasks:
        """Lines of {"id", "problem": text}, zero-shot."""
        tasks, refused = [], []
        path = Path(config.path or "")
        try:
            lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except OSError as error:
            raise ValueError(f"tasks.path: {path}: {error.strerror}; expected a .jsonl file") from None
        for place, line in enumerate(lines, 1):
            found = _read_task(line, str(path), place)
            (tasks if isinstance(found, Task) else refused).append(found)
        return LoadedTasks(str(path), tuple(tasks), tuple(refused))

    def instructions(self, demos: Sequence[tuple[str, Answer]]) -> str:
        return "Answer each question about its graph. Put the final answer in \\boxed{}.\n\n"

    def question(self, query: str, alone: bool = False) -> str:
        return f"{query}\n{'Show your steps, one a line.' if alone or with_steps(query) else 'Answer:'}\n"

    def answer_text(self, answer: Answer) -> str:
        return f"\\boxed{{{answer['answer'] if isinstance(answer, dict) else answer}}}"

    def traced(self, trace: Sequence[str], answer: Answer) -> Answer:
        return trace[-1].removeprefix("answer = ")

    def parse_text(self, text: str) -> str | None:
        return read_boxed(text)

    def same(self, a: Answer, b: Answer) -> bool:
        if isinstance(a, dict) and isinstance(b, dict):
            return a == b
        if isinstance(a, dict):
            a, b = b, a
        if isinstance(b, dict):
            return right(problem_of_truth(b), normal(str(a)))
        return normal(str(a)) == normal(b)

    def key(self, answer: Answer) -> str:
        return normal(answer["answer"] if isinstance(answer, dict) else answer)

    def from_json(self, value: Any) -> Answer:
        """Raises ValueError where the value is neither text nor a truth."""
        if isinstance(value, dict):
            problem_of_truth(value)
            return value
        if not isinstance(value, str):
            raise ValueError(f"graphs: {value!r} is no answer: expected text")
        return value

    def draw_transform(self, kinds: Sequence[str], task: Task, rng: np.random.Generator) -> GraphTransform:
        return random_transform(kinds, task, rng)

    def draw_views(
        self, kinds: Sequence[str], task: Task, count: int, rng: np.random.Generator
    ) -> list[GraphTransform]:
        return make_views(kinds, task, count, rng)

    def measure(self, tasks: Sequence[Task], answers: Mapping[str, Sequence[Answer | None]]) -> dict[str, Any]:
        """Accuracy and no-answer rate of every question, of those in and out of training, and of all.

        Args:
          tasks: with answers; others do not count.
          answers: task id -> the first answer to each query, None for none.
        """
        groups: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
        for task in tasks:
            if task.answers is None:
                continue
            for answer, wanted in zip(answers.get(task.id, [None] * len(task.answers)), task.answers, strict=True):
                score = (answer is not None and self.same(answer, wanted), answer is None)
                asked = wanted["task"]
                for group in ("all", "held_out" if QUESTIONS[asked].held_out else "in_domain", asked):
                    groups[group].append(score)
        return {
            group: {
                "accuracy": proportion([ok for ok, _ in scores]),
                "no_answer": proportion([missing for _, missing in scores]),
            }
            for group, scores in groups.items()
        }


def _read_task(line: str, file: str, place: int) -> Task | Refused:
    try:
        value = json.loads(line)
    except ValueError as error:
        return Refused(file, f"#{place}", "record", f"no JSON: {error}")
    if not isinstance(value, dict):
        return Refused(file, f"#{place}", "record", f"expected an object, found {type(value).__name__}")
    id_ = str(value.get("id", f"#{place}"))
    if not isinstance(value.get("problem"), str):
        return Refused(file, id_, "problem", "is missing, or no text")
    try:
        problem = read_problem(value["problem"])
        answer = truth(problem)
    except GraphError as error:
        return Refused(file, id_, "problem", str(error))
    given = value.get("answer")
    if given is not None and not right(problem, normal(str(given))):
        return Refused(file, id_, "answer", f"{given!r} is wrong, {answer['answer']!r} is right")
    return Task(id_, (), (ProblemText(problem),), (answer,))
