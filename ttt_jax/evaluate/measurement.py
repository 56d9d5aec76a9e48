"""A whole measurement: both arms, further adaptation seeds, and in-context at equal seconds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ttt_jax.config import RunConfig
from ttt_jax.evaluate.compare import compare
from ttt_jax.evaluate.paired import paired_rows
from ttt_jax.evaluate.pooled import PooledRuns
from ttt_jax.evaluate.rerank import by_method
from ttt_jax.evaluate.runs import Run, Runs, about, finish_runs
from ttt_jax.evaluate.saved import SavedRun
from ttt_jax.select.rank import SCORED


def equal_seconds(config: RunConfig, metrics: Mapping[str, Any]) -> RunConfig:
    """The in-context run that takes about the seconds of the adapted arm: as many more views, fewer queries at a time.

    It gets the benefit of the doubt: what its views cost is the less of what they took in-context and adapted (the
    arm that runs first also waits for kernels to be loaded), and views are rounded up to whole rounds of the eight
    symmetries.
    """
    seconds = metrics["seconds_by_arm"]
    adapted = sum(seconds["adapted"].values())
    answering = min(sum(seconds["in_context"].values()), adapted - seconds["adapted"]["adapt"])
    ratio = max(1.0, adapted / max(answering, 1e-9))
    views = -(-int(config.decode.views * ratio) // 8) * 8
    slots = config.decode.slots
    if isinstance(slots, int):
        slots = max(1, slots * config.decode.views // views)
    return replace(config, arms=("in_context",), decode=replace(config.decode, views=views, slots=slots))


def measure(config: RunConfig, run: Run, out: Path, seeds: int, budget_seconds: float, command: str) -> int:
    """Runs what a claim needs, one run directory each, and writes one JSON file of their metrics.

    In this order, so that a budget that ends early leaves out the least: both
    arms with the first seed; in-context at equal seconds; the adapted arm with
    each further seed. The same call goes on, see `finish_runs`.

    Args:
      config: of the first run; the others lie beside it, in `run_dir`-more and `run_dir`-seed1, ...
      run: `ttt_jax.run.run`.
      out: the file to write, or to go on with.
      seeds: adaptation seeds in all.
      budget_seconds, command: see `finish_runs`.

    Returns:
      the exit status of the run that did not come to its end, or 0.
    """

    def configure(name: str, found: Runs) -> RunConfig:
        if name == "first":
            return config
        if name == "equal_seconds":
            return replace(equal_seconds(config, found["first"]), run_dir=f"{config.run_dir}-more")
        seed = config.seed + int(name.removeprefix("seed"))
        return replace(config, arms=("adapted",), seed=seed, run_dir=f"{config.run_dir}-{name}")

    names = ["first", "equal_seconds", *(f"seed{i}" for i in range(1, seeds))]

    def finished(of: RunConfig) -> dict[str, Any]:
        # Of the first run also what every method makes of its candidates, while these are there.
        if of.run_dir == config.run_dir and config.select.method in SCORED:
            return {"methods": by_method(SavedRun(Path(of.run_dir)))}
        # With the last seed, if all of them are here: the candidates of all adapters together.
        folders = [Path(config.run_dir), *(Path(f"{config.run_dir}-seed{i}") for i in range(1, seeds))]
        if (
            seeds > 1
            and Path(of.run_dir) == folders[-1]
            and all((folder / "journal.jsonl").exists() for folder in folders)
        ):
            pooled = PooledRuns(folders[0], tuple(map(SavedRun, folders[1:])))
            return {"pooled": by_method(pooled)[config.select.method]}
        return {}

    return finish_runs(
        names, configure, run, out, budget_seconds, command, lambda found: summarise(found, command), finished
    )


def summarise(found: Runs, command: str) -> dict[str, Any]:
    """The numbers that are quoted."""
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
    pooled = next((run["pooled"] for run in adapted if "pooled" in run), None)
    together = f"adapted, {len(adapted)} seeds together"
    comparisons = {"adapted - in_context": compare(first, "in_context", first, "adapted")}
    if more := found.get("equal_seconds"):
        comparisons["adapted - in_context at equal seconds"] = compare(more, "in_context", first, "adapted")
    if pooled:
        comparisons[f"{together} - adapted"] = compare(first, "adapted", pooled, "adapted")
        stages = [of for name, of in per_task.items() if name.startswith("adapted, ")]
        per_task[f"{together}, first"] = {stage: sum(of[stage] for of in stages) for stage in stages[0]}
    return {
        "command": command,
        **about(found),
        "arms": {
            **first["arms"],
            **({"in_context at equal seconds": found["equal_seconds"]["arms"]["in_context"]} if more else {}),
            **({together: pooled["arms"]["adapted"]} if pooled else {}),
        },
        "comparisons": {name: asdict(result) for name, result in comparisons.items()},
        "adaptation_seeds": spread,
        "seconds_per_task": per_task,
        "compile": {
            name: {"seconds": run["seconds"]["compile"], "count": run["compilations"]} for name, run in found.items()
        },
        "views": {name: run["config"]["decode"]["views"] for name, run in found.items()},
        **({"selection": selection(first)} if "methods" in first else {}),
    }


def selection(first: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Arm -> the same candidates under every method, each with its paired difference from the vote."""
    methods = first["methods"]
    return {
        arm: paired_rows({name: (metrics, arm) for name, metrics in methods.items()}, "vote") for arm in first["arms"]
    }
