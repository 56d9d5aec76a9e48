"""Changes of a grid task that can be undone exactly: the only kind that may make a view."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ttt_jax.tasks.grids import COLOURS
from ttt_jax.tasks.task import Task

SYMMETRIES = ("identity", "transpose", "flip0", "flip1", "rotate90", "rotate180", "rotate270", "antitranspose")
"""The dihedral group of the square; rotations are anticlockwise, as in `numpy.rot90`."""

KINDS = ("symmetries", "colours", "colours_all", "order", "translate", *SYMMETRIES[1:])
"""Names that `transforms` options take. A single symmetry's name allows that one beside the identity."""

_INVERSE_SYMMETRY = (0, 1, 2, 3, 6, 5, 4, 7)
_SAME_COLOURS = tuple(range(COLOURS))
_MAX_SHIFT = 4

Pair = tuple[np.ndarray, np.ndarray]


def symmetric(grid: np.ndarray, symmetry: int) -> np.ndarray:
    """The grid under `SYMMETRIES[symmetry]`, a numpy view."""
    match symmetry:
        case 0:
            return grid
        case 1:
            return grid.T
        case 2:
            return grid[::-1]
        case 3:
            return grid[:, ::-1]
        case 4:
            return grid.T[::-1]
        case 5:
            return grid[::-1, ::-1]
        case 6:
            return grid[::-1].T
        case 7:
            return grid[::-1, ::-1].T
    raise ValueError(f"symmetry {symmetry}, there are {len(SYMMETRIES)}")


@dataclass(frozen=True)
class GridTransform:
    """A symmetry, then a shift, then a colour permutation of every grid; and an order of the demos.

    Attributes:
      symmetry: index into SYMMETRIES.
      colours: colour c becomes colours[c].
      order: demo `order[i]` comes i-th; empty for the order as given.
      shift: rows and columns by which grids are rolled, wrapping round.
    """

    symmetry: int = 0
    colours: tuple[int, ...] = _SAME_COLOURS
    order: tuple[int, ...] = ()
    shift: tuple[int, int] = (0, 0)

    @property
    def name(self) -> str:
        """Stable and readable: rotate90+colours(0,3,1,..)+order(2,0,1)."""
        parts = [] if self.symmetry == 0 else [SYMMETRIES[self.symmetry]]
        if self.shift != (0, 0):
            parts.append(f"shift{_numbers(self.shift)}")
        if self.colours != _SAME_COLOURS:
            parts.append(f"colours{_numbers(self.colours)}")
        if self.order:
            parts.append(f"order{_numbers(self.order)}")
        return "+".join(parts) or "identity"

    @property
    def group(self) -> str:
        """The symmetry's name: colours and orders of one symmetry vote together (arXiv 2411.07279)."""
        return SYMMETRIES[self.symmetry]

    @cached_property
    def _table(self) -> np.ndarray:
        return np.array(self.colours, np.int8)

    @cached_property
    def _inverse_table(self) -> np.ndarray:
        return np.argsort(self._table).astype(np.int8)

    def apply_grid(self, grid: np.ndarray) -> np.ndarray:
        """One grid of the changed task, a new int8 array."""
        grid = symmetric(grid, self.symmetry)
        if self.shift != (0, 0):
            grid = np.roll(grid, self.shift, (0, 1))
        return self._table.take(grid)

    def apply_pairs(self, pairs: Sequence[Pair]) -> list[Pair]:
        """The changed pairs, in the changed order."""
        ordered = [pairs[i] for i in self.order] if self.order else pairs
        return [(self.apply_grid(x), self.apply_grid(y)) for x, y in ordered]

    def apply(self, task: Task) -> Task:
        """The changed task, its answers (where known) included."""
        return replace(
            task,
            demos=tuple(self.apply_pairs(task.demos)),
            queries=tuple(map(self.apply_grid, task.queries)),
            answers=None if task.answers is None else tuple(map(self.apply_grid, task.answers)),
        )

    def invert(self, answer: np.ndarray) -> np.ndarray:
        """A grid of the changed task (an answer, an input) back in the frame of the task as given."""
        grid = self._inverse_table.take(answer)
        if self.shift != (0, 0):
            grid = np.roll(grid, (-self.shift[0], -self.shift[1]), (0, 1))
        return np.ascontiguousarray(symmetric(grid, _INVERSE_SYMMETRY[self.symmetry]))


