"""Growth: local rules applied a few times, stamps round markers, nearest colours, rings, contagion, parts of objects."""

from __future__ import annotations

import numpy as np

from ttt_jax.train.invented.ground import (
    DIAGONAL,
    ORTHOGONAL,
    amount,
    blank,
    boxes,
    dilated,
    inside,
    labelled,
    neighbours,
    palette,
    pick,
    place_blobs,
    scatter,
)
from ttt_jax.train.invented.rule import Family, Pair, PairSampler, side

ALL = ORTHOGONAL + DIAGONAL
_REACHES = (
    ORTHOGONAL,
    ORTHOGONAL,
    DIAGONAL,
    ALL,
    ALL,
    ((0, 1), (0, -1)),
    ((-1, -1), (-1, 1)),
    ((0, 1),),
    ((-1, 0), (0, 1)),
    ((-1, -1), (1, 1)),
)


def _automaton(rng: np.random.Generator) -> PairSampler:
    """Ground with so many neighbours of a colour becomes another, once or several times, around walls or not."""
    seed, grown, wall, other = palette(rng, 4)
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

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
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


def _kernel(rng: np.random.Generator, inks: list[int]) -> np.ndarray:
    """A small figure around a centre, int8[side, side] with odd side, its centre 0; mostly symmetric."""
    radius = pick(rng, (1, 1, 1, 2, 2, 3))
    n = 2 * radius + 1
    ys, xs = np.abs(np.arange(n) - radius)[:, None], np.abs(np.arange(n) - radius)[None]
    far, steps = np.maximum(ys, xs), ys + xs
    kernel = np.zeros((n, n), np.int8)
    form = pick(rng, ("plus", "cross", "ring", "diamond", "star", "free", "free", "one-sided"))
    if form == "plus":
        kernel[(ys == 0) | (xs == 0)] = inks[0]
    elif form == "cross":
        kernel[np.broadcast_to(ys == xs, kernel.shape)] = inks[0]
    elif form == "ring":
        kernel[far == radius] = inks[0]
    elif form == "diamond":
        kernel[steps == radius] = inks[0]
    elif form == "star":
        kernel[(ys == 0) | (xs == 0) | (ys == xs)] = inks[0]
    elif form == "free":
        kernel[(rng.random(kernel.shape) < 0.45)] = inks[0]
        if rng.random() < 0.6:
            kernel = np.maximum(kernel, kernel[:, ::-1])
    else:
        kernel[rng.random(kernel.shape) < 0.4] = inks[0]
        kernel[: radius + 1] = 0
    if rng.random() < 0.4:
        kernel[(far == radius) & (kernel > 0)] = inks[1]
    elif rng.random() < 0.25:
        kernel[(ys == xs) & (kernel > 0)] = inks[1]
    kernel[radius, radius] = 0
    if not kernel.any():
        kernel[0, radius] = inks[0]
    return kernel


def _stamp(grid: np.ndarray, kernel: np.ndarray, r: int, c: int) -> None:
    """Draws the figure's coloured cells around (r, c), as far as they lie in the grid."""
    radius = len(kernel) // 2
    top, left = r - radius, c - radius
    a, b = max(0, -top), max(0, -left)
    view = grid[max(0, top) : top + len(kernel), max(0, left) : left + len(kernel)]
    part = kernel[a : a + view.shape[0], b : b + view.shape[1]]
    view[part > 0] = part[part > 0]


