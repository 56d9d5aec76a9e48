"""The frame of every benchmark: peers first, then this device's ceilings, then the cases."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

from ttt_jax.bench import peers
from ttt_jax.bench.options import BenchConfig
from ttt_jax.bench.report import Report, amount, describe_ceilings, say, table
from ttt_jax.bench.timing import Budget


def run_benchmark(
    benchmark: str,
    config: BenchConfig,
    peer_specs: list[tuple[str, peers.PeerSpec]],
    run_cases: Callable[[Any, Any, Budget, Report], None],
    versus: Callable[[dict[str, Any], dict[str, Any]], str | None],
) -> dict[str, Any]:
    """Runs one benchmark within its budget.

    Args:
      benchmark: its name.
      config: what to run.
      peer_specs: (preset, what its peer is asked), in order of importance.
      run_cases: `(ceilings, dtype, budget, report)`, measures ours.
      versus: `(case, peer)`, one line that compares a case with a peer's result of the same preset, or None.

    Returns:
      the record that `config.out` holds.
    """
    budget, report = Budget(config.budget_seconds), Report(benchmark, dataclasses.asdict(config), config.out)
    if config.peer.run and peer_specs:
        absent = peers.missing()
        if absent:
            budget.left_out.append(f"peers: {', '.join(absent)} not installed")
        else:
            report.set(peer_versions=peers.versions())
            for i, (preset, spec) in enumerate(peer_specs):
                share = config.budget_seconds * config.peer.share - (config.budget_seconds - budget.left)
                seconds = share / (len(peer_specs) - i)
                if seconds < 10:
                    budget.left_out.append(f"peer, {preset} at {spec.length}: peer.share of the budget is used")
                    continue
                for result in peers.run_peer(dataclasses.replace(spec, seconds=seconds), budget):
                    report.record["peers"].append({"preset": preset, "kind": spec.kind, **result})
                    report.write()
            say(_peer_table(report.record["peers"]))

    # Only now: jax takes the device's memory when it first looks at it, and three quarters of it unless told.
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.92")
    import jax

    from ttt_jax.bench.ceilings import measure_ceilings
    from ttt_jax.runtime.device import compute_dtype, describe_device, launch_without_graphs, versions

    launch_without_graphs()  # as a run does
    dtype = compute_dtype("auto")
    say(f"{jax.devices()[0].device_kind}, {jax.numpy.dtype(dtype).name}, jax {jax.__version__}")
    ceilings = measure_ceilings(dtype)
    say(describe_ceilings(ceilings))
    report.set(
        device=describe_device(), versions=versions(), xla_flags=os.environ["XLA_FLAGS"], ceilings=ceilings.as_dict()
    )
    run_cases(ceilings, dtype, budget, report)

    say("")
    for case in report.record["cases"]:
        for peer in report.record["peers"]:
            if peer["preset"] == case["preset"] and (line := versus(case, peer)):
                say(line)
    report.finish(budget)
    return report.record


def ratio(ours: float, theirs: float) -> str:
    return f"{ours / theirs:.1f}x"


def _peer_table(results: list[dict[str, Any]]) -> str:
    rows = []
    for r in results:
        settings = [r["setting"], f"batch {r['batch']}"] + [f"{k} {r[k]}" for k in ("adapter", "compiled") if r.get(k)]
        seconds = r["step"]["seconds"] if "step" in r else r["step_seconds"]
        memory = amount(r.get("peak_memory"), "GiB", 2**30)
        name = f"{r['preset']} {r['kind']} {r['length']}"
        rows.append((name, ", ".join(settings), f"{seconds * 1e3:.1f}", amount(r["tokens_per_second"]), memory))
    return table(rows, ("peer (transformers)", "setting", "ms a step", "tokens/s", "memory"))
