"""Hypothesis strategies of grids and grid tasks."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from ttt_jax.tasks.task import Task


@st.composite
def grids(draw, max_side: int = 30) -> np.ndarray:
    """An int8 grid; cells come from a drawn seed, so that shrinking works on the sides."""
    height, width = draw(st.integers(1, max_side)), draw(st.integers(1, max_side))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    return rng.integers(0, 10, (height, width)).astype(np.int8)


@st.composite
def tasks(draw, max_side: int = 30, min_demos: int = 1, max_demos: int = 5) -> Task:
    """A task with answers."""
    pairs = st.tuples(grids(max_side), grids(max_side))
    demos = draw(st.lists(pairs, min_size=min_demos, max_size=max_demos))
    solved = draw(st.lists(pairs, min_size=1, max_size=2))
    return Task("t", tuple(demos), tuple(x for x, _ in solved), tuple(y for _, y in solved))


def query_grids(task: Task) -> list[np.ndarray]:
    """The queries of a task, then its answers."""
    return [*task.queries, *(task.answers or ())]


def same_tasks(a: Task, b: Task) -> bool:
    """Whether every grid of two tasks is equal."""
    flat_a = [g for pair in a.demos for g in pair] + query_grids(a)
    flat_b = [g for pair in b.demos for g in pair] + query_grids(b)
    return len(flat_a) == len(flat_b) and all(map(np.array_equal, flat_a, flat_b))


def small_task(seed: int = 0, demos: int = 3, side: int = 4, id: str = "small") -> Task:
    """A task of random side x side grids."""
    rng = np.random.default_rng(seed)
    grid = lambda: rng.integers(0, 10, (side, side)).astype(np.int8)  # noqa: E731
    return Task(id, tuple((grid(), grid()) for _ in range(demos)), (grid(),), (grid(),))
