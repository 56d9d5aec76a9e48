"""From ranked answers to the numbers of metrics.json.

A journal record, one a finished task:

    {"task": id, "status": "done" | "failed" | "too_long" | "refused", "reason": text or null,
     "arms": {arm: {"ranked": [[{"answer", "votes", "score"}, ..] a query], "seconds": {"adapt", "decode", "select"},
                    "tokens": {"adapt", "prompt", "decode"}, "fell_back": bool}},
     "steps": n, "final_loss": x}

Tasks with several test inputs are counted in each of the ways in use:

    pass@k           share of tasks of which ALL test inputs are right within k attempts (the primary number)
    pass@k_partial   mean over tasks of the share of test inputs that are right
    outputs@k        share of all test inputs that are right
    coverage         share of tasks whose right answers are all among the candidates
    coverage@k       the same, among the k best ranked answers (so coverage@2 would be pass@2)
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ttt_jax.evaluate.intervals import bootstrap_mean, wilson
from ttt_jax.evaluate.measures import measures
from ttt_jax.evaluate.reasoning import difficulty_curves, process_numbers
from ttt_jax.runtime.journal import Record
from ttt_jax.tasks.task import Answer, Domain, Task

ADAPTED = "adapted"
TOKENS = ("adapt", "prompt", "decode")
SECONDS = ("load", "compile", "adapt", "decode", "select")
COVERED = (10, 100)
"""The k of coverage@k."""
ABOUT = ("padding", "idle", "compilations", "model", "device", "versions", "seed", "command")


@dataclass(frozen=True)
class Outcome:
    """How one task came out in one arm.

    Attributes:
      ranks: for each query the place of the right answer, from 1; None where
        it was not found, or where the arm has no answer of its own.
      covered: for each query, whether a candidate gave the right answer.
    """

    ranks: tuple[int | None, ...]
    covered: tuple[bool, ...]

    def right(self, k: int) -> list[bool]:
        """For each query, whether one of the first k answers is right."""
        return [rank is not None and rank <= k for rank in self.ranks]


def outcome(record: Record, task: Task | None, arm: str, domain: Domain) -> Outcome | None:
    """How a finished task came out in an arm; None where its answers are not known.

    Wrong throughout are: a task that was refused (there is no `task` then), an
    arm that has no answers or fell back to those of another arm, and the adapted
    arm of a task that was not adapted to the end.
    """
    if task is None:
        if record["status"] != "refused":
            raise ValueError(f"task {record['task']}: finished, and not among the tasks given")
        return Outcome((None,), (False,))
    if task.answers is None:
        return None
    own = record["arms"].get(arm)
    if own is None or own.get("fell_back") or (arm == ADAPTED and record["status"] != "done"):
        return Outcome((None,) * len(task.queries), (False,) * len(task.queries))
    if len(own["ranked"]) != len(task.queries):
        raise ValueError(
            f"task {task.id}: arm {arm}: answers to {len(own['ranked'])} queries, the task has {len(task.queries)}"
        )
    ranks, covered = [], []
    for ranked, truth in zip(own["ranked"], task.answers, strict=True):
        rank = _place(ranked, truth, domain)
        ranks.append(rank)
        # An answer that selection put together itself has no votes.
        covered.append(rank is not None and ranked[rank - 1]["votes"] > 0)
    return Outcome(tuple(ranks), tuple(covered))


def compute_metrics(
    records: Mapping[str, Record],
    tasks: Iterable[Task],
    domain: Domain,
    *,
    arms: Sequence[str],
    attempts: int = 2,
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What metrics.json holds.

    Args:
      records: task id -> journal record; only these tasks count.
      tasks: with answers; tasks without them count in no number of an arm.
      domain: compares answers.
      arms: names, in order of display.
      attempts: pass@k is given for k of 1, 2 and this.
      about: the run: any of "benchmark", "model", "device", "versions", "seed", "command", "compilations",
        "padding" (share of padding among the tokens computed to adapt, to read prompts and to decode), "idle"
        (share of the time with no program on the device; both of the last process of a run that was stopped),
        and {"seconds": {"load", "compile"}}.

    Returns:
      Fractions of 1, each {"value", "low", "high", "n"} with a 95% interval
      (Wilson; bootstrap for partial credit), or None where no answer is known.
      "per_task" gives the place of every right answer, for paired comparisons;
      "speculation", where views were decoded by drafts, what came of these in every arm;
      "measures", where the domain has its own numbers, those of every arm and baseline;
      "process", "difficulty" and "groups" (by task), of generated problems: see `evaluate.reasoning`.
    """
    about = about or {}
    by_id = {t.id: t for t in tasks}
    outcomes = {
        arm: {id_: outcome(record, by_id.get(id_), arm, domain) for id_, record in records.items()} for arm in arms
    }
    # Where nothing can be scored, neither can what was refused.
    scored = any(task.answers is not None for id_, task in by_id.items() if id_ in records)
    known = {arm: [o for o in of.values() if o is not None] if scored else [] for arm, of in outcomes.items()}
    seconds = {arm: _sums(records, arm, "seconds", SECONDS[2:]) for arm in arms}
    tokens = {arm: _sums(records, arm, "tokens", TOKENS) for arm in arms}
    total_seconds = dict.fromkeys(SECONDS, 0.0) | dict(about.get("seconds", {}))
    for of in seconds.values():
        for name, value in of.items():
            total_seconds[name] += value
    answered = [task for id_, task in by_id.items() if id_ in records and task.answers is not None]
    right = {arm: {id_: o.right(1) for id_, o in of.items() if o is not None} for arm, of in outcomes.items()}
    own_measures = measures(records, answered, domain, arms, ADAPTED)
    return {
        "benchmark": about.get("benchmark"),
        "tasks": len(records),
        "failed": sum(record["status"] != "done" for record in records.values()),
        "statuses": dict(Counter(record["status"] for record in records.values())),
        "fell_back": sum(
            any(arm.get("fell_back", False) for arm in record["arms"].values()) for record in records.values()
        ),
        "arms": {arm: _numbers(known[arm], sorted({1, 2, attempts})) for arm in arms},
        "seconds": total_seconds,
        "seconds_by_arm": seconds,
        "tokens": {name: sum(of[name] for of in tokens.values()) for name in TOKENS},
        **{name: about.get(name) for name in ABOUT},
        **({"speculation": drafts} if (drafts := speculation(records, arms)) else {}),
        **({"measures": own_measures} if own_measures else {}),
        **{
            name: of
            for name, of in (
                ("process", process_numbers(records, right)),
                ("difficulty", difficulty_curves(records, right)),
            )
            if of
        },
        **({"groups": groups} if (groups := _groups(records, by_id)) else {}),
        "per_task": {
            id_: {arm: list(o.ranks) for arm in arms if (o := outcomes[arm][id_]) is not None} for id_ in records
        },
    }


