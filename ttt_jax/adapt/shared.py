"""One adapter for all tasks of a family (arXiv 2411.07279, section 5): its training sequences."""

from __future__ import annotations

from collections.abc import Sequence

from ttt_jax.adapt.examples import Arrays, ExampleStream
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

    def padding(self, shape: Sequence[int], length: int) -> Arrays:
        """As `ExampleStream.padding`."""
        longest = max(self._streams, key=lambda stream: stream.max_length)
        return longest.padding(shape, length)

    def fill(self, arrays: Arrays, step: int) -> None:
        """As `ExampleStream.fill`."""
        batch_size = len(arrays["tokens"])
        for i in range(batch_size):
            turn, place = divmod(step * batch_size + i, len(self._streams))
            order = keyed_rng(self._seed, "family", self.family, turn).permutation(len(self._streams))
            self._streams[order[place]].fill({name: array[i : i + 1] for name, array in arrays.items()}, turn)
