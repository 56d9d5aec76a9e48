"""Synthetic ARC tasks from the re-arc generators (Hodel, arXiv 2404.07353).

re-arc has a generator and a verifier for each of the 400 ARC-AGI-1 TRAINING
tasks. It ships inside the `reasoning-gym` package, from which it is loaded on
its own: it imports nothing but itself, and the package around it would pull in
dozens of dependencies. Nothing in this module imports jax.
"""

from __future__ import annotations

import importlib
import importlib.util
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any, Literal

import numpy as np

from ttt_jax.tasks.task import keyed_rng

Pair = tuple[np.ndarray, np.ndarray]

EXCLUDED = frozenset({"40853293"})
"""Training task 40853293 shares pairs with evaluation task 070dd51e."""
HELD_OUT_COUNT = 20
MAX_SIDE = 30
_PACKAGE = "rearc_utils"
_INSTALL = "the re-arc generators are missing: pip install --no-deps reasoning-gym==0.1.25"


class PairTimeout(Exception):
    """A generator or verifier used up its time."""


@cache
def _module(name: str) -> Any:
    """A module of re-arc, e.g. 'generators'. Raises ModuleNotFoundError that says what to install."""
    if _PACKAGE not in sys.modules:
        found = importlib.util.find_spec("reasoning_gym")
        if found is None or not found.submodule_search_locations:
            raise ModuleNotFoundError(_INSTALL)
        folder = Path(found.submodule_search_locations[0]) / "arc" / "rearc_utils"
        if not (folder / "__init__.py").is_file():
            raise ModuleNotFoundError(f"{folder} does not exist; {_INSTALL}")
        spec = importlib.util.spec_from_file_location(
            _PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None and spec.loader is not None
        package = importlib.util.module_from_spec(spec)
        sys.modules[_PACKAGE] = package
        spec.loader.exec_module(package)
    return importlib.import_module(f"{_PACKAGE}.{name}")


@cache
def _functions(module: str, prefix: str) -> dict[str, Callable[..., Any]]:
    return {name.removeprefix(prefix): f for name, f in vars(_module(module)).items() if name.startswith(prefix)}


@cache
def generator_ids() -> tuple[str, ...]:
    """The 399 generators that may be used, sorted (each named after its training task)."""
    return tuple(sorted(set(_functions("generators", "generate_")) - EXCLUDED))


@cache
def held_out_ids() -> tuple[str, ...]:
    """20 generators that training never uses: keyed_rng("re-arc held out").choice(sorted ids, 20)."""
    return tuple(sorted(keyed_rng("re-arc held out").choice(generator_ids(), HELD_OUT_COUNT, replace=False).tolist()))


@cache
def training_ids() -> tuple[str, ...]:
    """The generators that training draws from: all but the held-out ones."""
    return tuple(sorted(set(generator_ids()) - set(held_out_ids())))


def sample_pair(
    generator_id: str,
    rng: Random,
    difficulty: tuple[float, float] = (0.0, 1.0),
    timeout: float = 5.0,
    failures: Counter[str] | None = None,
    program_id: str | None = None,
    program_reads: Literal["input", "output"] = "input",
) -> Pair | None:
    """One verified pair of a generator, or its input with the output of another task's program.

    Args:
      generator_id: one of `generator_ids()`.
      rng: drives the generator; the pair depends on its state alone.
      difficulty: range within [0, 1] that each size and count is drawn from.
      timeout: CPU seconds for generating and verifying together. CPU time, not
        wall time, so that a busy machine draws the same pairs as an idle one.
      failures: counts, by reason, the pairs that were thrown away.
      program_id: the output is what the verifier of this id, a program that solves
        its own task, makes of the grid that `program_reads` names: a rule that
        no generator has. Many combinations raise or lead nowhere.

    Returns:
      `(input, output)` int8 grids of at most 30 x 30, or None where the
      generator raised, took too long, or made a pair that its verifier rejects.
    """
    for id_ in (generator_id, program_id):
        if id_ in EXCLUDED:
            raise ValueError(f"generator {id_} shares pairs with an evaluation task and may not be used")
    generate = _functions("generators", "generate_")[generator_id]
    verify = _functions("verifiers", "verify_")[program_id or generator_id]
    example, reason = {}, None
    try:
        with cpu_limit(timeout):
            example = generate(rng, *difficulty)
            if program_id is not None:
                example = {"input": example["input"], "output": verify(example[program_reads])}
            elif verify(example["input"]) != example["output"]:
                reason = "verifier disagrees"
    except PairTimeout:
        reason = "timeout"
    except Exception as error:  # Whatever foreign code raises, the pair is no good: counted by name.
        reason = f"generator or verifier raised {type(error).__name__}"
    if reason is None:
        question, answer = to_grid(example["input"]), to_grid(example["output"])
        if question is not None and answer is not None:
            return question, answer
        reason = "not a grid of at most 30 x 30"
    if failures is not None:
        failures[reason] += 1
    return None


def to_grid(rows: Any) -> np.ndarray | None:
    """re-arc's tuple of tuples as int8[height, width]; None where it is not a legal grid."""
    try:
        height, width = len(rows), len(rows[0])
        flat = np.frombuffer(bytes(chain.from_iterable(rows)), np.int8)
    except (TypeError, ValueError, IndexError):
        return None
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE) or any(len(row) != width for row in rows):
        return None
    return None if flat.max() > 9 or flat.min() < 0 else flat.reshape(height, width)


@contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """Raises PairTimeout in the body once the process has used so much CPU time. Main thread only."""
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("pairs are generated in a process's main thread: their time limit is a signal")
    previous = signal.signal(signal.SIGVTALRM, _raise_timeout)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, previous)


def _raise_timeout(*_: Any) -> None:
    raise PairTimeout
