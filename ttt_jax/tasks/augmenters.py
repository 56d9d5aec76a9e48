"""The augmenters of arXiv 2411.07279, by the names its authors print, for training data.

Those that can be undone (rotations, flips, transposition, translation) are
`GridTransform`s; the others are `GridAugmenter`s, which have no `invert` and so
cannot make a view. Random parameters are drawn once and hold for all grids.
"""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ttt_jax.tasks.grids import MAX_SIDE
from ttt_jax.tasks.task import Augmenter, Task
from ttt_jax.tasks.transforms import SYMMETRIES, GridTransform, transform_task


@dataclass(frozen=True)
class GridAugmenter(ABC):
    """A change of each grid of a task that cannot be undone in general."""

    @property
    @abstractmethod
    def name(self) -> str: ...

    @abstractmethod
    def apply_grid(self, grid: np.ndarray) -> np.ndarray:
        """One changed grid, of any size."""

    def apply(self, task: Task) -> Task:
        """The changed task. Raises ValueError where a grid grows beyond 30x30."""

        def change(grid: np.ndarray) -> np.ndarray:
            grid = self.apply_grid(grid)
            if max(grid.shape) > MAX_SIDE:
                raise ValueError(f"{self.name}: a grid of {grid.shape[0]}x{grid.shape[1]}, the largest is 30x30")
            return grid

        return replace(
            task,
            demos=tuple((change(x), change(y)) for x, y in task.demos),
            queries=tuple(map(change, task.queries)),
            answers=None if task.answers is None else tuple(map(change, task.answers)),
        )


_Part = GridTransform | GridAugmenter


def _symmetry(name: str) -> GridTransform:
    return GridTransform(SYMMETRIES.index(name))


_SYMMETRIES = {
    "Rotate(90)": _symmetry("rotate90"),
    "Rotate(270)": _symmetry("rotate270"),
    "Rotate(180)": _symmetry("rotate180"),
    "Flip(0)": _symmetry("flip0"),
    "Flip(1)": _symmetry("flip1"),
    "Transpose()": _symmetry("transpose"),
}
_PART_NAMES = {GridTransform(): "IdentityAugmenter()", **{part: name for name, part in _SYMMETRIES.items()}}


def _names(parts: tuple[_Part, ...]) -> str:
    return ", ".join(_PART_NAMES[part] if isinstance(part, GridTransform) else part.name for part in parts)


@dataclass(frozen=True)
class Reflect(GridAugmenter):
    """The grid and its mirror image, below it (axis 0) or right of it (axis 1); `reverse` puts the image first."""

    axis: int
    reverse: bool = False

    @property
    def name(self) -> str:
        return f"Reflect({self.axis}, reverse={self.reverse})"

    def apply_grid(self, grid: np.ndarray) -> np.ndarray:
        both = (grid, np.flip(grid, self.axis))
        return np.concatenate(both[::-1] if self.reverse else both, self.axis)


@dataclass(frozen=True)
class Increase(GridAugmenter):
    """Every cell becomes a block of `height` x `width` cells."""

    height: int = 1
    width: int = 1

    @property
    def name(self) -> str:
        if self.width == 1:
            return f"IncreaseHeight({self.height})"
        if self.height == 1:
            return f"IncreaseWidth({self.width})"
        return f"IncreaseResolution({self.height})"

    def apply_grid(self, grid: np.ndarray) -> np.ndarray:
        return grid.repeat(self.height, 0).repeat(self.width, 1)


@dataclass(frozen=True)
class Repeat(GridAugmenter):
    """The grid `times` times downwards (axis 0), to the right (axis 1), or both ways (axis 2)."""

    axis: int
    times: int

    @property
    def name(self) -> str:
        return f"Repeat({self.axis}, {self.times})"

    def apply_grid(self, grid: np.ndarray) -> np.ndarray:
        return np.tile(grid, (1 if self.axis == 1 else self.times, 1 if self.axis == 0 else self.times))


@dataclass(frozen=True)
class Chain(GridAugmenter):
    """One change after another."""

    parts: tuple[_Part, ...]

    @property
    def name(self) -> str:
        return f"Chain([{_names(self.parts)}])"

    def apply_grid(self, grid: np.ndarray) -> np.ndarray:
        for part in self.parts:
            grid = part.apply_grid(grid)
        return grid


@dataclass(frozen=True)
class Concat(GridAugmenter):
    """The results of several changes side by side. Raises ValueError where their sides do not match."""

    parts: tuple[_Part, ...]
    axis: int

    @property
    def name(self) -> str:
        return f"Concat(({_names(self.parts)}), axis={self.axis})"

    def apply_grid(self, grid: np.ndarray) -> np.ndarray:
        return np.concatenate([part.apply_grid(grid) for part in self.parts], self.axis)


_Make = Callable[[Task, np.random.Generator], Augmenter]


def _fixed(augmenter: Augmenter) -> _Make:
    return lambda task, rng: augmenter


_TWICE = Increase(2, 2)

BASIC: dict[str, _Make] = {
    **{name: _fixed(transform) for name, transform in _SYMMETRIES.items()},
    **{a.name: _fixed(a) for a in (Reflect(0, True), Reflect(1, True), Reflect(0), Reflect(1))},
    "RandomTranslateXY()": lambda task, rng: transform_task(("translate",), task, rng),
}
SIZE: dict[str, _Make] = {a.name: _fixed(a) for a in (_TWICE, Increase(2, 1), Increase(1, 2))}
CHAINED: dict[str, _Make] = {a.name: _fixed(a) for a in (Chain((part, _TWICE)) for part in _SYMMETRIES.values())}
REPEAT: dict[str, _Make] = {a.name: _fixed(a) for a in (Repeat(0, 2), Repeat(1, 2), Repeat(2, 2))}
_HALF_TURN = (GridTransform(), _SYMMETRIES["Rotate(180)"])
CONCAT: dict[str, _Make] = {a.name: _fixed(a) for a in (Concat(_HALF_TURN, 0), Concat(_HALF_TURN, 1))}

AUGMENTERS: dict[str, _Make] = {**BASIC, **SIZE, **CHAINED, **REPEAT, **CONCAT}
"""Every augmenter by its name."""


def mit_augmenters() -> tuple[str, ...]:
    """The 23 names that arXiv 2411.07279's code uses by default: basic, size, chained, repeat; not concat."""
    return (*BASIC, *SIZE, *CHAINED, *REPEAT)


def make_augmenter(name: str, task: Task, rng: np.random.Generator) -> Augmenter:
    """The augmenter called `name` (spaces and empty parentheses do not matter), parameters drawn from rng.

    Raises:
      ValueError: there is none; names the nearest.
    """
    make = _BY_SHORT_NAME.get(_short(name))
    if make is None:
        near = difflib.get_close_matches(name, AUGMENTERS, 1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(AUGMENTERS)}"
        raise ValueError(f"no augmenter is called {name!r}, {hint}")
    return make(task, rng)


def _short(name: str) -> str:
    return name.replace(" ", "").replace("()", "")


_BY_SHORT_NAME = {_short(name): make for name, make in AUGMENTERS.items()}
