"""Filling: what walls enclose and what leaks out, rooms by size or content, pools, rings, cells of a lattice."""

from __future__ import annotations

import numpy as np

from ttt_jax.train.invented.ground import (
    DIAGONAL,
    ORTHOGONAL,
    Box,
    amount,
    bar,
    blank,
    boxes,
    dilated,
    flooded,
    labelled,
    outside,
    palette,
    pick,
    scatter,
)
from ttt_jax.train.invented.rule import Family, Pair, PairSampler, side


def _enclosures(rng: np.random.Generator) -> PairSampler:
    """Outlines, some with gaps: whether they are closed, how large they are or what is in them decides their filling."""
    wall, fill, leak, *markers = palette(rng, 7)
    decides = pick(rng, ("closed", "closed", "leaks", "marker", "marker", "present", "largest", "square", "wall", "odd"))
    also = rng.random() < 0.4
    fate = pick(rng, ("fill", "fill", "fill", "fill", "fill", "outline", "erase", "outside", "count", "crop"))
    rounded = rng.random() < 0.3
    marker_stays = rng.random() < 0.5
    noisy = rng.random() < 0.2
    needs_gaps = decides in ("closed", "leaks")

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
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


def _split(rng: np.random.Generator, shape: tuple[int, ...], count: int, least: int) -> list[Box]:
    """A rectangle split into up to `count` rooms by walls of one cell."""
    rooms: list[Box] = [(0, 0, shape[0], shape[1])]
    for _ in range(3 * count):
        if len(rooms) >= count:
            break
        i = max(range(len(rooms)), key=lambda k: rooms[k][2] * rooms[k][3] * (0.5 + rng.random()))
        t, left, h, w = rooms[i]
        across = h > w if h != w else rng.random() < 0.5
        span = h if across else w
        if span < 2 * least + 1:
            continue
        at = int(rng.integers(least, span - least))
        if across:
            rooms[i : i + 1] = [(t, left, at, w), (t + at + 1, left, h - at - 1, w)]
        else:
            rooms[i : i + 1] = [(t, left, h, at), (t, left + at + 1, h, w - at - 1)]
    return rooms


def _rooms(rng: np.random.Generator) -> PairSampler:
    """Walls make rooms, doors join them: a room is filled by its size, by what is in it or by where it lies."""
    wall, first, second, *marks = palette(rng, 6)
    decides = pick(rng, ("largest", "smallest", "both", "marker", "marker", "many", "border", "empty", "flood", "flood"))
    doors = rng.random() < (0.7 if decides == "flood" else 0.25)
    framed = rng.random() < 0.4
    answer = pick(rng, ("grid", "grid", "grid", "grid", "crop", "area")) if decides != "both" else "grid"
    if decides in ("marker", "border", "empty", "flood") and answer != "grid":
        answer = pick(rng, ("count", "grid"))
    own = rng.random() < 0.5
    clear = rng.random() < 0.4

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
        grid = blank(rng, size, 6)
        rooms = _split(rng, grid.shape, amount(rng, size, 3, 10), 1 if size < 0.4 else 2)
        if len(rooms) < 3:
            return None
        if framed and max(grid.shape) > 28:
            return None
        grid[:] = wall
        for t, left, h, w in rooms:
            grid[t : t + h, left : left + w] = 0
        if framed:
            grid = np.pad(grid, 1, constant_values=wall)
            rooms = [(t + 1, left + 1, h, w) for t, left, h, w in rooms]
        if doors:
            open_ = (grid == wall) & ((np.roll(grid, 1, 0) == 0) & (np.roll(grid, -1, 0) == 0))
            open_ |= (grid == wall) & ((np.roll(grid, 1, 1) == 0) & (np.roll(grid, -1, 1) == 0))
            open_[[0, -1]] = open_[:, [0, -1]] = False
            places = np.argwhere(open_)
            for k in rng.permutation(len(places))[: amount(rng, size, 1, 4)]:
                grid[tuple(places[k])] = 0
        labels, count = labelled(grid == 0)
        if count < 2:
            return None
        areas = np.bincount(labels.ravel(), minlength=count + 1)
        areas[0] = 0
        out = grid.copy()
        chosen = np.zeros(count + 1, bool)
        inks = np.full(count + 1, first, np.int8)
        if decides in ("largest", "smallest", "both"):
            order = np.sort(areas[1:])
            if order[-1] == order[-2] or order[0] == order[1]:
                return None
            chosen = areas == (order[0] if decides == "smallest" else order[-1])
            if decides == "both":
                low = areas == order[0]
                inks[low] = second
                chosen |= low
        elif decides == "border":
            touching = np.zeros(count + 1, bool)
            edge = 1 if framed else 0
            for line in (labels[edge], labels[-1 - edge], labels[:, edge], labels[:, -1 - edge]):
                touching[line] = True
            chosen = ~touching
            chosen[0] = False
        else:
            numbers = np.zeros(count + 1, int)
            most = 4 if decides == "many" else 1
            for k, (t, left, h, w) in enumerate(rooms):
                if rng.random() < 0.35:
                    continue
                colour = pick(rng, marks) if own and decides in ("marker", "flood") else marks[0]
                for _ in range(int(rng.integers(1, most + 1))):
                    r, c = t + int(rng.integers(h)), left + int(rng.integers(w))
                    number = labels[r, c]
                    if grid[r, c] == 0 and (most > 1 or numbers[number] == 0):
                        grid[r, c] = out[r, c] = colour
                        numbers[number] += 1
                        if own:
                            inks[number] = colour
            if decides == "many":
                order = np.sort(numbers[1:])
                if order[-1] == order[-2]:
                    return None
                chosen = numbers == order[-1]
            else:
                chosen = (numbers == 0) if decides == "empty" else numbers > 0
            chosen[0] = False
            if decides in ("many", "empty"):
                inks[:] = first
        if not chosen.any() or chosen[1:].all():
            return None
        if answer in ("crop", "area") and chosen.sum() != 1:
            return None
        if answer == "crop":
            rows, columns = np.nonzero(chosen[labels])
            return grid, grid[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].copy()
        if answer == "count":
            strip = bar(int(chosen.sum()), first, 10)
            return None if strip is None else (grid, strip)
        if answer == "area":
            area = int(areas[chosen.argmax()])
            return (grid, np.full((1, area), inks[chosen.argmax()], np.int8)) if area <= 30 else None
        inked = chosen[labels]
        if not clear:
            inked &= grid == 0
        out[inked] = inks[labels][inked]
        return grid, out

    return sample


