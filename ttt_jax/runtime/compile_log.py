"""How many programs XLA compiled, which, and how long it took."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import jax

TRACE = "/jax/core/compile/jaxpr_trace_duration"
LOWER = "/jax/core/compile/jaxpr_to_mlir_module_duration"
COMPILE = "/jax/core/compile/backend_compile_duration"
CACHE_HIT = "/jax/compilation_cache/cache_hits"


class CompileLog:
    """Counts compilations while it is open, those of all threads. Use as a context manager.

    Listens to `jax.monitoring`'s time spans `/jax/core/compile/*`: tracing a
    function to a jaxpr, lowering it to MLIR, and compiling that by the backend.
    A program found in the persistent compilation cache goes through the last
    one too, quickly, and is counted in `cached` beside.

    Attributes:
      count: programs compiled by the backend, those found in the cache included.
      cached: how many of them the persistent cache held.
      programs: name of the jitted function -> how many times it was compiled.
    """

    def __init__(self) -> None:
        self.count = 0
        self.cached = 0
        self.programs: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._closed = 0.0
        self._open: list[tuple[float, float]] = []

    @property
    def seconds(self) -> float:
        """Wall-clock seconds spent tracing, lowering or compiling; spans within or beside each other count once."""
        with self._lock:
            return self._closed + sum(end - start for start, end in self._open)

    def __enter__(self) -> CompileLog:
        jax.monitoring.register_event_time_span_listener(self._on_span)
        jax.monitoring.register_event_listener(self._on_event)
        return self

    def __exit__(self, *_: object) -> None:
        jax.monitoring.unregister_event_time_span_listener(self._on_span)
        jax.monitoring.unregister_event_listener(self._on_event)

    def _on_span(self, event: str, start_time: float, end_time: float, **about: Any) -> None:
        if event in (TRACE, LOWER, COMPILE):
            with self._lock:
                self._add(event, start_time, end_time, about)

    def _add(self, event: str, start: float, end: float, about: dict[str, Any]) -> None:
        if event == COMPILE:
            self.count += 1
            # The name comes as jit(f), jit_f or f.
            name = str(about.get("fun_name", "?")).removeprefix("jit")
            self.programs[name[1:-1] if name.startswith("(") else name.removeprefix("_")] += 1
        # Spans arrive by their ends, all but exactly. What one covers or overlaps ended before
        # it (a function traced inside another, a program compiled in another thread): the two become one.
        while self._open and self._open[-1][1] > start:
            other_start, other_end = self._open.pop()
            start, end = min(start, other_start), max(end, other_end)
        self._open.append((start, end))
        # Nothing nests a thousand deep: what lies before is final.
        if len(self._open) > 2000:
            self._closed += sum(end - start for start, end in self._open[:1000])
            del self._open[:1000]

    def _on_event(self, event: str, **about: Any) -> None:
        if event == CACHE_HIT:
            self.cached += 1
