"""Connecting: points in line, elbows, corners of rectangles, points in order, nearest anchors, lines that meet."""

from __future__ import annotations

import itertools

import numpy as np

from ttt_jax.train.invented.draws import amount, draw_colours, pick
from ttt_jax.train.invented.masks import Cell
from ttt_jax.train.invented.movement.ground import blank
from ttt_jax.train.invented.movement.guises import guised
from ttt_jax.train.invented.placing import boxes, scatter
from ttt_jax.train.invented.rule import Family, Pair, PairSampler, Rng


def _between(a: Cell, b: Cell) -> list[Cell]:
    """The cells strictly between two cells of one row or column."""
    if a[0] == b[0]:
        step = 1 if b[1] > a[1] else -1
        return [(a[0], c) for c in range(a[1] + step, b[1], step)]
    step = 1 if b[0] > a[0] else -1
    return [(r, a[1]) for r in range(a[0] + step, b[0], step)]


def in_line(rng: Rng) -> PairSampler:
    """Cells of a kind that see each other along rows or columns are joined; or the middle between them is marked."""
    ink, cross, middle, block, *points = draw_colours(rng, 7)
    one = rng.random() < 0.4
    directions = pick(rng, ("rows", "rows", "both", "both"))
    same = rng.random() < 0.6
    joined = pick(rng, ("line", "line", "line", "middle", "halves", "dotted", "ends"))
    own = rng.random() < 0.5 and (same or one)
    crossed = rng.random() < 0.4
    blocked = rng.random() < 0.3
    gone = rng.random() < 0.12

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 5)
        height, width = grid.shape
        tints = points[:1] if one else points
        for _ in range(amount(rng, size, 1, 6)):
            across = directions == "rows" or rng.random() < 0.5
            a, b = sorted(rng.integers(0, width if across else height, 2).tolist())
            if b - a < 2 or (joined == "middle" and (b - a) % 2):
                continue
            k = int(rng.integers(height if across else width))
            first = pick(rng, tints)
            second = first if same else pick(rng, tints)
            for at, tint in ((a, first), (b, second)):
                cell = (k, at) if across else (at, k)
                if grid[cell] == 0:
                    grid[cell] = tint
        for cell in scatter(rng, grid.shape, amount(rng, size, 0, 5), 1):
            if grid[cell] == 0:
                grid[cell] = block if blocked and rng.random() < 0.6 else pick(rng, tints)
        out = grid.copy()
        visits = np.zeros(grid.shape, np.int8)
        for across in (True, False) if directions == "both" else (True,):
            view = grid if across else grid.T
            for k in np.flatnonzero((view > 0).sum(1) > 1).tolist():
                found = np.flatnonzero(view[k]).tolist()
                for a, b in itertools.pairwise(found):
                    left, right = int(view[k, a]), int(view[k, b])
                    if b - a < 2 or block in (left, right) or (same and left != right):
                        continue
                    cells = [(k, at) if across else (at, k) for at in range(a + 1, b)]
                    tint = left if own else ink
                    half = len(cells) / 2
                    if joined == "middle":
                        if len(cells) % 2 == 0:
                            continue
                        cells, tint = cells[len(cells) // 2 :][:1], middle
                    elif joined == "ends":
                        cells = [cells[0], cells[-1]]
                    for i, cell in enumerate(cells):
                        if joined == "dotted" and i % 2:
                            continue
                        visits[cell] += 1
                        if joined == "halves":
                            out[cell] = middle if i + 0.5 == half else left if i < half else right
                        else:
                            out[cell] = tint
        if not visits.any() or (joined == "halves" and (visits > 1).any()):
            return None
        if (visits > 1).any():
            if not crossed and own and not one:
                return None
            if crossed:
                out[visits > 1] = cross
        if gone:
            out[grid > 0] = 0
        return grid, out

    return sample


def elbows(rng: Rng) -> PairSampler:
    """From a cell of one colour to its partner, first along the row, then along the column; corners may be marked."""
    start, end, ink, corner, block = draw_colours(rng, 5)
    own = pick(rng, ("ink", "start", "both"))
    marked = rng.random() < 0.3
    only_corner = rng.random() < 0.15
    both_ways = rng.random() < 0.2
    border = rng.random() < 0.15
    distractors = rng.random() < 0.25

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 5)
        height, width = grid.shape
        pairs = 1 if both_ways or size < 0.5 else int(rng.integers(1, 3))
        rows, columns = rng.permutation(height)[: 2 * pairs].tolist(), rng.permutation(width)[: 2 * pairs].tolist()
        if len(rows) < 2 * pairs or len(columns) < 2 * pairs:
            return None
        if pairs == 2:  # side by side, so that it is plain who belongs to whom
            columns.sort()
            rows.sort()
            if columns[2] - columns[1] < 3 or rows[2] - rows[1] < 3:
                return None
            rows = [rows[i] for i in (pick(rng, ((0, 1, 2, 3), (1, 0, 3, 2), (1, 0, 2, 3))))]
        lines = []
        for i in range(pairs):
            (r, s), (c, d) = rows[2 * i : 2 * i + 2], columns[2 * i : 2 * i + 2]
            grid[r, c], grid[s, d] = start, end
            first = [*_between((r, c), (r, d)), (r, d)]
            second = _between((r, d), (s, d))
            lines.append((first, second, (r, d)))
            if both_ways:
                lines.append(([*_between((r, c), (s, c)), (s, c)], _between((s, c), (s, d)), (s, c)))
        out = grid.copy()
        if distractors:
            for cell in scatter(rng, grid.shape, amount(rng, size, 1, 5), 0):
                if grid[cell] == 0 and not any(cell in a or cell in b for a, b, _ in lines):
                    grid[cell] = out[cell] = block
        for first, second, at in lines:
            if only_corner:
                out[at] = corner
                continue
            for cell in first:
                out[cell] = ink if own == "ink" else start
            for cell in second:
                out[cell] = {"ink": ink, "start": start, "both": end}[own]
            if marked:
                out[at] = corner
        if border:
            out[out == end] = corner
        return grid, out

    return sample


