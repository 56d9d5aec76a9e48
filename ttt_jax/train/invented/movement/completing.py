"""Completing and layers: broken outlines, figures and lines made whole, and what lies in front of what."""

from __future__ import annotations

import itertools

import numpy as np

from ttt_jax.train.invented.draws import amount, draw_colours, pick, side
from ttt_jax.train.invented.movement.ground import blank
from ttt_jax.train.invented.movement.guises import guised
from ttt_jax.train.invented.placing import boxes, scatter
from ttt_jax.train.invented.rule import Family, Pair, PairSampler, Rng


def outlines(rng: Rng) -> PairSampler:
    """Outlines with missing cells are closed, in their colour or another; or broken ones are told from whole ones."""
    ink, mend, other, *tints = draw_colours(rng, 6)
    fate = pick(rng, ("mend", "mend", "mend", "own", "recolour", "erase", "whole", "inside"))
    varied = rng.random() < 0.5
    most = int(rng.integers(2, 6))
    kept = fate in ("recolour", "erase", "whole")
    solid = rng.random() < 0.3 and not kept

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 6)
        placed = boxes(rng, grid.shape, amount(rng, size, 2 if kept else 1, 5), 3, 5 + round(5 * size), 1)
        out = grid.copy()
        broken_any = whole_any = False
        for t, left, h, w in placed:
            tint = pick(rng, tints) if varied else ink
            view, made = grid[t : t + h, left : left + w], out[t : t + h, left : left + w]
            view[:] = tint
            if not solid:
                view[1:-1, 1:-1] = 0
            made[:] = view
            spots = np.argwhere(view > 0)
            broken = not kept or rng.random() < 0.5
            broken_any, whole_any = broken_any or broken, whole_any or not broken
            if broken:
                # Fewer than half: the outline must still be seen, with all of its four sides.
                gaps = spots[rng.permutation(len(spots))[: int(rng.integers(1, min(most, len(spots) // 3) + 1))]]
                view[gaps[:, 0], gaps[:, 1]] = 0
                if not (view[0].any() and view[-1].any() and view[:, 0].any() and view[:, -1].any()):
                    return None
                if fate == "mend":
                    made[gaps[:, 0], gaps[:, 1]] = mend
            if fate == "inside" and not solid:
                made[1:-1, 1:-1] = mend
            if kept:
                made[:] = view
                if broken and fate == "recolour":
                    made[view > 0] = other
                elif (broken and fate == "erase") or (not broken and fate == "whole"):
                    made[:] = 0
        return (grid, out) if broken_any and (whole_any or not kept) else None

    return sample


def figures(rng: Rng) -> PairSampler:
    """The same symmetric figure stands in many places, cells missing here and there: they are added or marked."""
    ink, mend, centre, *tints = draw_colours(rng, 6)
    radius = pick(rng, (1, 1, 2))
    n = 2 * radius + 1
    ys, xs = np.abs(np.arange(n) - radius)[:, None], np.abs(np.arange(n) - radius)[None]
    forms = (
        (ys == 0) | (xs == 0),
        np.broadcast_to(ys == xs, (n, n)),
        np.maximum(ys, xs) == radius,
        (ys + xs <= radius),
        (ys == 0) | (xs == 0) | (ys == xs),
    )
    form = np.array(pick(rng, forms))
    if rng.random() < 0.3:
        form = form.copy()
        form[radius, radius] = ~form[radius, radius]
    own = rng.random() < 0.5
    varied = rng.random() < 0.4
    cored = rng.random() < 0.4
    lost = int(rng.integers(1, max(2, int(form.sum()) // 2)))
    fate = pick(rng, ("add", "add", "add", "replace", "only whole"))

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 5 + radius)
        cells = scatter(rng, grid.shape, amount(rng, size, 1, 6) + (fate == "only whole"), 2 * radius, radius)
        out = grid.copy()
        wholes = 0
        for r, c in cells:
            tint = pick(rng, tints) if varied else ink
            view = grid[r - radius : r + radius + 1, c - radius : c + radius + 1]
            made = out[r - radius : r + radius + 1, c - radius : c + radius + 1]
            view[form] = tint
            if cored:
                view[radius, radius] = centre
            made[:] = view
            if fate == "only whole" and rng.random() < 0.5:
                wholes += 1
                continue
            spots = np.argwhere(form)
            gaps = spots[rng.permutation(len(spots))[:lost]]
            gaps = gaps[(gaps != radius).any(1)]
            view[gaps[:, 0], gaps[:, 1]] = 0
            if fate == "add" and not own:
                made[gaps[:, 0], gaps[:, 1]] = mend
            elif fate == "replace":
                made[form] = mend
                if cored:
                    made[radius, radius] = centre
            elif fate == "only whole":
                made[:] = 0
        if not cells or (fate == "only whole" and not 0 < wholes < len(cells)):
            return None
        return grid, out

    return sample


def gapped_lines(rng: Rng) -> PairSampler:
    """Full lines with gaps are made whole, rid of noise, or answered by their gaps."""
    one, two, mend, noise = draw_colours(rng, 4)
    fate = pick(rng, ("whole", "whole", "mend", "mark", "clean"))
    across = rng.random() < 0.5
    share = float(rng.uniform(0.1, 0.35))
    slanted = rng.random() < 0.2

    def sample(rng: Rng, size: float) -> Pair | None:
        height, width = side(rng, size, 6, 30), side(rng, size, 6, 30)
        full = np.zeros((height, width), np.int8)
        rows = 1 + 2 * np.flatnonzero(rng.random((height - 1) // 2) < 0.3)
        columns = 1 + 2 * np.flatnonzero(rng.random((width - 1) // 2) < 0.3) if across else np.zeros(0, int)
        if slanted:
            ys, xs = np.arange(height)[:, None], np.arange(width)[None]
            gap = int(rng.integers(3, 6))
            full[(ys + xs) % gap == int(rng.integers(gap))] = one
        else:
            if not len(rows) or (across and not len(columns)):
                return None
            full[:, columns] = two
            full[rows] = one
        missing = (rng.random(full.shape) < share) & (full > 0)
        if not missing.any():
            return None
        grid = np.where(missing, np.int8(0), full)
        if fate == "clean":
            grid = np.where(missing, np.int8(noise), full)
            for cell in scatter(rng, grid.shape, amount(rng, size, 1, 8), 1):
                if full[cell] == 0:
                    grid[cell] = noise
            return grid, full
        if fate == "whole":
            return grid, full
        if fate == "mend":
            return grid, np.where(missing, np.int8(mend), full)
        return grid, np.where(missing, np.int8(mend), np.int8(0))

    return sample


def overlapping(rng: Rng) -> PairSampler:
    """Rectangles lie over each other: the order is named or reversed, the front one taken off, the back completed."""
    tints = draw_colours(rng, 6)
    special = tints.pop()
    rule = pick(rng, ("front", "back", "swap", "lift", "order", "order", "overlap", "peel"))
    marked = rng.random() < 0.5
    upward = rng.random() < 0.5
    framed = rng.random() < 0.3

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 7)
        height, width = grid.shape
        count = 2 if rule in ("swap", "overlap", "front", "back") else int(rng.integers(2, 4))
        places = []
        for i in range(count):
            h, w = int(rng.integers(3, max(4, height * 2 // 3) + 1)), int(rng.integers(3, max(4, width * 2 // 3) + 1))
            t, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            places.append((t, left, h, w, tints[i]))
        places = [(*p[:4], tints[k]) for p, k in zip(places, rng.permutation(5).tolist(), strict=False)]

        def paint(layers: list[tuple[int, int, int, int, int]]) -> np.ndarray:
            canvas = np.zeros_like(grid)
            for t, left, h, w, tint in layers:
                canvas[t : t + h, left : left + w] = tint
                if framed and min(h, w) > 2:
                    canvas[t, left] = canvas[t + h - 1, left + w - 1] = special
            return canvas

        grid = paint(places)
        # Each one must cut into the one below it, and leave its four sides to be seen.
        for (t, left, h, w, tint), (s, x, k, m, _) in itertools.pairwise(places):
            if s >= t + h or t >= s + k or x >= left + w or left >= x + m:
                return None
            seen = grid[t : t + h, left : left + w] == tint
            if not (seen[0].any() and seen[-1].any() and seen[:, 0].any() and seen[:, -1].any()):
                return None
            # The covered part must have a corner of the cover inside, else nobody knows who lies on top.
            if seen.all():
                return None
        if rule == "order":
            if framed:
                return None
            colours = [p[4] for p in places]
            return grid, np.array([colours if upward else colours[::-1]], np.int8)
        if rule in ("front", "back"):
            tint = places[-1 if rule == "front" else 0][4]
            return grid, np.full((1, 1) if marked else (2, 2), tint, np.int8)
        if rule == "swap":
            return grid, paint(places[::-1])
        if rule == "lift":
            return grid, paint(places[:-1])
        if rule == "peel":
            return grid, paint(places[-1:])
        (t, left, h, w, _), (s, x, k, m, _) = places
        out = grid.copy()
        out[max(t, s) : min(t + h, s + k), max(left, x) : min(left + w, x + m)] = special
        return grid, out

    return sample


def crossed_shapes(rng: Rng) -> PairSampler:
    """Lines pass under or over solid blocks: the order is reversed, the covered part marked, the blocks cleaned."""
    line, block, mark, other = draw_colours(rng, 4)
    over = rng.random() < 0.5
    fate = pick(rng, ("turn", "mark", "clean", "blocks", "touched"))
    both = rng.random() < 0.4

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 7)
        height, width = grid.shape
        bodies = np.zeros(grid.shape, bool)
        placed = boxes(rng, grid.shape, amount(rng, size, 1, 5), 2, 5, 1, 1)
        for t, left, h, w in placed:
            bodies[t : t + h, left : left + w] = True
        lines = np.zeros(grid.shape, bool)
        lines[rng.permutation(height)[: amount(rng, size, 1, 3)]] = True
        if both:
            lines[:, rng.permutation(width)[: amount(rng, size, 1, 2)]] = True
        meet = bodies & lines
        if not meet.any():
            return None
        grid[lines] = line
        grid[bodies] = block
        if over:
            grid[meet] = line
        out = grid.copy()
        if fate == "turn":
            out[meet] = block if over else line
        elif fate == "mark":
            out[meet] = mark
        elif fate == "clean":
            out[:] = np.where(bodies, np.int8(block), np.int8(0))
        elif fate == "blocks":
            out[lines & ~bodies] = 0
            out[meet] = mark
        else:
            for t, left, h, w in placed:
                view = out[t : t + h, left : left + w]
                if meet[t : t + h, left : left + w].any():
                    view[view == block] = other
        return grid, out

    return sample


FAMILIES: tuple[Family, ...] = (
    guised(outlines, adds=False),
    guised(figures, adds=False),
    guised(gapped_lines, adds=False),
    guised(overlapping, adds=False),
    guised(crossed_shapes, adds=False),
)