def _stamps(rng: np.random.Generator) -> PairSampler:
    """Every marker gets the figure of its colour; the marker stays, vanishes or takes part."""
    kinds = int(rng.integers(1, 4))
    *markers, first, second, idle = palette(rng, kinds + 3)
    kernels = [_kernel(rng, [markers[k] if rng.random() < 0.25 else pick(rng, (first, second)), second]) for k in range(kinds)]
    stays = rng.random() < 0.7
    distract = rng.random() < 0.3
    crowded = rng.random() < 0.2
    gone = rng.random() < 0.1

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
        grid = blank(rng, size, 5)
        radius = max(len(k) for k in kernels) // 2
        cells = scatter(rng, grid.shape, amount(rng, size, 1, 6), radius if crowded else 2 * radius, 0)
        if not cells:
            return None
        colours = [pick(rng, markers) for _ in cells]
        out = grid.copy()
        for marker, kernel in zip(markers, kernels, strict=True):
            for (r, c), colour in zip(cells, colours, strict=True):
                grid[r, c] = colour
                if colour == marker:
                    _stamp(out, kernel, r, c)
        for cell, colour in zip(cells, colours, strict=True):
            out[cell] = colour if stays else 0 if gone else out[cell]
        if distract:
            for cell in scatter(rng, grid.shape, amount(rng, size, 1, 3), 1):
                if out[cell] == 0 and grid[cell] == 0:
                    grid[cell] = out[cell] = idle
        return grid, out

    return sample


def _shown_figure(rng: np.random.Generator) -> PairSampler:
    """One marker in the input has a figure around it: all others get the same one, in its colours or in their own."""
    centre, *inks = palette(rng, 6)
    takes = pick(rng, ("same", "same", "own", "reflected", "moved"))
    erased = rng.random() < 0.2
    large = rng.random() < 0.3

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
        grid = blank(rng, max(size, 0.15), 7)
        tints = [inks[k] for k in rng.permutation(5)[:2]]
        kernel = _kernel(rng, tints)
        radius = len(kernel) // 2
        if radius > 1 and not large:
            return None
        cells = scatter(rng, grid.shape, amount(rng, size, 2, 5), 2 * radius, radius)
        if len(cells) < 2:
            return None
        _stamp(grid, kernel, *cells[0])
        grid[cells[0]] = centre
        out = grid.copy()
        marks = [c for c in range(1, 10) if c not in tints and c != centre]
        for r, c in cells[1:]:
            mark = pick(rng, marks) if takes == "own" else centre
            grid[r, c] = mark
            figure = kernel
            if takes == "own":
                figure = np.where(kernel > 0, np.int8(mark), kernel)
            elif takes == "reflected":
                figure = kernel[:, ::-1]
            elif takes == "moved":
                figure = np.where(kernel > 0, tints[0], 0).astype(np.int8)
            _stamp(out, figure, r, c)
            out[r, c] = mark
        if erased:
            out[cells[0]] = 0
            _stamp(out, np.where(kernel > 0, np.int8(10), np.int8(0)), *cells[0])
            out[out == 10] = 0
        return grid, out

    return sample


def _territories(rng: np.random.Generator) -> PairSampler:
    """Every cell belongs to the nearest seed; ties stay empty. Or rings around the seeds, by distance."""
    *inks, edge, wall = palette(rng, 6)
    metric = pick(rng, ("steps", "king", "rows"))
    rule = pick(rng, ("areas", "areas", "borders", "rings", "rings", "parity", "within"))
    radius = int(rng.integers(2, 5))
    ring = [inks[0], *(pick(rng, (0, edge, wall)) for _ in range(int(rng.integers(1, 3))))]
    if len(set(ring)) == 1:
        ring[-1] = edge

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
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
            if rule == "areas":
                out = np.where(tied, np.int8(0), first)
            else:
                out = np.where(tied, np.int8(edge), grid)
        elif rule == "rings":
            out = np.array(ring, np.int8)[nearest % len(ring)]
        elif rule == "parity":
            out = np.where((nearest % 2 == 0) & (nearest <= 2 * radius), np.int8(inks[0]), np.int8(0))
        else:
            out = np.where((nearest <= radius) & (grid == 0), np.int8(edge), grid)
        return grid, out

    return sample


def _elementary(rng: np.random.Generator) -> PairSampler:
    """The first row is given, every next row follows from the one before it by one fixed rule of three neighbours."""
    ink, other = palette(rng, 2)
    number = pick(rng, (90, 90, 18, 22, 50, 54, 60, 102, 110, 126, 150, 250, 254, 30, 94, 182))
    table = np.array([(number >> k) & 1 for k in range(8)], bool)
    sparse = rng.random() < 0.5
    alternate = rng.random() < 0.25
    wraps = rng.random() < 0.2

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
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