def box_corners(rng: Rng) -> PairSampler:
    """Four (or two opposite) corner cells stand for a rectangle: it is drawn, filled, or its own corners completed."""
    fill, edge, noise, *points = draw_colours(rng, 6)
    shown = pick(rng, (4, 4, 4, 3, 2))
    draws = pick(rng, ("fill", "edge", "both", "whole", "corner", "cross", "lines"))
    own = rng.random() < 0.4
    one = rng.random() < 0.5
    noisy = rng.random() < 0.25

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 6)
        placed = boxes(rng, grid.shape, amount(rng, size, 1, 4), 3, 5 + round(6 * size), 1)
        if not placed:
            return None
        out = grid.copy()
        for t, left, h, w in placed:
            tint = points[0] if one else pick(rng, points)
            corners = [(t, left), (t + h - 1, left + w - 1), (t, left + w - 1), (t + h - 1, left)]
            if shown == 2 and rng.random() < 0.5:
                corners = corners[2:] + corners[:2]
            if shown == 3:
                corners = [corners[k] for k in rng.permutation(4)]
            view = out[t : t + h, left : left + w]
            ink = tint if own else fill
            if draws == "whole":
                view[:] = ink
            elif draws == "cross":
                if not (h % 2 and w % 2):
                    return None
                view[h // 2, 1:-1] = view[1:-1, w // 2] = ink
            elif draws == "lines":
                view[[0, -1], 1:-1] = ink
            elif draws != "corner":
                if draws in ("edge", "both"):
                    view[:] = ink if draws == "edge" else edge
                view[1:-1, 1:-1] = ink if draws != "edge" else 0
            elif shown == 4:
                view[1:-1, 1:-1][[0, 0, -1, -1], [0, -1, 0, -1]] = ink
            for k, cell in enumerate(corners):
                if k < shown:
                    grid[cell] = out[cell] = tint
                elif draws in ("corner", "cross"):
                    out[cell] = ink
        if noisy and shown == 4:
            for cell in scatter(rng, grid.shape, amount(rng, size, 1, 4), 1):
                if all(not (t <= cell[0] < t + h and s <= cell[1] < s + w) for t, s, h, w in placed):
                    grid[cell] = out[cell] = noise
        return grid, out

    return sample


def ordered(rng: Rng) -> PairSampler:
    """Points of several colours are joined by straight lines in an order of colours that the rule fixes."""
    count = int(rng.integers(3, 6))
    *order, ink = draw_colours(rng, count + 1)
    own = pick(rng, ("ink", "from", "to"))
    closed = rng.random() < 0.25
    partial = rng.random() < 0.3

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, max(size, 0.2), 6)
        height, width = grid.shape
        number = int(rng.integers(3, count + 1)) if partial else count
        r, c = int(rng.integers(height)), int(rng.integers(width))
        points = [(r, c)]
        across = rng.random() < 0.5
        drawn: set[Cell] = {(r, c)}
        for k in range(1, number):
            at = int(rng.integers(width if across else height))
            nxt = (r, at) if across else (at, c)
            if closed and k == number - 1:
                nxt = (points[0][0], c) if not across else (r, points[0][1])
            line = [*_between((r, c), nxt), nxt]
            if len(line) < 2 or drawn & set(line):
                return None
            drawn |= set(line)
            (r, c), across = nxt, not across
            points.append(nxt)
        for point, colour in zip(points, order, strict=False):
            grid[point] = colour
        out = grid.copy()
        links = list(zip(range(number), range(1, number), strict=False))
        if closed:
            if points[0][0] != points[-1][0] and points[0][1] != points[-1][1]:
                return None
            line = _between(points[-1], points[0])
            if not line or drawn & set(line):
                return None
            links.append((number - 1, 0))
        for a, b in links:
            for cell in _between(points[a], points[b]):
                out[cell] = ink if own == "ink" else order[a if own == "from" else b]
        return grid, out

    return sample


