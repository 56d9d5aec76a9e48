"""One adapter for all tasks of a family (arXiv 2411.07279, section 5): its training sequences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ttt_jax.adapt.examples import ExampleStream
from ttt_jax.tasks.task import keyed_rng


class SharedStream:
    """The sequences of several tasks in turn; it stands where an `ExampleStream` of one task would.

    Rounds follow each other: in a round every task gives its next sequence, in
    an order drawn from (seed, family, round). So 40 sequences of each of 27
    tasks are 40 rounds, 216 steps of 5.
    """

    def __init__(self, family: str, streams: Sequence[ExampleStream], seed: int):
        self.family, self._streams, self._seed = family, tuple(streams), seed
        self.max_length = max(stream.max_length for stream in streams)

    @property
    def tasks(self) -> int:
        """How many tasks share the adapter."""
        return len(self._streams)

    def batch(self, step: int, batch_size: int, length: int) -> dict[str, np.ndarray]:
        """As `ExampleStream.batch`."""
        rows = [self._row(step * batch_size + i, length) for i in range(batch_size)]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    def _row(self, n: int, length: int) -> dict[str, np.ndarray]:
        turn, place = divmod(n, len(self._streams))
        order = keyed_rng(self._seed, "family", self.family, turn).permutation(len(self._streams))
        return self._streams[order[place]].batch(turn, 1, length)
