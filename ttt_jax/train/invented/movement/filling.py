"""Filling: what walls enclose and what leaks out, regions between random walls, rings, ragged shores."""

from __future__ import annotations

import numpy as np

from ttt_jax.train.invented.draws import amount, draw_colours, pick
from ttt_jax.train.invented.masks import dilated, flooded, labelled, outside
from ttt_jax.train.invented.movement.ground import bar, blank
from ttt_jax.train.invented.movement.guises import guised
from ttt_jax.train.invented.placing import boxes, scatter
from ttt_jax.train.invented.rule import Family, Pair, PairSampler, Rng


def enclosures(rng: Rng) -> PairSampler:
    """Outlines, some with gaps: that they are closed, how large they are or what is in them decides their filling."""
    wall, fill, leak, *markers = draw_colours(rng, 7)
    decides = pick(
        rng, ("closed", "closed", "leaks", "marker", "marker", "present", "largest", "square", "wall", "odd")
    )
    also = rng.random() < 0.4
    fate = pick(rng, ("fill", "fill", "fill", "fill", "fill", "outline", "erase", "outside", "count", "crop"))
    rounded = rng.random() < 0.3
    marker_stays = rng.random() < 0.5
    noisy = rng.random() < 0.2
    needs_gaps = decides in ("closed", "leaks")

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 8)
        placed = boxes(rng, grid.shape, amount(rng, size, 2, 7), 3, 6 if size < 0.4 else 8, 1)
        if len(placed) < 2:
            return None
        out = grid.copy()
        chosen: list[bool] = []
        inks: list[int] = []
        areas = [(h - 2) * (w - 2) for _, _, h, w in placed]
        gaps = rng.random(len(placed)) < 0.45
        marked = rng.random(len(placed)) < 0.6
        for i, (t, left, h, w) in enumerate(placed):
            view = grid[t : t + h, left : left + w]
            tint = pick(rng, markers) if decides == "wall" else wall
            view[:] = tint
            view[1:-1, 1:-1] = 0
            if rounded and min(h, w) > 3:
                for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
                    view[corner] = 0
                    a, b = (1 if k == 0 else -2 for k in corner)
                    view[a, b] = tint
            if needs_gaps and gaps[i]:
                edge, at = int(rng.integers(4)), float(rng.random())
                if rounded:
                    low_r, low_c, span_r, span_c = 2, 2, h - 4, w - 4
                else:
                    low_r, low_c, span_r, span_c = 1, 1, h - 2, w - 2
                if (span_c if edge < 2 else span_r) < 1:
                    return None
                if edge < 2:
                    view[-edge, low_c + int(at * span_c)] = 0
                else:
                    view[low_r + int(at * span_r), 2 - edge] = 0
            ink = fill
            if decides == "marker":
                ink = pick(rng, markers)
            elif decides == "wall":
                ink = tint
            elif decides == "present":
                ink = fill
            if decides in ("marker", "present") and marked[i]:
                spot = (1 + int(rng.integers(h - 2)), 1 + int(rng.integers(w - 2)))
                if view[spot]:
                    return None
                view[spot] = ink if decides == "marker" else leak
            chosen.append(
                {
                    "closed": not gaps[i],
                    "leaks": bool(gaps[i]),
                    "marker": bool(marked[i]),
                    "present": bool(marked[i]),
                    "largest": areas[i] == max(areas),
                    "square": h == w,
                    "wall": tint != markers[0],
                    "odd": areas[i] % 2 == 1,
                }[decides]
            )
            inks.append(ink)
        if all(chosen) or not any(chosen) or (decides == "largest" and sum(chosen) > 1):
            return None
        if noisy:
            for cell in scatter(rng, grid.shape, amount(rng, size, 1, 8), 0):
                if all(not (t <= cell[0] < t + h and s <= cell[1] < s + w) for t, s, h, w in placed):
                    grid[cell] = wall
        if fate == "count":
            strip = bar(sum(chosen), fill, 7)
            return None if strip is None else (grid, strip)
        if fate == "crop":
            if sum(chosen) != 1:
                return None
            t, left, h, w = placed[chosen.index(True)]
            return grid, grid[t : t + h, left : left + w].copy()
        out = grid.copy()
        if fate == "outside":
            free = outside(grid == 0)
            out[free] = fill
            return grid, out
        for (t, left, h, w), selected, ink in zip(placed, chosen, inks, strict=True):
            view, shown = out[t : t + h, left : left + w], grid[t : t + h, left : left + w]
            if not selected:
                if also and fate == "fill" and decides in ("largest", "square", "odd", "closed", "wall"):
                    view[1:-1, 1:-1][shown[1:-1, 1:-1] == 0] = leak
                    if rounded and min(h, w) > 3:
                        for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
                            view[corner] = 0
                continue
            if fate == "fill":
                core = view[1:-1, 1:-1]
                core[(core == 0) | (core != wall if decides != "wall" and not marker_stays else core == 0)] = ink
            elif fate == "outline":
                view[shown == (ink if decides == "wall" else wall)] = fill
            else:
                view[:] = 0
        return grid, out

    return sample


