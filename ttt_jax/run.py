"""One run of scripts/ttt.py: a config in, a run directory with metrics, submission and report out."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jax

from ttt_jax.adapt.adapt import Adapter
from ttt_jax.adapt.plan import Plan, make_plan, prepare
from ttt_jax.compilation import cores, gib
from ttt_jax.config import RunConfig
from ttt_jax.evaluate.metrics import compute_metrics
from ttt_jax.evaluate.report import write_report
from ttt_jax.evaluate.saved import SavedRun
from ttt_jax.evaluate.submission import make_submission
from ttt_jax.evaluate.summary import print_summary
from ttt_jax.fitting import fit
from ttt_jax.model.attention import Kernels, fused_fault, fuses, kernel_name
from ttt_jax.model.io import load_model, parameter_count
from ttt_jax.pipeline import Solver, solve
from ttt_jax.programs import Programs, misfits
from ttt_jax.runtime import mesh
from ttt_jax.runtime.compile_cache import enable_compile_cache
from ttt_jax.runtime.compile_log import CompileLog
from ttt_jax.runtime.device import compute_dtype, describe_device, launch_without_graphs, versions
from ttt_jax.runtime.distributed import Host, HostRun, Results, gather, join
from ttt_jax.runtime.interrupt import Interrupt, Interrupted
from ttt_jax.runtime.memory import memory_limit
from ttt_jax.runtime.progress import Progress, clock_time
from ttt_jax.runtime.restart import after_failure
from ttt_jax.runtime.run_dir import RunDir
from ttt_jax.tasks.registry import get_domain
from ttt_jax.tasks.task import WHOLE_FILE, Domain, LoadedTasks, Task

OK, WRONG_OPTIONS, SOME_REFUSED = 0, 2, 3


def run(config: RunConfig, command: str) -> int:
    """Answers the configured tasks, or goes on with a run that was stopped.

    On all devices of this process (`config.mesh`); of several processes
    (`config.hosts`) each answers its share, and the first merges.

    Returns:
      the exit status: 0; 2 where an option, the model or the run directory is
      wrong; 3 where some tasks could not be read (the others are answered); 143
      after SIGTERM and 130 after Ctrl-C (the same command goes on); 5 where the device failed (likewise, in a new
      process: `runtime/restart.py`).
    """
    began = time.perf_counter()
    launch_without_graphs()
    try:
        host, devices = join(config.hosts), mesh.local_mesh(config.mesh)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_OPTIONS
    with mesh.use(devices):
        return run_share(config, command, host, began)


def run_share(config: RunConfig, command: str, host: Host, began: float) -> int:
    """`run`, as this one of the hosts, on the mesh of the context."""
    enable_compile_cache()
    compile_log = CompileLog()
    asked = Interrupt()
    try:
        # What is wrong with the options shows here, as a ValueError that names the option.
        model, base, domain, loaded = load(config)
        if not loaded.tasks:
            return SOME_REFUSED
        check_options(config, domain, model, base, loaded.tasks)
        # Only the first host has the run directory. Where there are others, all leave their results in one place.
        folder = Path(config.run_dir)
        run_dir = RunDir.open(folder, config, command) if host.index == 0 else None
        results = Results.open(config.hosts.results or folder / "results", config) if host.count > 1 else None
        mine = HostRun(results) if results else run_dir
        assert mine is not None
        tasks = share_of(host, loaded.tasks, domain, by_family=config.adapt.shared)
        left = [task for task in tasks if task.id not in mine.finished()]
        progress = Progress(len(left), units(config, left))
        partial = folder / (f"partial_{host.index}" if host.index else "partial")
        solver = Solver(model, base, domain, config, compile_log, progress, lambda: asked.requested, partial)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_OPTIONS
    seconds = {"load": time.perf_counter() - began}
    with run_dir or contextlib.nullcontext(), compile_log, asked:
        announce(config, loaded, model, base, run_dir, host)
        if run_dir:
            save_refused(loaded, run_dir)
            run_dir.save_tasks(loaded.tasks)
        try:
            plan = compiled_plan(solver, tasks, mine.finished().keys())
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            return WRONG_OPTIONS
        try:
            with progress:
                solve(solver, plan, mine)
            if results and run_dir:
                gather(results, [task.id for task in loaded.tasks], run_dir, lambda: asked.requested)
        except Interrupted:
            done = len(mine.finished())
            print(f"stopped with {done} tasks finished; the same command goes on", file=sys.stderr)
            return asked.exit_status
        except jax.errors.JaxRuntimeError as error:
            return after_failure(error, len(mine.finished()))
        if run_dir is None:
            print(f"host {host.index} is done; host 0 merges what all have finished", flush=True)
            return OK
        seconds["compile"] = compile_log.seconds
        about = {
            "seconds": seconds,
            "compilations": compile_log.count,
            "padding": {name: padding.share for name, padding in solver.padding.items()},
            "idle": solver.clock.idle(),
        }
        finish(config, loaded, run_dir, about)
    return SOME_REFUSED if loaded.refused else OK


def load(config: RunConfig) -> tuple[Any, Any, Domain, LoadedTasks]:
    """The model, its parameters, the domain in the model's tokens, and the tasks; says which were refused."""
    domain = get_domain(config.tasks.domain)
    dtype = compute_dtype(config.dtype)
    model, base, tokenizer = load_model(config.model, dtype, quantize=config.quantize, place=mesh.place())
    model = model.clone(kernels=kernels_of(config, model))
    mesh.check_model(jax.sharding.get_mesh(), model.config)
    domain = domain.bind(tokenizer)
    loaded = domain.load(config.tasks)
    for refused in loaded.refused:
        print(f"refused: {refused}", file=sys.stderr)
    if not loaded.tasks:
        print(f"error: none of the {len(loaded.refused)} tasks of {loaded.benchmark} could be read", file=sys.stderr)
    return model, base, domain, loaded


