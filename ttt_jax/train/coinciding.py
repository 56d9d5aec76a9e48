"""How often training, left to itself, would draw pairs that tasks kept for evaluation have too."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from ttt_jax.tasks.rearc import training_ids
from ttt_jax.tasks.task import keyed_rng
from ttt_jax.train.config import ReArcConfig
from ttt_jax.train.data import batch_length, draw_pairs
from ttt_jax.train.overlap import canonical, held_by


@dataclass(frozen=True)
class Coinciding:
    """Draws training sequences and counts pairs that tasks have too; picklable, for worker processes.

    Attributes:
      config: of the training data; nothing is left out of them here.
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
        found: dict[str, Counter[tuple[str, int]]] = {source: Counter() for source in self.sources}
        config, looked = replace(self.config, exclude=()), 0
        for i in range(self.sequences):
            length = batch_length(config, self.seed, number * self.sequences + i)
            pairs, _ = draw_pairs(config, training_ids(), length, keyed_rng("overlap", self.seed, number, i), Counter())
            for pair in pairs:
                looked += 1
                digest, cells = canonical(pair), sum(grid.size for grid in pair)
                for source, counts in found.items():
                    counts.update((task, cells) for task in held_by(source).get(digest, ()))
        return looked, found
