"""Following: ways through mazes, winding paths, chains of dominoes, water that runs along walls."""

from __future__ import annotations

import itertools

import numpy as np

from ttt_jax.train.invented.draws import amount, draw_colours, pick
from ttt_jax.train.invented.masks import ORTHOGONAL, Cell, inside, neighbours
from ttt_jax.train.invented.movement.ground import blank
from ttt_jax.train.invented.movement.guises import guised
from ttt_jax.train.invented.placing import boxes
from ttt_jax.train.invented.rule import Family, Pair, PairSampler, Rng


def _maze(rng: Rng, rows: int, columns: int) -> tuple[np.ndarray, dict[Cell, Cell]]:
    """A maze without cycles: free cells, bool[2 rows + 1, 2 columns + 1], and the parent of every cell but the root."""
    free = np.zeros((2 * rows + 1, 2 * columns + 1), bool)
    root = (int(rng.integers(rows)), int(rng.integers(columns)))
    free[2 * root[0] + 1, 2 * root[1] + 1] = True
    parents: dict[Cell, Cell] = {}
    seen, stack = {root}, [root]
    turns = rng.integers(4, size=4 * rows * columns + 8).tolist()
    while stack:
        r, c = stack[-1]
        first = turns.pop() if turns else 0
        for k in range(4):
            a, b = ORTHOGONAL[(first + k) % 4]
            near = (r + a, c + b)
            if 0 <= near[0] < rows and 0 <= near[1] < columns and near not in seen:
                seen.add(near)
                parents[near] = (r, c)
                free[2 * r + 1 + a, 2 * c + 1 + b] = free[2 * near[0] + 1, 2 * near[1] + 1] = True
                stack.append(near)
                break
        else:
            stack.pop()
    return free, parents


