"""Lines across the grid: from marks on the border, as shadows of objects, as patterns that go on, as spirals."""

from __future__ import annotations

import itertools

import numpy as np

from ttt_jax.train.invented.draws import amount, draw_colours, pick, side
from ttt_jax.train.invented.masks import ORTHOGONAL, Cell, inside
from ttt_jax.train.invented.movement.ground import blank, walk
from ttt_jax.train.invented.movement.guises import guised
from ttt_jax.train.invented.placing import boxes, scatter
from ttt_jax.train.invented.rule import Family, Pair, PairSampler, Rng


def border_marks(rng: Rng) -> PairSampler:
    """Marks on the borders draw lines across; objects, crossings and line order decide what is seen."""
    first, second, cross, block, painted = draw_colours(rng, 5)
    own = rng.random() < 0.6
    sides = pick(rng, ("left", "both", "both"))
    on_top = pick(rng, ("rows", "columns", "cross", "cross"))
    meets = pick(rng, ("none", "none", "stop", "behind", "painted", "swap"))
    summary = pick(rng, ("", "", "", "", "crossings", "points"))
    dotted = rng.random() < 0.15

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 5)
        height, width = grid.shape
        rows = 1 + 2 * np.flatnonzero(rng.random((height - 1) // 2) < 0.35)
        columns = 1 + 2 * np.flatnonzero(rng.random((width - 1) // 2) < 0.35) if sides == "both" else np.zeros(0, int)
        rows, columns = rows[:6], columns[:6]
        if len(rows) + len(columns) < 1 or (sides == "both" and not (len(rows) and len(columns))):
            return None
        if own and sides == "left":
            grid[rows, 0] = rng.integers(1, 10, len(rows))
        else:
            grid[rows, 0] = first
        grid[0, columns] = second
        if meets != "none":
            for t, left, h, w in boxes(rng, (height - 1, width - 1), amount(rng, size, 1, 5), 1, 3, 1):
                grid[t + 1 : t + 1 + h, left + 1 : left + 1 + w] = block
        out = grid.copy()
        blocks = grid == block if meets != "none" else np.zeros(grid.shape, bool)
        blocks[:, 0] = blocks[0] = False
        drawn = np.zeros(grid.shape, np.int8)
        hits = 0
        lines = [(r, False) for r in rows.tolist()] + [(c, True) for c in columns.tolist()]
        if on_top == "rows":
            lines.reverse()
        for i, vertical in lines:
            line, cells, walls = (
                (out[1:, i], drawn[1:, i], blocks[1:, i]) if vertical else (out[i, 1:], drawn[i, 1:], blocks[i, 1:])
            )
            colour = grid[0, i] if vertical else grid[i, 0]
            reach = len(line)
            if walls.any():
                hits += 1
                if meets == "stop":
                    reach = int(walls.argmax())
            ink = np.arange(len(line)) < reach
            if dotted:
                ink &= np.arange(len(line)) % 2 == 1
            cells += ink
            line[ink & ~walls] = colour
            if meets == "painted":
                line[ink & walls] = painted
            elif meets == "swap":
                line[ink & walls] = colour
        both = drawn > 1
        if on_top == "cross":
            out[both & ~blocks] = cross
        if meets not in ("none", "stop") and not hits:
            return None
        if sides == "both" and summary == "crossings":
            return grid, np.full((len(rows), len(columns)), cross, np.int8)
        if sides == "both" and summary == "points":
            return grid, np.where(both, np.int8(cross), grid)
        return grid, out

    return sample


def shadows(rng: Rng) -> PairSampler:
    """Solid objects cast shadows to the left: to the border, as long as they are wide, or onto the next object."""
    shade, *solid = draw_colours(rng, 5)
    own = rng.random() < 0.3
    reach = pick(rng, ("border", "border", "width", "one", "slanted", "between"))
    edge = rng.random() < 0.25
    tint = solid.pop()
    lit = rng.random() < 0.3
    plain = rng.random() < 0.4

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 6)
        placed = boxes(rng, grid.shape, amount(rng, size, 1, 6), 1 if reach != "width" else 2, 4, 1)
        if not placed:
            return None
        out = grid.copy()
        for t, left, h, w in placed:
            grid[t : t + h, left : left + w] = solid[0] if plain else pick(rng, solid)
        for t, left, h, w in placed:
            colour = grid[t, left] if own else shade
            for r in range(t, t + h):
                if reach == "slanted":
                    for i in range(1, max(r + 1, 30)):
                        if not (inside(grid, r - i, left - i)):
                            break
                        out[r - i, left - i] = colour
                    continue
                path, end = walk(grid, (r, left), (0, -1))
                if reach == "between":
                    path = path if end is not None else []
                elif reach != "border":
                    path = path[: 1 if reach == "one" else w]
                for _, c in path:
                    out[r, c] = colour
        if edge:
            out[:, 0] = np.where(out[:, 0] > 0, np.int8(tint), out[:, 0])
        out = np.where(grid > 0, grid, out)
        if lit:
            for t, left, h, w in placed:
                out[t : t + h, left + w - 1] = tint
        return grid, out

    return sample


def pattern_lines(rng: Rng) -> PairSampler:
    """A line begun with a sequence of colours goes on in that way to the border, straight, as stairs or in zigzag."""
    form = pick(rng, ("straight", "stairs", "zigzag", "stairs", "diagonal"))
    run, rise = (int(n) for n in rng.integers(1, 4, 2))
    fixed = [int(c) for c in rng.integers(1, 10, int(rng.integers(1, 4)))]
    varies = rng.random() < 0.6
    ways = (1, -1) if rng.random() < 0.2 else (1,)
    blocked = rng.random() < 0.25
    wall = pick(rng, [c for c in range(1, 10) if c not in fixed])
    shown = 1 if not varies and rng.random() < 0.5 else 0

    def path(grid: np.ndarray, start: Cell, way: int) -> list[Cell]:
        r, c = start
        cells = []
        phase = 0
        while inside(grid, r, c) and len(cells) < 200:
            cells.append((r, c))
            if form == "straight":
                c += way
            elif form == "diagonal":
                r, c = r - 1, c + way
            elif form == "stairs":
                r, c = (r, c + way) if phase < run else (r - 1, c)
                phase = (phase + 1) % (run + rise)
            else:
                r, c = (r - 1 if phase < rise else r + 1), c + way
                phase = (phase + 1) % (2 * rise)
        return cells

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 6)
        height, width = grid.shape
        starts = [(int(rng.integers(height)), 0)]
        if form in ("stairs", "diagonal"):
            starts = [
                (height - 1 - int(rng.integers(0, max(1, height // 3))), int(rng.integers(0, max(1, width // 2))))
            ]
        if form in ("straight", "zigzag"):
            lanes = range(rise if form == "zigzag" else 0, height, (rise if form == "zigzag" else 0) + 2)
            starts = [(r, 0) for r in lanes if rng.random() < 0.5][: 1 + round(5 * size)]
        if not starts:
            return None
        out = grid.copy()
        for start in starts:
            colours = [int(k) for k in rng.permutation(9)[: len(fixed)] + 1] if varies else fixed
            if blocked and wall in colours:
                return None
            for way in ways if form in ("stairs", "diagonal") else (1,):
                cells = path(grid, start, way)
                seen = shown or max(len(fixed), (run + rise + 1) if form == "stairs" else 0, 2)
                if form == "zigzag":
                    seen = max(seen, 2 * rise + 1)
                if len(cells) < seen + 2:
                    return None
                if blocked and rng.random() < 0.6:
                    stop = cells[int(rng.integers(seen, len(cells)))]
                    grid[stop] = out[stop] = wall
                    cells = cells[: cells.index(stop)]
                for i, cell in enumerate(cells):
                    colour = colours[i % len(colours)]
                    if i < seen:
                        grid[cell] = colour
                    out[cell] = colour
        return grid, out

    return sample


def spirals(rng: Rng) -> PairSampler:
    """A spiral winds inwards from the corner, or outwards from a cell, with a gap between its arms."""
    ray, other, centre = draw_colours(rng, 3)
    gap = int(rng.integers(1, 3))
    outwards = rng.random() < 0.5
    clockwise = 1 if rng.random() < 0.5 else -1
    fill = rng.random() < 0.25
    corners = rng.random() < 0.25
    alternate = rng.random() < 0.25
    shown = int(rng.integers(1, 4))

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 6 if not outwards else 7)
        if outwards:
            r, c = scatter(rng, grid.shape, 1, 0, 2)[0]
            cells, bends, d, length = [(r, c)], set(), 0, gap + 1
            while len(cells) < 900:
                for _ in range(length):
                    r, c = r + ORTHOGONAL[d][0], c + ORTHOGONAL[d][1]
                    cells.append((r, c))
                bends.add((r, c))
                if not inside(grid, r, c):
                    break
                d = (d + clockwise) % 4
                length += gap + 1 if d % 2 == 0 else 0
            inner = []
            for cell in cells:
                if not inside(grid, *cell):
                    break
                inner.append(cell)
            cells = inner
        else:
            height, width = grid.shape
            _top, _left, _bottom, _right = 0, 0, height - 1, width - 1
            cells, bends = [], set()
            r, c, d = 0, 0, 1
            taken = np.zeros(grid.shape, bool)
            cells.append((0, 0))
            taken[0, 0] = True
            run = gap + 1
            while True:
                a, b = ORTHOGONAL[d]
                ahead = [(r + a * i, c + b * i) for i in range(1, gap + 2)]
                if not inside(grid, *ahead[0]) or any(inside(grid, *n) and taken[n] for n in ahead):
                    if run <= gap:  # a turn now would lead along the arm before
                        break
                    d, run = (d + 1) % 4, 0
                    continue
                if run == 0:
                    bends.add((r, c))
                run += 1
                r, c = ahead[0]
                taken[r, c] = True
                cells.append((r, c))
        if len(cells) < 10:
            return None
        out = grid.copy()
        for i, cell in enumerate(cells):
            out[cell] = other if (alternate and i % 2) or (corners and cell in bends) else ray
        first = cells[:shown] if not alternate else cells[: max(2, shown)]
        for cell in first:
            grid[cell] = out[cell]
        if fill:
            out[out == 0] = centre
        return grid, out

    return sample


def crossing_counts(rng: Rng) -> PairSampler:
    """Full lines of several colours: how many lie across, how many meet, which lies on top."""
    ink, one, two, *more = draw_colours(rng, 6)
    rule = pick(rng, ("meet", "rows", "columns", "order", "order", "top", "regions"))
    flat = rng.random() < 0.5

    def sample(rng: Rng, size: float) -> Pair | None:
        height, width = side(rng, size, 5, 26), side(rng, size, 5, 26)
        grid = np.zeros((height, width), np.int8)
        rows = (1 + 2 * np.flatnonzero(rng.random((height - 1) // 2) < 0.4)).tolist()[:5]
        columns = (1 + 2 * np.flatnonzero(rng.random((width - 1) // 2) < 0.4)).tolist()[:5]
        if not rows or not columns or len(rows) + len(columns) < 3:
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
            if any(a[1] == b[1] for a, b in itertools.pairwise(lines)):
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


FAMILIES: tuple[Family, ...] = (
    guised(border_marks, sided=True),
    guised(shadows),
    guised(pattern_lines),
    guised(spirals),
    guised(crossing_counts),
)
