"""Sliding: to a block, on by the same step, rows that shift; and objects cut by lines."""

from __future__ import annotations

import numpy as np

from ttt_jax.train.invented.draws import amount, draw_colours, pick, side
from ttt_jax.train.invented.masks import flooded, inside
from ttt_jax.train.invented.movement.ground import blank
from ttt_jax.train.invented.movement.guises import guised
from ttt_jax.train.invented.placing import boxes, scatter
from ttt_jax.train.invented.rule import Family, Pair, PairSampler, Rng


def approach(rng: Rng) -> PairSampler:
    """Cells in line with a block fly to it from four sides; those not in line stay, vanish or are not there."""
    block, mover, other, trail, touched = draw_colours(rng, 5)
    away = rng.random() < 0.25
    leaves = rng.random() < 0.3
    rest = pick(rng, ("none", "stay", "vanish"))
    marks = pick(rng, ("none", "none", "touched", "absorbed"))
    two = rng.random() < 0.3

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 7)
        height, width = grid.shape
        placed = boxes(rng, grid.shape, 1, 1, 2 + round(4 * size), 1, 2)
        if not placed:
            return None
        t, left, h, w = placed[0]
        grid[t : t + h, left : left + w] = block
        out = grid.copy()
        moved = 0
        lanes: set[tuple[str, int, bool]] = set()
        for r, c in scatter(rng, grid.shape, amount(rng, size, 3, 14), 0):
            in_rows, in_columns = t <= r < t + h, left <= c < left + w
            if in_rows and in_columns:
                continue
            if not (in_rows or in_columns):
                if rest == "none":
                    continue
                grid[r, c] = mover
                if rest == "stay":
                    out[r, c] = mover
                continue
            before = c < left if in_rows else r < t
            lane = ("row" if in_rows else "column", r if in_rows else c, before)
            if lane in lanes:
                continue
            lanes.add(lane)
            tint = other if two and rng.random() < 0.4 else mover
            grid[r, c] = tint
            if tint == other:
                out[r, c] = other
                continue
            goal = c if in_rows else r
            if away:
                goal = 0 if before else (width if in_rows else height) - 1
            elif in_rows:
                goal = left - 1 if before else left + w
            else:
                goal = t - 1 if before else t + h
            start = c if in_rows else r
            moved += goal != start
            line = out[r] if in_rows else out[:, c]
            if leaves:
                line[min(start, goal) : max(start, goal) + 1] = trail
            line[goal] = mover
            if marks == "absorbed" and not away:
                line[goal] = trail if leaves else 0
            if marks != "none" and not away:
                line[goal + (1 if before else -1)] = touched
        return (grid, out) if moved else None

    return sample


def cut(rng: Rng) -> PairSampler:
    """A line cuts the objects it meets: one side is removed, recoloured, kept alone or pushed away."""
    line, changed, *solid = draw_colours(rng, 6)
    fate = pick(rng, ("remove", "recolour", "met", "push", "swap", "whole", "trace"))
    slanted = rng.random() < 0.3
    plain = rng.random() < 0.5
    rest = rng.random() < 0.5

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 7)
        height, width = grid.shape
        for t, left, h, w in boxes(rng, grid.shape, amount(rng, size, 1, 6), 2, 4 + round(3 * size), 1):
            grid[t : t + h, left : left + w] = solid[0] if plain else pick(rng, solid)
        bodies = grid.copy()
        ys, xs = np.arange(height)[:, None], np.arange(width)[None]
        at = int(rng.integers(2, width - 2))
        if slanted and fate != "push":
            at = int(rng.integers(2, height + width - 4))
            past, on = ys + xs < at, ys + xs == at
        else:
            past, on = np.broadcast_to(xs < at, grid.shape), np.broadcast_to(xs == at, grid.shape)
        if not bodies[on].any() or not (bodies[past].any() and bodies[~past & ~on].any()):
            return None
        grid[on] = line
        out = grid.copy()
        if fate == "remove":
            out[past] = 0
        elif fate == "recolour":
            out[past & (grid > 0)] = changed
        elif fate in ("met", "whole"):
            hit = flooded(bodies > 0, on & (bodies > 0)) & ~on
            if fate == "met":
                out[hit] = changed
            else:
                out[hit] = 0
        elif fate == "push":
            out[:, :at] = 0
            out[:, : at - 1] = grid[:, 1:at]
        elif fate == "swap":
            out[past & (grid > 0)] = changed
            out[~past & ~on & (grid > 0)] = line
        else:
            out[on & (bodies > 0)] = changed
            if rest:
                out[on & (bodies == 0)] = 0
        return grid, out

    return sample


