"""Markdown tables of saved metrics, for README.md and docs/."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LABELS = {"in_context": "in-context"}
COLUMNS = ("pass@1", "pass@2", "coverage")


def results_table(path: Path) -> str:
    """The arms of a metrics.json or of a measurement, and the paired differences of the latter, as Markdown."""
    found = json.loads(path.read_text(encoding="utf-8"))
    lines = [
        f"| {found['tasks']} tasks of {found['benchmark']} | {' | '.join(COLUMNS)} | seconds a task |",
        "|---" * (len(COLUMNS) + 2) + "|",
    ]
    for arm, numbers in found["arms"].items():
        cells = [_share(numbers[column]) for column in COLUMNS]
        lines.append(f"| {LABELS.get(arm, arm)} | {' | '.join(cells)} | {_seconds(found, arm)} |")
    notes = [f"`{found['command']}`, {found['device']['count']} x {found['device']['kind']}; 95% intervals."]
    for name, difference in found.get("comparisons", {}).items():
        low, high = 100 * difference["low"], 100 * difference["high"]
        notes.append(
            f"{name.replace('in_context', 'in-context')}: {100 * difference['difference']:+.1f} points "
            f"({low:+.1f} to {high:+.1f}), pass@{difference['attempts']}, paired."
        )
    for name, spread in found.get("adaptation_seeds", {}).items():
        values = ", ".join(f"{100 * v:.1f}" for v in spread["values"])
        notes.append(f"{name} of {len(spread['values'])} adaptation seeds: {values} (sd {100 * spread['sd']:.1f}).")
    return "\n".join(lines) + "\n\n" + "  \n".join(notes) + "\n"


def _share(number: Mapping[str, float] | None) -> str:
    if number is None:
        return ""
    return f"{100 * number['value']:.1f}% ({100 * number['low']:.0f} to {100 * number['high']:.0f})"


def _seconds(found: Mapping[str, Any], arm: str) -> str:
    if "seconds_by_arm" in found:
        return f"{sum(found['seconds_by_arm'][arm].values()) / found['tasks']:.1f}"
    run = {"in_context at equal seconds": "in_context, equal_seconds"}.get(arm, f"{arm}, first")
    return f"{sum(found['seconds_per_task'][run].values()):.1f}"
