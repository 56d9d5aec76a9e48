"""Figures stamped around markers, fixed by the rule or shown once; plants."""

from __future__ import annotations

import numpy as np

from ttt_jax.train.invented.draws import amount, draw_colours, pick
from ttt_jax.train.invented.movement.ground import blank
from ttt_jax.train.invented.movement.guises import guised
from ttt_jax.train.invented.placing import scatter
from ttt_jax.train.invented.rule import Family, Pair, PairSampler, Rng


def _kernel(rng: Rng, inks: list[int]) -> np.ndarray:
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


def stamps(rng: Rng) -> PairSampler:
    """Every marker gets the figure of its colour; the marker stays, vanishes or takes part."""
    kinds = int(rng.integers(1, 4))
    *markers, first, second, idle = draw_colours(rng, kinds + 3)
    kernels = [
        _kernel(rng, [markers[k] if rng.random() < 0.25 else pick(rng, (first, second)), second]) for k in range(kinds)
    ]
    stays = rng.random() < 0.7
    distract = rng.random() < 0.3
    crowded = rng.random() < 0.2
    gone = rng.random() < 0.1

    def sample(rng: Rng, size: float) -> Pair | None:
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


def shown_figure(rng: Rng) -> PairSampler:
    """One marker in the input has a figure around it: all others get the same one, in its colours or in their own."""
    centre, *inks = draw_colours(rng, 6)
    takes = pick(rng, ("same", "same", "own", "reflected", "moved"))
    erased = rng.random() < 0.2
    large = rng.random() < 0.3

    def sample(rng: Rng, size: float) -> Pair | None:
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


def plants(rng: Rng) -> PairSampler:
    """Seeds at the left border grow to the right: until something or as far as their colour or a mark says, with
    leaves and a flower."""
    seed, stem, leaf, flower, stone = draw_colours(rng, 5)
    until = pick(rng, ("border", "stone", "stone", "fixed", "mark"))
    length = int(rng.integers(2, 6))
    period = int(rng.integers(2, 4))
    leaves = pick(rng, ("none", "both", "alternate", "one"))
    blooms = pick(rng, ("none", "tip", "tip", "cross"))

    def sample(rng: Rng, size: float) -> Pair | None:
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
            reach = {"border": width, "stone": int(rng.integers(3, width + 1)), "fixed": length + 1, "mark": mark + 1}[
                until
            ]
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


FAMILIES: tuple[Family, ...] = (
    *(guised(stamps),) * 2,
    guised(shown_figure),
    guised(plants, sided=True),
)
