"""When the device runs out of memory: fewer at a time, and go on."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import jax

T = TypeVar("T")


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
            # Outside the handler, so that the traceback no longer holds on to device arrays.
            self.halve(count)

    def halve(self, before: int) -> None:
        """From now on half of `before`, which did not fit."""
        gc.collect()
        self.count = before // 2
        self.report(f"out of device memory with {before} side by side; going on with {self.option} {self.count}")


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that the device's memory is exhausted."""
    return "RESOURCE_EXHAUSTED" in str(error)
