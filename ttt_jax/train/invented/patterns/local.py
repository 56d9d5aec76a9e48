"""Rules of single cells that stand for a stencil, a window, a row or a place."""

from __future__ import annotations

import numpy as np

from ttt_jax.train.invented.draws import chance, draw_colours, pick, side
from ttt_jax.train.invented.masks import spanning_blob
from ttt_jax.train.invented.patterns.canvas import finished, shifted, speckle
from ttt_jax.train.invented.patterns.guises import guised, one_of
from ttt_jax.train.invented.patterns.whole_grids import draw_scene
from ttt_jax.train.invented.placing import places
from ttt_jax.train.invented.rule import Family, Grid, Pair, PairSampler, Rng
from ttt_jax.train.invented.stencils import draw_stencil, stamp


def stamped(rng: Rng) -> PairSampler:
    """Every cell of a colour gets the stencil of that colour around it; or the stencils go and the cells stay."""
    number = pick(rng, [1, 1, 2, 3])
    used = draw_colours(rng, number)
    reach = pick(rng, [1, 1, 2])
    reverse, idle = chance(rng, 0.15), chance(rng, 0.3)
    # Where the stencil goes, its middle must be seen in it.
    own_shade, keeps = not reverse and chance(rng, 0.4), reverse or chance(rng, 0.8)
    stencils = []
    for marker in used:
        shades = [marker] if own_shade else draw_colours(rng, pick(rng, [1, 1, 2]), used)
        stencils.append(draw_stencil(rng, reach, shades))
    bystander = draw_colours(rng, 1, [*used, *(int(c) for s in stencils for c in np.unique(s))])

    def sample(rng: Rng, size: float) -> Pair | None:
        n = 2 * reach + 1
        shape = side(rng, size, n), side(rng, size, n)
        wanted = int(rng.integers(1, 2 + shape[0] * shape[1] // (3 * n * n)))
        # Stencils may be cut off at the border, but never meet.
        corners = places(rng, (shape[0] + 2 * reach, shape[1] + 2 * reach), [(n, n)] * wanted, 0)
        if corners is None:
            return None
        question, answer = np.zeros(shape, np.int8), np.zeros(shape, np.int8)
        for top, left in corners:
            k = int(rng.integers(number))
            question[top, left] = used[k]
            stamp(answer, stencils[k], top, left)
            if keeps:
                answer[top, left] = used[k]
        if idle and bystander:
            free = (answer == 0) & (question == 0) & (rng.random(shape) < 0.05)
            question[free] = answer[free] = bystander[0]
        return finished(answer, question) if reverse else finished(question, answer)

    return sample


def substituted(rng: Rng) -> PairSampler:
    """Every cell becomes a tile that its colour stands for, in its colour or the tile's; or tiles are read as cells."""
    k = pick(rng, [2, 3, 3])
    used = draw_colours(rng, pick(rng, [1, 2, 3, 4]))
    own, reverse = chance(rng, 0.6), chance(rng, 0.25)
    tiles: list[Grid] = []
    for shade in used:
        while True:
            mask = spanning_blob(rng, k, k, float(rng.uniform(0.4, 1.0)))
            if not any(np.array_equal(mask, tile != 0) for tile in tiles):
                break
            if len(tiles) > 2 and k == 2:
                break
        ink = shade if own else draw_colours(rng, 1)[0]
        tiles.append(np.where(mask, ink, 0).astype(np.int8))
    full_ground = chance(rng, 0.2)
    density = float(rng.uniform(0.4, 1.0))

    def sample(rng: Rng, size: float) -> Pair | None:
        shape = side(rng, size, 2, 30 // k), side(rng, size, 2, 30 // k)
        small = speckle(rng, shape, used, density)
        large = np.zeros((shape[0] * k, shape[1] * k), np.int8)
        for shade, tile in zip(used, tiles, strict=True):
            large += np.kron((small == shade).astype(np.int8), tile)
        if full_ground:
            large = np.where(large == 0, np.repeat(np.repeat(small == 0, k, 0), k, 1) * used[0], large)
        return finished(large, small) if reverse and not full_ground else finished(small, large)

    return sample


def window(rng: Rng) -> PairSampler:
    """What lies around a marked cell, or between marked cells, is cut out, painted or turned off."""
    marker = draw_colours(rng, 1)[0]
    others = draw_colours(rng, 4, [marker])
    kind = pick(rng, ["around", "between", "row and column"])
    what = pick(rng, ["cut", "cut", "paint", "clear", "alone"])
    shade = others.pop()
    scene = draw_scene(rng, others, fixed=True, least=5, most=26)
    reach = pick(rng, [1, 1, 2])

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = scene(rng, size)
        height, width = grid.shape
        if min(height, width) < 2 * reach + 2:
            return None
        chosen = np.zeros(grid.shape, bool)
        if kind == "between":
            rows = np.sort(rng.permutation(height)[:2])
            columns = np.sort(rng.permutation(width)[:2])
            if rows[1] - rows[0] < 2 or columns[1] - columns[0] < 2:
                return None
            grid[rows[0], columns[0]] = grid[rows[1], columns[1]] = marker
            box = np.s_[rows[0] + 1 : rows[1], columns[0] + 1 : columns[1]]
        else:
            row, column = int(rng.integers(reach, height - reach)), int(rng.integers(reach, width - reach))
            grid[row, column] = marker
            box = np.s_[row - reach : row + reach + 1, column - reach : column + reach + 1]
            if kind == "row and column":
                box = np.s_[row : row + 1, :]
                chosen[:, column] = True
        if what == "cut":
            return finished(grid, grid[box])
        chosen[box] = True
        lit = (grid != 0) & (grid != marker)
        if what == "paint":
            return finished(grid, np.where(chosen & lit, shade, grid))
        if what == "clear":
            return finished(grid, np.where(chosen & lit, 0, grid))
        return finished(grid, np.where(chosen, grid, 0))

    return sample


def pointed(rng: Rng) -> PairSampler:
    """Marks along one border point at rows: these are cut out, painted, cleared, turned or moved by one."""
    marker = draw_colours(rng, 1)[0]
    palette = draw_colours(rng, 4, [marker])
    shade = palette.pop()
    what = pick(rng, ["cut", "paint", "clear", "turn", "move", "fill", "alone"])
    scene = draw_scene(rng, palette, fixed=True, least=3, most=28)
    kept = chance(rng, 0.5)

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = scene(rng, size)
        marks = rng.random(len(grid)) < 0.35
        if not marks.any() or marks.all():
            return None
        chosen = marks[:, None]
        match what:
            case "cut":
                answer = grid[marks]
            case "paint":
                answer = np.where(chosen & (grid != 0), shade, grid)
            case "clear":
                answer = np.where(chosen, 0, grid)
            case "turn":
                answer = np.where(chosen, grid[:, ::-1], grid)
            case "move":
                answer = np.where(chosen, shifted(grid, 0, 1), grid)
            case "fill":
                answer = np.where(chosen & (grid == 0), shade, grid)
            case _:
                answer = np.where(chosen, grid, 0)
        column = np.where(chosen, marker, 0)
        question = np.hstack([column, grid])
        return finished(question, np.hstack([column, answer]) if kept and what != "cut" else answer)

    return sample


def aligned(rng: Rng) -> PairSampler:
    """Rows (with wrap or bars) are moved until their marked cells stand in one column, or start or end at the edge."""
    marker, other = draw_colours(rng, 2)
    kind, at = pick(rng, ["marker", "bars", "wrap"]), pick(rng, ["first", "middle", "last"])

    def sample(rng: Rng, size: float) -> Pair | None:
        height, width = side(rng, size, 3), side(rng, size, 5)
        target = {"first": 0, "middle": width // 2, "last": width - 1}[at]
        question, answer = np.zeros((height, width), np.int8), np.zeros((height, width), np.int8)
        for row in range(height):
            if chance(rng, 0.2):
                continue
            if kind == "wrap":
                line = speckle(rng, (1, width), [other], 0.5)[0]
                place = int(rng.integers(width))
                line[place] = marker
                question[row], answer[row] = line, np.roll(line, target - place)
                continue
            length = int(rng.integers(2, 1 + max(2, width // 2)))
            head = int(rng.integers(length))
            start = int(rng.integers(width - length + 1))
            anchor = head if kind == "marker" else (0 if at == "first" else length - 1)
            if kind == "bars" and at == "middle":
                anchor = length // 2
            goal = target - anchor
            if not 0 <= goal <= width - length:
                return None
            line = np.full(length, other, np.int8)
            if kind == "marker":
                line[head] = marker
            question[row, start : start + length] = line
            answer[row, goal : goal + length] = line
        return finished(question, answer)

    return sample


FAMILIES: tuple[Family, ...] = (guised(stamped), guised(substituted), guised(one_of(window, pointed, aligned)))
