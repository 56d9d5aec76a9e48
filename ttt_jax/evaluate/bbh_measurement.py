"""BIG-Bench Hard measured whole: every arm a run of its own, in one JSON file and one table."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ttt_jax.config import RunConfig
from ttt_jax.evaluate.bbh_table import combine
from ttt_jax.evaluate.runs import agree, recorded, stopped_after
from ttt_jax.runtime.files import write_json
from ttt_jax.runtime.restart import seconds_spent

Run = Callable[[RunConfig, str], int]

ARMS = (
    "paper", "shared", "long", "direct", "no_demo_loss", "input_loss", "no_permutation",
    "zero_shot", "shared_direct", "majority",
)  # fmt: skip
"""Configs of configs/bbh, what a claim needs first."""

SCHEDULES = ((8, 1e-4), (8, 1e-3), (40, 3e-4), (40, 1e-3))
"""Steps and peak rates that `choose_schedule` tries; the first is the paper's."""

PUBLISHED = {
    "source": "arXiv 2411.07279, section 5: Llama-3.1-8B-Instruct, 27 tasks, 5 seeds, one A100",
    "accuracy": {
        "zero_shot": 0.409, "in_context": 0.505, "in_context, majority": 0.511, "direct": 0.515, "paper": 0.578,
        "majority": 0.580, "shared": 0.598, "shared_direct": 0.540, "no_demo_loss": 0.544, "input_loss": 0.559,
        "no_permutation": 0.557,
    },
    "seconds": {"adapt": 18.7, "decode": 10.7},
}  # fmt: skip
"""What the paper has, seconds a task; of a model sixty times the shipped one's size."""


def measure_bbh(configs: Mapping[str, RunConfig], run: Run, out: Path, budget_seconds: float, command: str) -> int:
    """Runs the configs in order and writes one JSON file, brought up to date after each.

    A run that the file has, of the same config, is not made again, on whatever
    machine that was; so a measurement goes on elsewhere with the file alone.
    Once the budget is used, the run under way is asked to stop as by SIGTERM
    (the same command goes on with it where its directory is), and none begins.

    Args:
      configs: name -> run; the one called `paper` has both arms, the others' gains are over its in-context arm.
      run: `ttt_jax.run.run`.
      out: the file.
      budget_seconds: from the call on.
      command: kept in the file.

    Returns:
      the exit status of the run that did not come to its end, or 0.

    Raises:
      ValueError: the file has runs over other tasks or seeds.
    """
    began = time.monotonic() - seconds_spent()
    runs: dict[str, Any] = json.loads(out.read_text())["runs"] if out.exists() else {}
    for name, config in configs.items():
        record = recorded(config)
        if name in runs and agree(runs[name]["config"], record):
            continue
        left = budget_seconds - (time.monotonic() - began)
        if left <= 0:
            print(f"the budget of {budget_seconds:.0f} s is used; {name} and what follows were left out")
            break
        print(f"{name}: {config.run_dir}", flush=True)
        with stopped_after(left):
            status = run(config, command)
        metrics = Path(config.run_dir) / "metrics.json"
        if status or not metrics.exists():
            return status
        made = json.loads(metrics.read_text())
        # Of the tasks only their names: each query's ranks are in the run's own metrics.json.
        runs[name] = {"config": record, **made, "per_task": sorted(made["per_task"])}
        ordered = {known: runs[known] for known in (*configs, *runs) if known in runs}
        write_json(out, summarise(ordered, command), indent=1)
    if out.exists():
        print(f"wrote {out}")
    return 0


def choose_schedule(config: RunConfig, run: Run, out: Path, budget_seconds: float, command: str) -> int:
    """Tries `SCHEDULES` on demonstrations alone: six of the ten adapt, the other four are asked.

    On the shorter half of the tasks; the first schedule also in context. Goes
    on where it was stopped, as `measure_bbh` does. The file says under `chosen`
    which answered most, the shortest among equals.

    Args:
      config: all else of the run; `run_dir` is the beginning of the directories' names.
    """
    tasks = replace(config.tasks, demos=6, queries=4, order="shortest", limit=27)
    configs = {}
    for i, (steps, rate) in enumerate(SCHEDULES):
        optimizer = replace(config.adapt.optimizer, learning_rate=rate)
        configs[f"{steps} steps at {rate:g}"] = replace(
            config,
            tasks=tasks,
            run_dir=f"{config.run_dir}-choice/{steps}-{rate:g}",
            arms=("in_context", "adapted") if i == 0 else ("adapted",),
            adapt=replace(config.adapt, steps=steps, optimizer=optimizer),
        )
    status = measure_bbh(configs, run, out, budget_seconds, command)
    if out.exists():
        found = json.loads(out.read_text())
        values = {name: found["accuracy"][f"{name}, adapted"]["value"] for name in configs if name in found["runs"]}
        write_json(out, {"chosen": max(values, key=lambda name: values[name]), **found}, indent=1)
    return status


def summarise(runs: Mapping[str, Mapping[str, Any]], command: str) -> dict[str, Any]:
    """The numbers that are quoted, then the metrics of every run."""
    first = next(iter(runs.values()))
    found = combine(runs)
    return {
        "command": command,
        **{name: first[name] for name in ("benchmark", "tasks", "model", "device", "versions")},
        "accuracy": {arm: of["accuracy"] for arm, of in found["arms"].items()},
        "valid": {arm: of["valid"] for arm, of in found["arms"].items()},
        "gain": found["gain"],
        "explained": found["explained"],
        "seconds_per_task": found["seconds"],
        "compile": {
            name: {"seconds": of["seconds"]["compile"], "count": of["compilations"]} for name, of in runs.items()
        },
        "published": PUBLISHED,
        "arms": found["arms"],
        "runs": dict(runs),
    }
