"""Rules told by a key inside the grid: pairs of colours, a palette, a small map, a sample of what to look for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ttt_jax.tasks.grids import COLOURS
from ttt_jax.tasks.transforms import symmetric
from ttt_jax.train.invented.draws import chance, draw_colours, pick, side
from ttt_jax.train.invented.masks import dilated, spanning_blob
from ttt_jax.train.invented.patterns.canvas import finished, speckle
from ttt_jax.train.invented.patterns.guises import guised, one_of
from ttt_jax.train.invented.patterns.whole_grids import draw_scene
from ttt_jax.train.invented.placing import places
from ttt_jax.train.invented.rule import Family, Grid, Pair, PairSampler, Rng


def recoding(rng: Rng) -> PairSampler:
    """Pairs of cells at one side tell which colour becomes which in the rest; the key goes, stays or is taken along."""
    stays, line = chance(rng, 0.5), pick(rng, [0, draw_colours(rng, 1)[0], draw_colours(rng, 1)[0]])
    backwards, both_ways, spread = chance(rng, 0.3), chance(rng, 0.3), chance(rng, 0.3)
    taught = pick(rng, [1, 2, 2, 3])
    scene = draw_scene(rng, [1, 2, 3], fixed=True, least=4, most=26)

    def sample(rng: Rng, size: float) -> Pair | None:
        names = np.asarray([0, *draw_colours(rng, 9, [line])], np.int8)
        body = names[np.minimum(scene(rng, size), len(names) - 1)]
        present = sorted(set(body[body != 0].tolist()))
        number = min(taught, len(present))
        height = len(body)
        if not number or 2 * number > height + 1:
            return None
        old = [present[i] for i in rng.permutation(len(present))[:number]]
        new = draw_colours(rng, number, [line, *present])
        if len(new) < number:
            return None
        table = np.arange(COLOURS, dtype=np.int8)
        table[old] = new
        if both_ways:
            table[new] = old
        key = np.zeros((height, 2), np.int8)
        for k, (a, b) in enumerate(zip(old, new, strict=True)):
            row = 2 * k if spread or 2 * number <= height + 1 else k
            key[row] = (b, a) if backwards else (a, b)
        bar = np.full((height, 1), line, np.int8)
        question = np.hstack([key, bar, body])
        answer = table[body]
        return finished(question, np.hstack([key, bar, answer]) if stays else answer)

    return sample


def palette_row(rng: Rng) -> PairSampler:
    """A row of colours on top (or one cell in a corner) is the palette for the bars, rows or shapes below it."""
    kind = pick(rng, ["corner all", "rows", "columns", "order of length", "cycle rows", "corner named"])
    base, target = draw_colours(rng, 2)
    scene = draw_scene(rng, [base, target] if kind == "corner named" else [base], fixed=True, least=3, most=27)
    kept = chance(rng, 0.5)

    def sample(rng: Rng, size: float) -> Pair | None:
        body = scene(rng, size)
        height, width = body.shape
        palette = draw_colours(rng, 6, [base, target])
        head = np.zeros(width, np.int8)
        match kind:
            case "corner all":
                head[0] = palette[0]
                made = np.where(body != 0, palette[0], 0)
            case "corner named":
                head[0] = palette[0]
                made = np.where(body == target, palette[0], body)
            case "columns":
                head = np.asarray(palette, np.int8)[rng.integers(6, size=width)]
                made = np.where(body != 0, head[None, :], 0)
            case "order of length":
                lengths = np.count_nonzero(body, 1)
                filled = np.flatnonzero(lengths)
                if not 1 < len(filled) <= min(6, width) or len(set(lengths[filled].tolist())) < len(filled):
                    return None
                head[: len(filled)] = palette[: len(filled)]
                rank = np.zeros(height, int)
                rank[filled] = np.argsort(np.argsort(-lengths[filled]))
                made = np.where(body != 0, np.asarray(palette)[rank][:, None], 0)
            case _:
                number = min(width, int(rng.integers(2, 4)))
                head[:number] = palette[:number]
                period = np.asarray(palette[:number])
                at = np.arange(height) if kind == "cycle rows" else np.cumsum(body.any(1)) - 1
                made = np.where(body != 0, period[at % number][:, None], 0)
        return finished(np.vstack([head[None, :], body]), np.vstack([head[None, :], made]) if kept else made)

    return sample


def found(rng: Rng) -> PairSampler:
    """A small motif (the rule's own, or shown in a corner box) is looked for in noise: its places are painted."""
    own = chance(rng, 0.5)
    height, width = pick(rng, [(2, 2), (1, 3), (3, 3), (2, 3), (3, 1), (3, 3)])
    motif = _motif(rng, height, width)
    turned = chance(rng, 0.3)
    base, shade, frame = draw_colours(rng, 3)
    what = pick(rng, ["paint", "paint", "alone", "box"])
    density = float(rng.uniform(0.1, 0.3))

    def sample(rng: Rng, size: float) -> Pair | None:
        h, w = (height, width) if own else pick(rng, [(2, 2), (3, 3), (2, 3)])
        sought = motif if own else _motif(rng, h, w)
        shape = side(rng, max(size, 0.25), 7, 24), side(rng, max(size, 0.25), 7, 24)
        noise = rng.random(shape) < density
        number = int(rng.integers(1, 4))
        forms = [symmetric(sought, s) for s in (range(8) if turned else (0,))]
        chosen = [pick(rng, forms) for _ in range(number)]
        corners = places(rng, shape, [form.shape for form in chosen])
        if corners is None:
            return None
        for (top, left), form in zip(corners, chosen, strict=True):
            noise[max(0, top - 1) : top + form.shape[0] + 1, max(0, left - 1) : left + form.shape[1] + 1] = False
            noise[top : top + form.shape[0], left : left + form.shape[1]] = form
        hits, boxes = np.zeros(shape, bool), np.zeros(shape, bool)
        seen = 0
        for form in {form.tobytes() + bytes(form.shape): form for form in forms}.values():
            windows = np.lib.stride_tricks.sliding_window_view(noise, form.shape)
            for top, left in zip(*np.nonzero((windows == form).all((2, 3))), strict=True):
                hits[top : top + form.shape[0], left : left + form.shape[1]] |= form
                boxes[top : top + form.shape[0], left : left + form.shape[1]] = True
                seen += 1
        if seen != number:
            return None
        question = np.where(noise, base, 0).astype(np.int8)
        if what == "box":
            answer = np.where(boxes & ~noise, shade, question)
        else:
            answer = np.where(hits, shade, 0 if what == "alone" else question)
        if not own:
            box = np.full((h + 1, w + 1), frame, np.int8)
            box[:h, :w] = np.where(sought, base, 0)
            room = np.zeros((h + 1, shape[1]), np.int8)
            room[:, : w + 1] = box
            question, answer = np.vstack([room, question]), np.vstack([room, answer]) if what != "alone" else answer
        return finished(question, answer)

    return sample


def _motif(rng: Rng, height: int, width: int) -> np.ndarray:
    return spanning_blob(rng, height, width, 0.75) if min(height, width) > 1 else np.ones((height, width), bool)


def mask_and_blocks(rng: Rng) -> PairSampler:
    """A small plan and a palette (or a motif) are drawn apart from each other: the plan is built from the other."""
    kind = pick(rng, ["motif", "colour", "pairs", "blocks"])
    base, line = draw_colours(rng, 2)
    factor = pick(rng, [2, 2, 3])

    def sample(rng: Rng, size: float) -> Pair | None:
        n = int(rng.integers(2, 4 + (size > 0.4)))
        plan = speckle(rng, (n, n), [base], 0.55)
        if not 1 < np.count_nonzero(plan) < n * n:
            return None
        bar = np.full((n, 1), line, np.int8)
        if kind == "motif":
            m = int(rng.integers(2, 4))
            if m > n:
                return None
            motif = speckle(rng, (m, m), draw_colours(rng, 3, [base, line]), 0.75)
            other = np.zeros((n, m), np.int8)
            other[:m] = motif
            answer = np.kron(plan != 0, motif)
        elif kind == "colour":
            shade = draw_colours(rng, 1, [base, line])[0]
            other = np.full((n, 1), shade, np.int8)
            answer = np.kron(plan != 0, np.full((factor, factor), shade))
        elif kind == "pairs":
            on, off = draw_colours(rng, 2, [base, line])
            other = np.zeros((n, 1), np.int8)
            other[0], other[-1] = on, off
            answer = np.where(plan != 0, on, off)
        else:
            shades = np.asarray(draw_colours(rng, 4, [base, line]), np.int8)[rng.integers(4, size=(n, n))]
            other = shades
            answer = np.where(plan != 0, shades, 0)
            return finished(np.hstack([plan, bar, other]), np.repeat(np.repeat(answer, factor, 0), factor, 1))
        return finished(np.hstack([plan, bar, other]), answer)

    return sample


def fitted(rng: Rng) -> PairSampler:
    """A large coloured area has holes or a small key cell: cells touching, around or inside take the key's colour."""
    kind = pick(rng, ["dominant", "holes", "beside"])
    filler = pick(rng, [0, draw_colours(rng, 1)[0]])
    area_fixed = draw_colours(rng, 1, [filler])[0] if chance(rng, 0.4) else None

    def sample(rng: Rng, size: float) -> Pair | None:
        shape = side(rng, size, 6), side(rng, size, 6)
        area = area_fixed or draw_colours(rng, 1, [filler])[0]
        key = draw_colours(rng, 1, [area, filler])[0]
        grid = np.zeros(shape, np.int8)
        number = int(rng.integers(1, 3 + round(3 * size)))
        boxes = [(int(rng.integers(3, 6)), int(rng.integers(3, 6))) for _ in range(number)]
        corners = places(rng, shape, boxes)
        if corners is None:
            return None
        answer = grid.copy()
        for (top, left), (h, w) in zip(corners, boxes, strict=True):
            own = pick(rng, draw_colours(rng, 3, [area, filler])) if kind == "dominant" else key
            marks = np.zeros((h, w), bool)
            marks[int(rng.integers(1, h - 1)), int(rng.integers(1, w - 1))] = True
            box, made = grid[top : top + h, left : left + w], answer[top : top + h, left : left + w]
            box[:] = np.where(marks, own, area)
            if kind == "dominant":
                made[:] = np.where(marks, filler or area, own)
            elif kind == "holes":
                made[:] = np.where(marks.any(1, keepdims=True) | marks.any(0, keepdims=True), own, area)
            else:
                made[:] = np.where(dilated(marks, True), own, area)
        return finished(grid, answer)

    return sample


def pair_of_pictures(rng: Rng) -> PairSampler:
    """Two pictures show a change (a swap of colours); a third one is to be changed alike: an analogy in one grid."""
    line = draw_colours(rng, 1)[0]
    change = pick(rng, ["recolour", "turn"])
    turns: Sequence[int] = pick(rng, [(2, 3), (2, 3, 5), (3, 5)])
    stays = chance(rng, 0.5)

    def sample(rng: Rng, size: float) -> Pair | None:
        n = side(rng, size, 2, 9)
        if 3 * n + 2 > 30:
            return None
        palette = draw_colours(rng, 4, [line])
        first, second = (speckle(rng, (n, n), palette[:2], 0.6) for _ in range(2))
        if len(set(first.ravel().tolist()) - {0}) < 2:
            return None
        if change == "recolour":
            table = np.arange(COLOURS, dtype=np.int8)
            table[palette[:2]] = palette[2:]
            shown, made = table[first], table[second]
        else:
            symmetry = pick(rng, turns)
            shown, made = symmetric(first, symmetry), symmetric(second, symmetry)
            if any(s != symmetry and np.array_equal(symmetric(first, s), shown) for s in (0, 2, 3, 5)):
                return None

        def row(*pictures: Grid) -> Grid:
            bar = np.full((n, 1), line, np.int8)
            return np.hstack([pictures[0], bar, pictures[1]])

        bar = np.full((1, 2 * n + 1), line, np.int8)
        question = np.vstack([row(first, shown), bar, row(second, np.zeros_like(second))])
        return finished(question, np.vstack([row(first, shown), bar, row(second, made)]) if stays else made)

    return sample


FAMILIES: tuple[Family, ...] = (
    guised(recoding),
    guised(palette_row),
    guised(found),
    guised(one_of(mask_and_blocks, fitted, pair_of_pictures)),
)
