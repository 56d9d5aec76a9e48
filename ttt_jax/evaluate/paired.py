"""Rows of one table: several ways to answer the same tasks, each with its paired difference from one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from ttt_jax.evaluate.compare import compare
from ttt_jax.evaluate.summary import percent

Way = tuple[Mapping[str, Any], str]
"""The metrics of a run, and which of its arms."""

NUMBERS = ("pass@1", "pass@2", "coverage@10", "coverage@100", "coverage")


def paired_rows(ways: Mapping[str, Way], reference: str) -> dict[str, dict[str, Any]]:
    """The numbers of every way, and its differences from the reference over common tasks.

    Args:
      ways: name -> metrics and arm.
      reference: name of the way that the others are compared with.

    Returns:
      Name -> {"pass@1", "pass@2", "coverage@10", .. as in metrics.json, "difference": {"pass@1", "pass@2":
      {"value", "low", "high", "p_value", "gained", "lost", "tasks"}}}; the reference has no difference, nor
      has a way without a task in common.
    """
    rows = {}
    for name, (metrics, arm) in ways.items():
        numbers = metrics["arms"][arm]
        rows[name] = {key: numbers[key] for key in NUMBERS if key in numbers}
        if name == reference:
            continue
        differences = {}
        for attempts in (1, 2):
            try:
                found = asdict(compare(*ways[reference], metrics, arm, attempts))
            except ValueError:  # no task in common, or none with a known answer
                continue
            differences[f"pass@{attempts}"] = {
                "value": found["difference"],
                **{key: found[key] for key in ("low", "high", "p_value", "gained", "lost", "tasks")},
            }
        if differences:
            rows[name]["difference"] = differences
    return rows


def print_rows(
    rows: Mapping[str, Mapping[str, Any]], title: str, reference: str, console: Console | None = None
) -> None:
    """The rows as a table on the terminal."""
    console = console or Console()
    table = Table(title=title, title_justify="left", pad_edge=False)
    keys = [key for key in NUMBERS if any(key in row for row in rows.values())]
    table.add_column("")
    for heading in (*keys, f"pass@2 - {reference}"):
        table.add_column(heading.replace("_", " "), justify="right")
    for name, row in rows.items():
        numbers = [percent(row.get(key)) for key in keys]
        table.add_row(name.replace("_", " "), *numbers, difference_text(row))
    console.print(table)


def difference_text(row: Mapping[str, Any], key: str = "pass@2") -> str:
    """+3.4 (+0.4 to +6.4) points; empty where there is no difference."""
    found = row.get("difference", {}).get(key)
    if found is None:
        return ""
    return f"{100 * found['value']:+.1f} ({100 * found['low']:+.1f} to {100 * found['high']:+.1f})"
