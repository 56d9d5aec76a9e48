"""One process of tests/test_distributed.py: host_process.py RUN_DIR ADDRESS COUNT INDEX TASKS [DIE_AFTER].

Joins the others, finishes its share of the tasks without a model, and where it
is the first merges what all have finished. With DIE_AFTER it is gone after so many tasks.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import jax
import jax.numpy as jnp

from ttt_jax.config import HostsConfig, RunConfig
from ttt_jax.runtime.distributed import HostRun, Results, gather, join
from ttt_jax.runtime.run_dir import RunDir


def main(folder: str, address: str, count: str, index: str, tasks: str, die_after: str = "-1") -> None:
    config = RunConfig(run_dir=folder, hosts=HostsConfig(address, int(count), int(index)))
    host = join(config.hosts)
    ids, left = [f"task{i}" for i in range(int(tasks))], int(die_after)
    results = Results.open(Path(folder) / "results", config)
    run = HostRun(results)
    for task in host.share(ids, str):
        if task in run.finished():
            continue
        if left == 0:
            os._exit(1)
        left -= 1
        # On this process's own device, while the other may be gone.
        value = float(jax.jit(lambda x: x * 2)(jnp.float32(host.index)))
        run.save({"task": task, "status": "ok", "host": host.index, "value": value}, curves={"loss": [value]})
        print("finished", task, flush=True)
    if host.index == 0:
        with RunDir.open(folder, config, "test") as run_dir:
            gather(results, ids, run_dir, poll=0.1)
    print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
