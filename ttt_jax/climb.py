"""Staircases of difficulty as a run: each arm climbs each ladder towards an accuracy, on problems never asked before.

A round asks a few new problems of every ladder at its present level; all are
answered side by side, and the levels move. The problems of a round follow from
the answers before it, and these are in the journal; so a run that was stopped
plays its rounds again from the journal and goes on.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

from ttt_jax.adapt.plan import make_plan
from ttt_jax.config import RunConfig
from ttt_jax.evaluate.metrics import outcome
from ttt_jax.model.io import load_model
from ttt_jax.pipeline import Solver, solve
from ttt_jax.run import OK, WRONG_OPTIONS, check_options, finish
from ttt_jax.runtime import mesh
from ttt_jax.runtime.compile_cache import enable_compile_cache
from ttt_jax.runtime.compile_log import CompileLog
from ttt_jax.runtime.device import compute_dtype
from ttt_jax.runtime.files import write_json
from ttt_jax.runtime.interrupt import Interrupt, Interrupted
from ttt_jax.runtime.progress import Progress
from ttt_jax.runtime.restart import after_failure
from ttt_jax.runtime.run_dir import RunDir
from ttt_jax.tasks.growing import Exhausted, Staircase, open_ladder
from ttt_jax.tasks.reasoning import of_part
from ttt_jax.tasks.registry import get_domain
from ttt_jax.tasks.task import Domain, LoadedTasks, Task


@dataclass(frozen=True)
class ClimbConfig:
    """Staircases that end at the level where accuracy is `target` (tasks/growing.py)."""

    ladders: tuple[str, ...] = ()
    """Sources of one family, each climbed on its own: `zebra/test?demos=4&steps=true`, `graphs/test?questions=bfs`.
    Empty: the tasks of `tasks.source` are answered instead."""
    rounds: int = 12
    count: int = 8
    """Problems of every ladder in a round."""
    target: float = 0.5
    step: float = 0.5
    """Levels that a wrong answer falls by `target` times, and a right one climbs by 1 - `target` times."""

    def __post_init__(self) -> None:
        for name in ("rounds", "count"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)}, must be at least 1")
        if not 0 < self.target < 1 or self.step <= 0:
            raise ValueError(f"target: {self.target}, must lie between 0 and 1, and step {self.step} above 0")
        if len(set(self.ladders)) < len(self.ladders):
            raise ValueError(f"ladders: one comes twice in {', '.join(self.ladders)}")


def climb(config: RunConfig, options: ClimbConfig, command: str) -> int:
    """Climbs every ladder with every arm, on all devices of this process.

    Writes levels.json, and a run directory for each arm beside it.

    Args:
      config: of the run; its `tasks` are those that the ladders make.
      options: the ladders.
      command: what was typed.

    Returns:
      the exit status, as of `run`.
    """
    try:
        devices = mesh.local_mesh(config.mesh)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_OPTIONS
    with mesh.use(devices):
        return _climb(config, options, command)


def _climb(config: RunConfig, options: ClimbConfig, command: str) -> int:
    """`climb`, on the mesh of the context."""
    began = time.perf_counter()
    enable_compile_cache()
    asked, reports = Interrupt(), {}
    config = replace(config, tasks=replace(config.tasks, domain="reasoning", source=_describe(options), path=None))
    try:
        for name, slots in (("adapt.slots", config.adapt.slots), ("decode.slots", config.decode.slots)):
            if slots == "auto":
                raise ValueError(f"{name}: auto fits a run's slots to all of its tasks; a climb needs a number")
        ladders = {source: open_ladder(source) for source in options.ladders}
        dtype = compute_dtype(config.dtype)
        model, base, tokenizer = load_model(config.model, dtype, quantize=config.quantize, place=mesh.place())
        mesh.check_model(jax.sharding.get_mesh(), model.config)
        domain = get_domain("reasoning").bind(tokenizer)
        first = [_own(ladder.make(ladder.levels[0], config.seed), source) for source, ladder in ladders.items()]
        check_options(config, domain, model, base, first)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_OPTIONS
    for arm in config.arms:
        own = replace(config, arms=(arm,), run_dir=str(Path(config.run_dir) / arm))
        stairs = {
            source: Staircase(ladder, options.target, config.seed, options.step) for source, ladder in ladders.items()
        }
        compile_log = CompileLog()
        try:
            run_dir = RunDir.open(own.run_dir, own, command)
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            return WRONG_OPTIONS
        with run_dir, compile_log, asked:
            progress = Progress(options.rounds * options.count * len(stairs))
            solver = Solver(
                model, base, domain, own, compile_log, progress, lambda: asked.requested, run_dir.path / "partial"
            )  # fmt: skip
            try:
                with progress:
                    tasks = _climb_arm(solver, domain, stairs, options, run_dir, arm)
            except Interrupted:
                done = len(run_dir.finished())
                print(f"stopped with {done} tasks of {arm} finished; the same command goes on", file=sys.stderr)
                return asked.exit_status
            except jax.errors.JaxRuntimeError as error:
                return after_failure(error, len(run_dir.finished()))
            seconds = {"load": time.perf_counter() - began, "compile": compile_log.seconds}
            loaded = LoadedTasks("reasoning staircase", tuple(tasks))
            finish(own, loaded, run_dir, {"seconds": seconds, "compilations": compile_log.count})
        reports[arm] = {source: stair.report() for source, stair in stairs.items()}
        levels = {"command": command, "model": config.model, "options": asdict(options), "arms": reports}
        write_json(Path(config.run_dir) / "levels.json", levels, indent=2)
    print_levels(reports)
    print(f"wrote {Path(config.run_dir) / 'levels.json'}")
    return OK


def _climb_arm(
    solver: Solver, domain: Domain, stairs: dict[str, Staircase], options: ClimbConfig, run_dir: RunDir, arm: str
) -> list[Task]:
    """Plays all rounds; rounds whose tasks are in the journal take no time."""
    every: dict[str, Task] = {}
    for _ in range(options.rounds):
        asked: dict[str, list[Task]] = {}
        for source, stair in stairs.items():
            try:
                asked[source] = [_own(task, source) for task in stair.ask(options.count)]
            except Exhausted as error:  # as many as there are have been asked
                print(f"{error}: its climb ends here", flush=True)
        tasks = [task for of in asked.values() for task in of]
        every |= {task.id: task for task in tasks}
        run_dir.save_tasks(every.values())
        solve(solver, make_plan(tasks, domain, solver.config, shards=mesh.shards_here()), run_dir)
        solver.leave_if_asked()
        for source, of in asked.items():
            stairs[source].tell([_right(run_dir, task, arm, domain) for task in of])
    return list(every.values())


def _right(run_dir: RunDir, task: Task, arm: str, domain: Domain) -> bool:
    found = outcome(run_dir.finished()[task.id], task, arm, domain)
    return found is not None and all(found.right(1))


def _own(task: Task, source: str) -> Task:
    return of_part(task, source.partition("/")[0], source)


def _describe(options: ClimbConfig) -> str:
    """In place of a source, so that a run directory is taken up by the same climb only."""
    return f"{' '.join(options.ladders)} (count {options.count}, target {options.target}, step {options.step})"


def print_levels(reports: dict[str, dict[str, Any]], console: Console | None = None) -> None:
    """A table with a line a ladder, a column an arm: the level where accuracy is one half, by name and as a number."""
    table = Table(title="level at 50%, with 95% intervals", title_justify="left", pad_edge=False)
    table.add_column("ladder")
    for arm in reports:
        table.add_column(arm.replace("_", " "), justify="right")
    for source in next(iter(reports.values())):
        table.add_row(source, *(_level(of[source]) for of in reports.values()))
    (console or Console()).print(table)


def _level(report: dict[str, Any]) -> str:
    at = report["at_50"]
    if at is None:
        right = [of["value"] * of["n"] for of in report["curve"].values()]
        return f"no crossing ({sum(right):.0f} of {report['n']} right)"
    names: Sequence[str] = report["levels"]
    name = names[min(max(round(at), 0), len(names) - 1)]
    low, high = ("?" if report[end] is None else f"{report[end]:.1f}" for end in ("low", "high"))
    return f"{at:.1f} ({low} to {high}), about {name}"
