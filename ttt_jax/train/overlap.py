"""Pairs that coincide with those of tasks kept for evaluation, up to symmetry and colours: training leaves them out.

Rules are drawn, so a small grid may come up by itself. That a rule is that of an evaluation task this cannot see,
unless the same pair comes up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache

import numpy as np

from ttt_jax.tasks.arc import read_source
from ttt_jax.tasks.rearc import Pair
from ttt_jax.tasks.task import Task
from ttt_jax.tasks.transforms import symmetric

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


@cache
def held_by(source: str) -> Held:
    """`held` of the tasks that `tasks.source` calls so; read once a process."""
    return held(read_source(source).tasks)


def is_held(pair: Pair, sources: tuple[str, ...]) -> bool:
    """Whether a task of one of the sources has this pair."""
    if not sources:
        return False
    digest = canonical(pair)
    return any(digest in held_by(source) for source in sources)
