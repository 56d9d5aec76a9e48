"""Changes of a puzzle that can be undone: names of values, order of clues and attributes, the mirror of the street."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ttt_jax.tasks.problem_transform import ProblemTransform, distinct_views, draw_order, problems_of
from ttt_jax.tasks.task import Task, keyed_rng
from ttt_jax.tasks.zebra.answers import Answer
from ttt_jax.tasks.zebra.puzzle import Clue, Puzzle

KINDS = ("values", "clues", "attributes", "mirror", "order")
"""Value renaming, clue order, attribute order (Name stays first), left and right swapped, order of the demos."""

_SWAPPED = {"left_of": "right_of", "right_of": "left_of"}


@dataclass(frozen=True)
class ZebraTransform(ProblemTransform):
    """One change, the same for all puzzles of a task.

    Attributes:
      values: (attribute, old value, new value), for every value of the task.
      attributes: names of all attributes in their new order; empty for the order as given.
      clues: seed of the order of clues; None for the order as given.
      mirror: N where the street of N houses is seen from the other side, 0 where it is not.
      order: demo `order[i]` comes i-th; empty for the order as given.
    """

    kind = Puzzle
    values: tuple[tuple[str, str, str], ...] = ()
    attributes: tuple[str, ...] = ()
    clues: int | None = None
    mirror: int = 0
    order: tuple[int, ...] = ()

    def parts(self) -> list[str]:
        parts = ["mirror"] if self.mirror else []
        if self.values:
            parts.append("values(" + ",".join(f"{old}>{new}" for _, old, new in self.values if old != new) + ")")
        if self.attributes:
            parts.append(f"attributes({','.join(self.attributes)})")
        if self.clues is not None:
            parts.append(f"clues({self.clues})")
        return parts

    @property
    def group(self) -> str:
        """Views from one side of the street vote together."""
        return "mirror" if self.mirror else "identity"

    def apply_problem(self, problem: Puzzle) -> Puzzle:
        renamed = {(name, old): new for name, old, new in self.values}
        order = list(range(len(problem.attributes)))
        if self.attributes:
            order.sort(key=lambda i: self.attributes.index(problem.attributes[i].name))
        new_index = {old: new for new, old in enumerate(order)}
        attributes = []
        for i in order:
            attribute = problem.attributes[i]
            names = tuple(renamed.get((attribute.name, value), value) for value in attribute.values)
            attributes.append(replace(attribute, values=names))
        clues = [self._clue(clue, problem.houses, new_index) for clue in problem.clues]
        if self.clues is not None:
            clues = [clues[i] for i in keyed_rng("clue order", self.clues, len(clues)).permutation(len(clues))]
        return replace(problem, attributes=tuple(attributes), clues=tuple(clues))

    def apply_answer(self, answer: Answer) -> Answer:
        return self._answer(answer, {(name, old): new for name, old, new in self.values}, self.attributes)

    def invert(self, answer: Answer) -> Answer:
        """An answer of the changed task back in the task as given; cells that it does not know stay as they are."""
        back = {(name.lower(), new.strip().lower()): old for name, old, new in self.values}
        found: Answer = {}
        for house, row in answer.items():
            found[house] = {name: back.get((name.strip().lower(), v.strip().lower()), v) for name, v in row.items()}
        return self._answer(found, {}, ())

    def _answer(self, answer: Answer, renamed: Mapping[tuple[str, str], str], order: Sequence[str]) -> Answer:
        result: Answer = {}
        for house, row in answer.items():
            names = sorted(row, key=lambda n: order.index(n) if n in order else len(order))
            result[self._house(house)] = {name: renamed.get((name, row[name]), row[name]) for name in names}
        return dict(sorted(result.items(), key=lambda entry: _number(entry[0])))

    def _house(self, name: str) -> str:
        number = _number(name)
        if not 1 <= number <= self.mirror:
            return name
        return f"House {self.mirror + 1 - number}"

    def _clue(self, clue: Clue, houses: int, new_index: Mapping[int, int]) -> Clue:
        a, b = ((new_index[item[0]], item[1]) if item else None for item in (clue.a, clue.b))
        assert a is not None
        if not self.mirror:
            return replace(clue, a=a, b=b)
        if clue.kind == "consecutive":
            return replace(clue, a=b, b=a)
        house = None if clue.house is None else houses - 1 - clue.house
        return replace(clue, kind=_SWAPPED.get(clue.kind, clue.kind), a=a, b=b, house=house)


def _number(house: str) -> int:
    """The k of "House k"; 0 for any other name."""
    found = re.fullmatch(r"\s*house\s*(\d{1,3})\s*", house, re.IGNORECASE)
    return int(found[1]) if found else 0


def random_transform(
    kinds: Sequence[str], task: Task, rng: np.random.Generator, mirror: bool | None = None
) -> ZebraTransform:
    """Draws one; `mirror` fixes the side of the street instead of drawing it.

    Only a task whose puzzles have the same number of houses has a mirror image.
    """
    puzzles = problems_of(task, Puzzle)
    attributes = {a.name: sorted({v for p in puzzles for b in p.attributes if b.name == a.name for v in b.values})
                  for p in puzzles for a in p.attributes}  # fmt: skip
    values: list[tuple[str, str, str]] = []
    names, clues = (), None
    if "values" in kinds:
        for name, of in attributes.items():
            values += [(name, of[i], of[k]) for i, k in enumerate(rng.permutation(len(of)))]
    if "attributes" in kinds:
        first, *others = attributes
        names = (first, *(others[i] for i in rng.permutation(len(others))))
    if "clues" in kinds:
        clues = int(rng.integers(2**31))
    side = bool(rng.integers(2)) if mirror is None else mirror
    sizes = {puzzle.houses for puzzle in puzzles}
    houses = sizes.pop() if "mirror" in kinds and side and len(sizes) == 1 else 0
    return ZebraTransform(tuple(values), names, clues, houses, draw_order(kinds, task, rng))


def make_views(kinds: Sequence[str], task: Task, count: int, rng: np.random.Generator) -> list[ZebraTransform]:
    """Identity first, then by turns from either side of the street; at most `count`, none twice."""

    def draw(attempt: int) -> ZebraTransform:
        return random_transform(kinds, task, rng, mirror=attempt % 2 == 0)

    return distinct_views(ZebraTransform(), draw, task, count)
