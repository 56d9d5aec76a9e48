"""What a domain measures beside the places of right answers: its own numbers, by arm, and of baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ttt_jax.runtime.journal import Record
from ttt_jax.tasks.task import Answer, Domain, Task


def measures(
    records: Mapping[str, Record], tasks: Sequence[Task], domain: Domain, arms: Sequence[str], adapted: str
) -> dict[str, Any]:
    """Arm or baseline -> what `domain.measure` says of its answers; empty where the domain measures nothing.

    A domain may have `measure(tasks, answers)`, with the first answer of each
    query by task id, and `baselines(tasks)`, such answers by the name of a baseline.

    Args:
      records: journal records of the tasks.
      tasks: those of them that have answers.
      arms: names.
      adapted: the arm that counts as without an answer where a task was not adapted to the end.
    """
    measure = getattr(domain, "measure", None)
    if measure is None or not tasks:
        return {}
    found = {}
    for arm in arms:
        answers = {task.id: first_answers(records[task.id], task, arm, domain, adapted) for task in tasks}
        found[arm] = measure(tasks, answers)
    baselines = getattr(domain, "baselines", None)
    for name, answers in (baselines(tasks) if baselines else {}).items():
        found[name] = measure(tasks, answers)
    return found


def first_answers(record: Record, task: Task, arm: str, domain: Domain, adapted: str) -> list[Answer | None]:
    """An arm's best answer to each query, None where it has none of its own."""
    own = record["arms"].get(arm)
    if own is None or own.get("fell_back") or (arm == adapted and record["status"] != "done"):
        return [None] * len(task.queries)
    return [domain.from_json(ranked[0]["answer"]) if ranked else None for ranked in own["ranked"]]


def table(found: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Accuracies as text, a row a task and the mean last, a column an arm; empty where `measure` gives none.

    Accuracy is in percent, with its standard error over seeds where there are several. The last rows are
    the share of answers in the format asked for and of answers equal to the demonstrations' commonest.
    """
    if not found or not all("accuracy" in m and "tasks" in m for m in found.values()):
        return []
    names = sorted({name for m in found.values() for name in m["tasks"]})
    rows = [["", *(arm.replace("_", " ") for arm in found)]]
    rows += [[name, *(_percent(m["tasks"].get(name, {}).get("accuracy")) for m in found.values())] for name in names]
    rows.append(["mean", *(_percent(m["accuracy"]) for m in found.values())])
    for title, key in (
        ("answers in the format asked for", "valid"),
        ("answers that are the usual one", "majority_label"),
    ):
        if any(key in m for m in found.values()):
            rows.append([title, *(_percent({"value": m.get(key), "stderr": None}) for m in found.values())])
    return rows


def _percent(number: Mapping[str, Any] | None) -> str:
    if not number or number["value"] is None:
        return "-"
    error = "" if number["stderr"] is None else f" ± {100 * number['stderr']:.1f}"
    return f"{100 * number['value']:.1f}{error}"