def nearest(rng: Rng) -> PairSampler:
    """Grey cells take the colour of the nearest anchor, or anchors are marked by what is nearest to them."""
    plain, other, *anchors = draw_colours(rng, 6)
    metric = pick(rng, ("steps", "steps", "king"))
    rule = pick(rng, ("nearest", "nearest", "farthest", "same row", "same column"))
    one_only = rng.random() < 0.3
    lost = rng.random() < 0.3

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 6)
        cells = scatter(rng, grid.shape, amount(rng, size, 2, 4) + amount(rng, size, 2, 14), 1)
        number = min(max(2, amount(rng, size, 2, 4)), 4)
        if len(cells) < number + 2:
            return None
        tints = [anchors[k] for k in rng.permutation(4)[:number]]
        for cell, tint in zip(cells, tints, strict=False):
            grid[cell] = tint
        out = grid.copy()
        for r, c in cells[number:]:
            grid[r, c] = plain
            out[r, c] = other if lost and rule.startswith("same") else plain
            if rule.startswith("same"):
                i = 0 if rule == "same row" else 1
                match = [t for cell, t in zip(cells, tints, strict=False) if cell[i] == (r, c)[i]]
                if len(match) > 1:
                    return None
                if match:
                    out[r, c] = match[0]
                continue
            apart = [
                abs(r - a) + abs(c - b) if metric == "steps" else max(abs(r - a), abs(c - b)) for a, b in cells[:number]
            ]
            order = np.argsort(apart)
            best, second = (order[0], order[1]) if rule == "nearest" else (order[-1], order[-2])
            if abs(apart[best] - apart[second]) < (2 if size < 0.5 else 1):
                return None
            out[r, c] = tints[int(best)]
        if one_only:
            for cell in cells[:number]:
                out[cell] = 0
        return grid, out

    return sample


FAMILIES: tuple[Family, ...] = (
    *(guised(in_line),) * 2,
    guised(elbows),
    guised(box_corners),
    guised(ordered),
    guised(nearest),
)