def _contact(rng: np.random.Generator) -> PairSampler:
    """What touches a colour, as a cell or as a whole object, changes; the touching cells change or vanish as well."""
    plain, carrier, changed, spare = palette(rng, 4)
    whole = rng.random() < 0.6
    diagonal = rng.random() < 0.4
    fate = pick(rng, ("change", "change", "erase", "keep", "untouched", "swap", "spread"))
    carrier_gone = rng.random() < 0.3
    noise = rng.random() < 0.5

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
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
        touched = bodies & (neighbours(carriers, ALL if diagonal else ORTHOGONAL) > 0)
        if whole:
            labels, _ = labelled(bodies, diagonal)
            hit = np.zeros(256, bool)
            hit[labels[touched]] = True
            hit[0] = False
            touched = hit[labels]
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


def _anatomy(rng: np.random.Generator) -> PairSampler:
    """Cells of objects by how many of their neighbours belong to the object: inner cells, edges, ends, corners."""
    body, first, second, *tints = palette(rng, 6)
    reach = pick(rng, (ORTHOGONAL, ORTHOGONAL, ALL, DIAGONAL))
    rule = pick(rng, ("inner", "edge", "both", "count", "halo", "halo", "peel", "close", "lonely"))
    number = pick(rng, (1, 2, 3) if len(reach) == 4 else (3, 5, 7))
    own = rng.random() < 0.4
    solid = rng.random() < 0.4

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
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
            out[dilated(mask, reach) & ~mask] = first
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


def _plants(rng: np.random.Generator) -> PairSampler:
    """Seeds at the left border grow to the right: until something or as far as their colour or a mark says, with
    leaves and a flower."""
    seed, stem, leaf, flower, stone = palette(rng, 5)
    until = pick(rng, ("border", "stone", "stone", "fixed", "mark"))
    length = int(rng.integers(2, 6))
    period = int(rng.integers(2, 4))
    leaves = pick(rng, ("none", "both", "alternate", "one"))
    blooms = pick(rng, ("none", "tip", "tip", "cross"))

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
        grid = blank(rng, size, 6)
        height, width = grid.shape
        rows = [r for r, _ in scatter(rng, (height, 1), amount(rng, size, 1, 5), 2, 0)]
        out = grid.copy()
        grown = []
        mark = int(rng.integers(2, width))
        if until == "mark":
            grid[0, mark] = out[0, mark] = stone
        for r in rows:
            if until == "mark" and r < 2:
                continue
            grid[r, 0] = out[r, 0] = seed
            reach = {"border": width, "stone": int(rng.integers(3, width + 1)), "fixed": length + 1, "mark": mark + 1}[until]
            if until == "stone" and reach < width:
                grid[r, reach] = out[r, reach] = stone
            grown.append((r, min(reach, width)))
        for r, reach in grown:
            for c in range(1, reach):
                out[r, c] = stem
                if leaves != "none" and c % period == 0 and c < reach - 1:
                    k = c // period
                    sides = (1, -1) if leaves == "both" else (1 if leaves == "one" or k % 2 else -1,)
                    for d in sides:
                        if 0 <= r + d < height and out[r + d, c] == 0:
                            out[r + d, c] = leaf
            if reach > 2 and blooms != "none":
                out[r, reach - 1] = flower
                if blooms == "cross":
                    for d in (-1, 1):
                        if 0 <= r + d < height and out[r + d, reach - 1] == 0:
                            out[r + d, reach - 1] = flower
        return (grid, out) if grown else None

    return sample


GROWTH: tuple[Family, ...] = (
    _automaton,
    _automaton,
    _stamps,
    _stamps,
    _shown_figure,
    _territories,
    _elementary,
    _contact,
    _anatomy,
    _plants,
)
