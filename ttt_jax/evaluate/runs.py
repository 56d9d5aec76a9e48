"""Several runs in one JSON file, each made once, within a budget: for measurements, ablations and sweeps."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ttt_jax.config import HostsConfig, RunConfig
from ttt_jax.config_loader import from_yaml
from ttt_jax.runtime.files import write_json
from ttt_jax.runtime.restart import seconds_spent

Run = Callable[[RunConfig, str], int]
FINISHED = (0, 3)
"""Exit statuses of `ttt_jax.run.run` that leave metrics: of all tasks, or of all that could be read."""
METRICS = "metrics.json"
Runs = dict[str, dict[str, Any]]
"""Name -> metrics of a run, and its options under "config"."""


def finish_runs(
    names: Sequence[str],
    configure: Callable[[str, Runs], RunConfig],
    run: Run,
    out: Path,
    budget_seconds: float,
    command: str,
    summarise: Callable[[Runs], Mapping[str, Any]],
    finished: Callable[[RunConfig], Mapping[str, Any]] = lambda config: {},
    merge: Sequence[Path] = (),
) -> int:
    """Makes runs in order, and writes one JSON file, brought up to date after each.

    A run that the file has, of the same options, is not made again, on whatever
    machine that was: a measurement goes on elsewhere with the file alone. Nor is
    one whose directory holds its metrics already, on however many hosts. Once
    the budget is used, the run under way is asked to stop as by SIGTERM (the
    same command goes on with it where its directory is), and none begins.

    Args:
      names: of the runs.
      configure: a run's options, given the runs before it.
      run: `ttt_jax.run.run`.
      out: the file; it holds what `summarise` makes of the runs, and under "runs" the runs.
      budget_seconds: from the call on.
      command: kept in the file by `summarise`, in run directories by this.
      summarise: what else the file holds.
      finished: what else is kept of a run, while its directory is there.
      merge: files of other processes that shared these runs: theirs are taken over, the first file's where several
        have one, and none before `out`'s own.

    Returns:
      the exit status of the run that did not come to its end, or 0.
    """
    began = time.monotonic() - seconds_spent()
    known: Runs = {}
    for file in [*reversed(merge), *([out] if out.exists() else [])]:
        known |= json.loads(file.read_text())["runs"]
    found: Runs = {}

    def save(found: Runs) -> None:
        # What later runs have in the file already stays there until it is their turn.
        later = {name: known[name] for name in names if name in known and name not in found}
        write_json(out, {**summarise(found), "runs": {**found, **later}}, indent=1)

    for i, name in enumerate(names):
        config = configure(name, found)
        record = recorded(config)
        if name in known and agree(known[name]["config"], record):
            found[name] = known[name]
            continue
        left = budget_seconds - (time.monotonic() - began)
        if left <= 0 and not made(config):
            print(f"the budget of {budget_seconds:.0f} s is used; left out: {', '.join(names[i:])}")
            break
        print(f"{name}: {config.run_dir}", flush=True)
        if not made(config):
            with stopped_after(left):
                status = run(config, command)
            if status not in FINISHED or not (Path(config.run_dir) / METRICS).exists():
                return status
        metrics = json.loads((Path(config.run_dir) / METRICS).read_text())
        found[name] = {"config": record, **metrics, **finished(config)}
        save(found)
    if found:
        save(found)
        print(f"wrote {out}")
    return 0


def about(runs: Runs) -> dict[str, Any]:
    """What the runs of a measurement share, for the head of its file."""
    first = next(iter(runs.values()))
    return {name: first[name] for name in ("benchmark", "tasks", "model", "device", "versions")}


def seconds_per_task(metrics: Mapping[str, Any], arm: str) -> float:
    """Seconds of an arm, compilation left out, over the number of tasks."""
    return sum(metrics["seconds_by_arm"][arm].values()) / max(metrics["tasks"], 1)


def recorded(config: RunConfig) -> dict[str, Any]:
    """What a run's numbers depend on, as JSON: not where it is written, where files are, or on which hosts."""
    adapters = config.load_adapters and Path(config.load_adapters).name
    anywhere = replace(
        config, run_dir="", tasks=replace(config.tasks, path=None), load_adapters=adapters, hosts=HostsConfig()
    )
    return json.loads(json.dumps(asdict(anywhere)))


def made(config: RunConfig) -> bool:
    """Whether the run's directory holds metrics of these options, whoever made them."""
    folder = Path(config.run_dir)
    if not (folder / METRICS).exists() or not (folder / "config.yaml").exists():
        return False
    return agree(recorded(from_yaml(RunConfig, folder / "config.yaml")), recorded(config))


def agree(earlier: Any, now: Any) -> bool:
    """Whether two records say the same of every option that both know; later versions know more."""
    if isinstance(earlier, dict) and isinstance(now, dict):
        return all(agree(earlier[name], now[name]) for name in earlier.keys() & now.keys())
    return earlier == now


class stopped_after:
    """Sends this process SIGTERM once the block has taken so many seconds.

    Before a run is there to catch it, that ends the process with a line that says so, and status 143.
    """

    def __init__(self, seconds: float):
        # threading's timers hold no more than this.
        self._timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), os.kill, (os.getpid(), signal.SIGTERM))

    def __enter__(self) -> None:
        self._before = signal.getsignal(signal.SIGTERM)
        if self._before is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, _leave)  # a run puts its own handler in this one's place
        self._timer.daemon = True
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        signal.signal(signal.SIGTERM, self._before)


def _leave(number: int, frame: object) -> None:
    print("stopped before the run began: it needs more seconds to load", file=sys.stderr)
    sys.exit(128 + number)
