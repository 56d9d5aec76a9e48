"""The paired difference of two arms over the tasks that both answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from ttt_jax.evaluate.intervals import bootstrap_mean, mcnemar


@dataclass(frozen=True)
class Comparison:
    """B against A, over common tasks.

    Attributes:
      tasks: how many both have.
      attempts: k of pass@k.
      a, b: pass@k of each, over the common tasks, fractions of 1.
      difference: b - a.
      low, high: its 95% bootstrap interval over tasks.
      p_value: exact McNemar, two-sided.
      gained: tasks that only B solves.
      lost: tasks that only A solves.
      missing: tasks that only one of the two has.
    """

    tasks: int
    attempts: int
    a: float
    b: float
    difference: float
    low: float
    high: float
    p_value: float
    gained: tuple[str, ...]
    lost: tuple[str, ...]
    missing: tuple[str, ...]


def compare(
    metrics_a: Mapping[str, Any], arm_a: str, metrics_b: Mapping[str, Any], arm_b: str, attempts: int = 2
) -> Comparison:
    """Compares two arms, of two runs or of one, by "per_task" of their metrics.json.

    Raises:
      ValueError: an arm is unknown, or no task with known answers is common.
    """
    solved_a, solved_b = _solved(metrics_a, arm_a, attempts), _solved(metrics_b, arm_b, attempts)
    common = sorted(solved_a.keys() & solved_b.keys())
    if not common:
        raise ValueError("no task with known answers is in both runs")
    a = np.array([solved_a[t] for t in common], float)
    b = np.array([solved_b[t] for t in common], float)
    gained = tuple(t for t in common if solved_b[t] and not solved_a[t])
    lost = tuple(t for t in common if solved_a[t] and not solved_b[t])
    low, high = bootstrap_mean(b - a)
    return Comparison(
        tasks=len(common),
        attempts=attempts,
        a=float(a.mean()),
        b=float(b.mean()),
        difference=float((b - a).mean()),
        low=low,
        high=high,
        p_value=mcnemar(len(lost), len(gained)),
        gained=gained,
        lost=lost,
        missing=tuple(sorted(solved_a.keys() ^ solved_b.keys())),
    )


def print_comparison(result: Comparison, name_a: str, name_b: str, console: Console | None = None) -> None:
    """The comparison as a table, and the tasks that flipped."""
    console = console or Console()
    table = Table(title=f"pass@{result.attempts} over {result.tasks} common tasks", title_justify="left")
    for column, justify in (("", "left"), ("value", "right"), ("95% interval", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    table.add_row(f"A  {name_a}", f"{result.a:.1%}", "")
    table.add_row(f"B  {name_b}", f"{result.b:.1%}", "")
    points = f"{100 * result.low:+.1f} to {100 * result.high:+.1f} points"
    table.add_row("B - A", f"{100 * result.difference:+.1f} points", points)
    console.print(table)
    console.print(f"exact McNemar p = {result.p_value:.2g} ({len(result.gained)} gained, {len(result.lost)} lost)")
    for title, ids in (("only B solves", result.gained), ("only A solves", result.lost)):
        if ids:
            console.print(f"{title}: {' '.join(ids)}", highlight=False, markup=False)
    if result.missing:
        console.print(f"{len(result.missing)} tasks are in one of the two only, and left out", highlight=False)


def _solved(metrics: Mapping[str, Any], arm: str, attempts: int) -> dict[str, bool]:
    if arm not in metrics["arms"]:
        raise ValueError(f"no arm is called {arm!r}; there are {', '.join(metrics['arms'])}")
    return {
        task: all(rank is not None and rank <= attempts for rank in arms[arm])
        for task, arms in metrics["per_task"].items()
        if arm in arms
    }
