"""The domain `text`: your own tasks, one JSON object a line.

    {"id": "capitals", "instructions": "Name the capital.",
     "demos": [{"input": "France", "output": "Paris"}, {"input": "Peru", "output": "Lima"}],
     "queries": [{"input": "Kenya", "output": "Nairobi"}, {"input": "Chile"}]}

`instructions` may be left out, and `output` of queries, where nothing is to be
scored (of all queries of a task or of none).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ttt_jax.config import TasksConfig
from ttt_jax.tasks.task import LoadedTasks, Refused, Task
from ttt_jax.tasks.text import OpenedText, TextDomain

FIELDS = ("id", "instructions", "demos", "queries")


class JsonlDomain(TextDomain):
    """Inputs and answers are texts; an answer is one line, right where it is the same but for case and spacing."""

    name = "text"
    shared_prefix = True

    def read(self, config: TasksConfig) -> LoadedTasks:
        """The tasks of the file `config.path`; lines that are no task are refused by number, from 1."""
        if config.path is None:
            raise ValueError("tasks.path: the domain 'text' needs a .jsonl file, one task a line")
        path = Path(config.path)
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"tasks.path: {path}: cannot be read: {error}") from None
        tasks: list[Task] = []
        refused: list[Refused] = []
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            where = f"{path}:{number}"
            try:
                task = read_task(line)
            except _Problem as problem:
                refused.append(Refused(where, problem.task_id or f"line{number}", problem.field, problem.reason))
                continue
            if any(task.id == other.id for other in tasks):
                refused.append(Refused(where, task.id, "id", "another line has this id already"))
                continue
            tasks.append(task)
        return LoadedTasks(path.name, tuple(tasks), tuple(refused))

    def instructions(self, demos: Sequence[tuple[str, str]]) -> str:
        return ""

    def question(self, query: str, alone: bool = False) -> str:
        return f"Q: {query}\nA:"

    def answer_text(self, answer: str) -> str:
        return f" {answer}"

    def parse_text(self, text: str) -> str | None:
        return text.strip() or None

    def baselines(self, tasks: Sequence[Task]) -> dict[str, dict[str, list[str | None]]]:
        """The demonstrations' most frequent answer, to every query."""
        usual = {t.id: Counter(y for _, y in t.demos).most_common(1)[0][0] if t.demos else None for t in tasks}
        return {"majority_label": {task.id: [usual[task.id]] * len(task.queries) for task in tasks}}

    def measure(self, tasks: Sequence[Task], answers: Mapping[str, Sequence[str | None]]) -> dict[str, Any]:
        """Accuracy of every task, and their mean."""
        rows = {}
        for task in tasks:
            pairs = list(zip(answers[task.id], task.answers or (), strict=True))
            share = sum(a is not None and self.same(a, truth) for a, truth in pairs) / len(pairs)
            rows[task.id] = {"accuracy": {"value": share, "stderr": None, "n": len(pairs)}}
        mean = sum(row["accuracy"]["value"] for row in rows.values()) / len(rows)
        return {"accuracy": {"value": mean, "stderr": None, "n": len(rows)}, "tasks": rows}


class _Problem(Exception):
    def __init__(self, task_id: str | None, field: str, reason: str):
        self.task_id, self.field, self.reason = task_id, field, reason


def read_task(line: str) -> Task:
    """One line as a task. Raises _Problem, with the field."""
    try:
        record = json.loads(line)
    except ValueError as error:
        raise _Problem(None, "line", f"not JSON: {error}") from None
    if not isinstance(record, dict):
        raise _Problem(None, "line", "expected an object with id, demos and queries")
    id_ = record.get("id")
    if not isinstance(id_, str) or not id_:
        raise _Problem(None, "id", f"expected a text that is not empty, found {id_!r}")
    if unknown := sorted(set(record) - set(FIELDS)):
        raise _Problem(id_, unknown[0], f"unknown; the fields are {', '.join(FIELDS)}")
    instructions = record.get("instructions", "")
    if not isinstance(instructions, str):
        raise _Problem(id_, "instructions", f"expected a text, found {instructions!r}")
    opening = f"{instructions}\n\n" if instructions else ""
    demos = [_pair(id_, f"demos[{i}]", pair, True) for i, pair in enumerate(_list(id_, "demos", record))]
    queries = [_pair(id_, f"queries[{i}]", pair, False) for i, pair in enumerate(_list(id_, "queries", record))]
    if not queries:
        raise _Problem(id_, "queries", "there are none")
    given = [y for _, y in queries if y is not None]
    if given and len(given) < len(queries):
        raise _Problem(id_, "queries", f"{len(given)} of {len(queries)} have an output; give all or none")
    return Task(
        id_,
        tuple((OpenedText(x, opening), str(y)) for x, y in demos),
        tuple(OpenedText(x, opening) for x, _ in queries),
        tuple(given) if given else None,
    )


def _list(id_: str, field: str, record: Mapping[str, Any]) -> list[Any]:
    value = record.get(field)
    if not isinstance(value, list):
        raise _Problem(id_, field, f"expected a list, found {value!r}")
    return value


def _pair(id_: str, field: str, pair: Any, solved: bool) -> tuple[str, str | None]:
    if not isinstance(pair, dict) or not isinstance(pair.get("input"), str):
        raise _Problem(id_, field, "expected an object with a text as its input")
    output = pair.get("output")
    if output is None and not solved:
        return pair["input"], None
    if not isinstance(output, str) or not output.strip() or "\n" in output:
        raise _Problem(id_, f"{field}.output", f"expected one line of text, found {output!r}")
    return pair["input"], output
