"""A row that unfolds into a grid, and hatchings that fill what is outlined."""

from __future__ import annotations

import numpy as np

from ttt_jax.train.invented.draws import amount, draw_colours, pick, side
from ttt_jax.train.invented.movement.ground import blank
from ttt_jax.train.invented.movement.guises import guised
from ttt_jax.train.invented.placing import boxes
from ttt_jax.train.invented.rule import Family, Pair, PairSampler, Rng


def unfolded(rng: Rng) -> PairSampler:
    """A single row becomes a grid: row by row it grows, shrinks, shifts, repeats or loses a cell."""
    ink, other, *tints = draw_colours(rng, 6)
    rule = pick(
        rng, ("grow", "grow", "shrink", "roll", "diagonal", "stairs", "halves", "alternate", "column", "pyramid")
    )
    step = pick(rng, (1, 1, 1, 2))
    way = pick(rng, (1, -1))
    striped = rng.random() < 0.3
    mixed = rng.random() < 0.5
    shape = pick(rng, ("square", "half", "inside"))

    def sample(rng: Rng, size: float) -> Pair | None:
        width = side(rng, size, 4, 16)
        row = np.zeros(width, np.int8)
        filled = int(rng.integers(1, width - 1))
        if rule in ("grow", "shrink", "stairs", "halves"):
            colours = [pick(rng, tints) for _ in range(filled)] if mixed and rule == "shrink" else [ink] * filled
            row[:filled] = colours
        elif rule == "pyramid":
            row[width // 2] = ink
            if width % 2 == 0:
                return None
        else:
            row[:] = np.where(rng.random(width) < 0.5, np.array(tints)[rng.integers(len(tints), size=width)], 0)
            if len(set(row.tolist())) < 2:
                return None
        if rule in ("grow", "halves", "stairs"):
            count = {"square": width, "half": width // 2 + 1, "inside": (width - filled) // step + 1}[shape]
        elif rule == "shrink":
            count = (filled + step - 1) // step
        elif rule == "pyramid":
            count = width // 2 + 1
        else:
            count = width if shape == "square" else int(width // 2) + 1 if shape == "half" else 4
        if count < 2:
            return None
        rows = []
        for k in range(count):
            new = row.copy()
            if rule == "grow":
                new[filled : filled + k * step] = ink
            elif rule == "shrink":
                new[max(0, filled - k * step) :] = 0
            elif rule == "roll":
                new = np.roll(row, way * k * step)
            elif rule == "diagonal":
                new = np.zeros(width, np.int8)
                new[k % width] = row[k % width]
            elif rule == "stairs":
                new[:] = 0
                new[k * step : k * step + filled] = ink
            elif rule == "halves":
                new[:] = ink if k % 2 else 0
                new[:filled] = ink
            elif rule == "alternate":
                new = row[::-1].copy() if k % 2 else row.copy()
            elif rule == "column":
                new = row.copy() if way > 0 else np.where(row > 0, row, np.int8(ink if k % 2 else 0))
                if way > 0 and k:
                    new[k % 2 :: 2] = 0
            else:
                new[width // 2 - k : width // 2 + k + 1] = ink
            if striped and k % 2:
                new = np.where(new == ink, np.int8(other), new)
            rows.append(new)
        answer = np.array(rows, np.int8)
        if len(answer) > 30:
            return None
        question = row[None]
        if shape == "inside" and rule in ("grow", "stairs", "pyramid"):
            # The room for the answer is already there.
            question = np.zeros_like(answer)
            question[0] = row
        return question, answer

    return sample


def hatched(rng: Rng) -> PairSampler:
    """Outlined or solid rectangles are filled with a hatching; which one may depend on their colour or their shape."""
    first, second, *tints = draw_colours(rng, 5)

    def hatching() -> tuple[str, int, int]:
        return (
            pick(rng, ("rows", "columns", "slanted", "checks", "dots", "cross", "half")),
            int(rng.integers(2, 4)),
            second,
        )

    by = pick(rng, ("none", "none", "colour", "shape"))
    patterns = [hatching(), hatching()]
    outlined = rng.random() < 0.6
    own = rng.random() < 0.4
    two = rng.random() < 0.3

    def drawn(pattern: tuple[str, int, int], h: int, w: int) -> np.ndarray:
        kind, period, _ = pattern
        ys, xs = np.indices((h, w))
        return {
            "rows": ys % period == 0,
            "columns": xs % period == 0,
            "slanted": (ys + xs) % period == 0,
            "checks": (ys + xs) % 2 == 0,
            "dots": (ys % 2 == 0) & (xs % period == 0),
            "cross": (ys == xs) | (ys == w - 1 - xs),
            "half": xs <= ys,
        }[kind]

    def sample(rng: Rng, size: float) -> Pair | None:
        grid = blank(rng, size, 7)
        placed = boxes(rng, grid.shape, amount(rng, size, 1, 5), 4, 6 + round(5 * size), 1)
        if not placed:
            return None
        out = grid.copy()
        for t, left, h, w in placed:
            kind = int(rng.integers(2))
            if by == "shape":
                if h == w:
                    return None
                kind = int(h > w)
            tint = tints[kind] if by == "colour" else tints[2]
            view, made = grid[t : t + h, left : left + w], out[t : t + h, left : left + w]
            view[:] = tint
            made[:] = tint
            core, shown = made[1:-1, 1:-1], view[1:-1, 1:-1]
            if outlined:
                shown[:] = core[:] = 0
            mask = drawn(patterns[kind if by != "none" else 0], h - 2, w - 2)
            core[mask] = tint if own and outlined else first
            if two:
                core[~mask] = second
        return grid, out

    return sample


FAMILIES: tuple[Family, ...] = (
    guised(unfolded),
    guised(hatched),
)
