"""ARC's public JSON: one file a task, or the ARC Prize's challenges and solutions files.

    {"train": [{"input": grid, "output": grid}, ..], "test": [{"input": grid, "output"?: grid}, ..]}
    *_challenges.json: {task id: that, ..}     *_solutions.json: {task id: [grid, ..]}

What cannot be read is refused with its file, task id, field and reason; the rest is loaded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ttt_jax.tasks.grids import as_grid
from ttt_jax.tasks.task import WHOLE_FILE, LoadedTasks, Refused, Task

MAX_BYTES = 10_000_000


class _Bad(ValueError):
    """What is wrong with one field."""

    def __init__(self, field: str, reason: str):
        super().__init__(f"{field}: {reason}")
        self.field, self.reason = field, reason


def read_path(path: str) -> LoadedTasks:
    """Reads a file, or every *.json of a directory (solutions and submissions are no tasks).

    Answers are kept where every query of the task has one.

    Raises:
      ValueError: the path does not exist or holds no JSON file.
    """
    root = Path(path)
    if root.is_dir():
        files = [f for f in sorted(root.glob("*.json")) if "solutions" not in f.name and "submission" not in f.name]
        if not files:
            raise ValueError(f"tasks.path: no task in {path}: it has no *.json file (subdirectories are not searched)")
    elif root.exists():
        files = [root]
    else:
        raise ValueError(f"tasks.path: {path} does not exist")

    tasks: dict[str, Task] = {}
    origin: dict[str, str] = {}
    refused: list[Refused] = []
    for file in files:
        found, bad = _read_file(file)
        refused += bad
        for task in found:
            if task.id in tasks:
                refused.append(Refused(str(file), task.id, "id", f"was read from {origin[task.id]} already"))
            else:
                tasks[task.id], origin[task.id] = task, str(file)
    return LoadedTasks(root.stem if root.is_file() else root.resolve().name, tuple(tasks.values()), tuple(refused))


def _read_file(file: Path) -> tuple[list[Task], list[Refused]]:
    try:
        content = _read_json(file)
    except _Bad as bad:
        return [], [Refused(str(file), file.stem, bad.field, bad.reason)]
    if not isinstance(content, dict):
        return [], [Refused(str(file), file.stem, "file", "must hold an object: a task, or tasks by id")]
    several = not {"train", "test"} & set(content) and any(isinstance(value, dict) for value in content.values())
    entries = content if several else {file.stem: content}
    solutions, refused = _read_solutions(file) if several else ({}, [])
    tasks = []
    for task_id, entry in entries.items():
        try:
            tasks.append(_task(task_id, entry, solutions.get(task_id)))
        except _Bad as bad:
            refused.append(Refused(str(file), task_id, bad.field, bad.reason))
    return tasks, refused


def _read_solutions(challenges: Path) -> tuple[dict[str, Any], list[Refused]]:
    """Solutions by task id from the file beside `challenges`, empty where there is none."""
    file = challenges.with_name(challenges.name.replace("challenges", "solutions"))
    if file == challenges or not file.exists():
        return {}, []
    try:
        content = _read_json(file)
        if not isinstance(content, dict):
            raise _Bad("file", "must hold an object: solutions by task id")
    except _Bad as bad:
        return {}, [Refused(str(file), WHOLE_FILE, bad.field, bad.reason)]
    return content, []


def _read_json(file: Path) -> Any:
    try:
        if not file.is_file():
            raise _Bad("file", "is not a regular file")
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise _Bad("file", f"is {size / 1e6:.1f} MB, at most {MAX_BYTES / 1e6:.0f} MB are read")
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _Bad("file", f"is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise _Bad("file", f"cannot be read: {error.strerror}") from error
    if not text.strip():
        raise _Bad("file", "is empty")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise _Bad("file", f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
    except RecursionError as error:
        raise _Bad("file", "is nested too deeply") from error
    except ValueError as error:  # an integer of thousands of digits
        raise _Bad("file", f"is not JSON that can be read: {error}") from error


def _task(task_id: str, entry: Any, solutions: Any) -> Task:
    # The id becomes a file name in the run directory.
    if not 0 < len(task_id) <= 100 or task_id[0] == "." or not task_id.isprintable() or set(task_id) & set("/\\"):
        raise _Bad(
            "id", f"{task_id[:100]!r} cannot be a file name: 1 to 100 printable characters, no slash, no dot first"
        )
    if not isinstance(entry, dict):
        raise _Bad("task", "must be an object with train and test")
    demos = tuple(
        (_grid(pair, "input", f"train[{i}]"), _grid(pair, "output", f"train[{i}]"))
        for i, pair in enumerate(_list(entry, "train", "has no demonstrations"))
    )
    tests = _list(entry, "test", "has no queries")
    queries = tuple(_grid(pair, "input", f"test[{i}]") for i, pair in enumerate(tests))
    if solutions is not None:
        if not isinstance(solutions, list) or len(solutions) != len(tests):
            raise _Bad("solutions", f"must be a list of {len(tests)} grids, one a query")
        answers = [_checked(grid, f"solutions[{i}]") for i, grid in enumerate(solutions)]
    else:
        answers = [
            _grid(pair, "output", f"test[{i}]") for i, pair in enumerate(tests) if pair.get("output") is not None
        ]
    return Task(task_id, demos, queries, tuple(answers) if len(answers) == len(queries) else None)


def _list(entry: dict, field: str, if_empty: str) -> list:
    if field not in entry:
        raise _Bad(field, "is missing")
    value = entry[field]
    if not isinstance(value, list):
        raise _Bad(field, "must be a list of pairs")
    if not value:
        raise _Bad(field, f"{if_empty}: the list is empty")
    return value


def _grid(pair: Any, field: str, where: str) -> np.ndarray:
    if not isinstance(pair, dict):
        raise _Bad(where, "must be an object with input and output")
    if field not in pair:
        raise _Bad(f"{where}.{field}", "is missing")
    return _checked(pair[field], f"{where}.{field}")


def _checked(cells: Any, where: str) -> np.ndarray:
    try:
        return as_grid(cells)
    except ValueError as error:
        raise _Bad(where, str(error)) from error
