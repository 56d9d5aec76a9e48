"""The domain `bbh`: BIG-Bench Hard (arXiv 2210.09261) under the protocol of arXiv 2411.07279, section 5.

A task file is cut, once a seed, into demonstrations and queries: all examples
are shuffled with the seed, the first `tasks.demos` are the demonstrations, the
others the queries. So a run has one task a file and seed, `name@seed`, and
tasks of one seed are a family that may share an adapter.
"""

from __future__ import annotations

import difflib
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ttt_jax.config import TasksConfig
from ttt_jax.tasks.bbh_scores import majority_label, measure
from ttt_jax.tasks.bbh_tasks import TASKS
from ttt_jax.tasks.remote import local
from ttt_jax.tasks.task import LoadedTasks, Refused, Task
from ttt_jax.tasks.text import OpenedText, TextDomain

Example = tuple[str, str]
URL = "github://suzgunmirac:BIG-Bench-Hard@main/bbh"
"""Where the task files are published."""


class BbhDomain(TextDomain):
    """Inputs are `OpenedText`s, answers are texts as the files have them: `(A)`, `True`, `] ) }`, `12`."""

    name = "bbh"
    one_line = True
    max_answer_tokens = 96
    shared_prefix = True

    def read(self, config: TasksConfig) -> LoadedTasks:
        """The tasks of every file in `config.path` (a directory, a file, a URL), once for each of `config.seeds`."""
        if config.path is None:
            raise ValueError(
                "tasks.path: bbh needs the directory that holds the task files (boolean_expressions.json, ...), "
                f"the bbh/ of the repository suzgunmirac/BIG-Bench-Hard, or its URL: {URL}"
            )
        if config.demos < 0 or not config.seeds or len(set(config.seeds)) != len(config.seeds):
            raise ValueError(f"tasks: demos {config.demos} must be at least 0, and seeds {config.seeds} distinct")
        tasks, refused = [], []
        for file in task_files(local(config.path, is_task_file)):
            examples, problems = read_examples(file)
            refused += problems
            if problems:  # with an example less, the shuffle would give other demonstrations
                continue
            if len(examples) <= config.demos:
                reason = f"{len(examples)} of them; {config.demos} demonstrations (tasks.demos) leave no query"
                refused.append(Refused(str(file), file.stem, "examples", reason))
                continue
            tasks += [cut(file.stem, examples, config.demos, seed, config.queries) for seed in config.seeds]
        return LoadedTasks("bbh", tuple(tasks), tuple(refused))

    def question(self, query: str, alone: bool = False) -> str:
        return f"Q: {query}\nA:"

    def answer_text(self, answer: str) -> str:
        return f" {answer}"

    def parse_text(self, text: str) -> str | None:
        """Without a task, the line as it is."""
        return text.strip() or None

    def parse_for(self, task: Task, text: str) -> str | None:
        return TASKS[task_name(task.id)].read(text)

    def baselines(self, tasks: Sequence[Task]) -> dict[str, dict[str, list[str | None]]]:
        """Answers that need no model: the demonstrations' most frequent one, to every query."""
        return {"majority_label": {task.id: [majority_label(task)] * len(task.queries) for task in tasks}}

    def measure(self, tasks: Sequence[Task], answers: Mapping[str, Sequence[str | None]]) -> dict[str, Any]:
        """Accuracies by task and in the mean, share of answers in the format asked for (`bbh_scores`)."""
        return measure(tasks, answers, self.same)


def task_name(task_id: str) -> str:
    return task_id.partition("@")[0]


def is_task_file(name: str) -> bool:
    return name.endswith(".json") and name.removesuffix(".json") in TASKS


def task_files(path: Path) -> list[Path]:
    """The task files of a directory, by name; a single file is one. Raises ValueError where there are none."""
    if path.is_file():
        files = [path]
    elif path.is_dir():
        files = sorted(file for file in path.iterdir() if is_task_file(file.name))
    else:
        raise ValueError(f"tasks.path: {path}: no such directory or file")
    for file in files:
        if file.stem not in TASKS:
            near = difflib.get_close_matches(file.stem, TASKS, 1)
            hint = f"did you mean {near[0]}?" if near else f"the tasks are {', '.join(TASKS)}"
            raise ValueError(f"tasks.path: {file}: no task of BIG-Bench Hard is called {file.stem!r}; {hint}")
    if not files:
        raise ValueError(f"tasks.path: {path}: holds no task file, such as boolean_expressions.json")
    return files


def read_examples(file: Path) -> tuple[list[Example], list[Refused]]:
    """`{"examples": [{"input": text, "target": text}]}`: the examples, and what could not be read, by number from 0."""

    def refused(field: str, reason: str) -> Refused:
        return Refused(str(file), file.stem, field, reason)

    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return [], [refused("file", f"not JSON: {error}")]
    listed = content.get("examples") if isinstance(content, dict) else None
    if not isinstance(listed, list):
        return [], [refused("examples", "expected a list under this name")]
    examples, problems = [], []
    for number, example in enumerate(listed):
        problem = _problem(example)
        if problem:
            problems.append(refused(f"examples[{number}]", problem))
        else:
            examples.append((example["input"], example["target"]))
    return examples, problems


def _problem(example: Any) -> str | None:
    if not isinstance(example, dict):
        return "expected an object with input and target"
    for name in ("input", "target"):
        if not isinstance(example.get(name), str) or not example[name].strip():
            return f"{name}: expected a text that is not empty, found {example.get(name)!r}"
    return None


def cut(name: str, examples: Sequence[Example], demos: int, seed: int, queries: int | None = None) -> Task:
    """One task of one seed: shuffled as `random.Random(seed).shuffle` does, the first `demos` shown.

    Of the others the first `queries` are asked, or all. So with 6 demonstrations and 4 queries a schedule is
    tried on the ten demonstrations alone that a run of 10 would see.
    """
    shuffled = list(examples)
    random.Random(seed).shuffle(shuffled)
    opening = f"{TASKS[name].description} {TASKS[name].answer_format}\n\n"
    pairs = [(OpenedText(x, opening), y) for x, y in shuffled]
    asked, answers = zip(*pairs[demos : None if queries is None else demos + queries], strict=True)
    return Task(f"{name}@{seed}", tuple(pairs[:demos]), asked, answers, family=f"seed{seed}")
