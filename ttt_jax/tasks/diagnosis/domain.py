"""The domain `diagnosis`: DiagnosisArena's records, and SYNTHETIC cases."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ttt_jax.config import TasksConfig
from ttt_jax.tasks.diagnosis.answers import (
    Answer,
    Judge,
    as_answer,
    is_right,
    ontology_judge,
    plain,
    read_answer,
    truth,
    write_answer,
)
from ttt_jax.tasks.diagnosis.case import Case, CaseError, Mode, read_case
from ttt_jax.tasks.diagnosis.scoring import rates
from ttt_jax.tasks.diagnosis.sets import DiagnosisOptions, draw_task, make_tasks
from ttt_jax.tasks.diagnosis.transforms import KINDS, DiagnosisTransform, make_views, random_transform
from ttt_jax.tasks.problem_domain import ProblemDomain
from ttt_jax.tasks.problem_text import ProblemText, with_steps
from ttt_jax.tasks.task import LoadedTasks, Refused, Task


class DiagnosisDomain(ProblemDomain):
    """Inputs are `ProblemText`s of a `Case`, answers are `answers.Answer`s. `judge` says which diagnoses are right."""

    name = "diagnosis"
    problem = Case
    kinds = KINDS
    options = DiagnosisOptions
    make_tasks = staticmethod(make_tasks)
    draw_task = staticmethod(draw_task)
    max_answer_tokens = 512
    judge: Judge = staticmethod(ontology_judge)

    def read_path(self, config: TasksConfig) -> LoadedTasks:
        """Public records, zero-shot: in the mode of `config.source` where that is of this domain, else by choice where
        they have options."""
        mode: Mode | None = None
        if config.source.startswith(self.name + "/"):
            mode = "choice" if self.parse_options(config.source).mode == "choice" else "open"
        cases, refused = read_cases(config.path or "", mode)
        tasks = tuple(Task(case.id, (), (ProblemText(case.hidden()),), (truth(case),)) for case in cases)
        return LoadedTasks(str(config.path), tasks, tuple(refused))

    def instructions(self, demos: Sequence[tuple[str, Answer]]) -> str:
        """With demos also their handbook, once for all."""
        case = getattr(demos[0][0], "problem", None) if demos else None
        if isinstance(case, Case) and case.synthetic is not None and case.synthetic.handbook:
            return f"Give the diagnosis of each case.\n\nHandbook:\n{case.synthetic.net.handbook()}\n\n"
        return "Give the diagnosis of each case.\n\n"

    def question(self, query: str, alone: bool = False) -> str:
        case = getattr(query, "problem", None)
        text = case.text(handbook=alone) if isinstance(case, Case) else query
        if with_steps(query):
            text += "\nGo through the evidence, one step a line, with the probabilities so far."
        if isinstance(case, Case) and case.mode == "choice":
            ask = "Which option is right? Answer with its letter in \\boxed{}, then (confidence N%)."
            return f"{text}\n{ask if alone else 'Answer:'}\n"
        ask = "Rank the five most probable diagnoses, one a line, with their probabilities: 1. name (percent)"
        return f"{text}\n{ask if alone else 'Diagnoses:'}\n"

    def answer_text(self, answer: Answer) -> str:
        return write_answer(answer)

    def parse_text(self, text: str) -> Answer | None:
        return read_answer(text)

    def same(self, a: Answer, b: Answer) -> bool:
        """Whether two answers have the same first diagnosis or letter; where one is a truth, if the other is right."""
        if ("truth" in a) == ("truth" in b):
            return self.key(a) == self.key(b)
        return is_right(a, b, self.judge) if "truth" in b else is_right(b, a, self.judge)

    def key(self, answer: Answer) -> str:
        """The letter, or the first diagnosis: what is voted on."""
        return answer["choice"] if "choice" in answer else plain(answer["ranked"][0])

    def from_json(self, value: Any) -> Answer:
        return as_answer(value)

    def draw_transform(self, kinds: Sequence[str], task: Task, rng: np.random.Generator) -> DiagnosisTransform:
        return random_transform(kinds, task, rng)

    def draw_views(
        self, kinds: Sequence[str], task: Task, count: int, rng: np.random.Generator
    ) -> list[DiagnosisTransform]:
        return make_views(kinds, task, count, rng)

    def measure(self, tasks: Sequence[Task], answers: Mapping[str, Sequence[Answer | None]]) -> dict[str, Any]:
        """Top-1, top-5, no-answer rates and calibration, by difficulty.

        Args:
          tasks: with answers; others do not count.
          answers: task id -> the first answer to each query, None for none.
        """
        found: list[tuple[Answer | None, Answer]] = []
        for task in tasks:
            if task.answers is not None:
                given = answers.get(task.id, [None] * len(task.answers))
                found += zip(given, task.answers, strict=True)
        return rates([a for a, _ in found], [w for _, w in found], self.judge)


def read_cases(path: str | Path, mode: Mode | None = None) -> tuple[list[Case], list[Refused]]:
    """The records of a .json (a list) or .jsonl file.

    Raises:
      ValueError: there is no such file, or it is no JSON.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix == ".json" else [json.loads(x) for x in text.splitlines() if x.strip()]
    except OSError as error:
        raise ValueError(f"tasks.path: {path}: {error.strerror}; expected a .json or .jsonl file") from None
    except ValueError as error:
        raise ValueError(f"tasks.path: {path}: no JSON: {error}") from None
    cases: dict[str, Case] = {}
    refused = []
    for place, value in enumerate(values if isinstance(values, list) else [values], 1):
        id_ = str(value.get("id", f"#{place}")) if isinstance(value, dict) else f"#{place}"
        try:
            case = read_case(value, mode, place)
            if case.id in cases:
                raise CaseError("id", "another record has it")
            cases[case.id] = case
        except CaseError as error:
            refused.append(Refused(str(path), id_, error.field, error.reason))
    return list(cases.values()), refused


def write_cases(path: str | Path, cases: Sequence[Case]) -> None:
    """A .jsonl file, one record a line."""
    lines = (json.dumps(case.to_json(), ensure_ascii=False) + "\n" for case in cases)
    Path(path).write_text("".join(lines), encoding="utf-8")
