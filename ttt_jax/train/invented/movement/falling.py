"""Falling and moving: sand, rigid objects, magnets, steps told by colours."""

from __future__ import annotations

import numpy as np

from ttt_jax.train.invented.draws import amount, draw_colours, pick
from ttt_jax.train.invented.masks import AROUND
from ttt_jax.train.invented.movement.ground import blank, place_blobs
from ttt_jax.train.invented.movement.guises import guised
from ttt_jax.train.invented.placing import boxes, scatter
from ttt_jax.train.invented.rule import Family, Pair, PairSampler, Rng


def sand(rng: Rng) -> PairSampler:
    """Single cells fall to the left onto fixed cells; by colour some fall, some rise, some stay; trails may remain."""
    fixed, trail, landed, *loose = draw_colours(rng, 7)
    kinds = int(rng.integers(1, 4))
    ways = [pick(rng, (-1, -1, -1, 1, 0)) for _ in range(kinds)]
    if not any(ways):
        ways[0] = -1
    held = rng.random() < 0.6
    leaves = pick(rng, ("none", "none", "none", "trail"))
    lands = pick(rng, ("same", "same", "same", "landed", "vanish" if held else "same"))

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 4)
        height, width = grid.shape
        density = float(rng.uniform(0.15, 0.4))
        colours = np.array(loose[:kinds], np.int8)[rng.integers(kinds, size=grid.shape)]
        grid[:] = np.where(rng.random(grid.shape) < density, colours, 0)
        if held:
            for t, left, h, w in boxes(rng, grid.shape, amount(rng, size, 1, 6), 1, 3, 0):
                grid[t : t + h, left : left + w] = fixed
        out = np.zeros_like(grid)
        way = dict(zip(loose, ways, strict=False))
        moving = {c for c, d in way.items() if d}
        for r in range(height):
            row = grid[r].tolist()
            new = [0 if c in moving else c for c in row]
            tracks = list(new)
            for direction in (-1, 1):
                order = range(width) if direction < 0 else range(width - 1, -1, -1)
                for c in order:
                    colour = row[c]
                    if colour and way.get(colour) == direction:
                        k = c
                        while 0 <= k + direction < width and new[k + direction] == 0:
                            k += direction
                        new[k] = colour if lands == "same" or k == c else landed if lands == "landed" else colour
                        if lands == "vanish" and not 0 <= k + direction < width:
                            new[k] = 0
                        if leaves == "trail":
                            for m in range(min(k, c), max(k, c) + 1):
                                tracks[m] = trail
            out[r] = [a or (b if b == trail and leaves == "trail" else 0) for a, b in zip(new, tracks, strict=True)]
        return (grid, out) if out.any() else None

    return sample


def rigid(rng: Rng) -> PairSampler:
    """Whole objects fall to the left until they hit the border, a wall or each other."""
    wall, landed, *loose = draw_colours(rng, 6)
    floor = rng.random() < 0.4
    obstacles = rng.random() < 0.4
    still = loose.pop() if rng.random() < 0.3 else 0
    recolour = pick(rng, ("none", "none", "none", "moved", "resting"))
    solo = rng.random() < 0.4

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 6)
        _height, _width = grid.shape
        colours = loose[:1] if solo else loose
        placed = place_blobs(rng, grid, amount(rng, size, 1, 6), [*colours, still] if still else colours)
        if not placed:
            return None
        if floor:
            grid = np.pad(grid, ((0, 0), (1, 0)), constant_values=wall)
            placed = [((t, left + 1), m, c) for (t, left), m, c in placed]
        if obstacles:
            for cell in scatter(rng, grid.shape, amount(rng, size, 1, 6), 1):
                if not grid[max(0, cell[0] - 1) : cell[0] + 2, max(0, cell[1] - 1) : cell[1] + 2].any():
                    grid[cell] = wall
        out = grid.copy()
        # The leftmost first: with bounding boxes that do not overlap nothing can be in its way that moves later.
        for (t, left), mask, colour in sorted(placed, key=lambda p: p[0][1]):
            if colour == still:
                continue
            h, w = mask.shape
            out[t : t + h, left : left + w][mask] = 0
            x = left
            while x > 0 and not out[t : t + h, x - 1 : x - 1 + w][mask].any():
                x -= 1
            tint = colour
            if (recolour == "moved" and x != left) or (recolour == "resting" and x == left):
                tint = landed
            out[t : t + h, x : x + w][mask] = tint
        return grid, out

    return sample


