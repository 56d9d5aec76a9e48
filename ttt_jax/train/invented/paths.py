"""Connecting and following: points in line, elbows, corners of rectangles, mazes, snakes, chains, water that runs down."""

from __future__ import annotations

import numpy as np

from ttt_jax.train.invented.ground import (
    ORTHOGONAL,
    Cell,
    amount,
    blank,
    boxes,
    inside,
    neighbours,
    palette,
    pick,
    scatter,
)
from ttt_jax.train.invented.rule import Family, Pair, PairSampler, side


def _between(a: Cell, b: Cell) -> list[Cell]:
    """The cells strictly between two cells of one row or column."""
    if a[0] == b[0]:
        step = 1 if b[1] > a[1] else -1
        return [(a[0], c) for c in range(a[1] + step, b[1], step)]
    step = 1 if b[0] > a[0] else -1
    return [(r, a[1]) for r in range(a[0] + step, b[0], step)]


def _in_line(rng: np.random.Generator) -> PairSampler:
    """Cells of a kind that see each other along rows or columns are joined; or the middle between them is marked."""
    ink, cross, middle, block, *points = palette(rng, 7)
    one = rng.random() < 0.4
    directions = pick(rng, ("rows", "rows", "both", "both"))
    same = rng.random() < 0.6
    joined = pick(rng, ("line", "line", "line", "middle", "halves", "dotted", "ends"))
    own = rng.random() < 0.5 and (same or one)
    crossed = rng.random() < 0.4
    blocked = rng.random() < 0.3
    gone = rng.random() < 0.12

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
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
                for a, b in zip(found, found[1:], strict=False):
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


def _elbows(rng: np.random.Generator) -> PairSampler:
    """From a cell of one colour to its partner, first along the row, then along the column; corners may be marked."""
    start, end, ink, corner, block = palette(rng, 5)
    own = pick(rng, ("ink", "start", "both"))
    marked = rng.random() < 0.3
    only_corner = rng.random() < 0.15
    both_ways = rng.random() < 0.2
    border = rng.random() < 0.15
    distractors = rng.random() < 0.25

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
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


def _corners(rng: np.random.Generator) -> PairSampler:
    """Four (or two opposite) corner cells stand for a rectangle: it is drawn, filled, or its own corners completed."""
    fill, edge, noise, *points = palette(rng, 6)
    shown = pick(rng, (4, 4, 4, 3, 2))
    draws = pick(rng, ("fill", "edge", "both", "whole", "corner", "cross", "lines"))
    own = rng.random() < 0.4
    one = rng.random() < 0.5
    noisy = rng.random() < 0.25

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
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


def _maze(rng: np.random.Generator, rows: int, columns: int) -> tuple[np.ndarray, dict[Cell, Cell]]:
    """A maze without cycles: free cells, bool[2 rows + 1, 2 columns + 1], and the parent of every cell but the root."""
    free = np.zeros((2 * rows + 1, 2 * columns + 1), bool)
    root = (int(rng.integers(rows)), int(rng.integers(columns)))
    free[2 * root[0] + 1, 2 * root[1] + 1] = True
    parents: dict[Cell, Cell] = {}
    seen, stack = {root}, [root]
    turns = rng.integers(4, size=4 * rows * columns + 8).tolist()
    while stack:
        r, c = stack[-1]
        first = turns.pop() if turns else 0
        for k in range(4):
            a, b = ORTHOGONAL[(first + k) % 4]
            near = (r + a, c + b)
            if 0 <= near[0] < rows and 0 <= near[1] < columns and near not in seen:
                seen.add(near)
                parents[near] = (r, c)
                free[2 * r + 1 + a, 2 * c + 1 + b] = free[2 * near[0] + 1, 2 * near[1] + 1] = True
                stack.append(near)
                break
        else:
            stack.pop()
    return free, parents


