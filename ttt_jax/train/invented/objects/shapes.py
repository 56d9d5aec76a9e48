"""Shapes that scenes of things are put together from, beside the blobs of `masks`.

A mask is bool[height, width]. Masks made here are trimmed (every border row and
column holds a cell) and connected, some only through corners.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from ttt_jax.train.invented import masks
from ttt_jax.train.invented.draws import chance, pick
from ttt_jax.train.invented.rule import Rng


def blob(rng: Rng, height: int, width: int, diagonal: bool = False) -> np.ndarray:
    """A blob from a line's worth of cells to four fifths of all."""
    least = min(height * width, max(height, width))
    cells = int(rng.integers(least, max(least, round(0.8 * height * width)) + 1))
    return masks.blob(rng, height, width, cells, diagonal)


def symmetric_blob(rng: Rng, height: int, width: int, axes: Literal["lr", "ud", "both"]) -> np.ndarray:
    """A connected shape that is its own mirror image left to right, upside down, or both; at most height x width."""
    across, down = axes in ("lr", "both"), axes in ("ud", "both")
    mask = blob(rng, (height + 1) // 2 if down else height, (width + 1) // 2 if across else width)
    if across:
        mask = np.hstack([mask, mask[:, -1 - width % 2 :: -1]])
    if down:
        mask = np.vstack([mask, mask[-1 - height % 2 :: -1]])
    return mask


def rectangle(height: int, width: int) -> np.ndarray:
    return np.ones((height, width), bool)


def frame(height: int, width: int, thickness: int = 1) -> np.ndarray:
    """The border of a rectangle."""
    mask = np.ones((height, width), bool)
    mask[thickness : height - thickness, thickness : width - thickness] = False
    return mask


def holed(rng: Rng, height: int, width: int, holes: int) -> np.ndarray:
    """A rectangle with `holes` single cells cut out that do not touch; corners are cut off at random.

    Room for `holes`: (height - 1) // 2 * ((width - 1) // 2) at most; more are not made.
    """
    mask = np.ones((height, width), bool)
    spots = [(r, c) for r in range(1, height - 1, 2) for c in range(1, width - 1, 2)]
    for i in rng.permutation(len(spots))[:holes]:
        mask[spots[i]] = False
    corners = rng.random(4) < 0.3
    mask[[0, 0, -1, -1], [0, -1, 0, -1]] &= ~corners
    return mask


def plus(arm: int) -> np.ndarray:
    """An upright cross with arms of `arm` cells."""
    mask = np.zeros((2 * arm + 1, 2 * arm + 1), bool)
    mask[arm] = mask[:, arm] = True
    return mask


def saltire(arm: int) -> np.ndarray:
    """A diagonal cross, connected through corners only."""
    eye = np.eye(2 * arm + 1, dtype=bool)
    return eye | eye[::-1]


def staircase(steps: int) -> np.ndarray:
    """A triangle of `steps` steps, right angle at the lower left."""
    return np.tril(np.ones((steps, steps), bool))


def same_up_to_symmetry(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two masks are one shape turned or mirrored."""
    turned = (b, np.rot90(b), b[::-1, ::-1], np.rot90(b, 3))
    return any(np.array_equal(a, t) or np.array_equal(a, t[:, ::-1]) for t in turned)


Maker = Callable[[Rng, int], np.ndarray]
"""`(rng, bound) -> mask` with sides of at most `bound` (2 or more)."""


def any_blob(rng: Rng, bound: int) -> np.ndarray:
    """A blob of random extent; through corners in one of four."""
    height, width = rng.integers(min(2, bound), bound + 1, 2).tolist()
    return blob(rng, height, width, diagonal=chance(rng, 0.25))


def any_rectangle(rng: Rng, bound: int) -> np.ndarray:
    return rectangle(*rng.integers(1, bound + 1, 2).tolist())


def any_square(rng: Rng, bound: int) -> np.ndarray:
    n = int(rng.integers(2, bound + 1))
    return rectangle(n, n)


def any_frame(rng: Rng, bound: int) -> np.ndarray:
    """A frame of at least 3 x 3."""
    return frame(*rng.integers(3, max(3, bound) + 1, 2).tolist())


def any_line(rng: Rng, bound: int) -> np.ndarray:
    n = int(rng.integers(2, bound + 1))
    return rectangle(1, n) if rng.random() < 0.5 else rectangle(n, 1)


def any_symmetric(rng: Rng, bound: int) -> np.ndarray:
    """A shape with a mirror axis; at least 3 cells long on one side so that the axis shows."""
    height, width = rng.integers(min(3, bound), bound + 1, 2).tolist()
    return symmetric_blob(rng, height, width, pick(rng, ("lr", "ud", "both")))


def any_holed(rng: Rng, bound: int) -> np.ndarray:
    """A shape with one hole or more."""
    height, width = rng.integers(3, max(3, bound) + 1, 2).tolist()
    return holed(rng, height, width, int(rng.integers(1, 4)))


def any_figure(rng: Rng, bound: int) -> np.ndarray:
    """A cross, a diagonal cross or a staircase, in a random attitude."""
    which = int(rng.integers(3))
    if which == 2:
        return np.rot90(staircase(int(rng.integers(2, bound + 1))), int(rng.integers(4)))
    arm = int(rng.integers(1, max(1, (bound - 1) // 2) + 1))
    return (plus, saltire)[which](arm)
