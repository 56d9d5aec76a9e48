"""An evaluation.json of scripts/evaluate.py for people: a Markdown table, and curves of accuracy over difficulty."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

CHOSEN = {"log10_search_space": "log10 of the search space", "conflicts": "solver conflicts", "nodes": "nodes",
          "margin": "margin of the posterior"}  # fmt: skip
"""Quantities that are drawn, and how they are called."""


def markdown_table(evaluation: Mapping[str, Any]) -> str:
    """A line for every group and condition, then the paired differences and the command."""
    lines = [
        f"| {evaluation['tasks']} tasks, {evaluation['model']} | | accuracy | valid steps | right by invalid steps "
        "| seconds a task |",
        "|---|---|---|---|---|---|",
    ]
    notes = []
    for group, of in evaluation["groups"].items():
        for i, (name, numbers) in enumerate(of["conditions"].items()):
            shown = [_share(numbers.get(key)) for key in ("accuracy", "step_validity", "right_by_invalid")]
            label = f"{group} ({of['tasks']})" if i == 0 else ""
            lines.append(f"| {label} | {_name(name)} | {' | '.join(shown)} | {numbers['seconds']:.2f} |")
        for pair, found in of["differences"].items():
            a, b = (_name(name) for name in pair.split(" - "))
            low, high, difference = (100 * found[key] for key in ("low", "high", "difference"))
            notes.append(f"{group}, {a} less {b}: {difference:+.1f} points ({low:+.1f} to {high:+.1f}), paired.")
    device = evaluation["device"]
    notes.append(f"`{evaluation['command']}`, {device['count']} x {device['kind']}; 95% intervals.")
    return "\n".join(lines) + "\n\n" + "  \n".join(notes) + "\n"


def plot_difficulty(evaluation: Mapping[str, Any], out: Path) -> int:
    """Writes an image with a panel for every group and quantity that has more than one value.

    Returns:
      the number of panels; nothing is written where there are none.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    panels: dict[tuple[str, str], dict[str, list[Mapping[str, float]]]] = {}
    for condition, groups in evaluation["difficulty"].items():
        for group, quantities in (groups or {}).items():
            for quantity, curve in quantities.items():
                if quantity in CHOSEN and len(curve["bins"]) > 1:
                    panels.setdefault((group, quantity), {})[condition] = curve["bins"]
    if not panels:
        return 0
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    figure, grid = plt.subplots(down, across, figsize=(4.2 * across, 3 * down), layout="constrained", squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.axis("off")
    for axes, ((group, quantity), curves) in zip(grid.flat, panels.items(), strict=False):
        for condition, bins in curves.items():
            x, y = [b["mean"] for b in bins], [100 * b["value"] for b in bins]
            errors = [[100 * (b["value"] - b["low"]) for b in bins], [100 * (b["high"] - b["value"]) for b in bins]]
            axes.errorbar(x, y, yerr=errors, marker="o", markersize=4, capsize=2, label=_name(condition))
        axes.set(title=group, xlabel=CHOSEN[quantity], ylabel="right, %", ylim=(-4, 104))
        axes.grid(alpha=0.3)
    grid.flat[0].legend(fontsize=8)
    figure.savefig(out, dpi=120)
    plt.close(figure)
    return len(panels)


def _name(condition: str) -> str:
    return condition.replace("in_context", "in-context").replace("zero_shot", "zero-shot").replace("_", " ")


def _share(number: Mapping[str, float] | None) -> str:
    if number is None:
        return ""
    return f"{100 * number['value']:.1f}% ({100 * number['low']:.0f} to {100 * number['high']:.0f})"
