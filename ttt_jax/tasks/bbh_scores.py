"""Accuracies on BIG-Bench Hard: by task, in the mean over tasks, with standard errors over seeds."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ttt_jax.tasks.task import Task

Answers = Mapping[str, Sequence[str | None]]
"""Task id -> the first answer to each query, None where there was none in the format asked for."""


def measure(tasks: Sequence[Task], answers: Answers, same: Callable[[str, str], bool]) -> dict[str, Any]:
    """What one arm scores.

    Args:
      tasks: with answers, ids `name@seed`; those without answers, and those that `answers` lacks, do not count.
      answers: of the arm.
      same: case-insensitive match.

    Returns:
      accuracy: {"value", "stderr", "n"}: the mean over tasks of each seed, then the mean and its standard
      error over the n seeds (None for one seed). valid: share of answers in the format asked for.
      majority_label: share of answers that are the demonstrations' most frequent one. tasks: by name
      {"accuracy", "valid", "majority_label", "queries", "dropped_demos"}.
    """
    by_seed: dict[str, list[float]] = {}
    by_name: dict[str, list[dict[str, float]]] = {}
    for task in tasks:
        if task.answers is None or task.id not in answers:
            continue
        name, _, seed = task.id.partition("@")
        given, count, usual = answers[task.id], len(task.answers), majority_label(task)
        row = {
            "accuracy": sum(a is not None and same(a, t) for a, t in zip(given, task.answers, strict=True)) / count,
            "valid": sum(a is not None for a in given) / count,
            "majority_label": sum(a is not None and usual is not None and same(a, usual) for a in given) / count,
            "queries": count,
            "dropped_demos": task.dropped_demos,
        }
        by_name.setdefault(name, []).append(row)
        by_seed.setdefault(seed, []).append(row["accuracy"])
    shares = {
        what: _mean([statistics.fmean(row[what] for row in rows) for rows in by_name.values()])
        for what in ("valid", "majority_label")
    }
    return {
        "accuracy": _with_error([statistics.fmean(of) for of in by_seed.values()]),
        **shares,
        "tasks": {
            name: {
                "accuracy": _with_error([row["accuracy"] for row in rows]),
                "valid": _mean([row["valid"] for row in rows]),
                "majority_label": _mean([row["majority_label"] for row in rows]),
                "queries": sum(row["queries"] for row in rows),
                "dropped_demos": max(row["dropped_demos"] for row in rows),
            }
            for name, rows in sorted(by_name.items())
        },
    }


def majority_label(task: Task) -> str | None:
    """The most frequent answer of the demonstrations, the earliest among equals; None without demonstrations."""
    counted = Counter(answer for _, answer in task.demos).most_common(1)
    return counted[0][0] if counted else None


def explained(before: Mapping[str, float], after: Mapping[str, float], label: Mapping[str, float]) -> float | None:
    """The share of a gain that answering with the majority label would have given as well.

    Of each task that gained, the part of its gain up to what the label alone scores; these parts over all gains.

    Args:
      before, after: task name -> accuracy, in context and adapted.
      label: task name -> accuracy of the demonstrations' most frequent answer.

    Returns:
      A fraction of 1; None where no task gained.
    """
    gains = {name: after[name] - before[name] for name in before if after[name] > before[name]}
    if not gains:
        return None
    parts = (min(gain, max(0.0, label[name] - before[name])) for name, gain in gains.items())
    return sum(parts) / sum(gains.values())


def _with_error(values: Sequence[float]) -> dict[str, Any]:
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
    return {"value": _mean(values), "stderr": error, "n": len(values)}


def _mean(values: Iterable[float]) -> float | None:
    values = list(values)
    return statistics.fmean(values) if values else None