def _mazes(rng: np.random.Generator) -> PairSampler:
    """A maze: the way between two marks, the dead ends, the forks, or the way to the nearer end."""
    wall, start, end, ink, fork = palette(rng, 5)
    rule = pick(rng, ("way", "way", "way", "ends", "forks", "parity", "straight", "pruned"))
    same = rng.random() < 0.4
    framed = rng.random() < 0.5
    dotted = rng.random() < 0.2

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
        most = 2 + round(12 * size * 0.9)
        rows, columns = (int(n) for n in rng.integers(2, most + 1, 2))
        free, parents = _maze(rng, rows, columns)
        grid = np.where(free, np.int8(0), np.int8(wall))
        out = grid.copy()
        if rule == "way":
            if rows * columns < 6:
                return None
            picks = rng.permutation(rows * columns)[:2]
            a, b = ((int(k) // columns, int(k) % columns) for k in picks)
            up = [a]
            while up[-1] in parents:
                up.append(parents[up[-1]])
            down = [b]
            while down[-1] not in up:
                down.append(parents[down[-1]])
            nodes = up[: up.index(down[-1]) + 1] + down[-2::-1]
            if len(nodes) < 3:
                return None
            cells: list[Cell] = []
            for (r, c), (s, d) in zip(nodes, nodes[1:], strict=False):
                cells += [(2 * r + 1, 2 * c + 1), (r + s + 1, c + d + 1)]
            for i, cell in enumerate(cells[1:]):
                if not dotted or i % 2:
                    out[cell] = ink
            for node, colour in ((a, start), (b, start if same else end)):
                cell = (2 * node[0] + 1, 2 * node[1] + 1)
                grid[cell] = out[cell] = colour
        else:
            near = neighbours(free, ORTHOGONAL)
            if rule == "ends":
                out[free & (near == 1)] = ink
            elif rule == "forks":
                out[free & (near > 2)] = ink
                if not (free & (near > 2)).any():
                    return None
            elif rule == "parity":
                ys, xs = np.indices(free.shape)
                out[free & ((ys + xs) % 2 == (0 if same else 1))] = ink
            elif rule == "straight":
                across = neighbours(free, ((0, 1), (0, -1)))
                up_down = neighbours(free, ((1, 0), (-1, 0)))
                out[free & (across == 2) & (up_down == 0)] = ink
                out[free & (up_down == 2) & (across == 0)] = fork if same else ink
            else:
                out[free & (near == 1)] = wall
        if not framed:
            grid, out = grid[1:-1, 1:-1], out[1:-1, 1:-1]
        return grid, out

    return sample


def _snake_cells(rng: np.random.Generator, shape: tuple[int, ...], length: int) -> list[Cell]:
    """A path that never touches itself, up to `length` cells."""
    r, c = int(rng.integers(shape[0])), int(rng.integers(shape[1]))
    cells = [(r, c)]
    taken = {(r, c)}
    d = int(rng.integers(4))
    draws = rng.random((length, 2)).tolist()
    for turn, which in draws:
        options = [d, (d + 1) % 4, (d + 3) % 4]
        if turn < 0.35:
            options = [options[1 + int(which * 2)], d, options[2 - int(which * 2)]]
        for way in options:
            y, x = r + ORTHOGONAL[way][0], c + ORTHOGONAL[way][1]
            if 0 <= y < shape[0] and 0 <= x < shape[1] and (y, x) not in taken:
                touching = sum((y + a, x + b) in taken for a, b in ORTHOGONAL)
                if touching == 1:
                    r, c, d = y, x, way
                    taken.add((r, c))
                    cells.append((r, c))
                    break
        else:
            break
    return cells


def _snakes(rng: np.random.Generator) -> PairSampler:
    """A winding path from its head: coloured in turn, by its bends or its ends, unrolled, shortened, moved on or dyed."""
    body, head, *inks = palette(rng, 6)
    rule = pick(rng, ("cycle", "cycle", "bends", "ends", "unroll", "unroll", "count", "dye", "half", "flip", "shift"))
    period = int(rng.integers(2, 4))
    keep = rng.random() < 0.5
    shown = rng.random() < 0.3

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
        grid = blank(rng, size, 5, 20)
        cells = _snake_cells(rng, grid.shape, 5 + int(rng.integers(0, 2 + round(30 * size))))
        if len(cells) < 5 or (rule in ("unroll", "count", "shift") and len(cells) > 30):
            return None
        for cell in cells:
            grid[cell] = body
        out = grid.copy()
        grid[cells[0]] = out[cells[0]] = head
        rest = cells[1:]
        if rule == "cycle":
            if shown:
                for i, cell in enumerate(rest[:period]):
                    grid[cell] = inks[i]
            for i, cell in enumerate(rest):
                out[cell] = inks[i % period] if shown or i % period else body
        elif rule == "bends":
            for a, b, c in zip(cells, rest, cells[2:], strict=False):
                if a[0] != c[0] and a[1] != c[1]:
                    out[b] = inks[0]
        elif rule == "ends":
            out[cells[-1]] = inks[0]
            if not keep:
                grid[cells[0]], out[cells[0]] = body, inks[0]
        elif rule in ("unroll", "shift"):
            for cell in rest:
                if rng.random() < 0.4:
                    grid[cell] = pick(rng, inks)
            colours = [int(grid[cell]) for cell in cells]
            if rule == "unroll":
                return grid, np.array([colours if keep else colours[1:]], np.int8)
            for cell, colour in zip(rest, colours[-1:] + colours[1:-1], strict=True):
                out[cell] = colour
        elif rule == "count":
            return grid, np.full((1, len(rest) + keep), body, np.int8)
        elif rule == "dye":
            grid[cells[-1]] = out[cells[-1]] = inks[0]
            for i, cell in enumerate(rest[:-1]):
                out[cell] = head if 2 * i < len(rest) - 2 else inks[0]
            if len(rest) % 2 == 0:
                return None
        elif rule == "half":
            for cell in rest[len(rest) // 2 :] if keep else rest[: len(rest) // 2]:
                out[cell] = inks[0]
            if len(rest) % 2:
                return None
        else:
            out[cells[0]], out[cells[-1]] = body, head
        return grid, out

    return sample


def _ordered(rng: np.random.Generator) -> PairSampler:
    """Points of several colours are joined by straight lines in an order of colours that the rule fixes."""
    count = int(rng.integers(3, 6))
    *order, ink = palette(rng, count + 1)
    own = pick(rng, ("ink", "from", "to"))
    closed = rng.random() < 0.25
    partial = rng.random() < 0.3

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
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


def _nearest(rng: np.random.Generator) -> PairSampler:
    """Grey cells take the colour of the nearest anchor, or anchors are marked by what is nearest to them."""
    plain, other, *anchors = palette(rng, 6)
    metric = pick(rng, ("steps", "steps", "king"))
    rule = pick(rng, ("nearest", "nearest", "farthest", "same row", "same column"))
    one_only = rng.random() < 0.3
    lost = rng.random() < 0.3

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
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


def _chains(rng: np.random.Generator) -> PairSampler:
    """Dominoes lie about: they are strung together so that touching halves agree, from the one with the head colour."""
    head, *links = palette(rng, 8)
    thick = int(rng.integers(1, 3))
    merged = rng.random() < 0.4
    long = rng.random() < 0.3

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
        count = amount(rng, size, 3, 6)
        colours = [head, *(links[k] for k in rng.permutation(7)[:count])]
        width = 3 if long else 2
        pieces = list(zip(colours, colours[1:], strict=False))
        rows, columns = 3 + count * thick, 4 + 2 * count
        grid = np.zeros((min(rows + round(6 * size), 30), min(columns, 30)), np.int8)
        placed = []
        order = rng.permutation(count).tolist()
        top = 0
        for k in order:
            top += int(rng.integers(0, 2))
            left = int(rng.integers(grid.shape[1] - width + 1))
            if top + thick > grid.shape[0]:
                return None
            view = grid[top : top + thick, left : left + width]
            view[:] = pieces[k][1]
            view[:, 0] = pieces[k][0]
            if long:
                view[:, 1] = pieces[k][0]
            placed.append(k)
            top += thick + 1
        row = [pieces[0][0], *(c for _, c in pieces)] if merged else [c for p in pieces for c in p]
        return grid, np.repeat(np.array([row], np.int8), thick, 0)

    return sample


def _waterfall(rng: np.random.Generator) -> PairSampler:
    """Water runs to the right from sources at the left border; at a wall it spreads along it and runs on past its ends."""
    source, wall, water = palette(rng, 3)
    water = source if rng.random() < 0.5 else water
    sides = pick(rng, ((1,), (-1,), (1, -1)))
    wet = rng.random() < 0.2

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
        grid = blank(rng, size, 6)
        height, width = grid.shape
        for t, left, h, _ in boxes(rng, (height, width - 2), amount(rng, size, 1, 8), 1, 4, 1, 1):
            grid[t : t + h, left + 2] = wall
        for r in rng.permutation(height)[: 1 + (rng.random() < 0.3)].tolist():
            grid[r, 0] = source
        out = grid.copy()
        heads = [(int(r), 0) for r in np.flatnonzero(grid[:, 0] == source)]
        met = 0
        seen: set[Cell] = set(heads)
        while heads:
            r, c = heads.pop()
            nxt = [(r, c + 1)]
            if c + 1 < width and grid[r, c + 1] == wall:
                met += 1
                nxt = [(r + d, c) for d in sides]
                if wet:
                    out[r, c + 1] = water
            for cell in nxt:
                if inside(grid, *cell) and grid[cell] == 0 and cell not in seen:
                    seen.add(cell)
                    out[cell] = water
                    heads.append(cell)
        return (grid, out) if met else None

    return sample


def _crossing_counts(rng: np.random.Generator) -> PairSampler:
    """Full lines of several colours: how many lie across, how many meet, which lies on top."""
    ink, one, two, *more = palette(rng, 6)
    rule = pick(rng, ("meet", "rows", "columns", "order", "order", "top", "regions"))
    flat = rng.random() < 0.5

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
        height, width = side(rng, size, 5, 26), side(rng, size, 5, 26)
        grid = np.zeros((height, width), np.int8)
        rows = (1 + 2 * np.flatnonzero(rng.random((height - 1) // 2) < 0.4)).tolist()[:5]
        columns = (1 + 2 * np.flatnonzero(rng.random((width - 1) // 2) < 0.4)).tolist()[:5]
        if not rows or not columns:
            return None
        if rule in ("order", "top"):
            tints = [one, two, *more][:5]
            rows, columns = rows[:2], columns[:3]
            lines = [(r, True) for r in rows] + [(c, False) for c in columns]
            lines = [lines[k] for k in rng.permutation(len(lines))]
            if not 2 <= len(lines) <= 5:
                return None
            tints = [tints[k] for k in rng.permutation(5)[: len(lines)]]
            # The order must be seen: a line after one that it does not cross would leave it open.
            if any(a[1] == b[1] for a, b in zip(lines, lines[1:], strict=False)):
                return None
            for (at, across), tint in zip(lines, tints, strict=True):
                if across:
                    grid[at] = tint
                else:
                    grid[:, at] = tint
            if rule == "order":
                return grid, np.array([tints if flat else tints[::-1]], np.int8)
            at, across = lines[-1] if flat else lines[0]
            out = np.zeros_like(grid)
            if across:
                out[at] = tints[-1 if flat else 0]
            else:
                out[:, at] = tints[-1 if flat else 0]
            return grid, out
        grid[rows] = one
        grid[:, columns] = two
        if flat:
            grid[np.ix_(rows, columns)] = one
        if rule == "meet":
            return grid, np.full((len(rows), len(columns)), ink, np.int8)
        if rule == "regions":
            if len(rows) + len(columns) < 3:
                return None
            return grid, np.full((len(rows) + 1, len(columns) + 1), ink, np.int8)
        number, tint = (len(rows), one) if rule == "rows" else (len(columns), two)
        return grid, np.full((1, number), tint, np.int8)

    return sample


PATHS: tuple[Family, ...] = (
    _in_line,
    _in_line,
    _elbows,
    _corners,
    _mazes,
    _snakes,
    _snakes,
    _ordered,
    _nearest,
    _chains,
    _waterfall,
    _crossing_counts,
)
