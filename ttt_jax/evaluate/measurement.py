"""A whole measurement: both arms, further adaptation seeds, and in-context at equal seconds."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ttt_jax.config import RunConfig
from ttt_jax.evaluate.compare import compare
from ttt_jax.runtime.files import write_json

Run = Callable[[RunConfig, str], int]


def equal_seconds(config: RunConfig, metrics: Mapping[str, Any]) -> RunConfig:
    """The in-context run that takes about the seconds of the adapted arm: as many more views, fewer queries at a time.

    Views are rounded up to whole rounds of the eight symmetries, so that it gets the benefit of the doubt.
    """
    seconds = metrics["seconds_by_arm"]
    adapted = sum(seconds["adapted"].values())
    ratio = max(1.0, adapted / max(sum(seconds["in_context"].values()), 1e-9))
    views = -(-int(config.decode.views * ratio) // 8) * 8
    slots = max(1, config.decode.slots * config.decode.views // views)
    return replace(config, arms=("in_context",), decode=replace(config.decode, views=views, slots=slots))


def measure(config: RunConfig, run: Run, out: Path, seeds: int, budget_seconds: float, command: str) -> int:
    """Runs what a claim needs, one run directory each, and writes one JSON file of their metrics.

    In this order, so that a budget that ends early leaves out the least: both
    arms with the first seed; in-context at equal seconds; the adapted arm with
    each further seed. Every run can be resumed: the same call goes on.

    Args:
      config: of the first run; the others lie beside it, in `run_dir`-more and `run_dir`-seed1, ...
      run: `ttt_jax.run.run`.
      out: the file to write; it is brought up to date after every run.
      seeds: adaptation seeds in all.
      budget_seconds: no run is begun after so long.
      command: kept in the file.

    Returns:
      the exit status of the run that did not come to its end, or 0.
    """
    began = time.monotonic()
    found: dict[str, dict[str, Any]] = {}
    names = ["first", "equal_seconds", *(f"seed{i}" for i in range(1, seeds))]
    for name in names:
        if found and time.monotonic() - began > budget_seconds:
            print(f"the budget of {budget_seconds:.0f} s is used; left out: {', '.join(names[len(found) :])}")
            break
        if name == "first":
            this = config
        elif name == "equal_seconds":
            this = replace(equal_seconds(config, found["first"]), run_dir=f"{config.run_dir}-more")
        else:
            seed = config.seed + int(name.removeprefix("seed"))
            this = replace(config, arms=("adapted",), seed=seed, run_dir=f"{config.run_dir}-{name}")
        status = run(this, command)
        metrics = Path(this.run_dir) / "metrics.json"
        if not metrics.exists():
            return status
        found[name] = {**json.loads(metrics.read_text()), "views": this.decode.views}
        write_json(out, summarise(found, config, command), indent=2)
    print(f"wrote {out}")
    return 0


def summarise(found: Mapping[str, dict[str, Any]], config: RunConfig, command: str) -> dict[str, Any]:
    """The numbers that are quoted, then the metrics of every run."""
    first = found["first"]
    adapted = [run for name, run in found.items() if name != "equal_seconds"]
    spread = {
        key: {"values": values, "mean": statistics.fmean(values), "sd": statistics.stdev(values)}
        for key in ("pass@1", "pass@2", "coverage")
        if len(values := [run["arms"]["adapted"][key]["value"] for run in adapted]) > 1
    }
    tasks = first["tasks"]
    per_task = {
        f"{arm}, {name}": {stage: value / tasks for stage, value in run["seconds_by_arm"][arm].items()}
        for name, run in found.items()
        for arm in run["arms"]
    }
    comparisons = {"adapted - in_context": compare(first, "in_context", first, "adapted")}
    if more := found.get("equal_seconds"):
        comparisons["adapted - in_context at equal seconds"] = compare(more, "in_context", first, "adapted")
    return {
        "command": command,
        "benchmark": first["benchmark"],
        "tasks": tasks,
        "model": first["model"],
        "device": first["device"],
        "versions": first["versions"],
        "arms": {
            **first["arms"],
            **({"in_context at equal seconds": found["equal_seconds"]["arms"]["in_context"]} if more else {}),
        },
        "comparisons": {name: asdict(result) for name, result in comparisons.items()},
        "adaptation_seeds": spread,
        "seconds_per_task": per_task,
        "compile": {
            name: {"seconds": run["seconds"]["compile"], "count": run["compilations"]} for name, run in found.items()
        },
        "views": {name: run["views"] for name, run in found.items()},
        "runs": dict(found),
    }
