"""Rays and lines: from points until something, bouncing, turned by colours, crossing, from the border, from arrows."""

from __future__ import annotations

import numpy as np

from ttt_jax.train.invented.ground import (
    DIAGONAL,
    ORTHOGONAL,
    Cell,
    amount,
    blank,
    boxes,
    inside,
    palette,
    pick,
    scatter,
)
from ttt_jax.train.invented.rule import Family, Pair, PairSampler

_DIRECTIONS: tuple[tuple[Cell, ...], ...] = (
    *((step,) for step in ORTHOGONAL + DIAGONAL),
    (ORTHOGONAL[0], ORTHOGONAL[2]),
    (ORTHOGONAL[1], ORTHOGONAL[3]),
    (ORTHOGONAL[0], ORTHOGONAL[1]),
    (DIAGONAL[0], DIAGONAL[2]),
    (DIAGONAL[0], DIAGONAL[1]),
    ORTHOGONAL,
    DIAGONAL,
)


def walk(grid: np.ndarray, start: Cell, step: Cell) -> tuple[list[Cell], Cell | None]:
    """The empty cells that a ray from `start` crosses, and the cell that stops it (None at the border)."""
    cells = []
    r, c = start[0] + step[0], start[1] + step[1]
    while inside(grid, r, c):
        if grid[r, c]:
            return cells, (r, c)
        cells.append((r, c))
        r, c = r + step[0], c + step[1]
    return cells, None


def _beams(rng: np.random.Generator) -> PairSampler:
    """Points of one to three colours shoot rays, each colour in its own directions; what happens at obstacles and
    crossings, how the trail looks and what becomes of its ends is fixed by the rule."""
    kinds = int(rng.choice([1, 1, 2, 2, 3]))
    *sources, wall, crossing, trail, tip = palette(rng, kinds + 4)
    directions = {c: pick(rng, _DIRECTIONS) for c in sources}
    trails = {c: (c if rng.random() < 0.6 else trail) for c in sources}
    period = pick(rng, ((1,), (1,), (1,), (1, 0), (0, 1), (1, 1, 0), (1, 2), (2, 1)))
    hit = pick(rng, ("none", "stop", "stop", "mark", "pass", "erase", "needed", "glow"))
    crossed = rng.random() < 0.4
    last = pick(rng, ("same", "same", "same", "tip", "only"))
    source_becomes = pick(rng, ("same", "same", "same", "tip", "gone"))
    reach = int(rng.choice([30, 30, 30, 2, 3]))

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
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


def _mirrors(rng: np.random.Generator) -> PairSampler:
    """A ray that starts at the left border turns at coloured cells, to the left or right by their colour."""
    ray, right, left, stop, trail, third = palette(rng, 6)
    turns = {right: 1, left: -1, stop: None, third: 0}
    colours = pick(rng, ((right,), (right, left), (right, left), (right, left, stop), (right, left, third)))
    trail = ray if rng.random() < 0.6 else trail
    recolour = rng.random() < 0.25
    starts = 2 if rng.random() < 0.2 else 1
    slanted = rng.random() < 0.3
    through = rng.random() < 0.3

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
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


def _bouncing(rng: np.random.Generator) -> PairSampler:
    """A diagonal ray from the bottom row bounces off the sides (and off blocks in its way) until it leaves at the top."""
    ray, block, other, corner = palette(rng, 4)
    alternate = rng.random() < 0.25
    marked = rng.random() < 0.3
    to_left = rng.random() < 0.5
    both = rng.random() < 0.2
    trail = ray if rng.random() < 0.6 else other
    walled = rng.random() < 0.3

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
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


def _border_marks(rng: np.random.Generator) -> PairSampler:
    """Marks on the borders draw lines across; objects, crossings and line order decide what is seen."""
    first, second, cross, block, painted = palette(rng, 5)
    own = rng.random() < 0.6
    sides = pick(rng, ("left", "both", "both"))
    on_top = pick(rng, ("rows", "columns", "cross", "cross"))
    meets = pick(rng, ("none", "none", "stop", "behind", "painted", "swap"))
    summary = pick(rng, ("", "", "", "", "crossings", "points"))
    dotted = rng.random() < 0.15

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
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


def _arrows(rng: np.random.Generator) -> PairSampler:
    """Small arrows in all four directions: their heads shoot, the way they point or the other way."""
    body, head, wall, other = palette(rng, 4)
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

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
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


def _shadows(rng: np.random.Generator) -> PairSampler:
    """Solid objects cast shadows to the left: to the border, as long as they are wide, or onto the next object."""
    shade, *solid = palette(rng, 5)
    own = rng.random() < 0.3
    reach = pick(rng, ("border", "border", "width", "one", "slanted", "between"))
    edge = rng.random() < 0.25
    tint = solid.pop()
    lit = rng.random() < 0.3
    plain = rng.random() < 0.4

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
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


def _pattern_lines(rng: np.random.Generator) -> PairSampler:
    """A line begun with a sequence of colours goes on in that way to the border, straight, as stairs or in zigzag."""
    form = pick(rng, ("straight", "stairs", "zigzag", "stairs", "diagonal"))
    run, rise = (int(n) for n in rng.integers(1, 4, 2))
    fixed = [int(c) for c in rng.integers(1, 10, int(rng.integers(1, 4)))]
    varies = rng.random() < 0.6
    ways = (1, -1) if rng.random() < 0.2 else (1,)
    blocked = rng.random() < 0.25
    wall = pick(rng, [c for c in range(1, 10) if c not in fixed])
    crosses = rng.random() < 0.5
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

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
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
        if crosses and form in ("straight", "diagonal") and shown:
            grid = np.where(grid > 0, grid, 0)
        return grid, out

    return sample


def _spirals(rng: np.random.Generator) -> PairSampler:
    """A spiral winds inwards from the corner, or outwards from a cell, with a gap between its arms."""
    ray, other, centre = palette(rng, 3)
    gap = int(rng.integers(1, 3))
    outwards = rng.random() < 0.5
    clockwise = 1 if rng.random() < 0.5 else -1
    fill = rng.random() < 0.25
    corners = rng.random() < 0.25
    alternate = rng.random() < 0.25
    shown = int(rng.integers(1, 4))

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
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
            top, left, bottom, right = 0, 0, height - 1, width - 1
            cells, bends = [], set()
            r, c, d = 0, 0, 1
            taken = np.zeros(grid.shape, bool)
            cells.append((0, 0))
            taken[0, 0] = True
            turned = 0
            while turned < 2:
                a, b = ORTHOGONAL[d]
                ahead = [(r + a * i, c + b * i) for i in range(1, gap + 2)]
                if not inside(grid, *ahead[0]) or any(inside(grid, *n) and taken[n] for n in ahead):
                    bends.add((r, c))
                    d, turned = (d + 1) % 4, turned + 1
                    continue
                turned = 0
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


RAYS: tuple[Family, ...] = (
    _beams,
    _beams,
    _mirrors,
    _bouncing,
    _border_marks,
    _arrows,
    _shadows,
    _pattern_lines,
    _spirals,
)
