"""Rules of clean and dirty grids: noise goes, boxes are freed of it, blocks shrink to cells, lines show through."""

from __future__ import annotations

import numpy as np

from ttt_jax.train.invented.draws import chance, draw_colours, pick, side
from ttt_jax.train.invented.masks import dilated, spanning_blob
from ttt_jax.train.invented.patterns.canvas import finished, speckle
from ttt_jax.train.invented.patterns.guises import guised, one_of
from ttt_jax.train.invented.placing import places
from ttt_jax.train.invented.rule import Family, Pair, PairSampler, Rng


def _boxes(rng: Rng, shape: tuple[int, int], least: int, most: int) -> list[tuple[int, int, int, int]] | None:
    number = int(rng.integers(1, 2 + shape[0] * shape[1] // 60))
    high, wide = (1 + max(least, min(most, n - 2)) for n in shape)
    sizes = [(int(rng.integers(least, high)), int(rng.integers(least, wide))) for _ in range(number)]
    corners = places(rng, shape, sizes, 2)
    return None if corners is None else [(*c, *s) for c, s in zip(corners, sizes, strict=True)]


def cleaned(rng: Rng) -> PairSampler:
    """Boxes under single stray cells: the strays go everywhere or only outside, or those in one place are marked."""
    noise_shade = pick(rng, [None, *draw_colours(rng, 2)])
    what = pick(rng, ["all", "all", "outside", "inside marked", "outside marked", "crop"])
    mark = draw_colours(rng, 1, [noise_shade or 0])[0]
    share = float(rng.uniform(0.06, 0.15))
    hollow = what != "crop" and chance(rng, 0.2)

    def sample(rng: Rng, size: float) -> Pair | None:
        shape = side(rng, size, 8), side(rng, size, 8)
        found = _boxes(rng, shape, 4, 9)
        if found is None:
            return None
        if what == "crop":
            found = found[:1]
        stray_shade = noise_shade or draw_colours(rng, 1, [mark])[0]
        clean, inside = np.zeros(shape, np.int8), np.zeros(shape, bool)
        for top, left, h, w in found:
            clean[top : top + h, left : left + w] = pick(rng, draw_colours(rng, 3, [stray_shade, mark]))
            if hollow and min(h, w) > 4:
                clean[top + 2 : top + h - 2, left + 2 : left + w - 2] = 0
            inside[top : top + h, left : left + w] = True
        strays = rng.random(shape) < share
        # Strays that join up look like things: only lone ones stay.
        strays &= np.add.outer(np.arange(shape[0]), 2 * np.arange(shape[1])) % 3 == int(rng.integers(3))
        edge = inside & dilated(~inside, True)
        strays &= ~edge
        if not strays.any():
            return None
        question = np.where(strays, stray_shade, clean)
        match what:
            case "all":
                answer = clean
            case "outside":
                answer = np.where(strays & ~inside, 0, question)
            case "inside marked":
                answer = np.where(strays & inside, mark, question)
            case "outside marked":
                answer = np.where(strays & ~inside, mark, question)
            case _:
                top, left, h, w = found[0]
                answer = clean[top : top + h, left : left + w]
        return finished(question, answer)

    return sample


def blocky(rng: Rng) -> PairSampler:
    """A small picture drawn with blocks, alike or of differing width, goes back to one cell a block."""
    kind = pick(rng, ["even", "uneven", "lines", "noisy"])
    line = draw_colours(rng, 1)[0]
    turn = pick(rng, ["none", "none", "flip", "negative"])

    def sample(rng: Rng, size: float) -> Pair | None:
        h, w = (int(rng.integers(2, 4 + round(4 * size))) for _ in range(2))
        palette = draw_colours(rng, int(rng.integers(1, 5)), [line])
        small = speckle(rng, (h, w), palette, 0.8)
        if (small[1:] == small[:-1]).all(1).any() or (small[:, 1:] == small[:, :-1]).all(0).any():
            return None
        if kind == "uneven":
            downs, rights = rng.integers(1, 4, h), rng.integers(1, 4, w)
        else:
            factor = int(rng.integers(2, 5))
            downs, rights = np.full(h, factor), np.full(w, factor)
        if kind == "lines":
            rows = [part for row in small for part in (np.repeat(row[None], downs[0], 0), None)][:-1]
            wide = [np.full((1, w), line, np.int8) if part is None else part for part in rows]
            body = np.concatenate(wide, 0)
            columns = [part for column in body.T for part in (np.repeat(column[:, None], rights[0], 1), None)][:-1]
            question = np.concatenate([np.full((len(body), 1), line) if p is None else p for p in columns], 1)
        else:
            question = np.repeat(np.repeat(small, downs, 0), rights, 1)
        if max(question.shape) > 30:
            return None
        if kind == "noisy":
            if downs[0] < 3:
                return None
            noise = rng.random(question.shape) < 0.08
            question = np.where(noise, pick(rng, palette), question)
            parts = question.reshape(h, downs[0], w, rights[0]) == small[:, None, :, None]
            if parts.mean((1, 3)).min() <= 0.6:
                return None
        if turn == "negative":
            return finished(question, np.where(small == 0, line, 0))
        return finished(question, small[:, ::-1] if turn == "flip" else small)

    return sample


def covered(rng: Rng) -> PairSampler:
    """Whole lines are crossed by boxes of a colour: the lines show through, on top, or where they cross is marked."""
    kind, mark = pick(rng, ["mend", "mend", "hidden marked", "inside only", "mend inside"]), draw_colours(rng, 1)[0]
    cover = pick(rng, [0, *draw_colours(rng, 2, [mark])])
    both = chance(rng, 0.5)

    def sample(rng: Rng, size: float) -> Pair | None:
        shape = side(rng, size, 7), side(rng, size, 7)
        palette = draw_colours(rng, 2, [mark, cover])
        lines = np.zeros(shape, np.int8)
        for row in range(int(rng.integers(3)), shape[0], int(rng.integers(2, 4))):
            lines[row] = palette[0]
        if both:
            lines[:, int(rng.integers(2)) :: int(rng.integers(2, 5))] = palette[1]
        found = _boxes(rng, (shape[0], shape[1] - 2), 2, 4)
        if found is None:
            return None
        covers = np.zeros(shape, bool)
        for top, left, h, w in found:
            covers[top : top + h, left + 1 : left + 1 + w] = True
        question = np.where(covers, cover, lines)
        if kind == "mend":
            return finished(question, lines)
        if kind == "mend inside":
            return finished(question, np.where(covers & (lines != 0), lines, question)) if cover else None
        if kind == "hidden marked":
            return finished(question, np.where(covers & (lines != 0), mark, question))
        return finished(question, np.where(covers, lines, 0))

    return sample


def freed(rng: Rng) -> PairSampler:
    """A box drawn by its frame or by four corner cells: it is cut out, or what is in or outside it changes."""
    frame = draw_colours(rng, 1)[0]
    kind = pick(rng, ["frame", "frame", "corners", "filled"])
    what = pick(rng, ["crop", "crop inside", "clear outside", "clear inside", "paint"])
    shade = draw_colours(rng, 1, [frame])[0]
    density = float(rng.uniform(0.2, 0.6))

    def sample(rng: Rng, size: float) -> Pair | None:
        shape = side(rng, size, 8), side(rng, size, 8)
        h, w = (int(rng.integers(4, n - 1)) for n in shape)
        at = places(rng, shape, [(h, w)])
        if at is None:
            return None
        top, left = at[0]
        palette = draw_colours(rng, int(rng.integers(1, 4)), [frame, shade])
        grid = speckle(rng, shape, palette, density)
        box = grid[top : top + h, left : left + w]
        inner = box[1:-1, 1:-1]
        if kind == "corners":
            box[[0, 0, -1, -1], [0, -1, 0, -1]] = frame
        else:
            kept = inner.copy()
            box[:] = frame
            inner[:] = np.where(kept == 0, frame if kind == "filled" else 0, kept)
        if not inner.any():
            return None
        if what == "crop":
            return finished(grid, box)
        if what == "crop inside":
            return finished(grid, inner)
        answer = grid.copy()
        if what == "clear outside":
            answer = np.zeros_like(grid)
            answer[top : top + h, left : left + w] = box
        elif what == "clear inside":
            answer[top + 1 : top + h - 1, left + 1 : left + w - 1] = 0
        else:
            middle = answer[top + 1 : top + h - 1, left + 1 : left + w - 1]
            middle[(middle != 0) & (middle != frame)] = shade
        return finished(grid, answer)

    return sample


def scaled_pair(rng: Rng) -> PairSampler:
    """A shape is shown small and large: the small one's colours go to the blocks of the large one, or the other way."""
    kind = pick(rng, ["to large", "to small", "which factor"])
    base = draw_colours(rng, 1)[0]
    shade = draw_colours(rng, 1, [base])[0]
    kept = chance(rng, 0.5)

    def sample(rng: Rng, size: float) -> Pair | None:
        n = int(rng.integers(2, 4))
        factor = int(rng.integers(2, 4 + (size > 0.4)))
        mask = spanning_blob(rng, n, n, 0.6)
        small = np.where(mask, np.asarray(draw_colours(rng, 3, [base]), np.int8)[rng.integers(3, size=(n, n))], 0)
        plain = np.where(mask, base, 0).astype(np.int8)
        if not (~mask).any() or factor * n + n > 27:
            return None
        grow = np.ones((factor, factor), np.int8)
        least = factor * n + n + 1
        shape = least + int(rng.integers(3)), least + int(rng.integers(3))
        corners = places(rng, shape, [(n * factor, n * factor), (n, n)])
        if corners is None:
            return None
        (top, left), (y, x) = corners
        question, answer = np.zeros(shape, np.int8), np.zeros(shape, np.int8)
        if kind == "which factor":
            question[top : top + n * factor, left : left + n * factor] = np.kron(plain, grow)
            question[y : y + n, x : x + n] = plain
            return finished(question, np.full((1, factor), shade, np.int8))
        large, little = (np.kron(plain, grow), small) if kind == "to large" else (np.kron(small, grow), plain)
        question[top : top + n * factor, left : left + n * factor] = large
        question[y : y + n, x : x + n] = little
        answer[top : top + n * factor, left : left + n * factor] = np.kron(small, grow)
        answer[y : y + n, x : x + n] = small
        if kept:
            return finished(question, answer)
        return finished(question, np.kron(small, grow) if kind == "to large" else small)

    return sample


FAMILIES: tuple[Family, ...] = (
    guised(one_of(cleaned, covered)),
    guised(one_of(blocky, scaled_pair)),
    guised(freed),
)
