"""One run of scripts/ttt.py: a config in, a run directory with metrics, submission and report out."""

from __future__ import annotations

import sys
import time
from typing import Any

import jax

from ttt_jax.config import RunConfig
from ttt_jax.evaluate.metrics import compute_metrics
from ttt_jax.evaluate.report import write_report
from ttt_jax.evaluate.saved import SavedRun
from ttt_jax.evaluate.submission import make_submission
from ttt_jax.evaluate.summary import print_summary
from ttt_jax.model.attention import kernel_name
from ttt_jax.model.io import load_model, parameter_count
from ttt_jax.pipeline import Solver, solve
from ttt_jax.runtime.compile_cache import enable_compile_cache
from ttt_jax.runtime.compile_log import CompileLog
from ttt_jax.runtime.device import compute_dtype, describe_device, versions
from ttt_jax.runtime.interrupt import Interrupt, Interrupted
from ttt_jax.runtime.progress import Progress
from ttt_jax.runtime.run_dir import RunDir
from ttt_jax.tasks.registry import get_domain
from ttt_jax.tasks.task import LoadedTasks

OK, WRONG_OPTIONS, SOME_REFUSED = 0, 2, 3


def run(config: RunConfig, command: str) -> int:
    """Answers the configured tasks, or goes on with a run that was stopped.

    Returns:
      the exit status: 0; 2 where an option, the model or the run directory is
      wrong; 3 where every task was answered but some could not be read; 143
      after SIGTERM and 130 after Ctrl-C (the same command goes on).
    """
    began = time.perf_counter()
    enable_compile_cache()
    compile_log = CompileLog()
    asked = Interrupt()
    try:
        # What is wrong with the options shows here, as a ValueError that names the option.
        domain = get_domain(config.tasks.domain)
        loaded = domain.load(config.tasks)
        for refused in loaded.refused:
            print(f"refused: {refused}", file=sys.stderr)
        model, base, _ = load_model(config.model, compute_dtype(config.dtype))
        run_dir = RunDir.open(config.run_dir, config, command)
        left = [task for task in loaded.tasks if task.id not in run_dir.finished()]
        progress = Progress(len(left), plan(config, left))
        solver = Solver(
            model, base, domain, config, compile_log, progress, lambda: asked.requested, run_dir.path / "partial"
        )  # fmt: skip
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_OPTIONS
    seconds = {"load": time.perf_counter() - began}
    with run_dir, compile_log, asked:
        announce(config, loaded, model, base, run_dir)
        save_refused(loaded, run_dir)
        run_dir.save_tasks(loaded.tasks)
        try:
            with progress:
                solve(solver, loaded.tasks, run_dir)
        except Interrupted:
            done = len(run_dir.finished())
            print(f"stopped with {done} tasks finished; the same command goes on", file=sys.stderr)
            return asked.exit_status
        seconds["compile"] = compile_log.seconds
        finish(config, loaded, run_dir, {"seconds": seconds, "compilations": compile_log.count})
    return SOME_REFUSED if loaded.refused else OK


def announce(config: RunConfig, loaded: LoadedTasks, model: Any, base: Any, run_dir: RunDir) -> None:
    device = describe_device()
    kernel = kernel_name(model.dtype, model.config.head_dim)
    print(
        f"{config.model}: {parameter_count(base) / 1e6:.1f}M parameters, {jax.numpy.dtype(model.dtype).name}, "
        f"on {device['count']} x {device['kind']}, attention kernel {kernel}\n"
        f"{len(loaded.tasks)} tasks of {loaded.benchmark}, arms {' and '.join(config.arms)}; "
        f"{'resuming' if run_dir.resumed else 'writing'} {run_dir.path}"
        + (f", {len(run_dir.finished())} tasks are finished already" if run_dir.resumed else ""),
        flush=True,
    )


def plan(config: RunConfig, tasks: Any) -> dict[str, float]:
    """Units of work of every kind of stage, for the time left."""
    queries = sum(len(task.queries) for task in tasks)
    adapted = "adapted" in config.arms
    return {"decode": queries * len(config.arms), "adapt": len(tasks) * config.adapt.steps if adapted else 0}


def save_refused(loaded: LoadedTasks, run_dir: RunDir) -> None:
    """Tasks that could not be read are part of the record, and count as wrong."""
    finished = run_dir.finished()
    for refused in loaded.refused:
        if refused.task_id and refused.task_id not in finished:
            reason = f"{refused.file}: {refused.field}: {refused.reason}"
            run_dir.save({"task": refused.task_id, "status": "refused", "reason": reason, "arms": {}, "steps": 0})
            finished = run_dir.finished()


def finish(config: RunConfig, loaded: LoadedTasks, run_dir: RunDir, about: dict[str, Any]) -> None:
    """Metrics, submission, report, and the table on the terminal."""
    about |= {
        "benchmark": loaded.benchmark,
        "model": config.model,
        "device": describe_device(),
        "versions": versions(),
        "seed": config.seed,
        "command": run_dir.command,
    }
    records = run_dir.finished()
    domain = get_domain(config.tasks.domain)
    metrics = compute_metrics(
        records, loaded.tasks, domain, arms=config.arms, attempts=config.select.attempts, about=about
    )
    arm = "adapted" if "adapted" in config.arms else "in_context"
    submission = make_submission(records, loaded.tasks, attempts=config.select.attempts, arm=arm)
    run_dir.write_json("submission.json", submission)
    run_dir.write_json("metrics.json", metrics)
    report = write_report(SavedRun(run_dir.path))
    print_summary(metrics, records)
    print(f"metrics, submission and candidates in {run_dir.path}; open {report}")
