"""Rules of areas: fields between lines, layers over each other, squares in which no colour comes twice."""

from __future__ import annotations

import numpy as np

from ttt_jax.train.invented.draws import chance, draw_colours, pick, side
from ttt_jax.train.invented.masks import border_distance
from ttt_jax.train.invented.patterns.canvas import counts, extreme, finished, speckle
from ttt_jax.train.invented.patterns.guises import guised, one_of
from ttt_jax.train.invented.placing import places
from ttt_jax.train.invented.rule import Family, Grid, Pair, PairSampler, Rng


def _cuts(rng: Rng, length: int, least: int = 1) -> list[tuple[int, int]]:
    """Ends of the fields that lines cut a side into; fields are at least `least` long."""
    fields, start = [], 0
    while start < length:
        end = start + int(rng.integers(least, least + 5))
        if length - end - 1 < least:
            end = length
        fields.append((start, end))
        start = end + 1
    return fields


def fields(rng: Rng) -> PairSampler:
    """Lines divide the grid into fields of all sizes: some are filled, by size, place, shape or a mark inside."""
    line = draw_colours(rng, 1)[0]
    shades = draw_colours(rng, 3, [line])
    by = pick(rng, ["largest", "smallest", "both", "corners", "inner", "square", "chequer", "mark", "mark", "summary"])
    mark_fills = pick(rng, ["own", "shade", "row", "empty"])

    def sample(rng: Rng, size: float) -> Pair | None:
        shape = side(rng, size, 6), side(rng, size, 6)
        rows, columns = _cuts(rng, shape[0], 2 if by == "mark" else 1), _cuts(rng, shape[1], 2 if by == "mark" else 1)
        if len(rows) * len(columns) < 3:
            return None
        question = np.full(shape, line, np.int8)
        for a, b in rows:
            for c, d in columns:
                question[a:b, c:d] = 0
        answer = question.copy()
        areas = np.asarray([[(b - a) * (d - c) for c, d in columns] for a, b in rows])
        most, least = extreme(areas.ravel(), True), extreme(areas.ravel(), False)
        if (by in ("largest", "both") and most is None) or (by in ("smallest", "both") and least is None):
            return None
        small = np.zeros(areas.shape, np.int8)
        for k in range(areas.size):
            i, j = divmod(k, len(columns))
            (a, b), (c, d) = rows[i], columns[j]
            outer = i in (0, len(rows) - 1), j in (0, len(columns) - 1)
            shade = 0
            match by:
                case "largest":
                    shade = shades[0] * (k == most)
                case "smallest":
                    shade = shades[0] * (k == least)
                case "both":
                    shade = shades[0] if k == most else shades[1] if k == least else 0
                case "corners":
                    shade = shades[0] if all(outer) else shades[1] if any(outer) else shades[2]
                case "inner":
                    shade = 0 if any(outer) else shades[0]
                case "square":
                    shade = shades[0] if b - a == d - c else 0
                case "chequer":
                    shade = shades[0] if (i + j) % 2 else 0
                case "summary":
                    shade = pick(rng, [*shades, 0])
                    small[i, j] = shade
                    question[a:b, c:d] = shade
                case _:
                    if chance(rng, 0.4):
                        own = pick(rng, shades[1:])
                        at = int(rng.integers(a, b)), int(rng.integers(c, d))
                        question[at] = answer[at] = own
                        if mark_fills == "row":
                            answer[at[0], c:d] = own
                        shade = {"own": own, "shade": shades[0]}.get(mark_fills, 0)
                    elif mark_fills == "empty":
                        shade = shades[0]
            if shade:
                field = answer[a:b, c:d]
                field[field == 0] = shade
        return finished(question, small if by == "summary" else answer)

    return sample


