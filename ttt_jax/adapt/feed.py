"""Training batches of the next chunk, made in a thread while the device is busy with this one."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import jax
import numpy as np

from ttt_jax.adapt.examples import Arrays
from ttt_jax.adapt.plan import Job
from ttt_jax.config import AdaptConfig
from ttt_jax.runtime.mesh import putter


class Turn(NamedTuple):
    """A chunk of steps of one job, the first of them `step`."""

    job: Job
    step: int

    @property
    def key(self) -> tuple[str, int]:
        return self.job.id, self.step


class Batches(NamedTuple):
    """A chunk's batches.

    Attributes:
      arrays: tokens, positions and weights, each [slots, chunk, batch_size, length, ...], on the device.
      tokens: int[slots, chunk], how many are not padding.
    """

    arrays: dict[str, jax.Array]
    tokens: np.ndarray


class Feed:
    """Makes the batches of chunks. Use as a context manager.

    What is taken should have been announced by `prepare`: then it lies ready.
    Where a task stopped or failed and another has its slot, only that slot's
    part is made while the device waits, unless it was among the `spare` ones.
    """

    def __init__(self, config: AdaptConfig, pad_token: int):
        self._config, self._pad = config, pad_token
        self._thread, self._put = ThreadPoolExecutor(1, "batches"), putter()
        self._parts: dict[tuple[str, int], Arrays] = {}
        self._next: tuple[list[tuple[str, int] | None], int, Future[Batches]] | None = None

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def prepare(self, turns: Sequence[Turn | None], length: int, spare: Sequence[Turn] = ()) -> None:
        """Announces the next chunk: a turn for each slot, None for an empty one."""
        self._next = (_keys(turns), length, self._thread.submit(self._make, list(turns), length, list(spare)))

    def take(self, turns: Sequence[Turn | None], length: int) -> Batches:
        """The batches of a chunk."""
        keys, announced, future = self._next or ([], 0, None)
        self._next = None
        if future is not None:
            batches = future.result()  # also where it is not what is wanted: its parts are
            if (keys, announced) == (_keys(turns), length):
                return batches
        return self._make(turns, length, ())

    def _make(self, turns: Sequence[Turn | None], length: int, spare: Sequence[Turn]) -> Batches:
        # An empty slot repeats another: what is computed there counts for nothing.
        filler = next(slot for slot, turn in enumerate(turns) if turn is not None)
        size, chunk = self._config.batch_size, self._config.chunk
        first: Turn = turns[filler]  # pyright: ignore[reportAssignmentType]
        # Never used again for another chunk: the device may still read, or even hold, this very memory.
        arrays = first.job.examples.padding((len(turns), chunk, size), length)
        parts: dict[tuple[str, int], Arrays] = {}
        for slot, turn in enumerate(turns):
            if turn is not None:
                parts[turn.key] = {name: array[slot] for name, array in arrays.items()}
                self._fill(parts[turn.key], turn)
        for slot, turn in enumerate(turns):
            if turn is None:
                for array in arrays.values():
                    array[slot] = array[filler]
        for turn in spare:
            if turn.key not in parts:
                parts[turn.key] = turn.job.examples.padding((chunk, size), length)
                self._fill(parts[turn.key], turn)
        self._parts = parts
        real = np.count_nonzero(arrays["tokens"] != self._pad, axis=(2, 3))
        return Batches(self._put(arrays), real)

    def _fill(self, part: Arrays, turn: Turn) -> None:
        """Writes a turn's sequences into padding [chunk, batch_size, length]: those that lie ready, or new ones."""
        made = self._parts.get(turn.key)
        if made is not None and made["tokens"].shape == part["tokens"].shape:
            for name, array in part.items():
                array[:] = made[name]
            return
        for i in range(self._config.chunk):
            turn.job.examples.fill({name: array[i] for name, array in part.items()}, turn.step + i)


def _keys(turns: Sequence[Turn | None]) -> list[tuple[str, int] | None]:
    return [turn.key if turn is not None else None for turn in turns]
