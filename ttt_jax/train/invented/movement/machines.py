"""Rules of two or three steps: rays, floods, falls, growth and contact, one after the other on one scene of roles."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from ttt_jax.train.invented.draws import amount, draw_colours, pick
from ttt_jax.train.invented.masks import DIAGONAL, ORTHOGONAL, dilated, enclosed, flooded, labelled, neighbours
from ttt_jax.train.invented.movement.ground import blank, place_blobs, walk
from ttt_jax.train.invented.movement.guises import guised
from ttt_jax.train.invented.placing import boxes, scatter
from ttt_jax.train.invented.rule import Family, Pair, PairSampler, Rng

Step = Callable[[np.ndarray], np.ndarray]
"""Changes a grid; leaves it unchanged where it does not apply."""

Maker = Callable[[Rng, int, int, int], Step]
"""Draws a step that starts from cells of a colour, heeds a second colour, and paints with a third."""

_WAYS = (
    ORTHOGONAL,
    DIAGONAL,
    ORTHOGONAL[1:4:2],
    ORTHOGONAL[:3:2],
    ORTHOGONAL[:1],
    ORTHOGONAL[1:2],
    DIAGONAL[:1],
    DIAGONAL[:3:2],
)


def _shoot(rng: Rng, of: int, wall: int, ink: int) -> Step:
    ways = pick(rng, _WAYS)
    needs_wall = rng.random() < 0.25

    def step(grid: np.ndarray) -> np.ndarray:
        out = grid.copy()
        for cell in np.argwhere(grid == of).tolist():
            for way in ways:
                path, end = walk(grid, (cell[0], cell[1]), way)
                if needs_wall and (end is None or grid[end] != wall):
                    continue
                for at in path:
                    out[at] = ink
        return out

    return step


def _thicken(rng: Rng, of: int, wall: int, ink: int) -> Step:
    ways = pick(rng, _WAYS[:4])

    def step(grid: np.ndarray) -> np.ndarray:
        near = neighbours(grid == of, ways) > 0
        return np.where(near & (grid == 0), np.int8(ink), grid)

    return step


def _flood(rng: Rng, of: int, wall: int, ink: int) -> Step:
    diagonal = rng.random() < 0.15

    def step(grid: np.ndarray) -> np.ndarray:
        free = grid == 0
        return np.where(flooded(free, grid == of, diagonal) & free, np.int8(ink), grid)

    return step


def _enclose(rng: Rng, of: int, wall: int, ink: int) -> Step:
    def step(grid: np.ndarray) -> np.ndarray:
        return np.where(enclosed(grid > 0), np.int8(ink), grid)

    return step


def _fall(rng: Rng, of: int, wall: int, ink: int) -> Step:
    reverse = rng.random() < 0.5

    def step(grid: np.ndarray) -> np.ndarray:
        out = grid[:, ::-1].copy() if reverse else grid.copy()
        for r, c in np.argwhere(out == of).tolist():
            row = out[r]
            k = c
            while k > 0 and row[k - 1] == 0:
                k -= 1
            row[c] = 0
            row[k] = of
        return np.ascontiguousarray(out[:, ::-1]) if reverse else out

    return step


def _join(rng: Rng, of: int, wall: int, ink: int) -> Step:
    both = rng.random() < 0.5

    def step(grid: np.ndarray) -> np.ndarray:
        out = grid.copy()
        for view, made in ((grid, out), (grid.T, out.T)) if both else ((grid, out),):
            for k in np.flatnonzero((view == of).sum(1) > 1).tolist():
                found = np.flatnonzero(view[k]).tolist()
                for a, b in itertools.pairwise(found):
                    if view[k, a] == of and view[k, b] == of:
                        made[k, a + 1 : b] = ink
        return out

    return step


def _touching(rng: Rng, of: int, wall: int, ink: int) -> Step:
    whole = rng.random() < 0.6
    gone = rng.random() < 0.2

    def step(grid: np.ndarray) -> np.ndarray:
        bodies = grid == wall
        hit = bodies & dilated(grid == of)
        if whole:
            hit = flooded(bodies, hit)
        return np.where(hit, np.int8(0 if gone else ink), grid)

    return step


def _repaint(rng: Rng, of: int, wall: int, ink: int) -> Step:
    erased = rng.random() < 0.5

    def step(grid: np.ndarray) -> np.ndarray:
        return np.where(grid == of, np.int8(0 if erased else ink), grid)

    return step


def _edge(rng: Rng, of: int, wall: int, ink: int) -> Step:
    outer = rng.random() < 0.5

    def step(grid: np.ndarray) -> np.ndarray:
        bodies = grid == wall
        rim = bodies & (neighbours(bodies) < 4)
        if outer:
            rim = dilated(bodies, diagonal=True) & (grid == 0)
        return np.where(rim, np.int8(ink), grid)

    return step


def _sized(rng: Rng, of: int, wall: int, ink: int) -> Step:
    largest = rng.random() < 0.5

    def step(grid: np.ndarray) -> np.ndarray:
        labels, count = labelled(grid == wall)
        if count < 2:
            return grid
        areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
        goal = areas.max() if largest else areas.min()
        if (areas == goal).sum() != 1:
            return grid
        return np.where(labels == 1 + np.flatnonzero(areas == goal)[0], np.int8(ink), grid)

    return step


_FIRST: tuple[Maker, ...] = (_shoot, _shoot, _thicken, _flood, _enclose, _fall, _join, _sized, _touching, _edge)
_THEN: tuple[Maker, ...] = (_shoot, _thicken, _flood, _enclose, _fall, _join, _touching, _repaint, _edge)


def machine(rng: Rng) -> PairSampler:
    """Marks, blocks and frames, and two or three steps: a later one may start from what an earlier one painted."""
    mark, wall, first, second, third, idle = draw_colours(rng, 6)
    steps = [pick(rng, _FIRST)(rng, mark, wall, first)]
    steps.append(pick(rng, _THEN)(rng, pick(rng, (first, first, mark)), wall, second))
    if rng.random() < 0.25:
        steps.append(pick(rng, _THEN)(rng, pick(rng, (mark, first, second)), pick(rng, (wall, first)), third))
    scene = pick(rng, ("cells", "blocks", "blocks", "frames", "frames", "blobs"))
    distracted = rng.random() < 0.2
    merged = rng.random() < 0.4  # the second step paints in the first one's colour

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 6)
        number = amount(rng, size, 1, 6)
        if scene == "cells":
            for cell in scatter(rng, grid.shape, 2 * number, 1):
                grid[cell] = wall
        elif scene == "blobs":
            place_blobs(rng, grid, number, [wall], 8)
        else:
            for t, left, h, w in boxes(rng, grid.shape, number, 2 if scene == "blocks" else 3, 6, 1):
                view = grid[t : t + h, left : left + w]
                view[:] = wall
                if scene == "frames":
                    view[1:-1, 1:-1] = 0
                    if rng.random() < 0.4:
                        view[pick(rng, (0, -1)), 1 + int(rng.integers(w - 2))] = 0
        placed = 0
        for cell in scatter(rng, grid.shape, amount(rng, size, 1, 5) + 1, 1):
            if grid[cell] == 0:
                grid[cell] = mark
                placed += 1
        if distracted:
            for cell in scatter(rng, grid.shape, amount(rng, size, 1, 3), 1):
                if grid[cell] == 0:
                    grid[cell] = idle
        if not placed:
            return None
        out, effects = grid, 0
        for step in steps:
            new = step(out)
            effects += not np.array_equal(new, out)
            out = new
        # All but one step at most must be seen at work, and the ground must not be lost.
        if effects < len(steps) - (rng.random() < 0.2) or effects == 0 or (out > 0).mean() > 0.9:
            return None
        if merged:
            out = np.where(out == second, np.int8(first), out)
        return grid, out

    return sample


FAMILIES: tuple[Family, ...] = (*(guised(machine),) * 6,)
