"""Things sent off: launched by their noses, as far as their fuel lasts, round a table; bridges between blocks."""

from __future__ import annotations

import numpy as np

from ttt_jax.train.invented.draws import amount, draw_colours, pick
from ttt_jax.train.invented.masks import DIAGONAL, ORTHOGONAL, Cell, inside
from ttt_jax.train.invented.movement.ground import blank, walk
from ttt_jax.train.invented.movement.guises import guised
from ttt_jax.train.invented.placing import boxes, scatter
from ttt_jax.train.invented.rule import Family, Pair, PairSampler, Rng


def launched(rng: Rng) -> PairSampler:
    """Blocks with a coloured side: they move off to that side (or away from it) until something stops them."""
    body, nose, wall, trail, crash = draw_colours(rng, 5)
    backwards = rng.random() < 0.3
    leaves = pick(rng, ("none", "none", "trail", "copy"))
    hits = pick(rng, ("stop", "stop", "crash", "gone"))
    span = int(rng.integers(1, 4))
    walled = rng.random() < 0.7 or hits != "stop"

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 7)
        height, width = grid.shape
        movers = []
        for r, c in scatter(rng, grid.shape, amount(rng, size, 1, 4), span + 2):
            if r + span > height or c + span + 1 > width:
                continue
            d = int(rng.integers(4))
            part = np.full((span, span + 1), body, np.int8)  # seen with its nose to the right
            part[:, -1] = nose
            part = np.rot90(part, {0: 1, 1: 0, 2: 3, 3: 2}[d])
            h, w = part.shape
            if r + h > height or c + w > width:
                continue
            grid[r : r + h, c : c + w] = part
            step = ORTHOGONAL[(d + 2) % 4 if backwards else d]
            movers.append((r, c, part, step))
        if walled:
            for cell in scatter(rng, grid.shape, amount(rng, size, 2, 10), 1):
                around = grid[max(0, cell[0] - 1) : cell[0] + 2, max(0, cell[1] - 1) : cell[1] + 2]
                if not around.any():
                    grid[cell] = wall
        out = np.where(grid == wall, np.int8(wall), np.int8(0))
        marks = out.copy()
        lanes = np.zeros(grid.shape, np.int8)
        moved = stopped = 0
        for r, c, part, (a, b) in movers:
            h, w = part.shape
            k = 0
            ahead = None
            while True:
                y, x = r + (k + 1) * a, c + (k + 1) * b
                if not (y >= 0 and y + h <= height and x >= 0 and x + w <= width):
                    break
                ahead = out[y : y + h, x : x + w] == wall
                if ahead.any():
                    break
                ahead = None
                k += 1
            lanes[min(r, r + k * a) : max(r, r + k * a) + h, min(c, c + k * b) : max(c, c + k * b) + w] += 1
            moved += k
            if leaves == "trail":
                lane = marks[min(r, r + k * a) : max(r, r + k * a) + h, min(c, c + k * b) : max(c, c + k * b) + w]
                lane[:] = trail
            elif leaves == "copy":
                marks[r : r + h, c : c + w] = part
            y, x = r + k * a, c + k * b
            if ahead is not None and hits != "stop":
                stopped += 1
                view = marks[y + a : y + a + h, x + b : x + b + w]
                view[ahead] = crash if hits == "crash" else 0
            marks[y : y + h, x : x + w] = part
        # Lanes that cross would need an order of departure.
        if not moved or (lanes > 1).any() or (hits != "stop" and not stopped):
            return None
        return grid, marks

    return sample