def velocity(rng: Rng) -> PairSampler:
    """Two colours show where a thing was and is: it goes on by the same step, once or to the border, or backwards."""
    was, now, trail = draw_colours(rng, 3)
    goes = pick(rng, ("on", "on", "once", "back", "last"))
    trail = now if rng.random() < 0.5 else trail
    longest = int(rng.integers(1, 4))
    erases = rng.random() < 0.3

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 6)
        out = grid.copy()
        done = 0
        for r, c in scatter(rng, grid.shape, amount(rng, size, 1, 4), 2 * longest + 1):
            step = (int(rng.integers(-longest, longest + 1)), int(rng.integers(-longest, longest + 1)))
            if step == (0, 0) or not inside(grid, r + step[0], c + step[1]):
                continue
            grid[r, c], grid[r + step[0], c + step[1]] = was, now
            y, x = (r, c) if goes == "back" else (r + step[0], c + step[1])
            way = -1 if goes == "back" else 1
            path = []
            while inside(grid, y + way * step[0], x + way * step[1]):
                y, x = y + way * step[0], x + way * step[1]
                path.append((y, x))
            if goes == "once":
                path = path[:1]
            elif goes == "last":
                path = path[-1:]
            done += len(path)
            for cell in path:
                out[cell] = trail
        if not done or (out[grid > 0] > 0).any():
            return None
        out = np.where(grid > 0, grid, out)
        if erases:
            out[grid == was] = 0
        return grid, out

    return sample


def shifted_rows(rng: Rng) -> PairSampler:
    """Every row moves by a number of its own: its place, its colour, its content; or rows are packed or sorted."""
    rule = pick(rng, ("shear", "alternate", "content", "pack", "sort", "colour", "wave", "stack"))
    colours = draw_colours(rng, 3)
    factor = int(rng.integers(1, 3))
    wraps = rng.random() < 0.5
    amounts = dict(zip(colours, rng.permutation(3).tolist(), strict=True))

    def sample(rng: Rng, size: float) -> Pair | None:
        height, width = side(rng, size, 3, 20), side(rng, size, 5, 24)
        grid = np.zeros((height, width), np.int8)
        lengths = rng.integers(1, max(2, width // 2) + 1, height)
        starts = rng.integers(0, 3, height)
        if rule == "sort" and len(set(lengths.tolist())) < height:
            if height > width:
                return None
            lengths = rng.permutation(width)[:height] + 1
        for r in range(height):
            start = 0 if rule in ("sort", "content", "stack") else int(starts[r])
            grid[r, start : start + int(lengths[r])] = pick(rng, colours)
            if rule == "pack":
                grid[r] = np.where(rng.random(width) < 0.4, np.int8(pick(rng, colours)), 0)
        out = np.zeros_like(grid)
        if rule == "sort":
            return grid, grid[np.argsort(lengths, kind="stable")]
        if rule == "pack":
            order = np.argsort(grid > 0, axis=1, kind="stable")
            return grid, np.take_along_axis(grid, order, 1)
        for r in range(height):
            by = {
                "shear": factor * r,
                "alternate": factor * (r % 2),
                "content": int((grid[r] > 0).sum()),
                "colour": amounts.get(int(grid[r].max()), 0),
                "wave": (0, 1, 2, 1)[r % 4],
                "stack": width - int((grid[r] > 0).sum()) if wraps else (width - int((grid[r] > 0).sum())) // 2,
            }[rule]
            if wraps or rule == "stack":
                out[r] = np.roll(grid[r], by)
            elif by < width:
                out[r, by:] = grid[r, : width - by]
        return grid, out

    return sample


FAMILIES: tuple[Family, ...] = (
    guised(approach, adds=False),
    guised(cut, adds=False),
    guised(velocity, adds=False),
    guised(shifted_rows, adds=False),
)