def check_kinds(kinds: Sequence[str], others: Iterable[str] = ()) -> None:
    """Raises ValueError at a kind that is not an invertible one; `others` are names known not to be."""
    for kind in kinds:
        if kind in KINDS:
            continue
        if kind in set(others):
            raise ValueError(f"{kind!r} cannot be undone, so it cannot make a view; invertible are {', '.join(KINDS)}")
        near = difflib.get_close_matches(kind, KINDS, 1)
        raise ValueError(
            f"no transform is called {kind!r}" + (f", did you mean {near[0]!r}?" if near else f"; there are {KINDS}")
        )


def random_transform(
    kinds: Sequence[str],
    demos: int,
    rng: np.random.Generator,
    *,
    symmetry: int | None = None,
    shift_room: tuple[int, int] = (1, 1),
) -> GridTransform:
    """Draws one transform; every choice that `kinds` allow is equally likely.

    Args:
      kinds: any of KINDS. `colours` leaves 0, the usual background, where it
        is; `colours_all` moves it too.
      demos: how many demos the task has, for `order`.
      rng: drawn from in a fixed sequence.
      symmetry: fixes the symmetry instead of drawing one.
      shift_room: how many shifts down and right there are, for `translate`.
    """
    if symmetry is None:
        allowed = _allowed_symmetries(kinds)
        symmetry = allowed[int(rng.integers(len(allowed)))] if len(allowed) > 1 else 0
    colours, order, shift = _SAME_COLOURS, (), (0, 0)
    if "colours_all" in kinds:
        colours = tuple(rng.permutation(COLOURS).tolist())
    elif "colours" in kinds:
        colours = (0, *(rng.permutation(COLOURS - 1) + 1).tolist())
    if "order" in kinds:
        order = tuple(rng.permutation(demos).tolist())
        if order == tuple(range(demos)):
            order = ()
    if "translate" in kinds:
        shift = (int(rng.integers(shift_room[0])), int(rng.integers(shift_room[1])))
    return GridTransform(symmetry, colours, order, shift)


def transform_task(kinds: Sequence[str], task: Task, rng: np.random.Generator) -> GridTransform:
    """`random_transform` with what it needs to know read from the task."""
    return random_transform(
        kinds, len(task.demos), rng, shift_room=shift_room(task) if "translate" in kinds else (1, 1)
    )


def make_views(kinds: Sequence[str], task: Task, count: int, rng: np.random.Generator) -> list[GridTransform]:
    """`count` transforms for decoding.

    The identity comes first; the others go round the allowed symmetries, so
    that no symmetry has two views more than another, with random colours,
    order and shift. None comes twice while its symmetry has unused ones.
    """
    allowed = _allowed_symmetries(kinds)
    room = shift_room(task) if "translate" in kinds else (1, 1)
    variants = math.prod(room)
    if "colours_all" in kinds:
        variants *= math.factorial(COLOURS)
    elif "colours" in kinds:
        variants *= math.factorial(COLOURS - 1)
    if "order" in kinds:
        variants *= math.factorial(len(task.demos))

    views = [GridTransform()]
    used: dict[int, set[GridTransform]] = {symmetry: set() for symmetry in allowed}
    used[0].add(views[0])
    while len(views) < count:
        symmetry = allowed[len(views) % len(allowed)]
        if len(used[symmetry]) == variants:
            used[symmetry].clear()
        while (view := random_transform(kinds, len(task.demos), rng, symmetry=symmetry, shift_room=room)) in used[
            symmetry
        ]:
            pass
        used[symmetry].add(view)
        views.append(view)
    return views[:count]


def shift_room(task: Task) -> tuple[int, int]:
    """How far RandomTranslateXY of arXiv 2411.07279 shifts: 0 to min(4, side) - 1, of the smallest grid."""
    grids = [grid for pair in task.demos for grid in pair] + list(task.queries)
    return min(_MAX_SHIFT, *(g.shape[0] for g in grids)), min(_MAX_SHIFT, *(g.shape[1] for g in grids))


def _allowed_symmetries(kinds: Sequence[str]) -> tuple[int, ...]:
    if "symmetries" in kinds:
        return tuple(range(len(SYMMETRIES)))
    return (0, *(i for i, name in enumerate(SYMMETRIES) if i and name in kinds))


def _numbers(values: tuple[int, ...]) -> str:
    return "(" + ",".join(map(str, values)) + ")"
