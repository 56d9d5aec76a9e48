"""submission.json, in the ARC Prize's format: {task id: [{"attempt_1": grid, "attempt_2": grid}, ..]}."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ttt_jax.evaluate.metrics import ADAPTED
from ttt_jax.runtime.journal import Record
from ttt_jax.tasks.task import Task

IN_CONTEXT = "in_context"
EMPTY_GRID = [[0]]


def make_submission(
    records: Mapping[str, Record], tasks: Iterable[Task], *, attempts: int = 2, arm: str = ADAPTED
) -> dict[str, list[dict[str, Any]]]:
    """The answers of one arm, with those of the in-context arm where it has too few.

    A task that could not be adapted is answered in context; its journal record
    says so (`status`, `fell_back`). Places that are still empty repeat the best
    answer, or hold a grid of one black cell (an empty text in text domains):
    the format wants every place filled. Tasks without a record are left out.
    """
    submission = {}
    for task in sorted(tasks, key=lambda t: t.id):
        if task.id not in records:
            continue
        arms = records[task.id]["arms"]
        answers = []
        for query, given in enumerate(task.queries):
            found = _distinct([arms.get(name, {}).get("ranked", []) for name in (arm, IN_CONTEXT)], query)[:attempts]
            # Nothing may be empty: the first answer again, or a grid without content.
            filler = found[0] if found else ("" if isinstance(given, str) else EMPTY_GRID)
            found += [filler] * (attempts - len(found))
            answers.append({f"attempt_{i}": answer for i, answer in enumerate(found, 1)})
        submission[task.id] = answers
    return submission


def _distinct(arms: Sequence[Sequence[Sequence[dict[str, Any]]]], query: int) -> list[Any]:
    answers: list[Any] = []
    for ranked in arms:
        for entry in ranked[query] if query < len(ranked) else ():
            if entry["answer"] not in answers:
                answers.append(entry["answer"])
    return answers
