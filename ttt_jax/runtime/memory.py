"""When the device runs out of memory: fewer at a time, and go on."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import jax

T = TypeVar("T")


class Slots:
    """How many tasks go side by side; halved whenever the device cannot hold them, for the rest of the run.

    Args:
      option: the option that sets it, for messages.
      count: to begin with.
      report: told what was changed.
    """

    def __init__(self, option: str, count: int, report: Callable[[str], None]):
        self.option, self.count, self.report = option, count, report

    def attempt(self, run: Callable[[int], T]) -> T:
        """`run(slots)`, again with half the slots each time the device's memory is exhausted.

        Raises:
          jax.errors.JaxRuntimeError: one slot does not fit either, or the error is another.
        """
        while True:
            try:
                return run(self.count)
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error) or self.count == 1:
                    raise
            # Outside the handler, so that the traceback no longer holds on to device arrays.
            gc.collect()
            before, self.count = self.count, self.count // 2
            self.report(f"out of device memory with {before} side by side; going on with {self.option} {self.count}")
