"""Programs compiled from shapes alone, side by side: what they ask of the device before anything runs on it."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import jax

from ttt_jax.runtime.memory import out_of_memory

Key = TypeVar("Key", bound=Hashable)

SMALL = "small"
ENDLESS = 1 << 62
"""Bytes of a program for which the compiler itself found no room."""


@dataclass(frozen=True)
class Program:
    """One program of a run.

    Attributes:
      stage: adapt or decode, to which scoring belongs; or small: it moves what others compute with.
      name: what it does.
      slots: side by side.
      length: tokens of a sequence or prompt.
      lower: traces it.
      parts: bytes of what lies on the device while it runs, but for temporary arrays: parameters, adapters,
        optimizer, cache.
    """

    stage: str
    name: str
    slots: int
    length: int
    lower: Callable[[], Any]
    parts: dict[str, int]


@dataclass(frozen=True)
class Needs:
    """What a compiled program asks for.

    Attributes:
      program: which.
      temporary: bytes of activations and everything else that lives inside it, and its results.
      flops: of one step of adaptation, one block of a prompt or one decoded token, as the compiler counts.
      seconds: that compiling took.
    """

    program: Program
    temporary: int
    flops: float
    seconds: float

    @property
    def bytes(self) -> int:
        return sum(self.program.parts.values()) + self.temporary

    def parts(self) -> list[tuple[str, int]]:
        """What the bytes are for."""
        return [(name, size) for name, size in (*self.program.parts.items(), ("temporary", self.temporary)) if size]


def small(name: str, function: Any, *args: Any, **options: Any) -> Program:
    """A program that moves what others compute with: its memory is counted with theirs."""
    return Program(SMALL, name, 0, 0, lambda: function.lower(*args, **options), {})


def compile_each(lower: Mapping[Key, Callable[[], Any]]) -> dict[Key, Any]:
    """Programs compiled side by side, traced one after the other as in `compile_all`; callable themselves.

    Args:
      lower: name -> traces a program, as `jax.jit(f).lower` does.

    Returns:
      name -> the compiled program, for the shapes that it was traced with; it refuses others.

    Raises:
      jax.errors.JaxRuntimeError: the compiler finds no room for one.
    """
    with ThreadPoolExecutor(cores()) as pool:
        compiling = {key: pool.submit(trace().compile) for key, trace in lower.items()}
        return {key: future.result() for key, future in compiling.items()}


def compile_all(programs: Sequence[Program]) -> list[Needs]:
    """Compiles programs side by side, on all cores; calls of the same shapes find them compiled.

    They are traced in this thread, one after the other, while others compile: tracing holds Python's lock, and many
    threads that want it take longer than one.
    """
    with ThreadPoolExecutor(cores()) as pool:
        waiting = [pool.submit(_compile, program, program.lower()) for program in programs]
        return [needs.result() for needs in waiting]


def compile_one(program: Program) -> Needs:
    """Compiles a program; where the compiler itself finds no room for it, its temporary bytes are `ENDLESS`."""
    return _compile(program, program.lower())


def _compile(program: Program, lowered: Any) -> Needs:
    began = time.perf_counter()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if not out_of_memory(error):
            raise
        return Needs(program, ENDLESS, 0.0, time.perf_counter() - began)
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis() or {}
    fresh = memory.output_size_in_bytes - memory.alias_size_in_bytes
    # What reading prompts gives is the cache, which is counted already.
    fresh = 0 if program.stage == "decode" else fresh
    temporary = int(memory.temp_size_in_bytes + max(0, fresh))
    return Needs(program, temporary, float(cost.get("flops", 0.0)), time.perf_counter() - began)


def size_of(program: Program) -> float:
    """Bytes on the device while it runs."""
    return bytes_of(compile_one(program))


def bytes_of(needs: Needs) -> float:
    """Bytes on the device while it runs; endless where the compiler found no room."""
    return math.inf if needs.temporary == ENDLESS else needs.bytes


def describe(needs: Sequence[Needs], limit: int | None) -> str:
    """A table: a line a program, the memory of its parts, operations and seconds of compiling."""
    columns = ("parameters", "adapters", "optimizer", "batches", "cache")
    shown = {"temporary": "temporary", "total": "total"}
    lines = [
        f"{'GiB':<44}" + "".join(f"{name[:10]:>11}" for name in (*columns, *shown)) + f"{'GFLOP':>9}{'compile':>9}"
    ]
    large = [need for need in needs if need.program.stage != SMALL]
    for need in large:
        parts = [need.program.parts.get(name, 0) for name in columns]
        sizes = "".join(
            f"{size / 2**30:>11.3f}" for size in (*parts, min(need.temporary, 1 << 50), min(need.bytes, 1 << 50))
        )
        lines.append(f"{need.program.name:<44}{sizes}{need.flops / 1e9:>9.2f}{need.seconds:>8.1f}s")
    lines.append(
        f"{len(large)} programs and {len(needs) - len(large)} small ones"
        + (f"; the device has {gib(limit)}" if limit else "") + "; GFLOP of one step, one block of prompts or one token"
    )  # fmt: skip
    return "\n".join(lines)


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"