def _spread(rng: np.random.Generator) -> PairSampler:
    """Colour runs from sources through the free cells between random walls, by sides or by corners as well; or the
    closed regions between the walls are coloured by their sizes."""
    wall, *inks = palette(rng, 6)
    decides = pick(rng, ("source", "source", "source", "closed", "sizes", "dry", "border"))
    diagonal = rng.random() < 0.25
    density = float(rng.uniform(0.25, 0.5)) + (0.1 if diagonal else 0.0)
    fate = pick(rng, ("fill", "fill", "fill", "walls", "shore"))
    kinds = int(rng.integers(1, 3))
    limits = (1, int(rng.integers(2, 5)))

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
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


def _lattice(rng: np.random.Generator) -> PairSampler:
    """Lines cut the grid into equal cells, some hold marks: cells are filled, joined in rows, or summed up in a mosaic."""
    line, fill, *marks = palette(rng, 6)
    rule = pick(rng, ("fill", "fill", "row", "cross", "around", "between", "mosaic", "mosaic", "most", "match"))
    one = rng.random() < 0.5
    empty = rng.random() < 0.3
    threshold = int(rng.integers(2, 4))

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
        h, w = (int(n) for n in rng.integers(1 if size < 0.3 else 2, 4, 2))
        rows, columns = (int(n) for n in rng.integers(2, 3 + round(size * 5), 2))
        if rows * (h + 1) > 31 or columns * (w + 1) > 31 or rows * columns < 4:
            return None
        grid = np.full((rows * (h + 1) - 1, columns * (w + 1) - 1), line, np.int8)
        small = np.zeros((rows, columns), np.int8)
        counts = np.zeros((rows, columns), int)
        dense = 0.5 if rule in ("most", "mosaic") else 0.25
        for r in range(rows):
            for c in range(columns):
                view = grid[r * (h + 1) : r * (h + 1) + h, c * (w + 1) : c * (w + 1) + w]
                view[:] = 0
                if rng.random() < dense:
                    colour = marks[0] if one else pick(rng, marks)
                    number = int(rng.integers(1, h * w + 1)) if rule == "most" else 1
                    for k in rng.permutation(h * w)[:number].tolist():
                        view[k // w, k % w] = colour
                    small[r, c], counts[r, c] = colour, number
        if not small.any() or (small > 0).all():
            return None
        if rule == "mosaic":
            return grid, np.where(small == 0, np.int8(fill), np.int8(0)) if empty else small
        target = small.copy()
        if rule == "row":
            for r in range(rows):
                found = small[r][small[r] > 0]
                if len(found) > 1:
                    return None
                if len(found):
                    target[r] = found[0]
        elif rule == "cross":
            if (small > 0).sum() != 1:
                return None
            r, c = np.argwhere(small)[0]
            target[r], target[:, c] = small[r, c], small[r, c]
        elif rule == "around":
            near = dilated(small > 0, ORTHOGONAL if one else DIAGONAL) & (small == 0)
            target = np.where(near, np.int8(fill), np.int8(0))
        elif rule == "between":
            target[:] = 0
            for r in range(rows):
                found = np.flatnonzero(small[r])
                if len(found) > 1 and small[r, found[0]] == small[r, found[-1]]:
                    target[r, found[0] : found[-1] + 1] = small[r, found[0]]
        elif rule == "most":
            target = np.where(counts >= threshold, np.int8(fill), np.int8(0))
        elif rule == "match":
            if one:
                target = np.where(small == 0, np.int8(fill), np.int8(0))
            else:
                target = np.where(small == marks[0], np.int8(fill), np.int8(0))
        wide = np.repeat(np.repeat(target, h + 1, 0), w + 1, 1)[:-1, :-1]
        out = np.where((grid != line) & (wide > 0), wide, grid)
        return grid, out

    return sample


def _rings(rng: np.random.Generator) -> PairSampler:
    """Solid rectangles become rings: colours by depth, from a fixed list or from the marks in a corner."""
    solid, *inks = palette(rng, 5)
    depth = int(rng.integers(1, 5))
    cycle = [solid, *inks][: depth + 1] if rng.random() < 0.5 else inks[:depth]
    repeat = rng.random() < 0.5
    from_centre = rng.random() < 0.3
    whole = rng.random() < 0.25
    hollow = rng.random() < 0.25
    own = rng.random() < 0.3

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
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


def _terrain(rng: np.random.Generator) -> PairSampler:
    """Columns of stone from the floor: water fills valleys, or rises to a mark; peaks and falls of the land are marked."""
    stone, water, mark = palette(rng, 3)
    rule = pick(rng, ("valleys", "valleys", "level", "level", "surface", "peak", "sort", "heights", "complement"))
    shaded = rng.random() < 0.3
    down = rng.random() < 0.5

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
        height, width = side(rng, size, 4, 20), side(rng, size, 4, 30)
        heights = rng.integers(0 if rule != "sort" else 1, height, width)
        if rng.random() < 0.5:
            heights = np.clip(np.cumsum(rng.integers(-1, 2, width)) + height // 2, 0, height - 1)
        ys = (height - 1 - np.arange(height))[:, None]
        land = ys < heights[None]
        grid = np.where(land, np.int8(stone), np.int8(0))
        out = grid.copy()
        if rule == "valleys":
            level = np.minimum(np.maximum.accumulate(heights), np.maximum.accumulate(heights[::-1])[::-1])
            out[~land & (ys < level[None])] = water
        elif rule == "level":
            level = int(rng.integers(1, height))
            if heights[0] >= level:
                return None
            grid[height - level, 0] = out[height - level, 0] = mark
            out[~land & (ys < level)] = water
        elif rule == "surface":
            out[land & ~np.pad(land, ((1, 0), (0, 0)))[:-1]] = water
        elif rule == "peak":
            top = heights == (heights.max() if down else heights.min())
            out[:, top] = np.where(land[:, top], np.int8(water), out[:, top])
        elif rule == "sort":
            order = np.argsort(heights if down else -heights, kind="stable")
            out = np.ascontiguousarray(grid[:, order])
        elif rule == "heights":
            even = heights % 2 == (0 if down else 1)
            out[:, even] = np.where(land[:, even], np.int8(water), out[:, even])
        else:
            out[~land] = water
        if shaded and rule != "sort":
            out = np.where((out == stone) & (ys % 2 == 1), np.int8(mark), out)
        return grid, out

    return sample


def _holes(rng: np.random.Generator) -> PairSampler:
    """Ragged outlines around hidden ground: inner ground, outer ground, or the shore between is coloured."""
    wall, inner, outer, seed = palette(rng, 4)
    rule = pick(rng, ("inner", "inner", "both", "outer", "shore", "seeded", "solid"))
    density = float(rng.uniform(0.45, 0.6))

    def sample(rng: np.random.Generator, size: float) -> Pair | None:
        grid = blank(rng, size, 6)
        height, width = grid.shape
        core = np.zeros(grid.shape, bool)
        for t, left, h, w in boxes(rng, grid.shape, amount(rng, size, 1, 4), 2, 6, 3, 1):
            core[t : t + h, left : left + w] |= rng.random((h, w)) < density + 0.3
        shell = dilated(core, ORTHOGONAL + DIAGONAL) & ~core
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
            cell = tuple(int(k) for k in spots[int(rng.integers(len(spots)))])
            grid[cell] = seed
            out = np.where(flooded(free, [cell]), np.int8(seed), grid)  # type: ignore[list-item]
        return grid, out

    return sample


FILLING: tuple[Family, ...] = (_enclosures, _enclosures, _rooms, _rooms, _spread, _lattice, _rings, _terrain, _holes)
