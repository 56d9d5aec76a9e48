"""One run of scripts/evaluate.py: a model on generated problems, zero-shot, in-context and adapted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ttt_jax.climb import ClimbConfig, climb
from ttt_jax.config import HostsConfig, RunConfig
from ttt_jax.evaluate.compare import compare
from ttt_jax.evaluate.intervals import proportion
from ttt_jax.evaluate.measurement import equal_seconds
from ttt_jax.run import OK, SOME_REFUSED, run
from ttt_jax.runtime.files import write_json
from ttt_jax.runtime.journal import Record, read_journal

FEW_SHOT, ZERO_SHOT, MORE = "few_shot", "zero_shot", "in_context_at_equal_seconds"
"""Runs of an evaluation, and their folders: both arms; without demonstrations; in-context under more views."""
SHOWN = ("accuracy", "step_validity", "coherence", "right_by_invalid", "length", "seconds")


@dataclass(frozen=True)
class EvaluateConfig(RunConfig):
    """One run of scripts/evaluate.py: generated problems in, accuracy and process by family and difficulty out."""

    zero_shot: bool = True
    """Ask the same tasks without their demonstrations too, in a run of its own (zero_shot/ in the run directory)."""
    equal_seconds: bool = False
    """Also answer in-context under as many more views as take about the seconds of adaptation, a vote among them."""
    climb: ClimbConfig = field(default_factory=ClimbConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hosts != HostsConfig():
            raise ValueError("hosts: evaluate.py runs in one process; share tasks.domain reasoning out with ttt.py")
        if self.equal_seconds and len(self.arms) < 2:
            raise ValueError("equal_seconds: needs both arms, in_context and adapted")

    def run_config(self) -> RunConfig:
        """The ordinary run of the same tasks."""
        return RunConfig(**{f.name: getattr(self, f.name) for f in fields(RunConfig)})


def evaluate(config: EvaluateConfig, command: str) -> int:
    """Answers the tasks of `tasks.source`, or climbs the ladders of `climb.ladders` where there are any.

    The run directory holds evaluation.json and ordinary run directories:
    few_shot/ (both arms), zero_shot/ and in_context_at_equal_seconds/; of
    ladders one for each arm (see `climb`). The same command goes on where it
    was stopped.

    Returns:
      the exit status of `run`, the first that is neither 0 nor 3.
    """
    if config.climb.ladders:
        return climb(config.run_config(), config.climb, command)
    whole = config.run_config()
    wanted = [FEW_SHOT, *([ZERO_SHOT] if config.zero_shot else []), *([MORE] if config.equal_seconds else [])]
    worst, found, journals = OK, {}, {}
    for name in wanted:
        one = whole
        if name == ZERO_SHOT:
            one = replace(whole, arms=("in_context",), decode=replace(config.decode, show_demos=False))
        elif name == MORE:
            one = equal_seconds(whole, found[FEW_SHOT])
        folder = Path(config.run_dir) / name
        status = run(replace(one, run_dir=str(folder)), command)
        if status not in (OK, SOME_REFUSED):
            return status
        worst = max(worst, status)
        found[name] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        journals[name] = read_journal(folder / "journal.jsonl")
    summary = summarise(found, journals)
    write_json(Path(config.run_dir) / "evaluation.json", summary, indent=2)
    print_groups(summary)
    print(f"wrote {Path(config.run_dir) / 'evaluation.json'}")
    return worst


def summarise(runs: Mapping[str, Mapping[str, Any]], journals: Mapping[str, Mapping[str, Record]]) -> dict[str, Any]:
    """The numbers of every condition by group of tasks, and the paired differences.

    Args:
      runs: few_shot and, where they were asked for, the others -> metrics.json.
      journals: the same -> task id -> journal record.
    """
    few = runs[FEW_SHOT]
    conditions = {arm: (few, arm) for arm in few["arms"]}
    records = dict.fromkeys(few["arms"], journals[FEW_SHOT])
    for name in (MORE, ZERO_SHOT):
        if name in runs:
            conditions = {name: (runs[name], "in_context"), **conditions}
            records[name] = journals[name]
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
    """The last condition (adapted, of both arms) against each other one, over the tasks of a group."""
    *others, b = conditions
    found = {}
    for a in others:
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
