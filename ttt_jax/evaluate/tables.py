"""Markdown tables of saved metrics, for README.md and docs/."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ttt_jax.evaluate.paired import difference_text

COLUMNS = ("pass@1", "pass@2", "coverage")


def results_table(path: Path) -> str:
    """A file of docs/results as Markdown.

    Of a metrics.json the arms, of a measurement also its paired differences; of an ablation and of variants the
    rows, of a sweep its points.
    """
    found = json.loads(path.read_text(encoding="utf-8"))
    if "rows" in found:
        return _rows_table(found)
    if "points" in found:
        return _sweep_table(found)
    lines = [
        f"| {found['tasks']} tasks of {found['benchmark']} | {' | '.join(COLUMNS)} | seconds a task |",
        "|---" * (len(COLUMNS) + 2) + "|",
    ]
    for arm, numbers in found["arms"].items():
        cells = [_share(numbers[column]) for column in COLUMNS]
        lines.append(f"| {arm.replace('in_context', 'in-context')} | {' | '.join(cells)} | {_seconds(found, arm)} |")
    notes = [_source(found)]
    for name, difference in found.get("comparisons", {}).items():
        low, high = 100 * difference["low"], 100 * difference["high"]
        notes.append(
            f"{name.replace('in_context', 'in-context')}: {100 * difference['difference']:+.1f} points "
            f"({low:+.1f} to {high:+.1f}), pass@{difference['attempts']}, paired."
        )
    for name, spread in found.get("adaptation_seeds", {}).items():
        values = ", ".join(f"{100 * v:.1f}" for v in spread["values"])
        notes.append(f"{name} of {len(spread['values'])} adaptation seeds: {values} (sd {100 * spread['sd']:.1f}).")
    return "\n".join(lines) + "\n\n" + "  \n".join([*notes, *_selection_notes(found)]) + "\n"


def _selection_notes(found: Mapping[str, Any]) -> list[str]:
    notes = []
    for arm, methods in found.get("selection", {}).items():
        by = ", ".join(
            f"{name.replace('_', ' ')} {100 * row['pass@2']['value']:.1f}"
            + (f" ({difference_text(row)})" if "difference" in row else "")
            for name, row in methods.items()
            if row["pass@2"]
        )
        notes.append(f"pass@2 of the same {arm.replace('_', '-')} candidates, ranked by: {by}.")
    return notes


def _rows_table(found: Mapping[str, Any]) -> str:
    """An ablation's rows, which say what takes a part's place, or those of variants."""
    ablation = "not_measured" in found
    heads = [
        f"{found['tasks']} tasks of {found['benchmark']}" + (", without" if ablation else ""),
        *(["instead"] if ablation else []),
        *COLUMNS,
        "difference in pass@2",
        "p",
        "seconds a task",
    ]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, row in found["rows"].items():
        difference = row.get("difference", {}).get("pass@2")
        whole = ablation and name == found["reference"]
        cells = [
            "(nothing)" if whole else name.replace("_", " "),
            *([row["instead"]] if ablation else []),
            *(_share(row.get(column)) for column in COLUMNS),
            difference_text(row),
            f"{difference['p_value']:.2g}" if difference else "",
            format(row["seconds_per_task"], ".1f" if ablation else ".2f"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    for name, reason in found.get("not_measured", {}).items():
        lines.append(f"| {name.replace('_', ' ')} | not measured: {reason}{' |' * (len(heads) - 1)}")
    return "\n".join(lines) + "\n\n" + "  \n".join([_source(found), *_selection_notes(found)]) + "\n"


def _sweep_table(found: Mapping[str, Any]) -> str:
    lines = ["| " + " | ".join(["steps", "views", "search above", *COLUMNS, "seconds a task"]) + " |", "|---" * 7 + "|"]
    for point in found["points"]:
        above = point["search_above"]
        shape = [str(point["steps"] or "in-context"), str(point["views"]), "" if above is None else f"{above:g}"]
        numbers = [_share(point.get(column)) for column in COLUMNS]
        lines.append(f"| {' | '.join([*shape, *numbers, format(point['seconds_per_task'], '.2f')])} |")
    knee = f" The cheapest within a point of the best: {found['knee']}." if found["knee"] else ""
    return "\n".join(lines) + f"\n\n{found['tasks']} tasks of {found['benchmark']}.{knee} {_source(found)}\n"


def _source(found: Mapping[str, Any]) -> str:
    return f"`{found['command']}`, {found['device']['count']} x {found['device']['kind']}; 95% intervals."


def _share(number: Mapping[str, float] | None) -> str:
    if number is None:
        return ""
    return f"{100 * number['value']:.1f}% ({100 * number['low']:.0f} to {100 * number['high']:.0f})"


def _seconds(found: Mapping[str, Any], arm: str) -> str:
    if "seconds_by_arm" in found:
        seconds = sum(found["seconds_by_arm"][arm].values()) / found["tasks"]
    else:
        run = {"in_context at equal seconds": "in_context, equal_seconds"}.get(arm, f"{arm}, first")
        seconds = sum(found["seconds_per_task"][run].values())
    return f"{seconds:.1f}" if seconds >= 1 else f"{seconds:.2f}"