def fuelled(rng: Rng) -> PairSampler:
    """Bars lengthen to the right by as many cells as they have, as marks beside them count, or by a fixed number."""
    body, head, ink, mark = draw_colours(rng, 4)
    rule = pick(rng, ("same", "double", "fixed", "until", "marks", "mirror"))
    number = int(rng.integers(2, 5))
    headed = rng.random() < 0.5
    varied = rng.random() < 0.4
    own = rng.random() < 0.4

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 6)
        height, width = grid.shape
        out = grid.copy()
        done = 0
        mixed = [c for c in range(1, 10) if c not in (head, ink, mark)]
        for r, _ in scatter(rng, (height, 1), amount(rng, size, 1, 6), 1):
            length = int(rng.integers(1, max(2, width // 3) + 1))
            start = int(rng.integers(0, 2))
            tint = pick(rng, mixed) if varied else body
            bar = np.full(length, tint, np.int8)
            if headed:
                bar[-1] = head
            end = start + length
            if rule == "marks":
                count = int(rng.integers(1, 4))
                bar = np.concatenate((np.full(count, mark, np.int8), bar))
                end += count
            by = {"same": length, "double": 2 * length, "fixed": number, "until": width, "marks": 0, "mirror": length}[
                rule
            ]
            if rule == "marks":
                by = int((bar == mark).sum())
            if end + by > width and rule != "until":
                continue
            grid[r, start:end] = out[r, start:end] = bar
            if rule == "until":
                stop = int(rng.integers(end + 1, width)) if end + 1 < width else -1
                if stop < 0:
                    return None
                grid[r, stop] = out[r, stop] = mark
                by = stop - end
            new = np.full(by, tint if own else ink, np.int8)
            if rule == "mirror":
                new = bar[::-1]
            out[r, end : end + by] = new
            done += by
        return (grid, out) if done else None

    return sample


def billiards(rng: Rng) -> PairSampler:
    """A ball starts on a diagonal that two cells show; borders and walls reflect it a given number of times."""
    ball, second, wall, ink, last = draw_colours(rng, 5)
    bounces = int(rng.integers(1, 4))
    marked = rng.random() < 0.3
    ended = rng.random() < 0.4
    walled = rng.random() < 0.4

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 6)
        height, width = grid.shape
        if walled:
            grid[0] = grid[-1] = grid[:, 0] = grid[:, -1] = wall
            if min(height, width) < 7:
                return None
        r, c = scatter(rng, grid.shape, 1, 0, 2)[0]
        a, b = pick(rng, DIAGONAL)
        path: list[Cell] = [(r, c), (r + a, c + b)]
        bends = []
        left = bounces
        for _ in range(150):
            y, x = path[-1]
            up = not inside(grid, y + a, x) or grid[y + a, x] > 0
            side = not inside(grid, y, x + b) or grid[y, x + b] > 0
            if up or side:
                if left == 0 or (up and side):
                    break
                left -= 1
                bends.append((y, x))
                a, b = (-a if up else a), (-b if side else b)
                continue
            path.append((y + a, x + b))
        if len(bends) < bounces or len(path) < 5:
            return None
        grid[path[0]], grid[path[1]] = ball, second
        out = grid.copy()
        for cell in path[2:]:
            if grid[cell] == 0:
                out[cell] = ink
        if marked:
            for cell in bends:
                out[cell] = last
        if ended:
            out[path[-1]] = last
        return grid, out

    return sample


def bridges(rng: Rng) -> PairSampler:
    """Blocks that face each other are joined by bridges as broad as they overlap, or only where colours agree."""
    body, ink, *tints = draw_colours(rng, 6)
    broad = pick(rng, ("full", "full", "inner", "edge"))
    agree = rng.random() < 0.4
    both = rng.random() < 0.4
    near = int(rng.integers(3, 6)) if rng.random() < 0.3 else 99

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 8)
        placed = boxes(rng, grid.shape, amount(rng, size, 2, 6), 2 if broad == "full" else 3, 5, 2)
        if len(placed) < 2:
            return None
        for t, left, h, w in placed:
            grid[t : t + h, left : left + w] = pick(rng, tints[:2]) if agree else body
        out = grid.copy()
        built = 0
        for view, made, items in ((grid, out, placed), (grid.T, out.T, [(x, t, w, h) for t, x, h, w in placed])):
            for t, left, h, w in items:
                lanes = []
                for r in range(t, t + h):
                    path, end = walk(view, (r, left + w - 1), (0, 1))
                    if end is None or not path or len(path) > near or (agree and view[end] != view[r, left]):
                        continue
                    lanes.append((r, path))
                if broad == "inner":
                    lanes = lanes[1:-1]
                elif broad == "edge":
                    lanes = lanes[:1]
                for _, path in lanes:
                    built += 1
                    for cell in path:
                        made[cell] = ink
            if not both:
                break
        return (grid, out) if built else None

    return sample


FAMILIES: tuple[Family, ...] = (
    guised(launched, adds=False),
    guised(fuelled, adds=False, sided=True),
    guised(billiards, adds=False),
    guised(bridges, adds=False),
)
