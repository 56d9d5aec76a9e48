"""Rays from points and arrows: until something, bouncing, turned by colours, crossing."""

from __future__ import annotations

import numpy as np

from ttt_jax.train.invented.draws import amount, draw_colours, pick
from ttt_jax.train.invented.masks import AROUND, DIAGONAL, ORTHOGONAL, Cell, inside
from ttt_jax.train.invented.movement.ground import blank, walk
from ttt_jax.train.invented.movement.guises import guised
from ttt_jax.train.invented.placing import scatter
from ttt_jax.train.invented.rule import Family, Pair, PairSampler, Rng

_DIRECTIONS: tuple[tuple[Cell, ...], ...] = (
    *((step,) for step in AROUND),
    (ORTHOGONAL[0], ORTHOGONAL[2]),
    (ORTHOGONAL[1], ORTHOGONAL[3]),
    (ORTHOGONAL[0], ORTHOGONAL[1]),
    (DIAGONAL[0], DIAGONAL[2]),
    (DIAGONAL[0], DIAGONAL[1]),
    ORTHOGONAL,
    DIAGONAL,
)


def beams(rng: Rng) -> PairSampler:
    """Points of one to three colours shoot rays, each colour in its own directions; what happens at obstacles and
    crossings, how the trail looks and what becomes of its ends is fixed by the rule."""
    kinds = int(rng.choice([1, 1, 2, 2, 3]))
    *sources, wall, crossing, trail, tip = draw_colours(rng, kinds + 4)
    directions = {c: pick(rng, _DIRECTIONS) for c in sources}
    trails = {c: (c if rng.random() < 0.6 else trail) for c in sources}
    period = pick(rng, ((1,), (1,), (1,), (1, 0), (0, 1), (1, 1, 0), (1, 2), (2, 1)))
    hit = pick(rng, ("none", "stop", "stop", "mark", "pass", "erase", "needed", "glow"))
    crossed = rng.random() < 0.4
    last = pick(rng, ("same", "same", "same", "tip", "only"))
    source_becomes = pick(rng, ("same", "same", "same", "tip", "gone"))
    reach = int(rng.choice([30, 30, 30, 2, 3]))

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 5)
        count = max(amount(rng, size, 1, 5), kinds if rng.random() < 0.7 else 1)
        walls = 0 if hit == "none" else amount(rng, size, 2, 9)
        cells = scatter(rng, grid.shape, count + walls, 1)
        if len(cells) < 2:
            return None
        points = [(cell, sources[i % kinds]) for i, cell in enumerate(cells[:count])]
        for cell, colour in points:
            grid[cell] = colour
        for cell in cells[count:]:
            grid[cell] = wall
        out = grid.copy()
        visits = np.zeros(grid.shape, np.int8)
        solid = np.where(grid == wall, 0, grid) if hit == "pass" else grid
        shot = False
        for colour in sources:  # later colours lie on top
            for start, of in points:
                if of != colour:
                    continue
                for step in directions[colour]:
                    path, end = walk(solid, start, step)
                    if hit == "needed" and (end is None or grid[end] != wall):
                        continue
                    path = path[:reach]
                    if not path:
                        continue
                    shot = True
                    for i, cell in enumerate(path[-1:] if last == "only" else path):
                        ink = period[i % len(period)]
                        if grid[cell] == 0 and ink:
                            out[cell] = trails[colour] if ink == 1 else tip
                            visits[cell] += 1
                    if last == "tip" and grid[path[-1]] == 0:
                        out[path[-1]] = tip
                    if end is not None and len(path) < reach:
                        if hit == "mark" and grid[end] == wall:
                            out[end] = colour
                        elif hit == "erase" and grid[end] == wall:
                            out[end] = 0
                        elif hit == "glow" and grid[end] == wall:
                            for r, c in ORTHOGONAL:
                                near = end[0] + r, end[1] + c
                                if inside(grid, *near) and grid[near] == 0:
                                    out[near] = crossing
        if not shot:
            return None
        if crossed:
            out[visits > 1] = crossing
        if source_becomes != "same":
            for cell, _ in points:
                out[cell] = tip if source_becomes == "tip" else 0
        return grid, out

    return sample


def mirrors(rng: Rng) -> PairSampler:
    """A ray that starts at the left border turns at coloured cells, to the left or right by their colour."""
    ray, right, left, stop, trail, third = draw_colours(rng, 6)
    turns = {right: 1, left: -1, stop: None, third: 0}
    colours = pick(rng, ((right,), (right, left), (right, left), (right, left, stop), (right, left, third)))
    trail = ray if rng.random() < 0.6 else trail
    recolour = rng.random() < 0.25
    starts = 2 if rng.random() < 0.2 else 1
    slanted = rng.random() < 0.3
    through = rng.random() < 0.3

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 6)
        height, width = grid.shape
        grid[rng.permutation(height)[:starts], 0] = ray
        out = grid.copy()
        heads: list[tuple[Cell, int]] = [((int(r), 0), 1) for r in np.flatnonzero(grid[:, 0])]
        for cell in scatter(rng, grid.shape, amount(rng, size, 2, 12), 1, 1):
            grid[cell] = pick(rng, colours)
        # The first mirror lies on the ray, and mostly the second: else few rays would show a turn.
        (r, _), _ = heads[0]
        c = int(rng.integers(2, width))
        grid[r, c] = first = pick(rng, [k for k in colours if turns[k]])
        down = r + (1 if turns[first] == 1 else -1) * int(rng.integers(2, height))
        if 0 <= down < height:
            grid[down, c] = pick(rng, colours)
        out = grid.copy()
        used = np.zeros(grid.shape, bool)
        met = 0
        for (r, c), d in heads:
            for _ in range(4 * (height + width)):
                step = ORTHOGONAL[d]
                r, c = r + step[0], c + step[1]
                if not inside(grid, r, c):
                    break
                mirror = int(grid[r, c])
                if mirror == 0:
                    out[r, c] = trail
                    continue
                if mirror not in turns:
                    break
                met += 1
                turn = turns[mirror]
                used[r, c] = True
                if turn is None:
                    break
                if slanted and not through and turn:
                    # Deflected beside the mirror, which stays whole.
                    r, c = r - step[0], c - step[1]
                d = (d + turn) % 4
        if not met:
            return None
        if recolour:
            out[used] = trail
        return grid, out

    return sample


