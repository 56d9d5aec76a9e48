"""What the device worked for and how long, as far as the host can know."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax


class Flight:
    """A program that was sent: `out` holds arrays that will be there later."""

    def __init__(self, clock: DeviceClock, stage: str, out: Any, result: Any, began: float):
        self.out, self.stage, self.began = out, stage, began
        self.seconds, self.error = 0.0, None
        self._clock, self._result = clock, result

    def land(self) -> None:
        try:
            jax.block_until_ready(self._result)
        except jax.errors.JaxRuntimeError as error:
            # It is for whoever waits for this flight, not for whoever sends the next one.
            self.error = error
        self.seconds = self._clock.add(self.stage, self.began)

    def wait(self) -> float:
        """Waits for the result; the seconds that it was in flight."""
        self._clock.land(self)
        if self.error is not None:
            raise self.error
        return self.seconds


class DeviceClock:
    """Adds up the time in which a program was in flight: sent, and its result not yet there.

    One program at a time, sent by one thread. Compilation counts as neither
    work nor idleness.

    Args:
      compiled: seconds spent compiling so far (`CompileLog.seconds`).
      clock: seconds, for tests.

    Attributes:
      seconds: stage -> seconds in flight.
    """

    def __init__(self, compiled: Callable[[], float] = lambda: 0.0, clock: Callable[[], float] = time.perf_counter):
        self._compiled, self._clock = compiled, clock
        self._flight: Flight | None = None
        self.start()

    def start(self) -> None:
        """Counts from now on."""
        self._began = self._now()
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def send(self, stage: str, program: Callable[[], Any], result: Callable[[Any], Any] = lambda out: out) -> Flight:
        """Sends a program and does not wait for it.

        Args:
          stage: what for.
          program: dispatches, and gives arrays that will be there later.
          result: the part of them to wait for: nothing that is donated meanwhile.
        """
        self.land()
        began = self._now()
        out = program()
        self._flight = Flight(self, stage, out, result(out), began)
        return self._flight

    def land(self, only: Flight | None = None) -> None:
        """Waits for what is in flight; where `only` is given, for nothing else."""
        flight = self._flight
        if flight is not None and only in (None, flight):
            self._flight = None
            flight.land()

    @contextmanager
    def working(self, stage: str) -> Iterator[Callable[[], float]]:
        """A block that keeps the device busy to its end; call the result afterwards for its seconds."""
        self.land()
        began, seconds = self._now(), [0.0]
        yield lambda: seconds[0]
        seconds[0] = self.add(stage, began)

    def idle(self) -> float | None:
        """Share of the time since the start in which nothing was in flight; None before anything was."""
        wall = self._now() - self._began
        return max(0.0, 1.0 - sum(self.seconds.values()) / wall) if self.seconds and wall > 0 else None

    def add(self, stage: str, began: float) -> float:
        """Counts the time since `began` as spent in flight."""
        seconds = max(0.0, self._now() - began)
        self.seconds[stage] += seconds
        return seconds

    def _now(self) -> float:
        return self._clock() - self._compiled()
