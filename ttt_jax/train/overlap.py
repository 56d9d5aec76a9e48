"""Do training pairs and the pairs of evaluation tasks coincide, up to symmetry and colours?

Training data are drawn, not listed, so what can be said is how many of a sample coincide. That a rule is that of an
evaluation task this cannot see, unless the same pair comes up.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from ttt_jax.tasks.arc import read_source
from ttt_jax.tasks.rearc import Pair, training_ids
from ttt_jax.tasks.task import Task, keyed_rng
from ttt_jax.tasks.transforms import symmetric
from ttt_jax.train.config import ReArcConfig
from ttt_jax.train.data import batch_length, draw_pairs

SYMMETRIES = range(8)
Held = dict[bytes, set[str]]
"""Digest of a pair -> the tasks that have it."""


def canonical(pair: Pair) -> bytes:
    """A digest that a pair shares with its images under the eight symmetries and all renamings of colours.

    Args:
      pair: input and output, int8[h, w] and int8[h', w'], of colours 0 to 9.
    """
    return min(_digest([symmetric(grid, s) for grid in pair]) for s in SYMMETRIES)


def _digest(grids: list[np.ndarray]) -> bytes:
    """Of grids whose colours are named in the order in which they appear, the first grid's first."""
    cells = np.concatenate([grid.ravel() for grid in grids])
    colours, first, names = np.unique(cells, return_index=True, return_inverse=True)
    rank = np.empty(len(colours), np.uint8)
    rank[np.argsort(first)] = np.arange(len(colours), dtype=np.uint8)
    shapes = np.asarray([grid.shape for grid in grids], np.uint8)
    return hashlib.blake2b(shapes.tobytes() + rank[names].tobytes(), digest_size=16).digest()


def held(tasks: Iterable[Task]) -> Held:
    """The pairs of tasks, demonstrations and queries with answers alike."""
    found: Held = {}
    for task in tasks:
        for pair in (*task.demos, *zip(task.queries, task.answers or (), strict=False)):
            found.setdefault(canonical(pair), set()).add(task.id)
    return found


@dataclass(frozen=True)
class Coinciding:
    """Draws training sequences and counts pairs that tasks have too; picklable, for worker processes.

    Attributes:
      config: of the training data.
      sources: whose tasks are asked, as `tasks.source` names them.
      seed: of the draw; it is no draw of a training run.
      sequences: drawn by one call.
    """

    config: ReArcConfig
    sources: tuple[str, ...]
    seed: int = 0
    sequences: int = 64

    def __call__(self, number: int) -> tuple[int, dict[str, Counter[tuple[str, int]]]]:
        """Draw number `number`.

        Returns:
          how many pairs were looked at, and for each source how often a task's pair, of so many cells, came up.
        """
        tables = _tables(self.sources)
        found: dict[str, Counter[tuple[str, int]]] = {source: Counter() for source in self.sources}
        looked = 0
        for i in range(self.sequences):
            length = batch_length(self.config, self.seed, number * self.sequences + i)
            rng = keyed_rng("overlap", self.seed, number, i)
            pairs, _ = draw_pairs(self.config, training_ids(), length, rng, Counter())
            for pair in pairs:
                looked += 1
                digest, cells = canonical(pair), sum(grid.size for grid in pair)
                for source, table in tables.items():
                    found[source].update((task, cells) for task in table.get(digest, ()))
        return looked, found


_LOADED: dict[tuple[str, ...], Mapping[str, Held]] = {}


def _tables(sources: tuple[str, ...]) -> Mapping[str, Held]:
    if sources not in _LOADED:  # once a process
        _LOADED[sources] = {source: held(read_source(source).tasks) for source in sources}
    return _LOADED[sources]
