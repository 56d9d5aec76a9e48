"""Rules of grids made of equal panels: logic between them, overlays, and moves of whole panels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ttt_jax.tasks.transforms import symmetric
from ttt_jax.train.invented.draws import chance, draw_colours, pick, side
from ttt_jax.train.invented.patterns.canvas import finished, speckle
from ttt_jax.train.invented.patterns.guises import guised, one_of
from ttt_jax.train.invented.rule import Family, Grid, Pair, PairSampler, Rng


@dataclass(frozen=True)
class Layout:
    """How panels lie: side by side along rows, with lines between them or without.

    Attributes:
      rows, columns: of panels.
      line: colour of the lines between panels, 0 for a line of ground, None for none.
      frame: lines also run around the grid.
    """

    rows: int
    columns: int
    line: int | None
    frame: bool = False

    def joined(self, panels: Sequence[Grid]) -> Grid:
        """The grid of the panels, given row by row."""
        height, width = panels[0].shape
        gap = 0 if self.line is None else 1
        shape = self.rows * (height + gap) - gap, self.columns * (width + gap) - gap
        grid = np.full(shape, self.line or 0, np.int8)
        for k, panel in enumerate(panels):
            top, left = k // self.columns * (height + gap), k % self.columns * (width + gap)
            grid[top : top + height, left : left + width] = panel
        return np.pad(grid, 1, constant_values=self.line) if self.frame and self.line else grid

    def side(self, rng: Rng, size: float, least: int = 2) -> tuple[int, int] | None:
        """Shape of a panel such that the whole fits, or None."""
        gap = 0 if self.line is None else 1
        most = [(30 - 2 * self.frame - (n - 1) * gap) // n for n in (self.rows, self.columns)]
        if min(most) < least:
            return None
        return side(rng, size, least, min(most[0], 14)), side(rng, size, least, min(most[1], 14))


def draw_layout(rng: Rng, shapes: Sequence[tuple[int, int]], line_share: float = 0.7) -> Layout:
    """A layout of one of these shapes; its line, where it has one, is a colour or the ground."""
    rows, columns = pick(rng, shapes)
    line = pick(rng, [*draw_colours(rng, 4), 0]) if chance(rng, line_share) else None
    return Layout(rows, columns, line, chance(rng, 0.1))


def logic(rng: Rng) -> PairSampler:
    """Two or three panels of one colour each; the answer's cell depends on which of them are on there."""
    number = pick(rng, [2, 2, 2, 3])
    layout = draw_layout(rng, [(1, number)], 0.75)
    same_shades = chance(rng, 0.4)
    shades = draw_colours(rng, number, [layout.line or 0])
    if same_shades:
        shades = [shades[0]] * number
    out = pick(rng, [*draw_colours(rng, 1, [layout.line or 0]), shades[0]])
    # What the answer shows for each state: bit k of the state is panel k.
    while True:
        table = np.where(rng.random(2**number) < 0.4, out, 0).astype(np.int8)
        if chance(rng, 0.3) and not same_shades:
            for k in range(number):
                table[1 << k] = pick(rng, [0, shades[k]])
        own = [np.asarray([(state >> k) & 1 for state in range(2**number)]) for k in range(number)]
        if 0 < (table != 0).sum() < 2**number and not any(((table != 0) == o).all() for o in own):
            break
    if number == 3:
        # A table by count is easier to see than one of eight states.
        by_count = np.asarray(
            pick(rng, [[0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 1, 1], [0, 1, 0, 1]])
        )
        table = np.where(by_count[sum(own)], out, 0).astype(np.int8)
    density = float(rng.uniform(0.35, 0.65))
    kept = chance(rng, 0.15)

    def sample(rng: Rng, size: float) -> Pair | None:
        shape = layout.side(rng, size)
        if shape is None:
            return None
        masks = [rng.random(shape) < density for _ in range(number)]
        panels = [np.where(mask, shade, 0).astype(np.int8) for mask, shade in zip(masks, shades, strict=True)]
        answer = table[sum(mask.astype(int) << k for k, mask in enumerate(masks))]
        if len(np.unique(np.stack(masks).reshape(number, -1), axis=1).T) < 2**number:
            return None
        question = layout.joined(panels)
        if kept:
            separate = Layout(1, number + 1, layout.line, layout.frame)
            if separate.side(rng, 0.1) is None or shape[1] * (number + 1) + number > 28:
                return None
            return finished(question, separate.joined([*panels, answer]))
        return finished(question, answer)

    return sample


def overlay(rng: Rng) -> PairSampler:
    """Panels in a row or square are laid over each other in a fixed order."""
    layout = draw_layout(rng, [(1, 2), (1, 3), (2, 2), (1, 4), (2, 2)])
    number = layout.rows * layout.columns
    order = rng.permutation(number)
    fixed = draw_colours(rng, number, [layout.line or 0])
    own_colours = chance(rng, 0.3)
    density = float(rng.uniform(0.3, 0.6))
    mirrored = chance(rng, 0.15)

    def sample(rng: Rng, size: float) -> Pair | None:
        shape = layout.side(rng, size)
        if shape is None:
            return None
        shades = draw_colours(rng, number, [layout.line or 0]) if own_colours else fixed
        panels = [speckle(rng, shape, [shade], density) for shade in shades]
        answer = np.zeros(shape, np.int8)
        for k in order:
            copy = panels[k][:, ::-1] if mirrored and k == number - 1 else panels[k]
            answer = np.where(answer == 0, copy, answer)
        return finished(layout.joined(panels), answer)

    return sample


