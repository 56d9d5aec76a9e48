"""Results of numbered jobs, in order, from worker processes.

Worker w of n makes results start + w, start + w + n, ... and holds a few ready;
the parent reads the workers in turn. So results come in order whatever each
costs, memory is bounded, and which worker made a result cannot matter. A worker
that raises or dies is reported in the parent.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class WorkerDied(RuntimeError):
    """A worker process raised (the message holds its traceback) or was killed."""


class OrderedWorkers(Generic[T], Iterator[T]):
    """Iterates `make(start), make(start + 1), ...` without end. A context manager that stops its processes.

    Args:
      make: a picklable function of the job's number. It runs in a spawned
        process, so whatever module defines it is imported there afresh.
      start: the first number.
      workers: number of processes; 0 calls `make` in this one.
      depth: finished results that each worker holds ready.
    """

    def __init__(self, make: Callable[[int], T], start: int, workers: int, depth: int = 2) -> None:
        self._make, self._next = make, start
        self._pipes: list[Connection] = []
        self._processes: list[Any] = []
        # spawn: a fork would copy a process in which jax already has threads.
        context = multiprocessing.get_context("spawn")
        for w in range(workers):
            receiving, sending = context.Pipe(duplex=False)
            process = context.Process(
                target=_work, args=(make, start + w, workers, depth, sending), daemon=True, name=f"data-{w}"
            )
            process.start()
            sending.close()  # with only the worker's end open, its death ends the pipe
            self._pipes.append(receiving)
            self._processes.append(process)
        self._turn = 0

    def __next__(self) -> T:
        if not self._pipes:
            result = self._make(self._next)
            self._next += 1
            return result
        process = self._processes[self._turn]
        try:
            failure, result = self._pipes[self._turn].recv()
        except (EOFError, OSError):
            process.join(5)
            raise WorkerDied(f"worker {process.name} ended without a word, exit code {process.exitcode}") from None
        if failure is not None:
            raise WorkerDied(f"worker {process.name} failed:\n{failure}")
        self._turn = (self._turn + 1) % len(self._pipes)
        return result

    def close(self) -> None:
        """Ends the worker processes."""
        for process in self._processes:
            process.terminate()
        for process, pipe in zip(self._processes, self._pipes, strict=True):
            process.join()
            pipe.close()
        self._processes, self._pipes = [], []

    def __enter__(self) -> OrderedWorkers[T]:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def _work(make: Callable[[int], Any], number: int, stride: int, depth: int, pipe: Connection) -> None:
    """A worker's life: the main thread makes, another sends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to end
    ready: queue.Queue[tuple[str | None, Any]] = queue.Queue(depth)
    gone = threading.Event()

    def send() -> None:
        with contextlib.suppress(BrokenPipeError):  # the parent has left, so there is no one to tell
            while True:
                message = ready.get()
                pipe.send(message)
                if message[0] is not None:
                    break
        gone.set()

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    while not gone.is_set():
        try:
            message = (None, make(number))
        except Exception:  # reported to the parent, which raises it
            message = (traceback.format_exc(), None)
        while not gone.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(message, timeout=1)
                break
        if message[0] is not None:
            break
        number += stride
    sender.join()
