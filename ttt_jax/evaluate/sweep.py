"""Accuracy against seconds: the same tasks with more or less computing at test time."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ttt_jax.config import RunConfig
from ttt_jax.evaluate.records import ADAPTED, IN_CONTEXT
from ttt_jax.evaluate.runs import Run, Runs, about, finish_runs, seconds_per_task


def sweep(
    config: RunConfig,
    run: Run,
    out: Path,
    steps: Sequence[int],
    views: Sequence[int],
    searches: Sequence[float | None],
    budget_seconds: float,
    command: str,
) -> int:
    """Runs every combination, the cheapest first, and writes one JSON file, brought up to date after each run.

    Args:
      config: all else of the runs; they lie beside it, in `run_dir`-NAME.
      run: `ttt_jax.run.run`.
      out: the file to write, or to go on with.
      steps: of adaptation; 0 answers in-context.
      views: of every query.
      searches: values of `decode.search_above`, None for greedy answers only.
      budget_seconds, command: see `finish_runs`.

    Returns:
      the exit status.
    """
    grid = sorted(
        itertools.product(steps, views, searches), key=lambda point: (max(point[0], 1) * point[1], point[2] is not None)
    )
    points = {
        f"{s} steps, {v} views" + ("" if above is None else f", search above {above:g}"): (s, v, above)
        for s, v, above in grid
    }

    def configure(name: str, found: Runs) -> RunConfig:
        s, v, above = points[name]
        # As many rows side by side as the configuration has.
        slots = config.decode.slots
        if isinstance(slots, int):
            slots = max(1, slots * config.decode.views // v)
        return replace(
            config,
            arms=(ADAPTED,) if s else (IN_CONTEXT,),
            adapt=replace(config.adapt, steps=s or config.adapt.steps),
            decode=replace(config.decode, views=v, search_above=above, slots=slots),
            run_dir=f"{config.run_dir}-{name.replace(', ', '-').replace(' ', '')}",
        )

    def summarise(found: Runs) -> dict[str, Any]:
        rows = []
        for name, metrics in found.items():
            s, v, above = points[name]
            arm = ADAPTED if s else IN_CONTEXT
            numbers = metrics["arms"][arm]
            rows.append(
                {
                    "name": name,
                    "steps": s,
                    "views": v,
                    "search_above": above,
                    "seconds_per_task": seconds_per_task(metrics, arm),
                    "seconds": {k: x / metrics["tasks"] for k, x in metrics["seconds_by_arm"][arm].items()},
                    **{k: numbers[k] for k in ("pass@1", "pass@2", "coverage") if k in numbers},
                }
            )
        return {"command": command, **about(found), "points": rows, "knee": knee(rows)}

    return finish_runs(list(points), configure, run, out, budget_seconds, command, summarise)


def knee(points: Sequence[Mapping[str, Any]], within: float = 0.01, number: str = "pass@2") -> str | None:
    """The cheapest point that is at most `within` below the best; None where nothing was scored."""
    scored = [point for point in points if point.get(number)]
    if not scored:
        return None
    best = max(point[number]["value"] for point in scored)
    good = [point for point in scored if point[number]["value"] >= best - within]
    return min(good, key=lambda point: point["seconds_per_task"])["name"]


def frontier(points: Sequence[Mapping[str, Any]], number: str = "pass@2") -> list[Mapping[str, Any]]:
    """The points that no cheaper one equals, from the cheapest on."""
    best, kept = -1.0, []
    for point in sorted(points, key=lambda point: (point["seconds_per_task"], -point[number]["value"])):
        if point[number]["value"] > best:
            best = point[number]["value"]
            kept.append(point)
    return kept


def plot_sweep(found: Mapping[str, Any], file: Path, number: str = "pass@2") -> None:
    """Accuracy against seconds a task, on a logarithmic axis, a line for each number of steps, with 95% intervals."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    points = [point for point in found["points"] if point.get(number)]
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    lines: dict[tuple[int, float | None], list[Mapping[str, Any]]] = {}
    for point in points:
        lines.setdefault((point["steps"], point["search_above"]), []).append(point)
    for (steps, above), of_line in sorted(lines.items(), key=lambda item: (item[0][0], item[0][1] or 0.0)):
        of_line = sorted(of_line, key=lambda point: point["views"])
        seconds = [point["seconds_per_task"] for point in of_line]
        values = [100 * point[number]["value"] for point in of_line]
        errors = [
            [100 * (point[number]["value"] - point[number]["low"]) for point in of_line],
            [100 * (point[number]["high"] - point[number]["value"]) for point in of_line],
        ]
        label = (f"{steps} steps" if steps else "in-context") + ("" if above is None else f", search above {above:g}")
        axes.errorbar(seconds, values, errors, marker="o", markersize=4, capsize=2, linewidth=1, label=label)
        for point, x, y in zip(of_line, seconds, values, strict=True):
            axes.annotate(str(point["views"]), (x, y), textcoords="offset points", xytext=(4, 4), fontsize=8)
    best = frontier(points, number)
    axes.plot(
        [point["seconds_per_task"] for point in best],
        [100 * point[number]["value"] for point in best],
        color="0.6", linestyle="--", linewidth=1, label="best for its cost", zorder=0,
    )  # fmt: skip
    axes.set(xscale="log", xlabel="seconds a task", ylabel=f"{number} (%)")
    axes.set_title(f"{found['tasks']} tasks of {found['benchmark']}, {found['model']}; numbers are views", fontsize=10)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    figure.savefig(file, dpi=150)
    plt.close(figure)