def speculation(records: Mapping[str, Record], arms: Sequence[str]) -> dict[str, dict[str, int]]:
    """By arm, of all tasks: drafts, tokens offered and accepted, drafts accepted whole, steps with and without them.

    Empty of a run without drafts. See `decode.speculate.Speculated.counts`.
    """
    found = {}
    for arm in arms:
        own = [of for record in records.values() if (of := record["arms"].get(arm, {}).get("speculation"))]
        if own:
            # A batch's steps are divided among its queries: they add up to a whole number again.
            found[arm] = {name: round(math.fsum(of[name] for of in own)) for name in own[0]}
    return found


def _groups(records: Mapping[str, Record], tasks: Mapping[str, Task]) -> dict[str, str]:
    """Task id -> the group that its problem is counted with; empty of a run without problems."""
    if not any("group" in record for record in records.values()):
        return {}
    return {
        id_: record.get("group") or (tasks[id_].family if id_ in tasks else "") or "?"
        for id_, record in records.items()
    }


def _numbers(outcomes: Sequence[Outcome], attempts: Sequence[int]) -> dict[str, Any]:
    numbers: dict[str, Any] = {}
    for k in attempts:
        numbers[f"pass@{k}"] = _proportion([all(o.right(k)) for o in outcomes])
    for k in COVERED:
        within = [[right and covered for right, covered in zip(o.right(k), o.covered, strict=True)] for o in outcomes]
        numbers[f"coverage@{k}"] = _proportion([all(of_task) for of_task in within])
    numbers["coverage"] = _proportion([all(o.covered) for o in outcomes])
    for k in attempts:
        numbers[f"pass@{k}_partial"] = _mean([sum(o.right(k)) / len(o.ranks) for o in outcomes])
    for k in attempts:
        numbers[f"outputs@{k}"] = _proportion([right for o in outcomes for right in o.right(k)])
    return numbers


def _proportion(right: Sequence[bool]) -> dict[str, float] | None:
    if not right:
        return None
    low, high = wilson(sum(right), len(right))
    return {"value": sum(right) / len(right), "low": low, "high": high, "n": len(right)}


def _mean(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    low, high = bootstrap_mean(values)
    return {"value": math.fsum(values) / len(values), "low": low, "high": high, "n": len(values)}


def _sums(records: Mapping[str, Record], arm: str, field: str, names: Sequence[str]) -> dict[str, float]:
    own = [record["arms"][arm].get(field, {}) for record in records.values() if arm in record["arms"]]
    return {name: sum(values.get(name) or 0 for values in own) for name in names}


def _place(ranked: Sequence[dict[str, Any]], truth: Answer, domain: Domain) -> int | None:
    places = (i for i, r in enumerate(ranked, 1) if domain.same(domain.from_json(r["answer"]), truth))
    return next(places, None)
