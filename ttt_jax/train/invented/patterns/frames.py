"""Rules of rings around a middle, and of labels on the border that act on what is inside."""

from __future__ import annotations

import numpy as np

from ttt_jax.train.invented.draws import chance, draw_colours, pick, side
from ttt_jax.train.invented.masks import border_distance
from ttt_jax.train.invented.patterns.canvas import finished, speckle
from ttt_jax.train.invented.patterns.guises import guised, one_of
from ttt_jax.train.invented.patterns.rows import filled_forward
from ttt_jax.train.invented.placing import places
from ttt_jax.train.invented.rule import Family, Grid, Pair, PairSampler, Rng


def nested(rng: Rng) -> PairSampler:
    """Rings inside each other: turned inside out, moved on by one, recoloured, thinned, or told as a list."""
    kind = pick(rng, ["reverse", "next", "previous", "list", "outer to middle", "swap", "single", "grow"])
    square = chance(rng, 0.5)
    fixed = draw_colours(rng, 4) if chance(rng, 0.3) else None
    thick_outer = chance(rng, 0.3)

    def sample(rng: Rng, size: float) -> Pair | None:
        number = int(rng.integers(2 + int(chance(rng, 0.7)), 4 + round(3 * size)))
        palette = fixed or draw_colours(rng, 5)
        shades = [palette[0]]
        while len(shades) < number:
            shades.append(pick(rng, [c for c in palette if c != shades[-1]]))
        # The middle counts as one, however large it is.
        thickness = [*(1 + int(thick_outer and chance(rng, 0.4)) for _ in shades[1:]), 1]
        extra = int(rng.integers(3)), int(rng.integers(3))
        depth = sum(thickness)
        shape = 2 * depth - 1 + extra[0], 2 * depth - 1 + (extra[0] if square else extra[1])
        if max(shape) > 30:
            return None
        level = np.repeat(np.arange(number), thickness)
        rank = level[np.minimum(border_distance(shape), depth - 1)]
        old = np.asarray(shades, np.int8)
        question = old[rank]
        match kind:
            case "reverse":
                new = old[::-1]
            case "next":
                new = np.roll(old, 1)
            case "previous":
                new = np.roll(old, -1)
            case "list":
                return finished(question, old[:, None])
            case "outer to middle":
                new = old.copy()
                new[-1] = old[0]
            case "swap":
                new = old.copy()
                new[[0, -1]] = old[[-1, 0]]
            case "single":
                return finished(question, old[level][:depth, None] * np.ones((1, depth), np.int8))
            case _:
                return finished(question, np.pad(question, 1, constant_values=int(old[-1])))
        return finished(question, new[rank])

    return sample


def ringed(rng: Rng) -> PairSampler:
    """An empty grid with one cell (or a small box) gets rings around it, in the order of a palette or every second."""
    kind = pick(rng, ["cycle", "every second", "from border", "box"])
    palette = draw_colours(rng, pick(rng, [2, 3]))
    shades = np.asarray(palette, np.int8)
    own, spiral = chance(rng, 0.5), chance(rng, 0.5)

    def sample(rng: Rng, size: float) -> Pair | None:
        shape = side(rng, size, 5), side(rng, size, 5)
        row, column = (int(rng.integers(n)) for n in shape)
        seed = pick(rng, palette) if not own else draw_colours(rng, 1, palette)[0]
        rows, columns = np.abs(np.arange(shape[0]) - row)[:, None], np.abs(np.arange(shape[1]) - column)[None, :]
        distance = rows + columns if spiral else np.maximum(rows, columns)
        if kind == "from border":
            distance = border_distance(shape)
        if kind == "cycle":
            answer = shades[distance % len(shades)]
        elif kind == "box":
            answer = np.where(distance == 2, shades[0], np.where(distance == 1, shades[1], 0))
        else:
            answer = np.where(distance % 2 == 0, seed, 0)
        answer = np.where((rows == 0) & (columns == 0), seed, answer)
        return finished(np.where((rows == 0) & (columns == 0), seed, 0), answer)

    return sample


def labelled(rng: Rng) -> PairSampler:
    """Colours along one border act on the cells of their column: they fill, shoot, recolour, erase or stack."""
    kind = pick(rng, ["fill", "shoot", "recolour", "erase same", "keep same", "fill even", "count"])
    obstacle = draw_colours(rng, 1)[0]
    line = pick(rng, [None, draw_colours(rng, 1, [obstacle])[0]])
    partial = chance(rng, 0.5)
    density = float(rng.uniform(0.1, 0.45))

    def sample(rng: Rng, size: float) -> Pair | None:
        height, width = side(rng, size, 4), side(rng, size, 3)
        palette = draw_colours(rng, int(rng.integers(2, 5)), [obstacle, line or 0])
        labels = np.asarray(palette, np.int8)[rng.integers(len(palette), size=width)]
        if partial:
            labels[rng.random(width) < 0.4] = 0
        if not labels.any():
            return None
        # The label wins a tie of cells that share its colour only where the rule is about sharing.
        same = kind in ("erase same", "keep same", "count")
        inside = speckle(rng, (height, width), palette if same else [obstacle], density)
        head = np.broadcast_to(labels, inside.shape)
        match kind:
            case "fill":
                out = np.where((inside == 0) & (head != 0), head, inside)
            case "shoot":
                out = filled_forward(np.vstack([labels, inside]).T).T[1:]
                below = filled_forward((np.vstack([np.zeros_like(labels), inside]) != 0).T.astype(np.int8)).T[1:]
                out = np.where((inside == 0) & (below == 0), head, inside)
            case "recolour":
                out = np.where((inside != 0) & (head != 0), head, inside)
            case "erase same":
                out = np.where(inside == head, 0, inside)
            case "keep same":
                out = np.where(inside == head, inside, 0)
            case "fill even":
                out = np.where((inside == 0) & (np.arange(height) % 2 == 1)[:, None], head, inside)
            case _:
                number = ((inside == head) & (head != 0)).sum(0)
                out = np.where((np.arange(height)[:, None] < number) & (head != 0), head, 0)
        top = [labels[None, :]] if line is None else [labels[None, :], np.full((1, width), line, np.int8)]
        return finished(np.vstack([*top, inside]), np.vstack([*top, out]))

    return sample


