"""One adapter for all tasks of a family (arXiv 2411.07279, section 5): its sequences, and the adapter on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax.serialization
import jax
import numpy as np

from ttt_jax.adapt.adapt import Adapted
from ttt_jax.adapt.examples import ExampleStream
from ttt_jax.losses import Variables
from ttt_jax.runtime.files import replacing
from ttt_jax.tasks.task import keyed_rng


class SharedStream:
    """The sequences of several tasks in turn; it stands where an `ExampleStream` of one task would.

    Rounds follow each other: in a round every task gives its next sequence, in
    an order drawn from (seed, family, round). So 40 sequences of each of 27
    tasks are 40 rounds, 216 steps of 5.
    """

    def __init__(self, family: str, streams: Sequence[ExampleStream], seed: int):
        self._family, self._streams, self._seed = family, tuple(streams), seed
        self.max_length = max(stream.max_length for stream in streams)

    def batch(self, step: int, batch_size: int, length: int) -> dict[str, np.ndarray]:
        """As `ExampleStream.batch`."""
        rows = [self._row(step * batch_size + i, length) for i in range(batch_size)]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    def _row(self, n: int, length: int) -> dict[str, np.ndarray]:
        turn, place = divmod(n, len(self._streams))
        order = keyed_rng(self._seed, "family", self._family, turn).permutation(len(self._streams))
        return self._streams[order[place]].batch(turn, 1, length)


class SharedFile:
    """What the families of a run were adapted to, kept until the run is done."""

    def __init__(self, folder: Path):
        self.path = folder / "shared.msgpack"

    def save(self, adapted: Adapted, families: Sequence[str]) -> None:
        content = {
            "families": list(families),
            "trainable": jax.tree.map(np.asarray, adapted.trainable),
            "steps": adapted.steps,
            "failed": [reason or "" for reason in adapted.failed],
            "curves": [{name: list(values) for name, values in of.items()} for of in adapted.curves],
            "tokens": adapted.tokens,
        }
        with replacing(self.path) as file:
            file.write_bytes(flax.serialization.msgpack_serialize(content))

    def load(self, families: Sequence[str]) -> Adapted | None:
        """What was saved for these families, None where nothing was."""
        if not self.path.exists():
            return None
        content: Any = flax.serialization.msgpack_restore(self.path.read_bytes())
        if list(content["families"]) != list(families):
            return None
        trainable: Variables = content["trainable"]
        failed = [reason or None for reason in content["failed"]]
        return Adapted(trainable, content["steps"], failed, content["curves"], content["tokens"])


def hand_out(adapted: Adapted, slots: Sequence[int], share: Sequence[int]) -> Adapted:
    """The adapters of a group's tasks, each its family's.

    Args:
      adapted: of the families.
      slots: for each task the entry that is its family's.
      share: for each task how many tasks its family has; it counts so many-th of the tokens trained on.
    """
    index = np.asarray(slots)
    return Adapted(
        trainable=jax.tree.map(lambda x: x[index], adapted.trainable),
        steps=adapted.steps[index],
        failed=[adapted.failed[i] for i in slots],
        curves=[adapted.curves[i] for i in slots],
        tokens=adapted.tokens[index] // np.asarray(share),
    )
