"""Rules of two grids in one, apart by a line: the second tells what is done to the first, or both make a third."""

from __future__ import annotations

import numpy as np

from ttt_jax.tasks.transforms import symmetric
from ttt_jax.train.invented.draws import chance, draw_colours, pick
from ttt_jax.train.invented.masks import spanning_blob
from ttt_jax.train.invented.patterns.canvas import counts, finished, speckle
from ttt_jax.train.invented.patterns.guises import guised, one_of
from ttt_jax.train.invented.rule import Family, Grid, Pair, PairSampler, Rng


def _beside(first: Grid, second: Grid, line: int) -> Grid:
    """Two grids next to each other with a line between; the shorter one is filled up with ground."""
    height = max(len(first), len(second))
    first, second = (np.pad(grid, ((0, height - len(grid)), (0, 0))) for grid in (first, second))
    return np.hstack([first, np.full((height, 1), line, np.int8), second])


def counted(rng: Rng) -> PairSampler:
    """The number of cells in the second grid (or of their colours) tells how often or how large the first is drawn."""
    line, counter = draw_colours(rng, 2)
    of = pick(rng, ["cells", "cells", "colours"])
    what = pick(rng, ["repeat", "enlarge", "roll", "rows", "thick", "mirror repeat"])
    limit = 3 if what == "enlarge" else 5

    def sample(rng: Rng, size: float) -> Pair | None:
        n = int(rng.integers(2, 4 + round(3 * size)))
        palette = draw_colours(rng, 4, [line, counter])
        first = speckle(rng, (n, n), palette[: int(rng.integers(1, 4))], 0.65)
        second = np.zeros((n, 2), np.int8)
        number = int(rng.integers(1, 1 + min(limit, 2 * n)))
        at = rng.permutation(2 * n)[: min(2 * n, number + (of == "colours"))]
        shades = draw_colours(rng, number, [line]) if of == "colours" else [counter]
        second.ravel()[at] = np.resize(np.asarray(shades, np.int8), len(at))
        number = int((counts(second)[1:] > 0).sum()) if of == "colours" else len(at)
        match what:
            case "repeat":
                answer = np.tile(first, (1, number))
            case "mirror repeat":
                answer = np.hstack([first if k % 2 == 0 else first[:, ::-1] for k in range(number)])
            case "enlarge":
                answer = np.repeat(np.repeat(first, number, 0), number, 1)
            case "thick":
                answer = np.repeat(first, number, 0)
            case "roll":
                answer = np.roll(first, number, 0)
            case _:
                answer = first[:number]
        return finished(_beside(first, second, line), answer) if max(answer.shape) <= 30 else None

    return sample


def selected(rng: Rng) -> PairSampler:
    """The second grid is a mask of the first: cells, rows or columns that it marks stay, go or take a colour."""
    line, marker, shade = draw_colours(rng, 3)
    by, what = pick(rng, ["cells", "cells", "rows", "row strip"]), pick(rng, ["stay", "go", "paint", "fill"])

    def sample(rng: Rng, size: float) -> Pair | None:
        h, w = (int(rng.integers(3, 5 + round(8 * size))) for _ in range(2))
        first = speckle(rng, (h, w), draw_colours(rng, int(rng.integers(1, 5)), [line, marker, shade]), 0.7)
        if by == "cells":
            second = speckle(rng, (h, w), [marker], 0.45)
            mask = second != 0
        else:
            second = speckle(rng, (h, 1 if by == "row strip" else 3), [marker], 0.4)
            mask = np.repeat(second.any(1, keepdims=True), w, 1)
        answer = {
            "stay": np.where(mask, first, 0),
            "go": np.where(mask, 0, first),
            "paint": np.where(mask & (first != 0), shade, first),
            "fill": np.where(mask & (first == 0), shade, first),
        }[what]
        question = _beside(first, second, line)
        return finished(question, answer) if max(question.shape) <= 30 else None

    return sample


def coloured(rng: Rng) -> PairSampler:
    """The first grid's shape in the second's colours: by the commonest, by rows, or with its texture."""
    line, base = draw_colours(rng, 2)
    how = pick(rng, ["most", "rows", "texture", "chequer", "top"])

    def sample(rng: Rng, size: float) -> Pair | None:
        n = int(rng.integers(3, 5 + round(8 * size)))
        first = np.where(spanning_blob(rng, n, n, 0.55), base, 0).astype(np.int8)
        palette = draw_colours(rng, 3, [line, base])
        match how:
            case "most":
                second = speckle(rng, (n, 3), palette, 0.8)
                order = np.sort(counts(second)[1:])
                if order[-1] == order[-2]:
                    return None
                texture = np.full((n, n), counts(second)[1:].argmax() + 1)
            case "rows":
                second = speckle(rng, (n, 1), palette, 1.0)
                texture = np.repeat(second, n, 1)
            case "top":
                second = np.zeros((n, 1), np.int8)
                second[int(rng.integers(n))] = palette[0]
                texture = np.full((n, n), palette[0])
            case "texture":
                m = int(rng.integers(2, 4))
                second = speckle(rng, (m, m), palette, 1.0)
                texture = np.tile(second, (n // m + 1, n // m + 1))[:n, :n]
            case _:
                second = np.zeros((n, 2), np.int8)
                second[0] = palette[:2]
                texture = np.where(np.add.outer(np.arange(n), np.arange(n)) % 2 == 0, palette[0], palette[1])
        question = _beside(first, second, line)
        return finished(question, np.where(first != 0, texture, 0)) if max(question.shape) <= 30 else None

    return sample


def composed(rng: Rng) -> PairSampler:
    """Both grids make a third: one drawn at each cell of the other, or side by side in an order."""
    line = draw_colours(rng, 1)[0]
    how = pick(rng, ["at each cell", "sum", "around", "order", "colour each"])
    symmetry = pick(rng, [0, 0, 2, 3, 5])
    fixed_first = chance(rng, 0.3)
    shades = draw_colours(rng, 2, [line])

    def sample(rng: Rng, size: float) -> Pair | None:
        n, m = int(rng.integers(2, 4 + round(2 * size))), int(rng.integers(2, 4))
        palette = shades if fixed_first else draw_colours(rng, 4, [line])
        first, second = speckle(rng, (n, n), palette[:1], 0.6), speckle(rng, (m, m), palette[1:], 0.75)
        if np.count_nonzero(first) < 2 or not second.any():
            return None
        tile = symmetric(second, symmetry)
        match how:
            case "at each cell":
                answer = np.kron(first != 0, tile)
            case "colour each":
                answer = np.kron(first, (tile != 0).astype(np.int8))
            case "around":
                answer = np.tile(tile, (n, n))
                answer = np.where(np.kron(first != 0, np.ones((m, m), np.int8)) != 0, palette[0], answer)
            case "sum":
                second = speckle(rng, (n, n), palette[1:2], 0.5)
                answer = np.where(first != 0, first, symmetric(second, symmetry))
            case _:
                # The one with more cells goes first.
                second = speckle(rng, (n, n), palette[1:2], 0.5)
                a, b = np.count_nonzero(first), np.count_nonzero(second)
                if a == b:
                    return None
                answer = np.vstack([first, second] if a > b else [second, first])
        question = _beside(first, second, line)
        return finished(question, answer) if max(answer.shape) <= 30 else None

    return sample


FAMILIES: tuple[Family, ...] = (guised(one_of(counted, selected)), guised(one_of(coloured, composed)))
