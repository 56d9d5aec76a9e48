"""The device's memory: how much fits, and when it runs out, fewer at a time."""

from __future__ import annotations

import gc
import math
import os
from collections.abc import Callable
from typing import TypeVar

import jax

T = TypeVar("T")
REASON = 160
"""Characters of the runtime's own message that are shown."""


class Slots:
    """The most that go side by side; halved whenever the device cannot hold them, for the rest of the run.

    Args:
      option: the option that sets it, for messages.
      count: to begin with.
      report: told what was changed.
    """

    def __init__(self, option: str, count: int, report: Callable[[str], None]):
        self.option, self.count, self.report = option, count, report

    def attempt(self, run: Callable[[int], T], most: int | None = None) -> T:
        """`run(slots)`, again with half the slots each time the device's memory is exhausted.

        Args:
          run: told how many may go side by side.
          most: not more than so many, where given.

        Raises:
          jax.errors.JaxRuntimeError: one slot does not fit either, or the error is another.
        """
        while True:
            count = min(self.count, most or self.count)
            try:
                return run(count)
            except jax.errors.JaxRuntimeError as error:
                if not out_of_memory(error) or count == 1:
                    raise
                reason = str(error).splitlines()[0]
            # Outside the handler, so that the traceback no longer holds on to device arrays.
            self.halve(count, reason)

    def halve(self, before: int, reason: str = "") -> None:
        """From now on half of `before`, which did not fit; `reason` is what the runtime said."""
        gc.collect()
        self.count = before // 2
        said = reason and f" ({reason[:REASON]})"
        self.report(f"out of device memory with {before} side by side; going on with {self.option} {self.count}{said}")


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that the device's memory is exhausted."""
    return "RESOURCE_EXHAUSTED" in str(error)


def memory_limit() -> int:
    """Bytes that this process may use on its device; where that does not say, as a CPU, the machine's memory."""
    limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    return int(limit) if limit else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def most_slots(measure: Callable[[int], float], limit: float, most: int) -> int:
    """The most slots, up to `most`, that fit; found with few measurements.

    Args:
      measure: bytes of so many slots. They grow in a straight line, all but
        rounding, so that two measurements foretell the answer and two more make sure.
      limit: bytes that there are.

    Returns:
      0 where not even one fits.
    """
    known: dict[int, float] = {}

    def fits(slots: int) -> bool:
        known[slots] = measure(slots)
        return known[slots] <= limit

    if fits(most):
        return most
    # `below` fits and `above` does not.
    below, above = 0, most
    guess = 1
    while above - below > 1:
        guess = min(max(guess, below + 1), above - 1)
        below, above = (guess, above) if fits(guess) else (below, guess)
        (few, small), (many, large) = min(known.items()), max(known.items())
        slope = (large - small) / (many - few) if math.isfinite(large) else 0.0
        guess = int(few + (limit - small) / slope) if slope > 0 else (below + above) // 2
    return below
