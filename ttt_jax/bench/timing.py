"""Wall-clock timings of asynchronous work, and the time a benchmark may take in all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Timing:
    """Seconds of one call, warm-up left out.

    Attributes:
      rounds: the median of each round.
      calls: how many were timed in all.
    """

    rounds: tuple[float, ...]
    calls: int

    @property
    def seconds(self) -> float:
        return statistics.median(self.rounds)

    @property
    def spread(self) -> float:
        """How far the rounds lie apart, as a share of their median: differences below it are noise."""
        return (max(self.rounds) - min(self.rounds)) / self.seconds if self.seconds else 0.0

    def per(self, units: float) -> dict[str, Any]:
        """For a report: seconds of one of the `units` that a call does, of each round, and the spread."""
        return {
            "seconds": self.seconds / units,
            "rounds": [r / units for r in self.rounds],
            "spread": self.spread,
            "calls": self.calls,
        }


def measure(
    call: Callable[[], Any],
    wait: Callable[[Any], Any],
    *,
    calls: int,
    rounds: int = 2,
    warmup: int = 1,
    deadline: float | None = None,
) -> Timing:
    """Times `call`, each time until `wait` of its result returns.

    Args:
      call: starts the work.
      wait: returns when the result is there (`jax.block_until_ready`).
      calls: a round; their median is the round's.
      warmup: calls before the first that counts.
      deadline: on `time.monotonic()`'s clock; once past, only what is needed for one call a round goes on.
    """
    for _ in range(warmup):
        wait(call())
    medians, made = [], 0
    for _ in range(rounds):
        seconds = []
        for _ in range(calls):
            began = time.perf_counter()
            wait(call())
            seconds.append(time.perf_counter() - began)
            if deadline is not None and time.monotonic() > deadline:
                break
        made += len(seconds)
        medians.append(statistics.median(seconds))
    return Timing(tuple(medians), made)


@dataclass
class Budget:
    """Wall time that a benchmark may use. Measurements that no longer fit are left out and remembered.

    Attributes:
      seconds: in all, from when this was made.
      left_out: what did not start, with the reason.
    """

    seconds: float
    left_out: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        return self.seconds - (time.monotonic() - self.began)

    @property
    def deadline(self) -> float:
        """On the clock of `time.monotonic()`."""
        return self.began + self.seconds

    def allows(self, what: str, needs: float = 0.0) -> bool:
        """Whether `what`, expected to take `needs` seconds, may start; if not, it is left out."""
        if self.left > needs:
            return True
        self.left_out.append(f"{what}: {max(0.0, self.left):.0f} s of {self.seconds:.0f} left")
        return False
