"""Changes of a puzzle that can be undone: names of values, order of clues and attributes, the mirror of the street."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ttt_jax.tasks.problem_text import ProblemText, problem_of
from ttt_jax.tasks.task import Task, keyed_rng
from ttt_jax.tasks.zebra.answers import Answer
from ttt_jax.tasks.zebra.puzzle import Clue, Puzzle

KINDS = ("values", "clues", "attributes", "mirror", "order")
"""Value renaming, clue order, attribute order (Name stays first), left and right swapped, order of the demos."""

_SWAPPED = {"left_of": "right_of", "right_of": "left_of"}


@dataclass(frozen=True)
class ZebraTransform:
    """One change, the same for all puzzles of a task.

    Attributes:
      values: (attribute, old value, new value), for every value of the task.
      attributes: names of all attributes in their new order; empty for the order as given.
      clues: seed of the order of clues; None for the order as given.
      mirror: N where the street of N houses is seen from the other side, 0 where it is not.
      order: demo `order[i]` comes i-th; empty for the order as given.
    """

    values: tuple[tuple[str, str, str], ...] = ()
    attributes: tuple[str, ...] = ()
    clues: int | None = None
    mirror: int = 0
    order: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        parts = ["mirror"] if self.mirror else []
        if self.values:
            parts.append("values(" + ",".join(f"{old}>{new}" for _, old, new in self.values if old != new) + ")")
        if self.attributes:
            parts.append(f"attributes({','.join(self.attributes)})")
        if self.clues is not None:
            parts.append(f"clues({self.clues})")
        if self.order:
            parts.append(f"order({','.join(map(str, self.order))})")
        return "+".join(parts) or "identity"

    @property
    def group(self) -> str:
        """Views from one side of the street vote together."""
        return "mirror" if self.mirror else "identity"

    def apply_puzzle(self, puzzle: Puzzle) -> Puzzle:
        renamed = {(name, old): new for name, old, new in self.values}
        order = list(range(len(puzzle.attributes)))
        if self.attributes:
            order.sort(key=lambda i: self.attributes.index(puzzle.attributes[i].name))
        new_index = {old: new for new, old in enumerate(order)}
        attributes = []
        for i in order:
            attribute = puzzle.attributes[i]
            names = tuple(renamed.get((attribute.name, value), value) for value in attribute.values)
            attributes.append(replace(attribute, values=names))
        clues = [self._clue(clue, puzzle.houses, new_index) for clue in puzzle.clues]
        if self.clues is not None:
            clues = [clues[i] for i in keyed_rng("clue order", self.clues, len(clues)).permutation(len(clues))]
        return replace(puzzle, attributes=tuple(attributes), clues=tuple(clues))

    def apply_answer(self, answer: Answer) -> Answer:
        """An answer of the task as given, in the changed task."""
        return self._answer(answer, {(name, old): new for name, old, new in self.values}, self.attributes)

    def apply(self, task: Task) -> Task:
        def text(x: Any) -> ProblemText:
            return ProblemText(self.apply_puzzle(problem_of(x, Puzzle)))

        demos = [(text(x), self.apply_answer(y)) for x, y in task.demos]
        return replace(
            task,
            demos=tuple(demos[i] for i in self.order) if self.order else tuple(demos),
            queries=tuple(map(text, task.queries)),
            answers=None if task.answers is None else tuple(map(self.apply_answer, task.answers)),
        )

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


def check_kinds(kinds: Sequence[str]) -> None:
    """Raises ValueError at a kind that this domain does not have."""
    for kind in kinds:
        if kind not in KINDS:
            near = difflib.get_close_matches(kind, KINDS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(KINDS)}"
            raise ValueError(f"zebra: no transform is called {kind!r}, {hint}")


def random_transform(
    kinds: Sequence[str], task: Task, rng: np.random.Generator, mirror: bool | None = None
) -> ZebraTransform:
    """Draws one; `mirror` fixes the side of the street instead of drawing it.

    Only a task whose puzzles have the same number of houses has a mirror image.
    """
    puzzles = [problem_of(x, Puzzle) for x in (*(x for x, _ in task.demos), *task.queries)]
    attributes = {a.name: sorted({v for p in puzzles for b in p.attributes if b.name == a.name for v in b.values})
                  for p in puzzles for a in p.attributes}  # fmt: skip
    values: list[tuple[str, str, str]] = []
    names, clues, order = (), None, ()
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
    if "order" in kinds and len(task.demos) > 1:
        order = tuple(rng.permutation(len(task.demos)).tolist())
    return ZebraTransform(tuple(values), names, clues, houses, order)


def make_views(kinds: Sequence[str], task: Task, count: int, rng: np.random.Generator) -> list[ZebraTransform]:
    """Identity first, then by turns from either side of the street; at most `count`, none twice."""
    views = [ZebraTransform()]
    seen = {tuple(views[0].apply(task).queries) + tuple(x for x, _ in task.demos)}
    for attempt in range(20 * count):
        if len(views) >= count:
            break
        view = random_transform(kinds, task, rng, mirror=attempt % 2 == 0)
        shown = view.apply(task)
        texts = tuple(shown.queries) + tuple(x for x, _ in shown.demos)
        if texts not in seen:
            seen.add(texts)
            views.append(view)
    return views[:count]
