"""What a run on generated problems says beside the places of right answers: its steps, and accuracy over difficulty.

Everything is read from journal records, so that a run can be re-ranked or reported without its problems:

    {"group": name of the tasks it is counted with, "complexity": [{name: number} a query],
     "arms": {arm: {"steps": [[[text, reason, detail], ..] or null a query], ..}}}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ttt_jax.decode.candidate import Candidate, JudgedStep, Ranked
from ttt_jax.evaluate.intervals import proportion
from ttt_jax.evaluate.thresholds import threshold
from ttt_jax.process.metrics import Chain, process_rates
from ttt_jax.process.steps import VALID, Verdict
from ttt_jax.runtime.journal import Record
from ttt_jax.tasks.complexity import complexity
from ttt_jax.tasks.problem_text import ProblemText
from ttt_jax.tasks.task import Domain, Task

ALL = "all"
BINS = 6
"""Where a number has more values than this, accuracy is given for so many ranges of it, as full as can be."""


def about_problems(task: Task, domain: Domain) -> dict[str, Any]:
    """`group` and `complexity` of a journal record; empty where the queries carry no problem."""
    if not all(isinstance(query, ProblemText) for query in task.queries):
        return {}
    return {"group": task.family or domain.name, "complexity": [complexity(query.problem) for query in task.queries]}


def chosen(candidates: Sequence[Candidate], ranked: Sequence[Ranked], domain: Domain) -> Candidate | None:
    """The candidate that an arm's best answer to a query comes from: of those that gave it, the most likely one.

    Of a query without an answer the most likely candidate counts. None without candidates.
    """
    best = domain.key(ranked[0].answer) if ranked else None
    giving = [c for c in candidates if best is not None and c.answer is not None and domain.key(c.answer) == best]
    return max(giving or candidates, key=lambda c: c.logprob, default=None)


def chosen_steps(
    candidates: Sequence[Candidate], ranked: Sequence[Ranked], domain: Domain
) -> tuple[JudgedStep, ...] | None:
    """The steps of the `chosen` candidate; None where no steps were asked for."""
    found = chosen(candidates, ranked, domain)
    return found.steps if found else None


Right = Mapping[str, Mapping[str, Sequence[bool]]]
"""Arm -> task id -> for each query whether its first answer is right."""


def process_numbers(records: Mapping[str, Record], right: Right) -> dict[str, Any]:
    """Arm -> group -> `process_rates` of the chains behind its answers; empty where no steps were asked for."""
    found: dict[str, Any] = {}
    for arm, of_arm in right.items():
        chains: dict[str, list[Chain]] = {}
        for id_, of_task in of_arm.items():
            record = records[id_]
            own = record["arms"].get(arm, {})
            if own.get("fell_back"):
                continue
            for steps, ok in zip(own.get("steps") or (), of_task, strict=False):
                if steps is not None:
                    for group in _groups(record):
                        chains.setdefault(group, []).append(Chain(tuple(map(_verdict, steps)), ok))
        if chains:
            found[arm] = {group: process_rates(of) for group, of in _ordered(chains).items()}
    return found


def difficulty_curves(records: Mapping[str, Record], right: Right) -> dict[str, Any]:
    """Arm -> group -> quantity -> where accuracy crosses 50%, and accuracy over ranges of the quantity.

    A quantity is one of `tasks.complexity`. Groups are never put together: their problems differ in kind.
    """
    found: dict[str, Any] = {}
    for arm, of_arm in right.items():
        points: dict[str, dict[str, list[tuple[float, bool]]]] = {}
        for id_, of_task in of_arm.items():
            record = records[id_]
            of_queries: Sequence[Mapping[str, float]] = record.get("complexity") or ()
            for numbers, ok in zip(of_queries, of_task, strict=False):
                for quantity, x in numbers.items():
                    points.setdefault(record["group"], {}).setdefault(quantity, []).append((x, ok))
        if points:
            found[arm] = {
                group: {
                    quantity: accuracy_curve([x for x, _ in of], [ok for _, ok in of])
                    for quantity, of in quantities.items()
                }
                for group, quantities in sorted(points.items())
            }
    return found


def accuracy_curve(x: Sequence[float], right: Sequence[bool]) -> dict[str, Any]:
    """Accuracy over a number.

    Args:
      x: [n].
      right: [n].

    Returns:
      `threshold`'s {"at_50", "low", "high", "n"}, and "bins", by increasing x:
      {"from", "to", "mean", "value", "low", "high", "n"}, ends included.
    """
    values, hits = np.asarray(x, float), np.asarray(right, bool)
    distinct = np.unique(values)
    if len(distinct) <= BINS:
        parts = [values == v for v in distinct]
    else:
        edges = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)))
        last = len(edges) - 2
        parts = [
            (values >= low) & ((values <= high) if i == last else (values < high))
            for i, (low, high) in enumerate(pairwise(edges))
        ]
    bins = [
        {
            "from": float(values[part].min()),
            "to": float(values[part].max()),
            "mean": float(values[part].mean()),
            **proportion(hits[part].tolist()),
        }
        for part in parts
        if part.any()
    ]
    return {**threshold(x, right), "bins": bins}


SHOWN = ("step_validity", "contradictions", "coherence", "valid_chains", "no_steps", "right_by_invalid", "length")


def process_table(process: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """The numbers of the process as text, a row a group and arm; empty where there are none."""
    if not process:
        return []
    rows = [["", *(name.replace("_", " ") for name in SHOWN), "first-error accuracy", "F1"]]
    groups = dict.fromkeys(group for of in process.values() for group in of)
    for group in groups:
        for arm, of in process.items():
            if group in of:
                numbers = of[group]
                cells = [_cell(numbers[name], percent=name != "length") for name in SHOWN]
                sampled = numbers.get("monte_carlo", {}).get("first_error", {})
                f1 = sampled.get("f1")
                cells += [_cell(sampled.get("accuracy")), "-" if f1 is None else f"{100 * f1:.1f}"]
                rows.append([f"{group}, {arm.replace('_', '-')}", *cells])
    return rows


def _cell(number: Mapping[str, float] | None, percent: bool = True) -> str:
    if number is None:
        return "-"
    scale = 100 if percent else 1
    value, low, high = (scale * number[name] for name in ("value", "low", "high"))
    return f"{value:.1f} ({low:.0f}\u2013{high:.0f})" if percent else f"{value:.1f} ({low:.1f}\u2013{high:.1f})"


def _verdict(step: Sequence[str]) -> Verdict:
    _, reason, detail = step
    return Verdict(False, reason, detail) if reason else VALID


def _groups(record: Record) -> Iterable[str]:
    return dict.fromkeys((ALL, record.get("group") or ALL))


def _ordered(chains: Mapping[str, list[Chain]]) -> dict[str, list[Chain]]:
    """All first, and left out where it is the same as the only group."""
    groups = sorted(group for group in chains if group != ALL)
    return {group: chains[group] for group in ([ALL, *groups] if len(groups) != 1 else groups)}
