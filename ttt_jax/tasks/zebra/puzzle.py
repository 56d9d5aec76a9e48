"""A logic-grid puzzle: houses in a row, attributes, and nine types of clues about who lives where."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

KINDS = (
    "found_at",
    "not_at",
    "same_house",
    "consecutive",
    "beside",
    "left_of",
    "right_of",
    "one_between",
    "two_between",
)
"""The clue types. The first two speak of one value and a house, the others of two values."""

RELATIONS: dict[str, Callable[[int, int], bool]] = {
    "found_at": lambda a, b: a == b,
    "not_at": lambda a, b: a != b,
    "same_house": lambda a, b: a == b,
    "consecutive": lambda a, b: a + 1 == b,
    "beside": lambda a, b: abs(a - b) == 1,
    "left_of": lambda a, b: a < b,
    "right_of": lambda a, b: a > b,
    "one_between": lambda a, b: abs(a - b) == 2,
    "two_between": lambda a, b: abs(a - b) == 3,
}
"""Whether a clue holds: of the houses of its two values, or of a value's house and the house named."""

LEVELS = (("S", 10**3), ("M", 10**6), ("L", 10**10), ("XL", math.inf))
"""Difficulty by the size of the search space, which is below the second number."""

Item = tuple[int, int]
"""A value: (attribute, index among the attribute's values)."""

Solution = tuple[tuple[int, ...], ...]
"""[attribute][value] -> house, from 0."""


@dataclass(frozen=True)
class Clue:
    """One true statement.

    Attributes:
      kind: one of KINDS.
      a: the value spoken of.
      b: the other value; None where the clue names a house.
      house: from 0; None where the clue has a second value.
    """

    kind: str
    a: Item
    b: Item | None = None
    house: int | None = None

    def __post_init__(self):
        if self.kind not in RELATIONS:
            raise ValueError(f"clue.kind: {self.kind!r}, there are {', '.join(KINDS)}")
        if (self.house is not None) != (self.kind in KINDS[:2]) or (self.b is None) != (self.kind in KINDS[:2]):
            raise ValueError(f"clue: {self.kind} takes {'a house' if self.kind in KINDS[:2] else 'two values'}")

    def holds(self, solution: Solution) -> bool:
        a = solution[self.a[0]][self.a[1]]
        b = self.house if self.b is None else solution[self.b[0]][self.b[1]]
        assert b is not None
        return RELATIONS[self.kind](a, b)

    @property
    def items(self) -> tuple[Item, ...]:
        return (self.a,) if self.b is None else (self.a, self.b)


@dataclass(frozen=True)
class Attribute:
    """A characteristic that all houses differ in.

    Attributes:
      name: as the answer's JSON calls it ("Pet").
      title: how the puzzle introduces it ("The people keep unique animals").
      phrase: whoever has the value, with `{}` for it ("the person who keeps the {}").
      values: as many as houses, in the order listed, which says nothing of the solution.
    """

    name: str
    title: str
    phrase: str
    values: tuple[str, ...]

    def person(self, value: int) -> str:
        return self.phrase.format(self.values[value])


@dataclass(frozen=True)
class Puzzle:
    """A puzzle as a solver sees it; `str()` is its text.

    Attributes:
      attributes: the first is always Name.
      clues: in the order printed.
      wording: name of the sentences (`zebra.wording.WORDINGS`).
      convention: name of a latent convention (`zebra.wording.make_convention`), "" for plain words.
    """

    attributes: tuple[Attribute, ...]
    clues: tuple[Clue, ...]
    wording: str = "plain"
    convention: str = ""

    @property
    def houses(self) -> int:
        return len(self.attributes[0].values)

    @property
    def size(self) -> tuple[int, int]:
        """Houses and attributes."""
        return self.houses, len(self.attributes)

    @property
    def search_space(self) -> int:
        """(N!)^M assignments before any clue is read."""
        return search_space(*self.size)

    def answer(self, solution: Solution) -> dict[str, dict[str, str]]:
        """A solution as answers are given: {"House 1": {attribute: value}}."""
        rows: dict[str, dict[str, str]] = {f"House {h + 1}": {} for h in range(self.houses)}
        for attribute, places in zip(self.attributes, solution, strict=True):
            for h in range(self.houses):
                rows[f"House {h + 1}"][attribute.name] = attribute.values[places.index(h)]
        return rows

    def __str__(self) -> str:
        from ttt_jax.tasks.zebra.wording import write_puzzle

        return write_puzzle(self)


def search_space(houses: int, attributes: int) -> int:
    """(N!)^M."""
    return math.factorial(houses) ** attributes


def level(space: int) -> str:
    """S, M, L or XL."""
    return next(name for name, below in LEVELS if space < below)