def layers(rng: Rng) -> PairSampler:
    """Boxes or bars lie over each other: the order is told, the top one is shown, or the order is turned over."""
    kind, what = pick(rng, ["boxes", "bars", "nested"]), pick(rng, ["order", "order", "top", "bottom", "turned"])
    top_first, number_fixed = chance(rng, 0.5), pick(rng, [None, 2, 3])

    def sample(rng: Rng, size: float) -> Pair | None:
        shape = side(rng, size, 7), side(rng, size, 7)
        number = number_fixed or int(rng.integers(2, 5))
        shades = draw_colours(rng, number)
        boxes: list[tuple[int, int, int, int]] = []
        for k in range(number):
            if kind == "bars":
                thick = int(rng.integers(1, 3))
                if k % 2:
                    left = int(rng.integers(shape[1] - thick))
                    box = 0, left, shape[0], thick
                else:
                    top = int(rng.integers(shape[0] - thick))
                    box = top, 0, thick, shape[1]
            else:
                h, w = (int(rng.integers(3, max(4, n * 2 // 3))) for n in shape)
                box = int(rng.integers(shape[0] - h + 1)), int(rng.integers(shape[1] - w + 1)), h, w
            boxes.append(box)
        grid, turned = np.zeros(shape, np.int8), np.zeros(shape, np.int8)
        owner = np.full(shape, -1)
        for k, (top, left, h, w) in enumerate(boxes):
            below = owner[top : top + h, left : left + w]
            # Each lies on the one before, or the order could not be seen.
            if k and not (below == k - 1).any():
                return None
            owner[top : top + h, left : left + w] = k
            grid[top : top + h, left : left + w] = shades[k]
        for k in reversed(range(number)):
            top, left, h, w = boxes[k]
            turned[top : top + h, left : left + w] = shades[k]
        # Each must still show enough to be seen as what it is: two opposite corners for boxes, both ends for bars.
        for k, (top, left, h, w) in enumerate(boxes):
            ends = owner[[top, top + h - 1, top, top + h - 1], [left, left + w - 1, left + w - 1, left]] == k
            if not ((ends[0] and ends[1]) or (ends[2] and ends[3])):
                return None
        match what:
            case "order":
                answer = np.asarray(shades[::-1] if top_first else shades, np.int8)[:, None]
            case "top":
                answer = np.where(owner == number - 1, grid, 0)
            case "bottom":
                top, left, h, w = boxes[0]
                answer = np.zeros(shape, np.int8)
                answer[top : top + h, left : left + w] = shades[0]
            case _:
                answer = turned
        return finished(grid, answer)

    return sample


def latin(rng: Rng) -> PairSampler:
    """A square in which each colour comes once in each row and column, with holes to be filled."""
    mask = pick(rng, [0, draw_colours(rng, 1)[0]])
    simple, holes_only = chance(rng, 0.5), mask != 0 and chance(rng, 0.2)
    repeated = pick(rng, [1, 1, 2])

    def sample(rng: Rng, size: float) -> Pair | None:
        n = int(rng.integers(3, 5 + round(3 * size)))
        shades = np.asarray(draw_colours(rng, n, [mask]), np.int8)
        base = np.add.outer(np.arange(n), np.arange(n)) % n
        if not simple:
            base = base[rng.permutation(n)][:, rng.permutation(n)]
        whole = shades[base]
        hidden = np.zeros((n, n), bool)
        # One hole a row and column can always be told.
        number = int(rng.integers(1, n + 1))
        hidden[rng.permutation(n)[:number], rng.permutation(n)[:number]] = True
        if len(set(whole[~hidden].tolist())) < n:
            # A colour that shows nowhere could be any.
            return None
        question = np.where(hidden, mask, whole)
        answer = np.where(hidden, whole, 0) if holes_only else whole
        question, answer = (np.repeat(np.repeat(g, repeated, 0), repeated, 1) for g in (question, answer))
        return finished(question, answer)

    return sample


def halves(rng: Rng) -> PairSampler:
    """A line cuts the grid in two: the emptier part is filled or cleared, colours change sides, or a part is shown."""
    line = draw_colours(rng, 1)[0]
    shade = draw_colours(rng, 1, [line])[0]
    most = chance(rng, 0.5)
    what = pick(rng, ["cut", "paint", "clear", "fill", "sides", "share"])
    density = float(rng.uniform(0.15, 0.5))

    def sample(rng: Rng, size: float) -> Pair | None:
        height, width = side(rng, size, 3), side(rng, size, 7)
        at = int(rng.integers(2, width - 2))
        palette = draw_colours(rng, 2, [line, shade])
        parts: list[Grid] = [
            speckle(rng, (height, w), [own], density) for w, own in zip((at, width - at - 1), palette, strict=True)
        ]
        numbers = np.asarray([np.count_nonzero(part) for part in parts])
        best = extreme(numbers, most)
        if best is None or not numbers.all():
            return None
        bar = np.full((height, 1), line, np.int8)
        question = np.hstack([parts[0], bar, parts[1]])
        if what == "cut":
            return finished(question, parts[best])
        if what == "share":
            return finished(question, np.full((1, 1), counts(parts[best])[1:].argmax() + 1, np.int8))
        made = list(parts)
        if what == "sides":
            made = [np.where(part != 0, own, 0) for part, own in zip(parts, palette[::-1], strict=True)]
        else:
            chosen = parts[best]
            made[best] = {
                "paint": np.where(chosen != 0, shade, 0),
                "clear": np.zeros_like(chosen),
                "fill": np.where(chosen == 0, shade, chosen),
            }[what]
        return finished(question, np.hstack([made[0], bar, made[1]]))

    return sample


def patterned_boxes(rng: Rng) -> PairSampler:
    """Boxes of a colour (or two, each with its own pattern) are patterned inside: rings, chequers, stripes, crosses."""
    number = pick(rng, [1, 1, 2])
    bases = draw_colours(rng, number)
    shades = draw_colours(rng, 2, bases)
    kinds = [
        pick(rng, ["border", "inside", "chequer", "rings", "rows", "columns", "corners", "middle", "cross"])
        for _ in bases
    ]
    hollow = chance(rng, 0.15)

    def mask(kind: str, h: int, w: int) -> np.ndarray | None:
        rows, columns = np.arange(h)[:, None], np.arange(w)[None, :]
        depth = border_distance((h, w))
        odd = h % 2 == 1 and w % 2 == 1
        match kind:
            case "border":
                return depth == 0
            case "inside":
                return depth > 0
            case "chequer":
                return (rows + columns) % 2 == 1
            case "rings":
                return depth % 2 == 1
            case "rows":
                return (rows % 2 == 1) | (0 * columns > 0)
            case "columns":
                return (columns % 2 == 1) | (0 * rows > 0)
            case "corners":
                return (rows % (h - 1) == 0) & (columns % (w - 1) == 0)
            case "middle":
                return depth == depth.max()
        return (rows == h // 2) | (columns == w // 2) if odd else None

    def sample(rng: Rng, size: float) -> Pair | None:
        shape = side(rng, size, 7), side(rng, size, 7)
        sizes = [(int(rng.integers(3, min(shape[0], 10))), int(rng.integers(3, min(shape[1], 10)))) for _ in range(4)]
        sizes = sizes[: int(rng.integers(1, 2 + shape[0] * shape[1] // 60))]
        corners = places(rng, shape, sizes)
        if corners is None:
            return None
        question = np.zeros(shape, np.int8)
        answer = question.copy()
        for (top, left), (h, w) in zip(corners, sizes, strict=True):
            k = int(rng.integers(number))
            chosen = mask(kinds[k], h, w)
            if chosen is None:
                return None
            box = np.where(border_distance((h, w)) > 0, 0, bases[k]) if hollow else np.full((h, w), bases[k])
            question[top : top + h, left : left + w] = box
            answer[top : top + h, left : left + w] = np.where(chosen, shades[k], box)
        return finished(question, answer)

    return sample


FAMILIES: tuple[Family, ...] = (guised(fields), guised(one_of(layers, layers, halves, latin)), guised(patterned_boxes))
