"""Signals: colours that run along wires, tides by distance, paths told by a row of colours, ways to the border."""

from __future__ import annotations

import numpy as np

from ttt_jax.train.invented.draws import amount, draw_colours, pick
from ttt_jax.train.invented.masks import DIAGONAL, ORTHOGONAL, dilated, inside
from ttt_jax.train.invented.movement.ground import blank
from ttt_jax.train.invented.movement.guises import guised
from ttt_jax.train.invented.placing import boxes, scatter
from ttt_jax.train.invented.rule import Family, Pair, PairSampler, Rng


def to_border(rng: Rng) -> PairSampler:
    """Every cell goes, or draws a line, to the nearest border, to the farthest, or to the border of its colour."""
    plain, ink, trail, *edges = draw_colours(rng, 7)
    goal = pick(rng, ("nearest", "nearest", "farthest", "colour", "colour"))
    draws = pick(rng, ("line", "line", "move", "mark", "trail"))
    framed = goal == "colour" or rng.random() < 0.3
    own = rng.random() < 0.5

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 6)
        height, width = grid.shape
        tints = [edges[k] for k in rng.permutation(4)] if own else edges
        if framed:
            grid[0], grid[-1], grid[:, 0], grid[:, -1] = tints if goal == "colour" else [ink] * 4
            grid[[0, 0, -1, -1], [0, -1, 0, -1]] = 0 if goal == "colour" else ink
        edge = 1 if framed else 0
        out = grid.copy()
        marks = grid.copy()
        ends = []
        for r, c in scatter(rng, grid.shape, amount(rng, size, 1, 7), 1, edge + 1):
            apart = [r - edge, height - 1 - edge - r, c - edge, width - 1 - edge - c]
            if goal == "colour":
                way = int(rng.integers(4))
                tint = tints[way]
            else:
                order = np.argsort(apart)
                way, next_best = (order[0], order[1]) if goal == "nearest" else (order[-1], order[-2])
                if apart[way] == apart[next_best]:
                    continue
                tint = plain
            a, b = ((-1, 0), (1, 0), (0, -1), (0, 1))[way]
            cells = [(r + a * k, c + b * k) for k in range(apart[way] + 1)]
            marks[r, c] = tint
            ends.append((cells, tint))
        if not ends or len({cells[-1] for cells, _ in ends}) < len(ends):
            return None
        for cells, tint in ends:
            if any(marks[cell] for cell in cells[1:]):
                return None
            if draws in ("line", "trail"):
                for cell in cells[1:]:
                    out[cell] = trail if draws == "trail" else tint
            elif draws == "mark":
                out[cells[-1]] = ink if goal != "colour" else tint
            if draws in ("line", "mark"):
                out[cells[0]] = tint
            else:
                out[cells[-1]] = tint
        return marks, out

    return sample


def turtle(rng: Rng) -> PairSampler:
    """The first row is a program: each colour is one step, and the path from the start cell is drawn."""
    start, trail, *codes = draw_colours(rng, 6)
    ways = [ORTHOGONAL[k] for k in rng.permutation(4)]
    if rng.random() < 0.25:
        ways = [DIAGONAL[k] for k in rng.permutation(4)]
    stride = pick(rng, (1, 1, 2))
    coloured = rng.random() < 0.35
    stays = rng.random() < 0.6
    only_end = rng.random() < 0.2

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 7)
        height, width = grid.shape
        r, c = scatter(rng, (height - 2, width), 1, 0, 1)[0]
        r += 2
        cells = [((r, c), start)]
        program = []
        seen = {(r, c)}
        for code in rng.integers(4, size=min(width, 3 + round(12 * size))).tolist():
            a, b = ways[code]
            line = [(r + a * k, c + b * k) for k in range(1, stride + 1)]
            if all(inside(grid, *at) and at[0] > 1 and at not in seen for at in line):
                program.append(codes[code])
                seen.update(line)
                cells += [(at, codes[code] if coloured else trail) for at in line]
                r, c = line[-1]
        if len(program) < 2:
            return None
        grid[0, : len(program)] = program
        grid[cells[0][0]] = start
        out = grid.copy()
        for at, colour in cells[-1:] if only_end else cells[1:]:
            out[at] = colour
        if not stays:
            out[0] = 0
        return grid, out

    return sample


def tides(rng: Rng) -> PairSampler:
    """From a source, round walls, ground is coloured by distance: in turn, up to a reach, or the farthest of all."""
    source, wall, *inks = draw_colours(rng, 5)
    rule = pick(rng, ("turns", "turns", "reach", "farthest", "dry"))
    cycle = [pick(rng, (0, *inks)) for _ in range(int(rng.integers(2, 4)))]
    if len(set(cycle)) == 1:
        cycle = [inks[0], 0]
    reach = int(rng.integers(2, 6))
    density = float(rng.uniform(0.35, 0.5) if rule == "dry" else rng.uniform(0.1, 0.3))
    blocks = rule != "dry" and rng.random() < 0.5

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size * 0.8, 5)
        if blocks:
            for t, left, h, w in boxes(rng, grid.shape, amount(rng, size, 1, 6), 1, 5, 1):
                if min(h, w) < 3:
                    grid[t : t + h, left : left + w] = wall
        else:
            grid[rng.random(grid.shape) < density] = wall
        free = grid == 0
        reached = np.zeros(grid.shape, bool)
        for cell in scatter(rng, grid.shape, 1 + (rng.random() < 0.3), 2):
            grid[cell] = source
            reached[cell] = True
        out = grid.copy()
        last = reached
        for k in range(60):
            grown = reached | (dilated(reached) & free)
            new = grown & ~reached
            if not new.any():
                break
            if rule == "turns":
                out[new & (grid == 0)] = cycle[k % len(cycle)]
            elif rule == "reach" and k < reach:
                out[new & (grid == 0)] = inks[0]
            reached, last = grown, new
        if rule == "farthest":
            out[last & (grid == 0)] = inks[0]
        elif rule == "dry":
            out[free & ~reached] = inks[0]
        return grid, out

    return sample


