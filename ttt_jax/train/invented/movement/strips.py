"""Rules on one line of cells: blocks that move, fill, hollow, mirror, grow to a pointer; alone or in every row."""

from __future__ import annotations

import numpy as np

from ttt_jax.train.invented.draws import draw_colours, pick
from ttt_jax.train.invented.movement import blocks
from ttt_jax.train.invented.movement.guises import guised
from ttt_jax.train.invented.rule import Family, Pair, PairSampler, Rng


def line_rule(rng: Rng) -> PairSampler:
    """One or two actions on a line of blocks; the grid is one such line, or several, one below the other."""
    pointer, *tints = draw_colours(rng, 9)
    tints = tints[: pick(rng, (1, 2, 5, 8))]
    first = pick(rng, blocks.ACTIONS)
    actions = [first(rng, pointer)]
    if rng.random() < 0.25:
        actions.append(pick(rng, (blocks.moves, blocks.reshape, blocks.arrange))(rng, pointer))
    shape = pick(rng, ("single", "single", "rows", "rows", "sparse"))
    pointed = first in (blocks.to_pointer, blocks.mirror)
    noisy = first is blocks.denoise
    thick = int(rng.integers(1, 3))

    def draw(rng: Rng, length: int) -> list[int] | None:
        line, at = [0] * length, int(rng.integers(0, 3))
        for span, gap, tint in rng.integers(0, 1000, (6, 3)).tolist():
            span = 1 + span % 5
            if at + span > length or (line[0] and rng.random() < 0.1):
                break
            line[at : at + span] = [tints[tint % len(tints)]] * span
            at += span + 1 + gap % 4
            if first is blocks.mirror or (pointed and at > length // 2):
                break
        if pointed:
            if at >= length:
                return None
            line[int(rng.integers(at, length))] = pointer
        if noisy:
            for i in rng.integers(1, length - 1, 1 + length // 8).tolist():
                if line[i - 1] == line[i + 1] and pointer not in (line[i - 1], line[i]):
                    line[i] = pointer
        return line

    def apply(line: list[int]) -> list[int] | None:
        new: list[int] | None = line
        for action in actions:
            new = action(new, blocks.blocks_of(new))
            if new is None or len(new) != len(line):
                return None
        return new

    def sample(rng: Rng, size: float) -> Pair | None:
        length = int(rng.integers(7, 9 + round(21 * size) + 1))
        count = 1 if shape == "single" else int(rng.integers(2, 3 + round(6 * size)))
        before, after = [], []
        for _ in range(count * (2 if shape == "sparse" else 1)):
            if shape == "sparse" and rng.random() < 0.5:
                before.append([0] * length)
                after.append([0] * length)
                continue
            for _ in range(8):
                line = draw(rng, length)
                new = line and apply(line)
                if new:
                    break
            else:
                return None
            before.append(line)
            after.append(new)
        grid, out = np.array(before, np.int8), np.array(after, np.int8)
        if thick == 2 and shape == "sparse" and 2 * len(grid) <= 30:
            grid, out = np.repeat(grid, 2, 0), np.repeat(out, 2, 0)
        return (grid, out) if out.any() else None

    return sample


FAMILIES: tuple[Family, ...] = (*(guised(line_rule, adds=False),) * 4,)
