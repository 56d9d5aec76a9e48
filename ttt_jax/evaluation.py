"""One run of scripts/evaluate.py: a model on generated problems, zero-shot, in-context and adapted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ttt_jax.climb import ClimbConfig, climb
from ttt_jax.config import RunConfig
from ttt_jax.evaluate.compare import compare
from ttt_jax.evaluate.intervals import proportion
from ttt_jax.run import OK, SOME_REFUSED, run
from ttt_jax.runtime.files import write_json
from ttt_jax.runtime.journal import Record, read_journal

ZERO_SHOT = "zero_shot"
SHOWN = ("accuracy", "step_validity", "coherence", "right_by_invalid", "length", "seconds")


@dataclass(frozen=True)
class EvaluateConfig(RunConfig):
    """One run of scripts/evaluate.py: generated problems in, accuracy and process by family and difficulty out."""

    zero_shot: bool = True
    """Ask the same tasks without their demonstrations too, in a run of its own (zero_shot/ in the run directory)."""
    climb: ClimbConfig = field(default_factory=ClimbConfig)

    def run_config(self) -> RunConfig:
        """The ordinary run of the same tasks."""
        return RunConfig(**{f.name: getattr(self, f.name) for f in fields(RunConfig)})


def evaluate(config: EvaluateConfig, command: str) -> int:
    """Answers the tasks of `tasks.source`, or climbs the ladders of `climb.ladders` where there are any.

    The run directory holds evaluation.json and an ordinary run directory for
    each condition: few_shot/ (the arms) and zero_shot/; of ladders one for each
    arm (see `climb`). The same command goes on where it was stopped.

    Returns:
      the exit status of `run`, the first that is neither 0 nor 3.
    """
    if config.climb.ladders:
        return climb(config.run_config(), config.climb, command)
    whole = config.run_config()
    runs = {"few_shot": replace(whole, run_dir=str(Path(config.run_dir) / "few_shot"))}
    if config.zero_shot:
        decode = replace(config.decode, show_demos=False)
        folder = str(Path(config.run_dir) / ZERO_SHOT)
        runs[ZERO_SHOT] = replace(whole, arms=("in_context",), decode=decode, run_dir=folder)
    worst, found, journals = OK, {}, {}
    for name, one in runs.items():
        status = run(one, command)
        if status not in (OK, SOME_REFUSED):
            return status
        worst = max(worst, status)
        found[name] = json.loads((Path(one.run_dir) / "metrics.json").read_text(encoding="utf-8"))
        journals[name] = read_journal(Path(one.run_dir) / "journal.jsonl")
    summary = summarise(found, journals)
    write_json(Path(config.run_dir) / "evaluation.json", summary, indent=2)
    print_groups(summary)
    print(f"wrote {Path(config.run_dir) / 'evaluation.json'}")
    return worst


def summarise(runs: Mapping[str, Mapping[str, Any]], journals: Mapping[str, Mapping[str, Record]]) -> dict[str, Any]:
    """The numbers of every condition by group of tasks, and the paired differences.

    Args:
      runs: few_shot and, where it was asked for, zero_shot -> metrics.json.
      journals: the same -> task id -> journal record.
    """
    few = runs["few_shot"]
    conditions = {arm: (few, arm) for arm in few["arms"]}
    records = dict.fromkeys(few["arms"], journals["few_shot"])
    if ZERO_SHOT in runs:
        conditions = {ZERO_SHOT: (runs[ZERO_SHOT], "in_context"), **conditions}
        records[ZERO_SHOT] = journals[ZERO_SHOT]
    groups: dict[str, list[str]] = {}
    for task, group in few["groups"].items():
        groups.setdefault(group, []).append(task)
    found: dict[str, Any] = {}
    for group, tasks in groups.items():
        of = {
            name: _numbers(metrics, arm, group, tasks) | {"seconds": _seconds(records[name], arm, tasks)}
            for name, (metrics, arm) in conditions.items()
        }
        found[group] = {"tasks": len(tasks), "conditions": of, "differences": _differences(conditions, tasks)}
    about = ("command", "model", "device", "versions", "seed", "seconds", "compilations")
    return {
        **{name: few.get(name) for name in about},
        "tasks": few["tasks"],
        "groups": found,
        "process": {name: metrics.get("process", {}).get(arm) for name, (metrics, arm) in conditions.items()},
        "measures": {name: metrics.get("measures", {}).get(arm) for name, (metrics, arm) in conditions.items()},
        "difficulty": {name: metrics.get("difficulty", {}).get(arm) for name, (metrics, arm) in conditions.items()},
    }


def _numbers(metrics: Mapping[str, Any], arm: str, group: str, tasks: list[str]) -> dict[str, Any]:
    right = [ranks[arm] == [1] * len(ranks[arm]) for t in tasks if arm in (ranks := metrics["per_task"].get(t, {}))]
    process = metrics.get("process", {}).get(arm, {}).get(group, {})
    names = [name for name in SHOWN if name in process]
    return {
        "accuracy": proportion(right) if right else None,
        **{name: process[name] for name in names},
    }


def _seconds(records: Mapping[str, Record], arm: str, tasks: list[str]) -> float:
    """Of a task, compilation left out."""
    own = [records[t]["arms"][arm]["seconds"] for t in tasks if t in records and arm in records[t]["arms"]]
    return sum(sum(of.values()) for of in own) / max(1, len(own))


def _differences(conditions: Mapping[str, tuple[Mapping[str, Any], str]], tasks: list[str]) -> dict[str, Any]:
    """Each condition against the one before it, over the tasks of a group."""
    names, found = list(conditions), {}
    for a, b in pairwise(names):
        (of_a, arm_a), (of_b, arm_b) = conditions[a], conditions[b]
        both = [{**of, "per_task": {t: of["per_task"][t] for t in tasks if t in of["per_task"]}} for of in (of_a, of_b)]
        found[f"{b} - {a}"] = asdict(compare(both[0], arm_a, both[1], arm_b, attempts=1))
    return found


def print_groups(summary: Mapping[str, Any], console: Console | None = None) -> None:
    """A table with a line for every group and condition."""
    table = Table(title="first answers, with 95% intervals", title_justify="left", pad_edge=False)
    table.add_column("group")
    table.add_column("condition")
    for name in SHOWN:
        table.add_column(name.replace("_", " "), justify="right")
    for group, of in summary["groups"].items():
        for i, (condition, numbers) in enumerate(of["conditions"].items()):
            cells = [_shown(name, numbers.get(name)) for name in SHOWN]
            table.add_row(f"{group} ({of['tasks']})" if i == 0 else "", condition.replace("_", " "), *cells)
    (console or Console()).print(table)


def _shown(name: str, number: Any) -> str:
    if number is None:
        return "-"
    if not isinstance(number, dict):
        return f"{number:.2f}"
    if name == "length":
        return f"{number['value']:.1f}"
    return f"{100 * number['value']:.1f}% ({100 * number['low']:.0f}-{100 * number['high']:.0f})"
