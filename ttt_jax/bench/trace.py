"""Where a traced call spent its time on the device: kernels by kind and by name, and the time that it was idle."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# First match wins. Names as cuBLAS, cuDNN, Triton and XLA give them.
_KINDS = (
    ("attention", ("flash", "fmha", "sdpa", "mha", "cudnn")),
    ("matmul", ("gemm", "nvjet", "cutlass", "cublas", "wgmma", "xmma", "splitk", "dot")),
    ("copy", ("memcpy", "copy", "transpose", "concatenate")),
    ("scatter, gather, sort", ("scatter", "gather", "sort")),
    ("cache write", ("dynamic_update_slice", "dynamic-update-slice")),
    ("reduction", ("reduce",)),
    ("other fusion", ("fusion", "wrapped", "loop")),
)


@dataclass(frozen=True)
class TraceSummary:
    """One traced call, as the device saw it.

    Attributes:
      span: seconds from its first kernel to the end of its last.
      busy: seconds of it in which at least one kernel ran.
      kinds: seconds by kind of kernel.
      kernels: the longest in all: {"name", "seconds", "calls"}.
      launches: kernels in all.
    """

    span: float
    busy: float
    kinds: dict[str, float]
    kernels: list[dict[str, Any]]
    launches: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def trace_call(folder: str | Path, call: Callable[[], Any]) -> TraceSummary | None:
    """Runs `call` (which waits for its own result) under jax's profiler and sums up what the device did.

    Returns:
      None where the trace holds no device (on a CPU).
    """
    import jax

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with jax.profiler.trace(str(folder)):
        call()
    found = sorted(folder.rglob("*.trace.json.gz"), key=lambda path: path.stat().st_mtime)
    summary = summarise(found[-1]) if found else None
    if summary is not None:
        (folder / "kernels.json").write_text(json.dumps(summary.as_dict(), indent=2) + "\n")
    return summary


def summarise(path: str | Path, most: int = 30) -> TraceSummary | None:
    """Reads a `*.trace.json.gz` of jax's profiler (times in microseconds)."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        events = json.load(file)["traceEvents"]
    devices = {
        e["pid"]
        for e in events
        if e.get("ph") == "M" and e.get("name") == "process_name" and "/device:" in e["args"]["name"]
    }
    # A device also has lines of modules and operations, which cover the same time again.
    streams = {
        (e["pid"], e["tid"])
        for e in events
        if e.get("ph") == "M"
        and e.get("name") == "thread_name"
        and e["pid"] in devices
        and e["args"]["name"].startswith(("Stream", "XLA Ops"))
    }
    names = {
        e["args"]["name"] for e in events if e.get("name") == "thread_name" and (e.get("pid"), e.get("tid")) in streams
    }
    if any(name.startswith("Stream") for name in names):
        streams -= {
            (e["pid"], e["tid"])
            for e in events
            if e.get("ph") == "M" and e.get("name") == "thread_name" and e["args"]["name"].startswith("XLA Ops")
        }
    kernels = [e for e in events if e.get("ph") == "X" and (e["pid"], e["tid"]) in streams and e.get("dur", 0) > 0]
    if not kernels:
        return None
    by_name: dict[str, list[float]] = defaultdict(list)
    by_kind: dict[str, float] = defaultdict(float)
    for e in kernels:
        by_name[e["name"]].append(e["dur"] / 1e6)
        by_kind[kind(e["name"])] += e["dur"] / 1e6
    spans = sorted((e["ts"] / 1e6, (e["ts"] + e["dur"]) / 1e6) for e in kernels)
    longest = sorted(by_name.items(), key=lambda item: -sum(item[1]))[:most]
    return TraceSummary(
        span=max(end for _, end in spans) - spans[0][0],
        busy=_covered(spans),
        kinds=dict(sorted(by_kind.items(), key=lambda item: -item[1])),
        kernels=[{"name": name, "seconds": sum(took), "calls": len(took)} for name, took in longest],
        launches=len(kernels),
    )


def kind(name: str) -> str:
    """The kind of a kernel, by its name."""
    lower = name.lower()
    return next((label for label, words in _KINDS if any(word in lower for word in words)), "other")


def _covered(spans: list[tuple[float, float]]) -> float:
    """Seconds that a sorted list of spans covers, overlaps once."""
    total, end = 0.0, float("-inf")
    for start, stop in spans:
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total
