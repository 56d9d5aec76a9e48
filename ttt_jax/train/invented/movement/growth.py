"""Growth: local rules applied a few times, nearest colours, rings, contagion, the parts of objects."""

from __future__ import annotations

import numpy as np

from ttt_jax.train.invented.draws import amount, draw_colours, pick, side
from ttt_jax.train.invented.masks import AROUND, DIAGONAL, ORTHOGONAL, dilated, flooded, inside, neighbours
from ttt_jax.train.invented.movement.ground import blank, place_blobs
from ttt_jax.train.invented.movement.guises import guised
from ttt_jax.train.invented.placing import boxes, scatter
from ttt_jax.train.invented.rule import Family, Pair, PairSampler, Rng

_REACHES = (
    ORTHOGONAL,
    ORTHOGONAL,
    DIAGONAL,
    AROUND,
    AROUND,
    ((0, 1), (0, -1)),
    ((-1, -1), (-1, 1)),
    ((0, 1),),
    ((-1, 0), (0, 1)),
    ((-1, -1), (1, 1)),
)


def automaton(rng: Rng) -> PairSampler:
    """Ground with so many neighbours of a colour becomes another, once or several times, around walls or not."""
    seed, grown, wall, other = draw_colours(rng, 4)
    reach = pick(rng, _REACHES)
    least = 1 if len(reach) < 3 else pick(rng, (1, 1, 1, 2, 2, 3))
    exact = rng.random() < 0.3
    rounds = pick(rng, (1, 1, 2, 2, 3, 30))
    if rounds == 30 and least == 1 and len(reach) > 2:
        rounds = 2
    alternate = rng.random() < 0.35
    walled = rng.random() < 0.4
    own = rng.random() < 0.35 and least == 1
    dies = rng.random() < 0.15
    density = pick(rng, (0.0, 0.0, 0.12)) if least == 1 else float(rng.uniform(0.25, 0.45))

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 5)
        if density:
            grid[rng.random(grid.shape) < density] = seed
        else:
            for cell in scatter(rng, grid.shape, amount(rng, size, 1, 5), 2):
                grid[cell] = pick(rng, (seed, other)) if own else seed
        if walled:
            for cell in scatter(rng, grid.shape, amount(rng, size, 2, 12), 0):
                if grid[cell] == 0:
                    grid[cell] = wall
        out = grid.copy()
        for tint in (seed, other) if own else (seed,):
            alive = grid == tint
            for k in range(rounds):
                count = neighbours(alive, [(-r, -c) for r, c in reach])
                born = ((count == least) if exact else (count >= least)) & (out == 0)
                if not born.any():
                    break
                alive |= born
                out[born] = tint if own else grown if not alternate or k % 2 == 0 else other
        if dies:
            out[grid == seed] = 0
        if (out == 0).mean() < 0.02:
            return None
        return grid, out

    return sample


def territories(rng: Rng) -> PairSampler:
    """Every cell belongs to the nearest seed; ties stay empty. Or rings around the seeds, by distance."""
    *inks, edge, wall = draw_colours(rng, 6)
    metric = pick(rng, ("steps", "king", "rows"))
    rule = pick(rng, ("areas", "areas", "borders", "rings", "rings", "parity", "within"))
    radius = int(rng.integers(2, 5))
    ring = [inks[0], *(pick(rng, (0, edge, wall)) for _ in range(int(rng.integers(1, 3))))]
    if len(set(ring)) == 1:
        ring[-1] = edge

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 5)
        height, width = grid.shape
        cells = scatter(rng, grid.shape, amount(rng, size, 1 if rule in ("rings", "parity", "within") else 2, 5), 2)
        if not cells or (rule in ("areas", "borders") and len(cells) < 2):
            return None
        ys, xs = np.arange(height)[:, None], np.arange(width)[None]
        apart = []
        for i, (r, c) in enumerate(cells):
            a, b = np.abs(ys - r), np.abs(xs - c)
            apart.append(a + b if metric == "steps" else np.maximum(a, b) if metric == "king" else b + 0 * a)
            grid[r, c] = inks[0] if rule in ("rings", "parity", "within") else inks[i % 4]
        distance = np.array(apart)
        nearest = distance.min(0)
        owners = (distance == nearest).sum(0)
        out = grid.copy()
        if rule in ("areas", "borders"):
            if metric == "rows" and len({c for _, c in cells}) < len(cells):
                return None
            first = np.array([inks[i % 4] for i in range(len(cells))], np.int8)[distance.argmin(0)]
            # A tie between seeds of one colour is none.
            last = np.array([inks[i % 4] for i in range(len(cells))], np.int8)[::-1][distance[::-1].argmin(0)]
            tied = (owners > 1) & (first != last)
            out = np.where(tied, np.int8(0), first) if rule == "areas" else np.where(tied, np.int8(edge), grid)
        elif rule == "rings":
            out = np.array(ring, np.int8)[nearest % len(ring)]
        elif rule == "parity":
            out = np.where((nearest % 2 == 0) & (nearest <= 2 * radius), np.int8(inks[0]), np.int8(0))
        else:
            out = np.where((nearest <= radius) & (grid == 0), np.int8(edge), grid)
        return grid, out

    return sample