def crossed_labels(rng: Rng) -> PairSampler:
    """Labels along two borders: their columns and rows are drawn and meet, or each cell is told by both."""
    kind = pick(rng, ["over", "under", "meet", "same", "recolour"])
    meet = draw_colours(rng, 1)[0]
    corner = pick(rng, [0, meet])

    def sample(rng: Rng, size: float) -> Pair | None:
        height, width = side(rng, size, 4), side(rng, size, 4)
        palette = draw_colours(rng, int(rng.integers(2, 4)), [meet])
        top, left = np.zeros(width, np.int8), np.zeros(height, np.int8)
        share = 1.0 if kind == "same" else 0.35
        top[rng.random(width) < share] = 1
        left[rng.random(height) < share] = 1
        top *= np.asarray(palette, np.int8)[rng.integers(len(palette), size=width)]
        left *= np.asarray(palette, np.int8)[rng.integers(len(palette), size=height)]
        if not top.any() or not left.any():
            return None
        down, right = np.broadcast_to(top, (height, width)), np.broadcast_to(left[:, None], (height, width))
        inside = np.zeros((height, width), np.int8)
        if kind == "over":
            out = np.where(down != 0, down, right)
        elif kind == "under":
            out = np.where(right != 0, right, down)
        elif kind == "meet":
            out = np.where((down != 0) & (right != 0), meet, np.where(down != 0, down, right))
        elif kind == "same":
            out = np.where(down == right, down, 0)
        else:
            inside = speckle(rng, (height, width), [meet], 0.4)
            out = np.where((inside != 0) & (down != 0), down, np.where((inside != 0) & (right != 0), right, inside))

        def whole(middle: Grid) -> Grid:
            return np.block([[np.full((1, 1), corner), top[None, :]], [left[:, None], middle]])

        return finished(whole(inside), whole(out))

    return sample


def cornered(rng: Rng) -> PairSampler:
    """Four corner cells (or four sides) give their colours to what lies in their quarter (or nearest to them)."""
    kind = pick(rng, ["corners", "corners", "sides"])
    marker, cropped = draw_colours(rng, 1)[0], chance(rng, 0.4)
    whole_quarter = chance(rng, 0.25)
    one_box = chance(rng, 0.4)

    def sample(rng: Rng, size: float) -> Pair | None:
        shape = side(rng, size, 6), side(rng, size, 6)
        if kind == "corners":
            # Quarters need even sides.
            shape = shape[0] & ~1, shape[1] & ~1
        inner = shape[0] - 2, shape[1] - 2
        shades = np.asarray(draw_colours(rng, 4, [marker]), np.int8)
        content = np.zeros(inner, np.int8)
        if one_box:
            h, w = (int(rng.integers(2, n)) for n in inner)
            at = places(rng, inner, [(h, w)])
            if at is None:
                return None
            content[at[0][0] : at[0][0] + h, at[0][1] : at[0][1] + w] = speckle(rng, (h, w), [marker], 0.7)
        else:
            content = speckle(rng, inner, [marker], 0.3)
        rows, columns = np.arange(inner[0])[:, None], np.arange(inner[1])[None, :]
        if kind == "corners":
            owner = 2 * (rows >= inner[0] // 2) + (columns >= inner[1] // 2)
        else:
            far = np.stack(np.broadcast_arrays(rows, inner[0] - 1 - rows, columns, inner[1] - 1 - columns))
            ordered = np.sort(far, 0)
            content[ordered[0] == ordered[1]] = 0
            owner = far.argmin(0)
        if not content.any():
            return None
        made = shades[owner]
        made = made if whole_quarter and kind == "corners" else np.where(content != 0, made, 0)
        question = np.zeros(shape, np.int8)
        if kind == "corners":
            question[[0, 0, -1, -1], [0, -1, 0, -1]] = shades
        else:
            question[0, 1:-1], question[-1, 1:-1], question[1:-1, 0], question[1:-1, -1] = shades
        answer = question.copy()
        question[1:-1, 1:-1], answer[1:-1, 1:-1] = content, made
        return finished(question, made if cropped else answer)

    return sample


FAMILIES: tuple[Family, ...] = (
    guised(one_of(nested, nested, ringed)),
    guised(one_of(labelled, labelled, crossed_labels)),
    guised(cornered),
)