def spanned(rng: Rng) -> PairSampler:
    """Cells of one colour span a rectangle: its frame, its inside, its corners or its rows and columns are drawn."""
    ink, noise, *tints = draw_colours(rng, 6)
    draws = pick(rng, ("frame", "frame", "fill", "corners", "outer", "crop", "rows"))
    own = rng.random() < 0.5
    kinds = int(rng.integers(1, 4))
    noisy = rng.random() < 0.25

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 6)
        gap = 3 if draws == "outer" else 1
        count = 1 if draws == "crop" else amount(rng, size, 1, kinds)
        margin = 1 if draws == "outer" else 0
        placed = boxes(rng, grid.shape, count, 3, 4 + round(8 * size), gap, margin)
        out = grid.copy()
        for (t, left, h, w), k in zip(placed, rng.permutation(4).tolist(), strict=False):
            tint = tints[k]
            view = grid[t : t + h, left : left + w]
            for cell in scatter(rng, (h, w), 3 + int(rng.integers(0, 4)), 0):
                view[cell] = tint
            rows, columns = np.flatnonzero(view.any(1)), np.flatnonzero(view.any(0))
            top, bottom, first, last = rows[0] + t, rows[-1] + t + 1, columns[0] + left, columns[-1] + left + 1
            if bottom - top < 3 or last - first < 3:
                return None
            colour = tint if own else ink
            if draws == "crop":
                for cell in scatter(rng, grid.shape, amount(rng, size, 1, 5), 1):
                    if noisy and not (top <= cell[0] < bottom and first <= cell[1] < last):
                        grid[cell] = noise
                return grid, grid[top:bottom, first:last].copy()
            if draws == "outer":
                out[top - 1 : bottom + 1, first - 1 : last + 1] = colour
                out[top:bottom, first:last] = 0
            elif draws == "frame":
                out[top:bottom, first:last] = colour
                out[top + 1 : bottom - 1, first + 1 : last - 1] = 0
            elif draws == "fill":
                out[top:bottom, first:last] = ink
            elif draws == "corners":
                out[[top, top, bottom - 1, bottom - 1], [first, last - 1, first, last - 1]] = colour
            else:
                out[rows + t, first:last] = colour
        if not placed or (draws == "crop"):
            return None
        return grid, np.where(grid > 0, grid, out)

    return sample


def wires(rng: Rng) -> PairSampler:
    """Wires lead from coloured blocks to plain ones: the blocks at their ends, or the wires, take the colour."""
    wire, plain, end, *tints = draw_colours(rng, 8)
    takes = pick(rng, ("block", "block", "wire", "both"))
    joint = rng.random() < 0.3
    spare = rng.random() < 0.5

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, max(size, 0.2), 8)
        height, width = grid.shape
        lanes = amount(rng, size, 2, 4)
        out = grid.copy()
        top = 0
        done = 0
        for _ in range(lanes):
            thick = int(rng.integers(1, 3))
            drop = int(rng.integers(0, 3))
            if top + thick + drop > height:
                break
            span = width - 2 * thick
            left = int(rng.integers(0, max(1, span // 3)))
            right = width - thick - int(rng.integers(0, max(1, span // 3)))
            if right - left - thick < 2:
                break
            tint = pick(rng, tints)
            bend = int(rng.integers(left + thick, right))
            row = top + thick - 1
            cells = [(row, c) for c in range(left + thick, bend + 1)]
            cells += [(r, bend) for r in range(row, row + drop + 1)]
            cells += [(row + drop, c) for c in range(bend, right)]
            whole = not (spare and rng.random() < 0.25)
            for cell in cells:
                grid[cell] = wire
                out[cell] = tint if whole and takes != "block" else wire
            if not whole:  # a gap: this one carries nothing
                cell = cells[len(cells) // 2]
                grid[cell] = out[cell] = 0
            low = row + drop
            grid[top : top + thick, left : left + thick] = out[top : top + thick, left : left + thick] = tint
            view = slice(low - thick + 1, low + 1), slice(right, right + thick)
            grid[view] = plain
            out[view] = tint if whole and takes != "wire" else plain
            if joint:
                grid[low, right + thick - 1] = out[low, right + thick - 1] = end
            done += whole
            top += thick + drop + 1
        return (grid, out) if done else None

    return sample


FAMILIES: tuple[Family, ...] = (
    guised(to_border, adds=False),
    guised(turtle, adds=False),
    guised(tides, adds=False),
    guised(spanned, adds=False),
    guised(wires, adds=False),
)