def bouncing(rng: Rng) -> PairSampler:
    """A diagonal ray from the bottom row bounces off the sides until it leaves at the top."""
    ray, block, other, corner = draw_colours(rng, 4)
    alternate = rng.random() < 0.25
    marked = rng.random() < 0.3
    to_left = rng.random() < 0.5
    both = rng.random() < 0.2
    trail = ray if rng.random() < 0.6 else other
    walled = rng.random() < 0.3

    def sample(rng: Rng, size: float) -> Pair | None:
        height = 6 + int(rng.integers(0, 2 + round(22 * size)))
        width = 3 + int(rng.integers(0, 2 + round(9 * size)))
        grid = np.zeros((height, width), np.int8)
        if walled:
            grid[:, [0, -1]] = block
        left, right = (1, width - 2) if walled else (0, width - 1)
        if right - left < 1:
            return None
        c = start = int(rng.integers(left, right + 1))
        grid[-1, c] = ray
        out = grid.copy()
        for way in (-1, 1) if both else (-1 if to_left else 1,):
            c = start
            for i, r in enumerate(range(height - 2, -1, -1)):
                if not left <= c + way <= right:
                    way = -way
                    if marked:
                        out[r + 1, c] = corner
                c += way
                out[r, c] = other if alternate and i % 2 else trail
        return grid, out

    return sample


def arrows(rng: Rng) -> PairSampler:
    """Small arrows in all four directions: their heads shoot, the way they point or the other way."""
    body, head, wall, other = draw_colours(rng, 4)
    shape = pick(rng, ("line", "line", "tee", "corner", "wedge"))
    backwards = rng.random() < 0.3
    ink = pick(rng, (body, head, head, other))
    period = pick(rng, ((1,), (1,), (1, 0), (0, 1), (1, 1, 0)))
    blocked = pick(rng, ("none", "none", "stop", "mark"))
    varied = rng.random() < 0.3
    moves = rng.random() < 0.2
    cells = {
        "line": [(1, 0)],
        "tee": [(1, -1), (1, 0), (1, 1)],
        "corner": [(1, -1), (1, 1)],
        "wedge": [(1, -1), (1, 0), (1, 1), (2, 0)],
    }[shape]

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 6)
        places = scatter(rng, grid.shape, amount(rng, size, 1, 4), 3, 1)
        shots = []
        for r, c in places:
            d = int(rng.integers(4))
            up, right = ORTHOGONAL[d], ORTHOGONAL[(d + 1) % 4]
            tint = int(rng.integers(1, 10)) if varied else head
            if tint in (body, wall):
                tint = head
            mine = [(r - a * up[0] + b * right[0], c - a * up[1] + b * right[1]) for a, b in cells]
            if not all(inside(grid, *cell) for cell in mine):
                continue
            for cell in mine:
                grid[cell] = body
            grid[r, c] = tint
            tail = max(a for a, b in cells if b == 0) if any(b == 0 for _, b in cells) else 0
            start = (r - tail * up[0], c - tail * up[1]) if backwards else (r, c)
            shots.append((start, (-up[0], -up[1]) if backwards else up, tint if ink == head else ink, (r, c), mine))
        if blocked != "none":
            for cell in scatter(rng, grid.shape, amount(rng, size, 2, 8), 1):
                if not grid[max(0, cell[0] - 1) : cell[0] + 2, max(0, cell[1] - 1) : cell[1] + 2].any():
                    grid[cell] = wall
        out = grid.copy()
        length = 0
        for start, step, tint, tip, mine in shots:
            path, end = walk(grid, start, step)
            length += len(path)
            if moves and blocked == "none" and not backwards:
                if end is not None:
                    return None
                for cell in (tip, *mine):
                    out[cell] = 0
            elif blocked == "mark" and end is not None and grid[end] == wall:
                out[end] = tint
            if not moves or blocked != "none" or backwards:
                for i, cell in enumerate(path):
                    if period[i % len(period)]:
                        out[cell] = tint
        if moves and blocked == "none" and not backwards:
            for start, step, *_, tip, mine in shots:
                path, _ = walk(grid, start, step)
                for cell in (*mine, tip):
                    moved = cell[0] + len(path) * step[0], cell[1] + len(path) * step[1]
                    out[moved] = grid[cell]
        return (grid, out) if length else None

    return sample


FAMILIES: tuple[Family, ...] = (
    *(guised(beams),) * 2,
    guised(mirrors, sided=True),
    guised(bouncing, sided=True),
    guised(arrows),
)