def magnets(rng: Rng) -> PairSampler:
    """Bars or blocks attract the cells of their colour: those fly to them straight; other colours stay or vanish."""
    bars = draw_colours(rng, 4)
    count = int(rng.integers(1, 4))
    others = pick(rng, ("vanish", "stay", "stay", "none"))
    trail = rng.random() < 0.2
    extra = pick(rng, [c for c in range(1, 10) if c not in bars])
    flip = rng.random() < 0.2

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 6)
        width = grid.shape[1]
        colours = [bars[k] for k in rng.permutation(4)[:count]]
        # Which axis is fixed, and at which index: columns at both sides, then the first row without its corners.
        at = [(1, 0), (1, width - 1), (0, 0)][:count]
        if count == 1 and rng.random() < 0.5:
            at = [(1, int(rng.integers(1, width - 1)))]
        for colour, (axis, index) in zip(colours, at, strict=True):
            if axis == 1:
                grid[:, index] = colour
            else:
                grid[index, 1:-1] = colour
        out = grid.copy()
        tints = colours + ([extra] if others != "none" else [])
        moved = False
        cells = [k for k in scatter(rng, grid.shape, amount(rng, size, 2, 12), 0, 1) if grid[k] == 0]
        seen: set[tuple[int, int]] = set()
        for r, c in cells:
            tint = pick(rng, tints)
            grid[r, c] = tint
        for r, c in cells:
            tint = int(grid[r, c])
            if tint not in colours:
                if others == "stay":
                    if any((r, c) == k for k in seen):
                        return None
                    out[r, c] = tint
                continue
            axis, index = at[colours.index(tint)]
            here = c if axis == 1 else r
            sign = 1 if index > here else -1
            step = (0, sign) if axis == 1 else (sign, 0)
            reach = abs(index - here) - 1
            # Nothing in the way but its own kind, which it piles up on.
            ahead = [(r + step[0] * k, c + step[1] * k) for k in range(1, reach + 1)]
            if any(grid[k] not in (0, tint) for k in ahead):
                return None
            pile = sum(grid[k] == tint for k in ahead)
            goal = (r + step[0] * (reach - pile), c + step[1] * (reach - pile))
            if goal in seen:
                return None
            seen.add(goal)
            moved = moved or goal != (r, c)
            if trail:
                for k in ahead[: reach - pile]:
                    out[k] = tint
            out[goal] = extra if flip and others == "none" else tint
        return (grid, out) if moved else None

    return sample


def coloured_steps(rng: Rng) -> PairSampler:
    """Objects move by steps that their colour tells, wrapping round or not, with a trail or leaving a copy."""
    kinds = int(rng.integers(1, 4))
    *colours, trail, spare = draw_colours(rng, kinds + 2)
    steps = {c: pick(rng, AROUND) for c in colours}
    count = int(rng.integers(1, 4))
    leaves = pick(rng, ("none", "none", "none", "trail", "copy", "copies" if kinds == 1 else "far", "far"))
    wraps = rng.random() < 0.3
    cells = rng.random() < 0.4
    inert = rng.random() < 0.3

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 5)
        height, width = grid.shape
        tints = [*colours, spare] if inert else colours
        if cells:
            placed = [
                (k, np.ones((1, 1), bool), pick(rng, tints))
                for k in scatter(rng, grid.shape, amount(rng, size, 1, 7), 1)
            ]
            for cell, _, colour in placed:
                grid[cell] = colour
        else:
            placed = place_blobs(rng, grid, amount(rng, size, 1, 5), tints)
        out = np.zeros_like(grid)
        taken = np.zeros(grid.shape, np.int8)
        for (t, left), mask, colour in placed:
            step = steps.get(colour, (0, 0))
            rows, columns = np.nonzero(mask)
            rows, columns = rows + t, columns + left
            far = count
            if leaves == "far":
                far = 0
                while (
                    min(rows + (far + 1) * step[0]) >= 0
                    and max(rows + (far + 1) * step[0]) < height
                    and min(columns + (far + 1) * step[1]) >= 0
                    and max(columns + (far + 1) * step[1]) < width
                    and step != (0, 0)
                ):
                    far += 1
            for k in range(far + 1):
                y, x = rows + k * step[0], columns + k * step[1]
                if wraps and leaves != "far":
                    y, x = y % height, x % width
                ok = (y >= 0) & (y < height) & (x >= 0) & (x < width)
                y, x = y[ok], x[ok]
                if k == far or step == (0, 0):
                    taken[y, x] += 1
                    out[y, x] = colour
                    break
                if leaves == "trail":
                    out[y, x] = np.where(out[y, x] == 0, np.int8(trail), out[y, x])
                elif leaves == "copies" or (leaves == "copy" and k == 0):
                    taken[y, x] += k == 0
                    out[y, x] = colour
        # What lands on each other would need an order that no pair shows.
        return (grid, out) if placed and taken.max() < 2 else None

    return sample


FAMILIES: tuple[Family, ...] = (
    guised(sand, adds=False),
    guised(rigid, adds=False),
    guised(magnets, adds=False),
    *(guised(coloured_steps, adds=False),) * 2,
)
