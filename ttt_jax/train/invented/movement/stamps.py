"""Figures stamped around markers, fixed by the rule or shown once; plants."""

from __future__ import annotations

import numpy as np

from ttt_jax.train.invented.draws import amount, draw_colours, pick
from ttt_jax.train.invented.movement.ground import blank
from ttt_jax.train.invented.movement.guises import guised
from ttt_jax.train.invented.placing import scatter
from ttt_jax.train.invented.rule import Family, Pair, PairSampler, Rng
from ttt_jax.train.invented.stencils import draw_stencil, stamp

_REACHES = (1, 1, 1, 2, 2, 3)


def stamps(rng: Rng) -> PairSampler:
    """Every marker gets the figure of its colour; the marker stays, vanishes or takes part."""
    kinds = int(rng.integers(1, 4))
    *markers, first, second, idle = draw_colours(rng, kinds + 3)
    stencils = [
        draw_stencil(
            rng,
            pick(rng, _REACHES),
            [marker if rng.random() < 0.25 else pick(rng, (first, second)), second][: pick(rng, (1, 2))],
        )
        for marker in markers
    ]
    stays = rng.random() < 0.7
    distract = rng.random() < 0.3
    crowded = rng.random() < 0.2
    gone = rng.random() < 0.1

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 5)
        radius = max(len(k) for k in stencils) // 2
        cells = scatter(rng, grid.shape, amount(rng, size, 1, 6), radius if crowded else 2 * radius, 0)
        if not cells:
            return None
        colours = [pick(rng, markers) for _ in cells]
        out = grid.copy()
        for marker, stencil in zip(markers, stencils, strict=True):
            for (r, c), colour in zip(cells, colours, strict=True):
                grid[r, c] = colour
                if colour == marker:
                    stamp(out, stencil, r, c)
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
    takes = pick(rng, ("same", "same", "own", "reflected", "first ink"))
    erased = rng.random() < 0.2
    large = rng.random() < 0.3

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, max(size, 0.15), 7)
        tints = [inks[k] for k in rng.permutation(5)[:2]]
        stencil = draw_stencil(rng, pick(rng, _REACHES), tints[: pick(rng, (1, 2))])
        radius = len(stencil) // 2
        if radius > 1 and not large:
            return None
        cells = scatter(rng, grid.shape, amount(rng, size, 2, 5), 2 * radius, radius)
        if len(cells) < 2:
            return None
        stamp(grid, stencil, *cells[0])
        grid[cells[0]] = centre
        out = grid.copy()
        marks = [c for c in range(1, 10) if c not in tints and c != centre]
        for r, c in cells[1:]:
            mark = pick(rng, marks) if takes == "own" else centre
            grid[r, c] = mark
            figure = stencil
            if takes == "own":
                figure = np.where(stencil > 0, np.int8(mark), stencil)
            elif takes == "reflected":
                figure = stencil[:, ::-1]
            elif takes == "first ink":
                figure = np.where(stencil > 0, tints[0], 0).astype(np.int8)
            stamp(out, figure, r, c)
            out[r, c] = mark
        if erased:
            out[cells[0]] = 0
            stamp(out, np.where(stencil > 0, np.int8(10), np.int8(0)), *cells[0])
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
