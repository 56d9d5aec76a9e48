"""A run that computes nothing: what it would compile, what that needs, and whether it fits the device."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from ttt_jax.adapt.plan import Plan
from ttt_jax.compilation import describe
from ttt_jax.config import RunConfig
from ttt_jax.pipeline import Solver
from ttt_jax.programs import Programs, misfits
from ttt_jax.run import OK, SOME_REFUSED, WRONG_OPTIONS, check_options, load, planned
from ttt_jax.runtime.compile_cache import enable_compile_cache
from ttt_jax.runtime.compile_log import CompileLog
from ttt_jax.runtime.device import describe_device
from ttt_jax.runtime.memory import memory_limit
from ttt_jax.runtime.progress import Progress, clock_time
from ttt_jax.tasks.registry import get_domain

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results"
"""Metrics of measured runs, where the repository is at hand."""

DOES_NOT_FIT = 4


def dry_run(config: RunConfig, limit: int | None = None) -> int:
    """Compiles every program of a run and says what it would ask of the device; nothing is adapted or written.

    Args:
      config: the run.
      limit: bytes of the device; what it says itself where None.

    Returns:
      the exit status: 0; 2 where an option or the model is wrong; 3 where no task
      could be read; 4 where something does not fit.
    """
    enable_compile_cache()
    limit = memory_limit() if limit is None else limit
    with CompileLog() as log:
        try:
            model, base, domain, loaded = load(config)
            if not loaded.tasks:
                return SOME_REFUSED
            check_options(config, domain, model, base, loaded.tasks)
            solver = Solver(model, base, domain, config, log, Progress(0))
            programs = Programs(solver.adapter, domain, config)
            plan = planned(programs, loaded.tasks, limit)
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            return WRONG_OPTIONS
        print(describe_plan(plan, config))
        needs = programs.compile(programs.of_plan(plan))
        print(describe(needs, limit))
        print(f"{log.count} compilations ({log.cached} from the cache) in {clock_time(log.seconds)}")
        print(expected_time(plan, config))
        wrong = misfits(needs, programs, limit)
    for line in wrong:
        print(f"does not fit: {line}", file=sys.stderr)
    return DOES_NOT_FIT if wrong else OK


def describe_plan(plan: Plan, config: RunConfig) -> str:
    """Pools and groups, and the padding that is known beforehand."""
    lines = []
    if plan.pools:
        steps = config.adapt.steps
        rounds = [(pool, -(-len(pool.jobs) // pool.slots)) for pool in plan.pools]
        computed = sum(pool.length * pool.slots * n for pool, n in rounds)
        real = sum(job.examples.max_length for pool in plan.pools for job in pool.jobs)
        shapes = ", ".join(f"{len(pool.jobs)} in {pool.slots} x {pool.length}" for pool in plan.pools)
        lines.append(f"adapt   {sum(len(p.jobs) for p in plan.pools)} adapters, {steps} steps each: {shapes}")
        lines.append(f"        {1 - real / computed:.0%} of the tokens are padding, if none stops early")
    if plan.groups and get_domain(config.tasks.domain).shared_prefix:
        lines.append(
            f"decode  {len(plan.groups)} groups, in shapes that depend on what prompts have in common: left out"
        )
    elif plan.groups:
        counts = Counter((group.slots, group.prompt_length) for group in plan.groups)
        shapes = ", ".join(f"{n} of {slots} x {length}" for (slots, length), n in counts.items())
        views = config.decode.views
        computed = sum(group.slots * group.prompt_length for group in plan.groups) * views
        prompts = [view.prompt for g in plan.groups for planned in g.tasks for views in planned.views for view in views]
        lines.append(f"decode  {len(plan.groups)} groups, {views} views a query: {shapes}")
        lines.append(f"        {1 - sum(map(len, prompts)) / computed:.0%} of the tokens of prompts are padding")
    if plan.too_long:
        lines.append(f"{len(plan.too_long)} tasks are too long for every bucket")
    return "\n".join(lines)


def expected_time(plan: Plan, config: RunConfig, results: Path = RESULTS) -> str:
    """How long the run takes after compiling, by the tokens a second of a measured run.

    Args:
      plan: of the run.
      config: the run.
      results: folder of metrics.json files; those of this model on this kind of device count.
    """
    device = describe_device()["kind"]
    size = config.adapt.steps * config.adapt.batch_size
    trained = size * sum(job.examples.max_length for pool in plan.pools for job in pool.jobs)
    read = 0
    for group in plan.groups:
        arms = len(config.arms) if group.adapted else 1
        read += arms * sum(len(view.prompt) for task in group.tasks for views in task.views for view in views)
    for file in sorted(results.glob("*.json")):
        metrics: Any = json.loads(file.read_text())
        if not isinstance(metrics, dict) or not isinstance(metrics.get("device"), dict) or "tokens" not in metrics:
            continue
        tokens, seconds = metrics["tokens"], metrics["seconds"]
        measured = tokens.get("prompt") and (tokens.get("adapt") or not trained)
        if measured and metrics["model"] == config.model and metrics["device"].get("kind") == device:
            adapt = trained * seconds["adapt"] / tokens["adapt"] if trained else 0.0
            answer = read * (seconds["decode"] + seconds["select"]) / tokens["prompt"]
            return (
                f"expected time: adapt {clock_time(adapt)}, decode and select {clock_time(answer)}, "
                f"by the tokens a second of {file.name}, where answers had {tokens['decode'] / tokens['prompt']:.0%} "
                "of the tokens of prompts"
            )
    return f"expected time: not known, no run of {config.model} has been measured on {device}"
