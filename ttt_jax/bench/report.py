"""Figures as a table in the terminal and as JSON on disk."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ttt_jax.bench.timing import Budget
from ttt_jax.bench.trace import TraceSummary


def table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    """Columns as wide as they need to be; the first is aligned to the left, the others to the right."""
    lines = [header, *rows]
    first, *others = [max(len(line[i]) for line in lines) for i in range(len(header))]
    aligned = [
        "  ".join([line[0].ljust(first), *(cell.rjust(width) for cell, width in zip(line[1:], others, strict=True))])
        for line in lines
    ]
    return "\n".join([aligned[0], "-" * len(aligned[0]), *aligned[1:]])


def amount(value: float | None, unit: str = "", scale: float = 1.0) -> str:
    """`amount(3.1e12, "TB/s", 1e12)` is "3.1 TB/s"; a dash for None."""
    if value is None:
        return "-"
    scaled = value / scale
    return f"{scaled:,.0f} {unit}".rstrip() if scaled >= 1000 else f"{scaled:.3g} {unit}".rstrip()


def percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def describe_ceilings(ceilings: Any) -> str:
    return (
        f"ceilings: {amount(ceilings.flops, 'TFLOP/s', 1e12)} ({ceilings.matmul_size}^3 matmul), "
        f"{amount(ceilings.bandwidth, 'TB/s', 1e12)} (copy of {ceilings.copy_bytes / 2**30:.2g} GiB, read + written), "
        f"spread {percent(ceilings.spread)}"
    )


def describe_step(case: dict[str, Any]) -> str:
    """A training step's time, rate, shares of the ceilings and memory, from its figures."""
    step, memory, tasks = case["step"], case["memory"], case.get("tasks_per_second")
    limit = "" if case["memory_limit"] is None else f" of {case['memory_limit'] / 2**30:.1f}"
    return "\n".join(
        [
            f"  {step['seconds'] * 1e3:.2f} ms a step (spread {percent(step['spread'])}), "
            f"{case['tokens_per_second'] / 1e3:,.1f}k tokens/s, padding included"
            + (f", {tasks:.3g} tasks/s at {case['steps_per_task']} steps" if tasks else ""),
            f"  {amount(case['flops_per_token'], 'GFLOP', 1e9)} a token, "
            f"{amount(case['flops_per_second'], 'TFLOP/s', 1e12)} = {percent(case['share_of_matmul_ceiling'])} of the "
            f"matmul ceiling, {percent(case['share_of_roofline'])} of the roofline",
            f"  memory {memory['total'] / 2**30:.2f} GiB ({memory['temporary'] / 2**30:.2f} temporary){limit}, "
            f"compiled in {case['compile_seconds']:.1f} s, loss {case['loss']:.3f}",
        ]
    )


def describe_decoding(case: dict[str, Any]) -> str:
    """A decoding step's time against its floor, its rates and memory, from its figures."""
    parts = ", ".join(f"{part} {value / 1e9:.2f}" for part, value in case["floor_bytes"].items())
    reading, writing = (case["memory"][part]["total"] / 2**30 for part in ("prefill", "decode"))
    return "\n".join(
        [
            f"  {case['step']['seconds'] * 1e3:.3f} ms a step (spread {percent(case['step']['spread'])}) = "
            f"{case['times_floor']:.2f}x the bandwidth floor of {case['floor_seconds'] * 1e3:.3f} ms (GB: {parts}); "
            f"its products take {case['flops_seconds'] * 1e3:.3f} ms at the matmul ceiling",
            f"  {case['tokens_per_second']:,.0f} tokens/s; prompts {case['prompt_tokens_per_second'] / 1e3:,.1f}k "
            f"tokens/s; prompts included {case['tokens_per_second_with_prompt']:,.0f} tokens/s",
            f"  memory {reading:.2f} GiB reading, {writing:.2f} GiB writing, compiled in "
            f"{case['compile_seconds']:.1f} s, {case['cache_copies_in_the_loop']} whole-cache copies in the loop",
        ]
    )


def describe_own_shapes(own: Any, most: int = 12) -> str:
    rows = [
        (
            s["name"][:60],
            s["shape"],
            f"{s['seconds'] * 1e3:.2f}",
            percent(s["share_of_matmul_ceiling"]),
            percent(s["share_of_bandwidth"]),
        )
        for s in own.shapes[:most]
    ]
    return table(rows, ("  the model's own shapes", "shape", "ms a step", "of matmul", "of copy"))


def describe_trace(trace: TraceSummary, steps: float, most: int = 15) -> str:
    """Milliseconds and calls are of one of the `steps` that the traced call made."""
    rows = [
        (f"  {k['name'][:90]}", f"{k['seconds'] / steps * 1e3:.3f}", f"{k['calls'] / steps:.1f}")
        for k in trace.kernels[:most]
    ]
    return "\n".join(
        [
            f"  trace: {trace.span / steps * 1e3:.2f} ms a step, device idle {percent(1 - trace.busy / trace.span)}, "
            f"{trace.launches / steps:.0f} kernels a step",
            "  by kind: " + ", ".join(f"{name} {s / steps * 1e3:.2f} ms" for name, s in trace.kinds.items()),
            table(rows, ("  kernel", "ms a step", "calls a step")),
        ]
    )


class Report:
    """Collects the figures of one benchmark; `write` after every case, so that a killed run leaves what it has.

    Attributes:
      record: what the JSON file holds: benchmark, command, device, versions, config, ceilings, cases, peers, left_out.
    """

    def __init__(self, benchmark: str, config: dict[str, Any], out: str | None) -> None:
        self.out = Path(out) if out else None
        self.record: dict[str, Any] = {
            "benchmark": benchmark,
            "command": "python " + " ".join(sys.argv),
            "config": config,
            "cases": [],
            "peers": [],
            "left_out": [],
        }

    def set(self, **fields: Any) -> None:
        self.record |= fields
        self.write()

    def case(self, case: dict[str, Any]) -> None:
        self.record["cases"].append(case)
        self.write()

    def finish(self, budget: Budget) -> None:
        """Prints and records what was left out, and how long all took."""
        self.set(left_out=self.record["left_out"] + budget.left_out, seconds=round(budget.seconds - budget.left, 1))
        for what in self.record["left_out"]:
            say(f"left out: {what}")
        say(f"{self.record['seconds']:.0f} s in all" + (f"; {self.out} written" if self.out else ""))

    def write(self) -> None:
        if self.out is None:
            return
        self.out.parent.mkdir(parents=True, exist_ok=True)
        partial = self.out.with_suffix(".partial")
        partial.write_text(json.dumps(self.record, indent=2) + "\n")
        partial.replace(self.out)


def say(text: str) -> None:
    print(text, flush=True)
