"""A figure of rows that were measured over the same tasks: accuracy against seconds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ttt_jax.evaluate.sweep import frontier


def plot_rows(found: Mapping[str, Any], file: Path, number: str = "pass@2") -> None:
    """Draws every row of a file of variants at its seconds a task, with its 95% interval, into a PNG.

    Rows that no cheaper one equals are joined and named; the others have a number, which the legend explains.

    Args:
      found: `rows` and what stands at the head of such a file.
      file: to write.
      number: of a row.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    points = [{"name": name, **row} for name, row in found["rows"].items() if row.get(number)]
    best = frontier(points, number)
    named = {point["name"] for point in best} | {found["reference"]}
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    others = sorted((p for p in points if p["name"] not in named), key=lambda p: p["seconds_per_task"])
    for point in points:
        value, x = point[number], point["seconds_per_task"]
        y, low, high = (100 * value[key] for key in ("value", "low", "high"))
        colour = "tab:red" if point["name"] == found["reference"] else "tab:blue" if point["name"] in named else "0.6"
        axes.errorbar(x, y, [[y - low], [high - y]], marker="o", markersize=5, capsize=2, linewidth=0.8, color=colour)
        if point["name"] in named:
            below = -22 if point["name"] == found["reference"] else -10
            axes.annotate(
                point["name"], (x, y), textcoords="offset points", xytext=(6, below), fontsize=9, color=colour
            )
    for i, point in enumerate(others, 1):
        x, y = point["seconds_per_task"], 100 * point[number]["value"]
        axes.annotate(str(i), (x, y), textcoords="offset points", xytext=(-12, 3), fontsize=8, color="0.3")
    axes.plot(
        [point["seconds_per_task"] for point in best],
        [100 * point[number]["value"] for point in best],
        color="tab:blue", linestyle="--", linewidth=1, zorder=0,
    )  # fmt: skip
    axes.set(xscale="log", xlabel="seconds a task", ylabel=f"{number} (%)", ylim=(0, None))
    axes.set_xticks(ticks := [0.25, 0.5, 1, 2, 4], [f"{tick:g}" for tick in ticks], minor=False)
    axes.minorticks_off()
    spread = [point["seconds_per_task"] for point in points]
    axes.set_xlim(0.8 * min(spread), 1.3 * max(spread))
    axes.set_title(f"{found['tasks']} tasks of {found['benchmark']}, {found['model']}", fontsize=10)
    explained = "\n".join(f"{i}  {point['name']}" for i, point in enumerate(others, 1))
    axes.text(1.02, 1.0, explained, transform=axes.transAxes, va="top", fontsize=8)
    axes.grid(alpha=0.3)
    figure.savefig(file, dpi=150)
    plt.close(figure)