def spread(rng: Rng) -> PairSampler:
    """Colour runs from sources through the free cells between random walls, by sides or by corners as well; or the
    closed regions between the walls are coloured by their sizes."""
    wall, *inks = draw_colours(rng, 6)
    decides = pick(rng, ("source", "source", "source", "closed", "sizes", "dry", "border"))
    diagonal = rng.random() < 0.25
    density = float(rng.uniform(0.25, 0.5)) + (0.1 if diagonal else 0.0)
    fate = pick(rng, ("fill", "fill", "fill", "walls", "shore"))
    kinds = int(rng.integers(1, 3))
    limits = (1, int(rng.integers(2, 5)))

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 5)
        grid[rng.random(grid.shape) < density] = wall
        out = grid.copy()
        free = grid == 0
        labels, count = labelled(free, diagonal)
        if count < 2:
            return None
        areas = np.bincount(labels.ravel(), minlength=count + 1)
        at_border = np.zeros(count + 1, bool)
        for line in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
            at_border[line] = True
        if decides == "sizes":
            kind = np.where(areas <= limits[0], inks[0], np.where(areas <= limits[1], inks[1], inks[2])).astype(np.int8)
            out[free] = kind[labels][free]
            return grid, out
        if decides in ("closed", "border"):
            picked = ~at_border if decides == "closed" else at_border
            picked[0] = False
            mask = picked[labels]
        else:
            seeds = scatter(rng, grid.shape, amount(rng, size, 1, 4), 2)
            hit: dict[int, int] = {}
            for i, cell in enumerate(seeds):
                number = int(labels[cell])
                if number and number not in hit and areas[number] > 1:
                    hit[number] = inks[i % kinds]
                    grid[cell] = out[cell] = inks[i % kinds]
            if not hit or len(hit) == count:
                return None
            if decides == "dry":
                mask = free & ~np.isin(labels, list(hit))
                out[mask] = inks[3]
                return grid, out
            for number, colour in hit.items():
                mask = labels == number
                if fate == "walls":
                    out[dilated(mask) & (grid == wall)] = colour
                elif fate == "shore":
                    out[mask & dilated(grid == wall)] = colour
                else:
                    out[mask] = colour
            return grid, out
        if not mask.any():
            return None
        if fate == "walls":
            out[dilated(mask) & (grid == wall)] = inks[0]
        else:
            out[mask] = inks[0]
        return grid, out

    return sample


def rings(rng: Rng) -> PairSampler:
    """Solid rectangles become rings: colours by depth, from a fixed list or from the marks in a corner."""
    solid, *inks = draw_colours(rng, 5)
    depth = int(rng.integers(1, 5))
    cycle = [solid, *inks][: depth + 1] if rng.random() < 0.5 else inks[:depth]
    repeat = rng.random() < 0.5
    from_centre = rng.random() < 0.3
    whole = rng.random() < 0.25
    hollow = rng.random() < 0.25
    own = rng.random() < 0.3

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 6)
        placed = boxes(rng, grid.shape, amount(rng, size, 1, 5), 3, 5 + round(6 * size), 1)
        if whole:
            placed = [(0, 0, *grid.shape)]
        if not placed:
            return None
        out = grid.copy()
        for t, left, h, w in placed:
            tint = pick(rng, inks[-2:]) if own else solid
            grid[t : t + h, left : left + w] = tint
            ys, xs = np.arange(h)[:, None], np.arange(w)[None]
            ring = np.minimum(np.minimum(ys, h - 1 - ys), np.minimum(xs, w - 1 - xs))
            if from_centre:
                ring = ring.max() - ring
            colours = np.array([tint, 0] if hollow else [tint, *cycle] if own else cycle, np.int8)
            index = ring % len(colours) if repeat or hollow else np.minimum(ring, len(colours) - 1)
            out[t : t + h, left : left + w] = colours[index]
        return grid, out

    return sample


def holes(rng: Rng) -> PairSampler:
    """Ragged outlines around hidden ground: inner ground, outer ground, or the shore between is coloured."""
    wall, inner, outer, seed = draw_colours(rng, 4)
    rule = pick(rng, ("inner", "inner", "both", "outer", "shore", "seeded", "solid"))
    density = float(rng.uniform(0.45, 0.6))

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 6)
        core = np.zeros(grid.shape, bool)
        for t, left, h, w in boxes(rng, grid.shape, amount(rng, size, 1, 4), 2, 6, 3, 1):
            core[t : t + h, left : left + w] |= rng.random((h, w)) < density + 0.3
        shell = dilated(core, diagonal=True) & ~core
        grid[shell] = wall
        for cell in scatter(rng, grid.shape, amount(rng, size, 0, 3), 1):
            if grid[cell] == wall:
                grid[cell] = 0
        free = grid == 0
        open_ = outside(free)
        closed = free & ~open_
        if not closed.any():
            return None
        out = grid.copy()
        if rule in ("inner", "both"):
            out[closed] = inner
        if rule in ("outer", "both"):
            out[open_] = outer
        if rule == "shore":
            out[dilated(closed) & (grid == wall)] = inner
        elif rule == "solid":
            out[closed] = wall
            out[(grid == wall) & ~dilated(closed)] = inner
        elif rule == "seeded":
            spots = np.argwhere(free)
            row, column = spots[int(rng.integers(len(spots)))]
            grid[row, column] = seed
            out = np.where(flooded(free, grid == seed), np.int8(seed), grid)
        return grid, out

    return sample


FAMILIES: tuple[Family, ...] = (
    *(guised(enclosures),) * 2,
    guised(spread),
    guised(rings),
    guised(holes),
)
