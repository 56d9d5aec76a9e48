"""Rooms by size, content and place; cells of a lattice; water on uneven land."""

from __future__ import annotations

import numpy as np

from ttt_jax.train.invented.draws import amount, draw_colours, pick, side
from ttt_jax.train.invented.masks import DIAGONAL, ORTHOGONAL, labelled, neighbours
from ttt_jax.train.invented.movement.ground import bar, blank
from ttt_jax.train.invented.movement.guises import guised
from ttt_jax.train.invented.placing import Box
from ttt_jax.train.invented.rule import Family, Pair, PairSampler, Rng


def _split(rng: Rng, shape: tuple[int, ...], count: int, least: int) -> list[Box]:
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


def walled_rooms(rng: Rng) -> PairSampler:
    """Walls make rooms, doors join them: a room is filled by its size, by what is in it or by where it lies."""
    wall, first, second, *marks = draw_colours(rng, 6)
    decides = pick(
        rng, ("largest", "smallest", "both", "marker", "marker", "many", "border", "empty", "flood", "flood")
    )
    doors = rng.random() < (0.7 if decides == "flood" else 0.25)
    framed = rng.random() < 0.4
    answer = pick(rng, ("grid", "grid", "grid", "grid", "crop", "area")) if decides != "both" else "grid"
    if decides in ("marker", "border", "empty", "flood") and answer != "grid":
        answer = pick(rng, ("count", "grid"))
    own = rng.random() < 0.5
    clear = rng.random() < 0.4

    def sample(rng: Rng, size: float) -> Pair | None:
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
            for t, left, h, w in rooms:
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


def equal_cells(rng: Rng) -> PairSampler:
    """Lines cut the grid into equal cells, some with marks: cells are filled, joined in rows, or become a mosaic."""
    line, fill, *marks = draw_colours(rng, 6)
    rule = pick(rng, ("fill", "fill", "row", "cross", "around", "between", "mosaic", "mosaic", "most", "match"))
    one = rng.random() < 0.5
    empty = rng.random() < 0.3
    threshold = int(rng.integers(2, 4))

    def sample(rng: Rng, size: float) -> Pair | None:
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
            near = (neighbours(small > 0, ORTHOGONAL if one else DIAGONAL) > 0) & (small == 0)
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


def terrain(rng: Rng) -> PairSampler:
    """Columns of stone from the floor: water fills valleys or rises to a mark; peaks or surfaces are marked."""
    stone, water, mark = draw_colours(rng, 3)
    rule = pick(rng, ("valleys", "valleys", "level", "level", "surface", "peak", "sort", "heights", "complement"))
    shaded = rng.random() < 0.3
    down = rng.random() < 0.5

    def sample(rng: Rng, size: float) -> Pair | None:
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


FAMILIES: tuple[Family, ...] = (
    *(guised(walled_rooms),) * 2,
    guised(equal_cells),
    guised(terrain, sided=True),
)
