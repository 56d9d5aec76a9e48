"""A benchmark that grows with the model: a staircase of difficulty, and never the same problem twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from ttt_jax.evaluate.intervals import proportion
from ttt_jax.evaluate.thresholds import threshold
from ttt_jax.tasks.complexity import fingerprint
from ttt_jax.tasks.diagnosis.net import SIZES as DISEASES
from ttt_jax.tasks.diagnosis.sets import DiagnosisOptions
from ttt_jax.tasks.diagnosis.sets import make_tasks as make_cases
from ttt_jax.tasks.graphs.families import MAX_NODES, MIN_NODES
from ttt_jax.tasks.graphs.questions import QUESTIONS
from ttt_jax.tasks.graphs.sets import GraphOptions
from ttt_jax.tasks.graphs.sets import make_tasks as make_graphs
from ttt_jax.tasks.task import Task
from ttt_jax.tasks.zebra.puzzle import search_space
from ttt_jax.tasks.zebra.sets import SIZES, ZebraOptions
from ttt_jax.tasks.zebra.sets import make_tasks as make_puzzles

_TRIES = 50


class Exhausted(ValueError):
    """A level has no problem left that was not asked before."""


@dataclass(frozen=True)
class Ladder:
    """Levels of one family, from easy to hard.

    Attributes:
      name: of the family: zebra, graphs:<question>, diagnosis.
      levels: names, easiest first.
      make: (level name, seed) -> a task.
    """

    name: str
    levels: tuple[str, ...]
    make: Callable[[str, int], Task]


def make_ladder(name: str, split: str = "test", **options: Any) -> Ladder:
    """The ladder of a family.

    Logic grids climb with the search space, graphs with their nodes, SYNTHETIC
    diagnosis with the number of diseases.

    Args:
      name: zebra, graphs:<question> or diagnosis.
      split: development or test.
      options: of the generator (`demos`, `convention`, `mode`, ...).

    Raises:
      ValueError: there is no such family.
    """
    family, _, question = name.partition(":")
    if name == "zebra":
        sizes = tuple(sorted(SIZES, key=lambda s: (search_space(*map(int, s.split("x"))), s)))
        return Ladder(
            name, sizes, lambda size, seed: make_puzzles(ZebraOptions(split, (size,), 1, seed=seed, **options))[0]
        )
    if family == "graphs" and question in QUESTIONS:
        nodes = tuple(str(n) for n in range(MIN_NODES, MAX_NODES + 1, 3))
        return Ladder(
            name, nodes,
            lambda n, seed: make_graphs(GraphOptions(split, (question,), (n,), each=1, seed=seed, **options))[0],
        )  # fmt: skip
    if name == "diagnosis":
        return Ladder(
            name, DISEASES,
            lambda size, seed: make_cases(DiagnosisOptions(split, sizes=(size,), each=1, seed=seed, **options))[0],
        )  # fmt: skip
    raise ValueError(f"ladder: {name!r}, there are zebra, diagnosis and graphs:<{', '.join(QUESTIONS)}>")


def open_ladder(source: str) -> Ladder:
    """The ladder of a source, such as `zebra/test?demos=4&steps=true` or `graphs/test?questions=bfs`.

    `sizes` and `nodes`, where given, are the levels; `each` and `seed` mean nothing here.

    Raises:
      ValueError: there is no such source, or it is of several questions.
    """
    from ttt_jax.tasks.problem_domain import ProblemDomain
    from ttt_jax.tasks.registry import get_domain

    name = source.partition("/")[0]
    domain = get_domain(name)
    if not isinstance(domain, ProblemDomain):
        raise ValueError(f"ladder: {source!r}: the domain {name!r} has no levels")
    options = domain.parse_options(source)
    rest = {f.name: getattr(options, f.name) for f in fields(options)}
    chosen = [rest.pop(key) for key in ("sizes", "nodes") if key in rest and f"{key}=" in source]
    for key in ("sizes", "nodes", "each", "seed"):
        rest.pop(key, None)
    if name == "graphs":
        questions = rest.pop("questions")
        if len(questions) != 1:
            raise ValueError(f"ladder: {source!r}: one question is climbed at a time, as in questions=bfs")
        name = f"graphs:{questions[0]}"
    ladder = make_ladder(name, **rest)
    levels = tuple(level for level in ladder.levels if not chosen or level in chosen[0])
    return replace(ladder, name=source, levels=levels)


class Staircase:
    """Weighted up-down (Kaernbach 1991): the level settles where accuracy is the target.

    Every right answer climbs by `step * (1 - target)` levels, every wrong one
    falls by `step * target`.

    Args:
      ladder: of levels.
      target: accuracy aimed at, between 0 and 1.
      seed: of the problems.
      step: size of the moves, in levels.
      seen: fingerprints of everything trained on or asked before.

    Attributes:
      level: a float; problems are asked at the nearest level.
      answered: (level index, whether it was right), in order.
    """

    def __init__(self, ladder: Ladder, target: float = 0.5, seed: int = 0, step: float = 1.0, seen: Iterable[str] = ()):
        if not 0 < target < 1:
            raise ValueError(f"staircase.target: {target}, expected a number between 0 and 1")
        self.ladder, self.target, self.seed, self.step = ladder, target, seed, step
        self.seen = set(seen)
        self.level = 0.0
        self.drawn = 0
        self.answered: list[tuple[int, bool]] = []

    @property
    def place(self) -> int:
        """Index of the level that is asked now."""
        return round(self.level)

    def ask(self, count: int) -> list[Task]:
        """`count` new tasks of the level; none was asked before, under whatever names.

        A level without new problems is left for the next harder one.

        Raises:
          Exhausted: no level above has new ones either.
        """
        tasks = []
        while len(tasks) < count:
            for _ in range(_TRIES):
                task = self.ladder.make(self.ladder.levels[self.place], self.seed + self.drawn)
                self.drawn += 1
                marks = {fingerprint(x.problem) for x in (*task.queries, *(x for x, _ in task.demos))}
                if not marks & self.seen:
                    self.seen |= marks
                    tasks.append(task)
                    break
            else:
                if self.place + 1 == len(self.ladder.levels):
                    raise Exhausted(f"{self.ladder.name}: no new problems at {self.ladder.levels[-1]}")
                self.level = float(self.place + 1)
        return tasks

    def tell(self, right: Sequence[bool]) -> None:
        """How the tasks asked last came out; the level moves."""
        for ok in right:
            self.answered.append((self.place, bool(ok)))
        moves = [1 - self.target if ok else -self.target for ok in right]
        self.level = float(np.clip(self.level + self.step * sum(moves), 0, len(self.ladder.levels) - 1))

    def report(self) -> dict[str, Any]:
        """The level at 50% with its interval, and accuracy at each level asked."""
        curve = {}
        for i, name in enumerate(self.ladder.levels):
            of = [ok for place, ok in self.answered if place == i]
            if of:
                curve[name] = proportion(of)
        x, y = zip(*self.answered, strict=True) if self.answered else ((), ())
        return {"ladder": self.ladder.name, "levels": list(self.ladder.levels), **threshold(x, y), "curve": curve}