def mazes(rng: Rng) -> PairSampler:
    """A maze: the way between two marks, the dead ends, the forks, or the way to the nearer end."""
    wall, start, end, ink, fork = draw_colours(rng, 5)
    rule = pick(rng, ("way", "way", "way", "ends", "forks", "parity", "straight", "pruned"))
    same = rng.random() < 0.4
    framed = rng.random() < 0.5
    dotted = rng.random() < 0.2

    def sample(rng: Rng, size: float) -> Pair | None:
        most = 2 + round(12 * size * 0.9)
        rows, columns = (int(n) for n in rng.integers(2, most + 1, 2))
        free, parents = _maze(rng, rows, columns)
        grid = np.where(free, np.int8(0), np.int8(wall))
        out = grid.copy()
        if rule == "way":
            if rows * columns < 6:
                return None
            picks = rng.permutation(rows * columns)[:2]
            a, b = ((int(k) // columns, int(k) % columns) for k in picks)
            up = [a]
            while up[-1] in parents:
                up.append(parents[up[-1]])
            down = [b]
            while down[-1] not in up:
                down.append(parents[down[-1]])
            nodes = up[: up.index(down[-1]) + 1] + down[-2::-1]
            if len(nodes) < 3:
                return None
            cells: list[Cell] = []
            for (r, c), (s, d) in itertools.pairwise(nodes):
                cells += [(2 * r + 1, 2 * c + 1), (r + s + 1, c + d + 1)]
            for i, cell in enumerate(cells[1:]):
                if not dotted or i % 2:
                    out[cell] = ink
            for node, colour in ((a, start), (b, start if same else end)):
                cell = (2 * node[0] + 1, 2 * node[1] + 1)
                grid[cell] = out[cell] = colour
        else:
            near = neighbours(free, ORTHOGONAL)
            if rule == "ends":
                out[free & (near == 1)] = ink
            elif rule == "forks":
                out[free & (near > 2)] = ink
                if not (free & (near > 2)).any():
                    return None
            elif rule == "parity":
                ys, xs = np.indices(free.shape)
                out[free & ((ys + xs) % 2 == (0 if same else 1))] = ink
            elif rule == "straight":
                across = neighbours(free, ((0, 1), (0, -1)))
                up_down = neighbours(free, ((1, 0), (-1, 0)))
                out[free & (across == 2) & (up_down == 0)] = ink
                out[free & (up_down == 2) & (across == 0)] = fork if same else ink
            else:
                out[free & (near == 1)] = wall
        if not framed:
            grid, out = grid[1:-1, 1:-1], out[1:-1, 1:-1]
        return grid, out

    return sample


def _snake_cells(rng: Rng, shape: tuple[int, ...], length: int) -> list[Cell]:
    """A path that never touches itself, up to `length` cells."""
    r, c = int(rng.integers(shape[0])), int(rng.integers(shape[1]))
    cells = [(r, c)]
    taken = {(r, c)}
    d = int(rng.integers(4))
    draws = rng.random((length, 2)).tolist()
    for turn, which in draws:
        options = [d, (d + 1) % 4, (d + 3) % 4]
        if turn < 0.35:
            options = [options[1 + int(which * 2)], d, options[2 - int(which * 2)]]
        for way in options:
            y, x = r + ORTHOGONAL[way][0], c + ORTHOGONAL[way][1]
            if 0 <= y < shape[0] and 0 <= x < shape[1] and (y, x) not in taken:
                touching = sum((y + a, x + b) in taken for a, b in ORTHOGONAL)
                if touching == 1:
                    r, c, d = y, x, way
                    taken.add((r, c))
                    cells.append((r, c))
                    break
        else:
            break
    return cells


def snakes(rng: Rng) -> PairSampler:
    """A winding path from its head: coloured in turn, by its bends or ends, unrolled, counted, shifted or dyed."""
    body, head, *inks = draw_colours(rng, 6)
    rule = pick(rng, ("cycle", "cycle", "bends", "ends", "unroll", "unroll", "count", "dye", "half", "flip", "shift"))
    period = int(rng.integers(2, 4))
    keep = rng.random() < 0.5
    shown = rng.random() < 0.3

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 5, 20)
        cells = _snake_cells(rng, grid.shape, 5 + int(rng.integers(0, 2 + round(30 * size))))
        if len(cells) < 5 or (rule in ("unroll", "count", "shift") and len(cells) > 30):
            return None
        for cell in cells:
            grid[cell] = body
        out = grid.copy()
        grid[cells[0]] = out[cells[0]] = head
        rest = cells[1:]
        if rule == "cycle":
            if shown:
                for i, cell in enumerate(rest[:period]):
                    grid[cell] = inks[i]
            for i, cell in enumerate(rest):
                out[cell] = inks[i % period] if shown or i % period else body
        elif rule == "bends":
            for a, b, c in zip(cells, rest, cells[2:], strict=False):
                if a[0] != c[0] and a[1] != c[1]:
                    out[b] = inks[0]
        elif rule == "ends":
            out[cells[-1]] = inks[0]
            if not keep:
                grid[cells[0]], out[cells[0]] = body, inks[0]
        elif rule in ("unroll", "shift"):
            for cell in rest:
                if rng.random() < 0.4:
                    grid[cell] = pick(rng, inks)
            colours = [int(grid[cell]) for cell in cells]
            if rule == "unroll":
                return grid, np.array([colours if keep else colours[1:]], np.int8)
            for cell, colour in zip(rest, colours[-1:] + colours[1:-1], strict=True):
                out[cell] = colour
        elif rule == "count":
            return grid, np.full((1, len(rest) + keep), body, np.int8)
        elif rule == "dye":
            grid[cells[-1]] = out[cells[-1]] = inks[0]
            for i, cell in enumerate(rest[:-1]):
                out[cell] = head if 2 * i < len(rest) - 2 else inks[0]
            if len(rest) % 2 == 0:
                return None
        elif rule == "half":
            for cell in rest[len(rest) // 2 :] if keep else rest[: len(rest) // 2]:
                out[cell] = inks[0]
            if len(rest) % 2:
                return None
        else:
            out[cells[0]], out[cells[-1]] = body, head
        return grid, out

    return sample


def chains(rng: Rng) -> PairSampler:
    """Dominoes lie about: they are strung together so that touching halves agree, from the one with the head colour."""
    head, *links = draw_colours(rng, 8)
    thick = int(rng.integers(1, 3))
    merged = rng.random() < 0.4
    long = rng.random() < 0.3

    def sample(rng: Rng, size: float) -> Pair | None:
        count = amount(rng, size, 3, 6)
        colours = [head, *(links[k] for k in rng.permutation(7)[:count])]
        width = 3 if long else 2
        pieces = list(itertools.pairwise(colours))
        rows, columns = 3 + count * thick, 4 + 2 * count
        grid = np.zeros((min(rows + round(6 * size), 30), min(columns, 30)), np.int8)
        placed = []
        order = rng.permutation(count).tolist()
        top = 0
        for k in order:
            top += int(rng.integers(0, 2))
            left = int(rng.integers(grid.shape[1] - width + 1))
            if top + thick > grid.shape[0]:
                return None
            view = grid[top : top + thick, left : left + width]
            view[:] = pieces[k][1]
            view[:, 0] = pieces[k][0]
            if long:
                view[:, 1] = pieces[k][0]
            placed.append(k)
            top += thick + 1
        row = [pieces[0][0], *(c for _, c in pieces)] if merged else [c for p in pieces for c in p]
        return grid, np.repeat(np.array([row], np.int8), thick, 0)

    return sample


def waterfall(rng: Rng) -> PairSampler:
    """Water runs to the right from the left border; at a wall it spreads along it and runs on past its ends."""
    source, wall, water = draw_colours(rng, 3)
    water = source if rng.random() < 0.5 else water
    sides = pick(rng, ((1,), (-1,), (1, -1)))
    wet = rng.random() < 0.2

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 6)
        height, width = grid.shape
        for t, left, h, _ in boxes(rng, (height, width - 2), amount(rng, size, 1, 8), 1, 4, 1, 1):
            grid[t : t + h, left + 2] = wall
        for r in rng.permutation(height)[: 1 + (rng.random() < 0.3)].tolist():
            grid[r, 0] = source
        out = grid.copy()
        heads = [(int(r), 0) for r in np.flatnonzero(grid[:, 0] == source)]
        met = 0
        seen: set[Cell] = set(heads)
        while heads:
            r, c = heads.pop()
            nxt = [(r, c + 1)]
            if c + 1 < width and grid[r, c + 1] == wall:
                met += 1
                nxt = [(r + d, c) for d in sides]
                if wet:
                    out[r, c + 1] = water
            for cell in nxt:
                if inside(grid, *cell) and grid[cell] == 0 and cell not in seen:
                    seen.add(cell)
                    out[cell] = water
                    heads.append(cell)
        return (grid, out) if met else None

    return sample


FAMILIES: tuple[Family, ...] = (
    guised(mazes),
    *(guised(snakes),) * 2,
    guised(chains),
    guised(waterfall, sided=True),
)
