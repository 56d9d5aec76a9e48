"""Scenes of separate things on a ground, and how they are painted.

A scene knows its things, so that rules ask the things and never have to find
them in the grid; things never touch each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ttt_jax.tasks.grids import COLOURS
from ttt_jax.train.invented.masks import components, enclosed
from ttt_jax.train.invented.rule import Pair, legal

CLEAR = -1
"""The colour of see-through cells in sprites."""


@dataclass(frozen=True)
class Thing:
    """An object in a scene.

    Attributes:
      row, column: of its upper left corner; drawn extras may begin outside the grid.
      sprite: int8[height, width], CLEAR where the ground shows.
      extra: something drawn because of a thing, such as its shadow: lies under things and is cut off at the border.
    """

    row: int
    column: int
    sprite: np.ndarray
    extra: bool = False

    @cached_property
    def mask(self) -> np.ndarray:
        return self.sprite != CLEAR

    @cached_property
    def cells(self) -> int:
        return int(np.count_nonzero(self.mask))

    @property
    def height(self) -> int:
        return self.sprite.shape[0]

    @property
    def width(self) -> int:
        return self.sprite.shape[1]

    @cached_property
    def counts(self) -> np.ndarray:
        """int[10]: how many cells have each colour."""
        return np.bincount(self.sprite[self.mask], minlength=COLOURS)

    @property
    def colour(self) -> int:
        """Its commonest colour."""
        return int(self.counts.argmax())

    @property
    def accent(self) -> int | None:
        """The rarer one of exactly two colours; None if it has not two, or as much of both."""
        used = np.flatnonzero(self.counts)
        if len(used) != 2 or self.counts[used[0]] == self.counts[used[1]]:
            return None
        return int(used[self.counts[used].argmin()])

    @cached_property
    def holes(self) -> np.ndarray:
        """bool[height, width]: see-through cells that it encloses."""
        if self.mask.all() or min(self.mask.shape) < 3:
            return np.zeros(self.mask.shape, bool)
        return enclosed(self.mask)

    @property
    def hole_count(self) -> int:
        return len(components(self.holes)) if self.holes.any() else 0

    @property
    def centre(self) -> tuple[float, float]:
        return self.row + (self.height - 1) / 2, self.column + (self.width - 1) / 2

    def with_colour(self, colour: int) -> Thing:
        return replace(self, sprite=np.where(self.mask, np.int8(colour), np.int8(CLEAR)))

    def with_sprite(self, sprite: np.ndarray) -> Thing:
        return replace(self, sprite=np.asarray(sprite, np.int8))

    def moved(self, rows: int, columns: int) -> Thing:
        return replace(self, row=self.row + rows, column=self.column + columns)


@dataclass(frozen=True)
class Scene:
    """Things on a ground.

    Attributes:
      ground: int8[height, width]: what is seen where no thing is: noise, key cells and lines belong to it.
      things: none touches another.
      ground_colour: the commonest colour of the ground.
      key: the colour of the key cell or key line in the ground; None without one.
      key_spot: row and column of the key cell, or None.
    """

    ground: np.ndarray
    things: list[Thing]
    ground_colour: int = 0
    key: int | None = None
    key_spot: tuple[int, int] | None = None

    def those(self, labels: Sequence[bool]) -> list[Thing]:
        """The things whose label is true."""
        return [thing for thing, label in zip(self.things, labels, strict=True) if label]

    def painted(self, things: Sequence[Thing] | None = None) -> np.ndarray | None:
        """The grid, with these things instead of its own; None where things would overlap or leave the grid,
        or where extras of different colours would overlap (which one lies on top would be arbitrary)."""
        over = np.full_like(self.ground, CLEAR)
        under = None
        height, width = self.ground.shape
        for thing in self.things if things is None else things:
            row, column, sprite, canvas = thing.row, thing.column, thing.sprite, over
            if thing.extra:
                top, left = max(0, -row), max(0, -column)
                sprite = sprite[top : max(top, height - row), left : max(left, width - column)]
                row, column = row + top, column + left
                if sprite.size == 0:
                    continue
                if under is None:
                    under = np.full_like(self.ground, CLEAR)
                canvas = under
            elif row < 0 or column < 0 or row + sprite.shape[0] > height or column + sprite.shape[1] > width:
                return None
            view = canvas[row : row + sprite.shape[0], column : column + sprite.shape[1]]
            shown = sprite != CLEAR
            clash = shown & (view != CLEAR)
            if clash.any() and not (thing.extra and (view[clash] == sprite[clash]).all()):
                return None
            view[shown] = sprite[shown]
        out = self.ground if under is None else np.where(under != CLEAR, under, self.ground)
        return np.where(over != CLEAR, over, out)


def solid(mask: np.ndarray, colour: int) -> np.ndarray:
    """int8[height, width]: a sprite of one colour."""
    return np.where(mask, np.int8(colour), np.int8(CLEAR))


def pair_of(scene: Scene, answer: np.ndarray | None) -> Pair | None:
    """A scene and what becomes of it, if that is a change and a legal grid."""
    question = scene.painted()
    return None if question is None or answer is None else legal(question, answer)
