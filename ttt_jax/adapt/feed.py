"""Training batches of the next chunk, made in a thread while the device is busy with this one."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import jax
import numpy as np

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
        self._parts: dict[tuple[str, int], dict[str, np.ndarray]] = {}
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
        wanted = {turn.key: turn for turn in (*turns, *spare) if turn is not None}
        parts = {key: self._part(turn, length) for key, turn in wanted.items()}
        self._parts = parts
        # An empty slot repeats another: what is computed there counts for nothing.
        filler = next(turn for turn in turns if turn is not None)
        rows = [parts[(turn or filler).key] for turn in turns]
        stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        real = (stacked["tokens"] != self._pad).sum(axis=(2, 3))
        return Batches(self._put(stacked), real)

    def _part(self, turn: Turn, length: int) -> dict[str, np.ndarray]:
        made = self._parts.get(turn.key)
        if made is not None and made["tokens"].shape[-1] == length:
            return made
        size, chunk = self._config.batch_size, self._config.chunk
        steps = [turn.job.examples.batch(turn.step + i, size, length) for i in range(chunk)]
        return {name: np.stack([step[name] for step in steps]) for name in steps[0]}


def _keys(turns: Sequence[Turn | None]) -> list[tuple[str, int] | None]:
    return [turn.key if turn is not None else None for turn in turns]