def elementary(rng: Rng) -> PairSampler:
    """The first row is given, every next row follows from the one before it by one fixed rule of three neighbours."""
    ink, other = draw_colours(rng, 2)
    number = pick(rng, (90, 90, 18, 22, 50, 54, 60, 102, 110, 126, 150, 250, 254, 30, 94, 182))
    table = np.array([(number >> k) & 1 for k in range(8)], bool)
    sparse = rng.random() < 0.5
    alternate = rng.random() < 0.25
    wraps = rng.random() < 0.2

    def sample(rng: Rng, size: float) -> Pair | None:
        height, width = side(rng, size, 4, 26), side(rng, size, 5, 30)
        row = np.zeros(width, bool)
        if sparse:
            row[[c for _, c in scatter(rng, (1, width), amount(rng, size, 1, 3), 2)]] = True
        else:
            row = rng.random(width) < 0.4
        grid = np.zeros((height, width), np.int8)
        grid[0, row] = ink
        out = grid.copy()
        for r in range(1, height):
            padded = np.pad(row, 1, mode="wrap") if wraps else np.pad(row, 1)
            row = table[4 * padded[:-2] + 2 * padded[1:-1] + padded[2:]]
            out[r, row] = other if alternate and r % 2 else ink
        return grid, out

    return sample


def contact(rng: Rng) -> PairSampler:
    """What touches a colour, as a cell or as a whole object, changes; the touching cells change or vanish as well."""
    plain, carrier, changed, spare = draw_colours(rng, 4)
    whole = rng.random() < 0.6
    diagonal = rng.random() < 0.4
    fate = pick(rng, ("change", "change", "erase", "keep", "untouched", "swap", "spread"))
    carrier_gone = rng.random() < 0.3
    noise = rng.random() < 0.5

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 5)
        if noise:
            grid[rng.random(grid.shape) < float(rng.uniform(0.25, 0.5))] = plain
            for cell in scatter(rng, grid.shape, amount(rng, size, 1, 5), 2):
                grid[cell] = carrier
        else:
            placed = place_blobs(rng, grid, amount(rng, size, 2, 7), [plain], 7)
            for (top, left), mask, _ in placed:
                rows, columns = np.nonzero(mask)
                if rng.random() < 0.5:
                    k = int(rng.integers(len(rows)))
                    r, c = top + int(rows[k]), left + int(columns[k])
                    d = pick(rng, ORTHOGONAL)
                    near = (r + d[0], c + d[1])
                    if inside(grid, *near):
                        grid[near] = carrier
        bodies, carriers = grid == plain, grid == carrier
        touched = bodies & dilated(carriers, diagonal)
        if whole:
            touched = flooded(bodies, touched, diagonal)
        if not touched.any() or not (bodies & ~touched).any():
            return None
        out = grid.copy()
        if fate in ("change", "spread"):
            out[touched] = carrier if fate == "spread" else changed
        elif fate == "erase":
            out[touched] = 0
        elif fate == "keep":
            out[bodies & ~touched] = 0
        elif fate == "untouched":
            out[bodies & ~touched] = changed
        else:
            out[touched], out[carriers] = carrier, plain
        if carrier_gone and fate != "swap":
            out[carriers] = spare if fate == "spread" else 0
        return grid, out

    return sample


def anatomy(rng: Rng) -> PairSampler:
    """Cells of objects by how many of their neighbours belong to the object: inner cells, edges, ends, corners."""
    body, first, second, *tints = draw_colours(rng, 6)
    reach = pick(rng, (ORTHOGONAL, ORTHOGONAL, AROUND, DIAGONAL))
    rule = pick(rng, ("inner", "edge", "both", "count", "halo", "halo", "peel", "close", "lonely"))
    number = pick(rng, (1, 2, 3) if len(reach) == 4 else (3, 5, 7))
    own = rng.random() < 0.4
    solid = rng.random() < 0.4

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 5)
        if rule in ("lonely", "close"):
            grid[rng.random(grid.shape) < (0.25 if rule == "lonely" else 0.6)] = body
        elif solid:
            for t, left, h, w in boxes(rng, grid.shape, amount(rng, size, 1, 5), 2, 6, 2):
                grid[t : t + h, left : left + w] = pick(rng, [body, *tints]) if own else body
        else:
            place_blobs(rng, grid, amount(rng, size, 1, 6), [body, *tints] if own else [body], 12, 2)
        mask = grid > 0
        if not mask.any():
            return None
        count = neighbours(mask, reach)
        full = mask & (count == len(reach))
        out = grid.copy()
        if rule in ("inner", "both"):
            out[full] = first
        if rule in ("edge", "both"):
            out[mask & ~full] = second
        if rule == "count":
            out[mask & (count == number)] = first
        elif rule == "halo":
            out[~mask & (count > 0)] = first
        elif rule == "peel":
            out[mask & ~full] = 0
            if not out.any():
                return None
        elif rule == "close":
            out[~mask & (count >= len(reach) - 1)] = first
        elif rule == "lonely":
            out[mask & (count == 0)] = first if own else 0
        return grid, out

    return sample


FAMILIES: tuple[Family, ...] = (
    *(guised(automaton),) * 2,
    guised(territories),
    guised(elementary, sided=True),
    guised(contact),
    guised(anatomy),
)