def moved(rng: Rng) -> PairSampler:
    """Panels change places, each is mirrored, or each passes what it holds to the next."""
    layout = draw_layout(rng, [(1, 2), (1, 3), (2, 2), (3, 1), (2, 3), (3, 3), (1, 4)], 0.85)
    number = layout.rows * layout.columns
    kind = pick(rng, ["permute", "next", "mirror", "mirror odd", "reverse", "swap colours"])
    order = rng.permutation(number)
    symmetry = pick(rng, [2, 3, 5])
    density = float(rng.uniform(0.25, 0.6))

    def sample(rng: Rng, size: float) -> Pair | None:
        shape = layout.side(rng, size)
        if shape is None:
            return None
        palette = draw_colours(rng, int(rng.integers(1, 4)), [layout.line or 0])
        panels = [speckle(rng, shape, [pick(rng, palette)], density) for _ in range(number)]
        match kind:
            case "permute":
                made = [panels[k] for k in order]
            case "next":
                made = [panels[-1], *panels[:-1]]
            case "mirror":
                made = [symmetric(panel, symmetry) for panel in panels]
            case "mirror odd":
                made = [symmetric(panel, symmetry) if k % 2 else panel for k, panel in enumerate(panels)]
            case "reverse":
                made = panels[::-1]
            case _:
                shades = [int(panel.max()) for panel in panels]
                if not all(shades):
                    return None
                made = [np.where(p != 0, shade, 0) for p, shade in zip(panels, [shades[-1], *shades[:-1]], strict=True)]
        return finished(layout.joined(panels), layout.joined(made))

    return sample


def copied(rng: Rng) -> PairSampler:
    """One panel holds a pattern; others hold one colour cell, or nothing, and get the pattern."""
    layout = draw_layout(rng, [(1, 2), (1, 3), (2, 2), (3, 3), (3, 2), (1, 4)], 0.95)
    if layout.line is None:
        layout = Layout(layout.rows, layout.columns, draw_colours(rng, 1)[0])
    number = layout.rows * layout.columns
    line = layout.line or 0
    marks = pick(rng, ["colour", "colour", "none", "fill"])
    symmetry = pick(rng, [0, 0, 0, 2, 3, 5])
    where = int(rng.integers(number)) if chance(rng, 0.4) else None
    all_marked = marks == "none" or chance(rng, 0.5)
    own_shade = draw_colours(rng, 1, [line])[0]

    def sample(rng: Rng, size: float) -> Pair | None:
        shape = layout.side(rng, size, 3)
        if shape is None:
            return None
        motif = speckle(rng, shape, [own_shade], 0.5)
        if np.count_nonzero(motif) < 2:
            return None
        source = int(rng.integers(number)) if where is None else where
        free = [k for k in range(number) if k != source]
        targets = free if all_marked else [free[i] for i in rng.permutation(len(free))[: int(rng.integers(1, number))]]
        panels, made = [], []
        for k in range(number):
            if k == source:
                panels.append(motif)
                made.append(motif)
            elif k not in targets:
                panels.append(np.zeros(shape, np.int8))
                made.append(panels[-1])
            else:
                shade = own_shade if marks == "none" else pick(rng, draw_colours(rng, 3, [line, own_shade]))
                panel = np.zeros(shape, np.int8)
                if marks == "colour":
                    panel[shape[0] // 2, shape[1] // 2] = shade
                elif marks == "fill":
                    panel[:] = shade
                panels.append(panel)
                copy = symmetric(motif, symmetry)
                made.append(
                    np.where(copy != 0, shade if marks != "fill" else own_shade, panel if marks == "fill" else 0)
                )
        return finished(layout.joined(panels), layout.joined(made))

    return sample


def difference(rng: Rng) -> PairSampler:
    """Panels are the same but for some cells: the answer marks these, mends them, or shows the agreed panel."""
    layout = draw_layout(rng, [(1, 3), (2, 2), (1, 3), (1, 4), (2, 3)], 0.9)
    number = layout.rows * layout.columns
    kind, shade = pick(rng, ["agreed", "mended", "marked"]), draw_colours(rng, 1, [layout.line or 0])[0]

    def sample(rng: Rng, size: float) -> Pair | None:
        shape = layout.side(rng, size, 3)
        if shape is None:
            return None
        palette = draw_colours(rng, int(rng.integers(1, 4)), [layout.line or 0, shade])
        agreed = speckle(rng, shape, palette, 0.5)
        cells = rng.permutation(agreed.size)[: int(rng.integers(1, 1 + min(4, agreed.size)))]
        panels = [agreed.copy() for _ in range(number)]
        marked = [agreed.copy() for _ in range(number)]
        for cell in cells.tolist():
            k, at = int(rng.integers(number)), np.unravel_index(cell, shape)
            other = 0 if agreed[at] else pick(rng, palette)
            panels[k][at], marked[k][at] = other, shade
        question = layout.joined(panels)
        if kind == "agreed":
            return finished(question, agreed)
        return finished(question, layout.joined([agreed] * number if kind == "mended" else marked))

    return sample


FAMILIES: tuple[Family, ...] = (
    guised(logic),
    guised(one_of(overlay, copied, copied)),
    guised(one_of(moved, difference)),
)