def share_of(host: Host, tasks: Sequence[Task], domain: Domain, by_family: bool) -> list[Task]:
    """The tasks of one host; what a task costs is taken to be the tokens of its prompts, all as long as its first."""
    if host.count == 1:
        return list(tasks)
    return host.share(
        tasks,
        lambda task: task.family if by_family else task.id,
        lambda task: len(domain.encode(task.demos, task.queries[0])) * len(task.queries),
    )


def kernels_of(config: RunConfig, model: Any) -> Kernels:
    """What attention runs on: `config.kernels`, but `library` where our own kernel turns out to be of no use."""
    c = model.config
    if config.kernels != "auto" or not fuses(model.dtype, c.head_dim):
        return config.kernels
    if fault := fused_fault(c.num_heads, c.num_kv_heads, c.head_dim):
        print(f"kernels: library, as our own does not work here: {fault}", file=sys.stderr)
        return "library"
    return "auto"


def planned(
    programs: Programs,
    tasks: Sequence[Task],
    limit: int | None = None,
    finished: Collection[str] = (),
    rooms: int | None = None,
) -> Plan:
    """The plan of a run, in as many slots as `limit` bytes hold where they are auto (`fitting.fit`).

    Raises:
      ValueError: not even one slot fits.
    """
    config, domain = programs.config, programs.domain
    prepared = prepare(tasks, domain, config)
    make = partial(make_plan, tasks, domain, config, shards=mesh.shards_here(), prepared=prepared)
    queries = sum(len(task.queries) for task in tasks)
    return fit(make, programs, len(tasks), queries, memory_limit() if limit is None else limit, finished, rooms)


