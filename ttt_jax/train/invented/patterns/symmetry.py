"""Rules of symmetric grids: half of them is missing, stained or broken, and the answer restores or reads it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ttt_jax.tasks.transforms import symmetric
from ttt_jax.train.invented.draws import chance, draw_colours, pick, side
from ttt_jax.train.invented.masks import box_of
from ttt_jax.train.invented.patterns.canvas import finished, speckle
from ttt_jax.train.invented.patterns.guises import guised, one_of
from ttt_jax.train.invented.rule import Family, Grid, Pair, PairSampler, Rng

GROUPS: dict[str, tuple[int, ...]] = {
    "left and right": (3,),
    "both mirrors": (2, 3, 5),
    "half turn": (5,),
    "quarter turn": (4, 5, 6),
    "diagonal": (1,),
    "both diagonals": (1, 5, 7),
    "everything": (1, 2, 3, 4, 5, 6, 7),
}
"""The symmetries beside the identity, by `SYMMETRIES` number, that leave a grid as it is."""

_SQUARE = {"quarter turn", "diagonal", "both diagonals", "everything"}


def made_symmetric(grid: Grid, group: str) -> Grid:
    """Each cell takes the colour of the first cell of its orbit: then the grid is symmetric under the group."""
    places = np.arange(grid.size).reshape(grid.shape)
    first = places.copy()
    for symmetry in GROUPS[group]:
        first = np.minimum(first, symmetric(places, symmetry))
    return grid.ravel()[first]


def _texture(rng: Rng, shape: tuple[int, int], palette: Sequence[int], coarse: bool, density: float) -> Grid:
    if not coarse:
        return speckle(rng, shape, palette, density)
    small = speckle(rng, (-(-shape[0] // 2), -(-shape[1] // 2)), palette, density)
    return np.repeat(np.repeat(small, 2, 0), 2, 1)[: shape[0], : shape[1]]


def _shape(rng: Rng, size: float, group: str, least: int) -> tuple[int, int]:
    height = side(rng, size, least)
    return height, height if group in _SQUARE else side(rng, size, least)


def stained(rng: Rng) -> PairSampler:
    """A symmetric grid with stains: it is repaired, or the hidden part is cut out; sometimes only a window shows."""
    group = pick(rng, list(GROUPS))
    mask = draw_colours(rng, 1)[0] if chance(rng, 0.7) else 0
    answer = pick(rng, ["whole", "whole", "patch", "mirrored patch"])
    number = 1 if answer != "whole" else pick(rng, [1, 2, 3])
    windowed, coarse, full = chance(rng, 0.4), chance(rng, 0.3), chance(rng, 0.7) or not mask
    fixed = draw_colours(rng, 4, [mask]) if chance(rng, 0.4) else None

    def sample(rng: Rng, size: float) -> Pair | None:
        shape = _shape(rng, size, group, 5)
        palette = fixed or draw_colours(rng, int(rng.integers(2, 6)), [mask])
        grid = made_symmetric(_texture(rng, shape, palette, coarse, 1.0 if full else 0.5), group)
        hidden = np.zeros(shape, bool)
        for _ in range(number):
            height, width = (int(rng.integers(1 if n < 7 else 2, 2 + n // 3)) for n in shape)
            top, left = int(rng.integers(shape[0] - height + 1)), int(rng.integers(shape[1] - width + 1))
            hidden[top : top + height, left : left + width] = True
        seen = ~hidden
        cut = int(rng.integers(1, 1 + min(shape) // 4)) if windowed else 0
        if cut:
            # The axis is then off the middle of what shows.
            seen = seen.copy()
            seen[:cut] = False
            seen[:, :cut] = False
        known = seen.copy()
        for symmetry in GROUPS[group]:
            known |= symmetric(seen, symmetry)
        if not known[cut:, cut:].all():
            return None
        whole, hidden = grid[cut:, cut:], hidden[cut:, cut:]
        if not hidden.any():
            return None
        question = np.where(hidden, mask, whole)
        if answer == "whole":
            return finished(question, whole)
        patch = whole[box_of(hidden)]
        return finished(question, patch if answer == "patch" else patch[:, ::-1])

    return sample


def completed(rng: Rng) -> PairSampler:
    """A part of a symmetric grid shows, the rest is blank: completed, perhaps in another colour."""
    group = pick(rng, ["left and right", "left and right", "both mirrors", "half turn", "diagonal", "quarter turn"])
    line = pick(rng, [0, 0, draw_colours(rng, 1)[0]])
    shade = pick(rng, [0, 0, draw_colours(rng, 1, [line])[0]])
    whole_half = chance(rng, 0.5)
    density = float(rng.uniform(0.3, 0.7))
    coarse = chance(rng, 0.2)

    def sample(rng: Rng, size: float) -> Pair | None:
        shape = _shape(rng, size, group, 4)
        if line and group == "left and right":
            shape = shape[0], shape[1] | 1
        palette = draw_colours(rng, int(rng.integers(1, 4)), [line, shade])
        given = _texture(rng, shape, palette, coarse, density)
        rows, columns = np.indices(shape)
        if group in ("left and right", "half turn"):
            part = columns < shape[1] // 2
        elif group == "diagonal":
            part = rows > columns
        else:
            part = (columns < (shape[1] + 1) // 2) & (rows < (shape[0] + 1) // 2)
            if group == "quarter turn" and shape[0] % 2:
                part &= columns < shape[1] // 2
        if not whole_half:
            given = np.where(rng.random(shape) < 0.6, given, 0)
        given = np.where(part, given, 0)
        if not given.any():
            return None
        answer = given.copy()
        for symmetry in GROUPS[group]:
            copy = symmetric(given, symmetry)
            if shade:
                copy = np.where(copy != 0, shade, 0)
            answer = np.where(answer == 0, copy, answer)
        if line and group == "left and right":
            given[:, shape[1] // 2] = answer[:, shape[1] // 2] = line
        return finished(given, answer)

    return sample


def broken(rng: Rng) -> PairSampler:
    """A symmetric grid with cells that have no partner: they go, get their partner, or are marked."""
    group = pick(rng, ["left and right", "both mirrors", "half turn", "diagonal"])
    what, shade = pick(rng, ["remove", "pair", "mark", "mark partner"]), draw_colours(rng, 1)[0]
    density = float(rng.uniform(0.2, 0.4))

    def sample(rng: Rng, size: float) -> Pair | None:
        shape = _shape(rng, size, group, 5)
        palette = draw_colours(rng, int(rng.integers(1, 3)), [shade])
        grid = made_symmetric(speckle(rng, shape, palette, density), group)
        extra = (rng.random(shape) < 0.06) & (grid == 0)
        partners = np.zeros(shape, bool)
        for symmetry in GROUPS[group]:
            partners |= symmetric(extra, symmetry)
        extra &= ~partners
        partners = np.zeros(shape, bool)
        for symmetry in GROUPS[group]:
            partners |= symmetric(extra, symmetry)
        partners &= ~extra
        if not extra.any() or not grid.any():
            return None
        lone = palette[0]
        question = np.where(extra, lone, grid)
        if what == "remove":
            return finished(question, grid)
        if what == "mark":
            return finished(question, np.where(extra, shade, grid))
        return finished(question, np.where(partners, lone if what == "pair" else shade, question))

    return sample


def motif_turned(rng: Rng) -> PairSampler:
    """A motif in one quarter of a cross of lines goes into the other quarters, turned or mirrored."""
    ops = pick(rng, [(0, 3, 2, 5), (0, 6, 4, 5), (0, 0, 0, 0), (0, 3, 0, 3)])
    line = draw_colours(rng, 1)[0]
    marked = chance(rng, 0.4)
    start = int(rng.integers(4))
    recoloured = chance(rng, 0.3)
    shades = draw_colours(rng, 4, [line])

    def sample(rng: Rng, size: float) -> Pair | None:
        n = side(rng, size, 2, 14)
        palette = shades[:1] if recoloured else draw_colours(rng, int(rng.integers(1, 3)), [line])
        motif = speckle(rng, (n, n), palette, 0.5)
        if np.count_nonzero(motif) < 2:
            return None
        question, answer = np.zeros((2 * n + 1, 2 * n + 1), np.int8), np.zeros((2 * n + 1, 2 * n + 1), np.int8)
        for k, (top, left) in enumerate(((0, 0), (0, n + 1), (n + 1, 0), (n + 1, n + 1))):
            copy = symmetric(motif, ops[k ^ start])
            if recoloured:
                copy = np.where(copy != 0, shades[k ^ start], 0)
            answer[top : top + n, left : left + n] = copy
            if k == start:
                question[top : top + n, left : left + n] = motif
        if marked:
            answer[n] = 0
            answer[:, n] = 0
        else:
            answer[n] = line
            answer[:, n] = line
        question[n] = line
        question[:, n] = line
        return finished(question, answer)

    return sample


def beside_axis(rng: Rng) -> PairSampler:
    """Cells on one side of a line in the grid are mirrored over it: copied, moved, or only one colour of them."""
    moved, line = chance(rng, 0.3), draw_colours(rng, 1)[0]
    named = draw_colours(rng, 1, [line])[0] if chance(rng, 0.4) else None
    both = named is None and chance(rng, 0.3)

    def sample(rng: Rng, size: float) -> Pair | None:
        height, width = side(rng, size, 3), side(rng, size, 5)
        axis = int(rng.integers(2, width - 2)) if width > 4 else width // 2
        palette = [*draw_colours(rng, 2, [line, named or 0]), *([named] if named else [])]
        grid = speckle(rng, (height, width), palette, float(rng.uniform(0.1, 0.4)))
        reach = min(axis, width - 1 - axis)
        if not both:
            grid[:, axis:] = 0
        # Nothing may fall outside.
        grid[:, : axis - reach] = 0
        grid[:, axis + reach + 1 :] = 0
        going = grid if named is None else np.where(grid == named, grid, 0)
        copy = np.zeros_like(grid)
        copy[:, axis - reach : axis + reach + 1] = going[:, axis - reach : axis + reach + 1][:, ::-1]
        kept = np.where(going != 0, 0, grid) if moved else grid
        answer = np.where(kept != 0, kept, copy)
        grid[:, axis] = line
        answer[:, axis] = line
        return finished(grid, answer)

    return sample


FAMILIES: tuple[Family, ...] = (
    guised(stained),
    guised(one_of(completed, broken, motif_turned, beside_axis)),
)