def compiled_plan(solver: Solver, tasks: Sequence[Task], finished: Collection[str]) -> Plan:
    """The plan of a run, its programs compiled, all at once; says what the largest asks of the device."""
    programs = Programs(solver.adapter, solver.domain, solver.config)
    # Which sizes of cache answers will need shows only as they are written: with few cores the first is a safe guess.
    rooms = None if cores() >= 8 else 1
    began = time.perf_counter()
    if jax.local_device_count() == 1:
        print(f"compiling on {cores()} cores ...", flush=True)
    plan = planned(programs, tasks, finished=finished, rooms=rooms)
    left = programs.of_plan(plan.without(set(finished)), rooms)
    if left and jax.local_device_count() == 1:
        needs, limit = programs.compile(left), memory_limit()
        largest = max(needs, key=lambda need: need.bytes)
        print(
            f"compiled {len(left)} programs in {clock_time(time.perf_counter() - began)}; the largest, "
            f"{largest.program.name}, takes {gib(largest.bytes)} of {gib(limit)}: "
            f"{', '.join(f'{k} {gib(v)}' for k, v in largest.parts())}",
            flush=True,
        )
        for line in misfits(needs, programs, limit, search=False):
            print(f"may run out of memory: {line}", flush=True)
    return plan


def announce(config: RunConfig, loaded: LoadedTasks, model: Any, base: Any, run_dir: RunDir | None, host: Host) -> None:
    device = describe_device()
    here = model.dtype, model.config.head_dim
    kernels = "xla" if model.kernels == "xla" else kernel_name(*here)
    kernels += " and fused" if model.kernels == "auto" and fuses(*here) else ""
    split = " x ".join(f"{name} {size}" for name, size in jax.sharding.get_mesh().shape.items())
    print(
        f"{config.model}: {parameter_count(base) / 1e6:.1f}M parameters, {jax.numpy.dtype(model.dtype).name}, "
        f"on {jax.local_device_count()} x {device['kind']}{split and f' ({split})'}, attention on {kernels}",
        flush=True,
    )
    if host.count > 1:
        print(f"host {host.index} of {host.count}, a share of {len(loaded.tasks)} tasks", flush=True)
    if run_dir is None:
        return
    print(
        f"{len(loaded.tasks)} tasks of {loaded.benchmark}, arms {' and '.join(config.arms)}; "
        f"{'resuming' if run_dir.resumed else 'writing'} {run_dir.path}"
        + (f", {len(run_dir.finished())} tasks are finished already" if run_dir.resumed else ""),
        flush=True,
    )


def units(config: RunConfig, tasks: Any) -> dict[str, float]:
    """Units of work of every kind of stage, for the time left."""
    queries = sum(len(task.queries) for task in tasks)
    adapters = len({task.family for task in tasks} if config.adapt.shared else tasks) if "adapted" in config.arms else 0
    return {"decode": queries * len(config.arms), "adapt": adapters * config.adapt.steps}


def check_options(config: RunConfig, domain: Domain, model: Any, base: Any, tasks: Sequence[Task]) -> None:
    """Raises ValueError for what would show only in the middle of a run, before there is a run directory."""
    if config.load_adapters and not (Path(config.load_adapters) / "adapters").is_dir():
        raise ValueError(f"load_adapters: {config.load_adapters} holds no adapters; make that run with save_adapters")
    adapter = Adapter(model, base, config.adapt, config.seed, domain.pad_token)
    adapter.shapes(1)
    make_plan(tasks[:1], domain, config, lambda length: 1, lambda length: 1)


def save_refused(loaded: LoadedTasks, run_dir: RunDir) -> None:
    """Tasks that could not be read are part of the record, and count as wrong."""
    known = {task.id for task in loaded.tasks} | run_dir.finished().keys()
    for refused in loaded.refused:
        name = record_name(refused.task_id)
        # A second task of a name leaves the first one as it is.
        if refused.task_id != WHOLE_FILE and name not in known:
            reason = f"{refused.file}: {refused.field}: {refused.reason}".encode(errors="backslashreplace").decode()
            run_dir.save({"task": name, "status": "refused", "reason": reason, "arms": {}, "steps": 0})
            known.add(name)


def record_name(task_id: str) -> str:
    """A refused task's id, percent-encoded where it cannot be a file name; `%` where it is empty."""
    if task_id.isprintable() and task_id[:1] not in ("", ".") and not set(task_id) & set("/\\"):
        return task_id[:100]
    name = quote(task_id, safe="", errors="backslashreplace")
    return (name if name[:1] != "." else "%2E" + name[1:])[:100] or "%"


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
