"""Rules of sequences: rows that follow from the row before, bars that grow, cells that are counted off."""

from __future__ import annotations

import numpy as np

from ttt_jax.train.invented.draws import chance, draw_colours, pick, side
from ttt_jax.train.invented.patterns.canvas import finished, shifted, speckle
from ttt_jax.train.invented.patterns.guises import guised
from ttt_jax.train.invented.rule import Family, Grid, Pair, PairSampler, Rng


def unrolled(rng: Rng) -> PairSampler:
    """One row is given, each further row follows from the one before: moved, spread, grown, worn down or turned."""
    kind = pick(rng, ["move", "move", "bounce", "spread", "grow", "shrink", "xor", "alternate", "cycle"])
    step, wraps = pick(rng, [1, 1, 2, -1]), chance(rng, 0.5)
    given_only = chance(rng, 0.35)
    # Where the input is the one row, it must tell the height of the answer.
    rows_by = pick(rng, ["square", "fixed", "colours"] if given_only else ["square", "drawn"])
    fixed_rows = int(rng.integers(3, 8))
    few = pick(rng, [1, 2, 3])
    swapped = draw_colours(rng, 2)

    def following(row: np.ndarray, k: int) -> np.ndarray:
        left, right = np.append(row[1:], 0), np.append(0, row[:-1])
        match kind:
            case "move":
                return np.roll(row, step) if wraps else shifted(row[None, :], 0, step)[0]
            case "bounce":
                return row[::-1]
            case "spread":
                return np.where(row != 0, row, np.where(left != 0, left, right))
            case "grow":
                return np.where(row != 0, row, right)
            case "shrink":
                return np.where((left != 0) & (right != 0), row, 0)
            case "xor":
                return np.where((left != 0) ^ (right != 0), row.max(), 0)
            case "alternate":
                table = np.arange(10)
                table[swapped] = swapped[::-1]
                return table[row]
        return np.where(row != 0, row % 9 + 1, 0)

    def sample(rng: Rng, size: float) -> Pair | None:
        width = side(rng, size, 4)
        height = {"square": width, "fixed": fixed_rows}.get(rows_by, side(rng, size, 3))
        row = np.zeros(width, np.int8)
        if kind in ("spread", "xor", "grow"):
            at = rng.permutation(width)[: pick(rng, [1, 1, 2])]
            row[at] = draw_colours(rng, 1)[0]
        elif kind == "shrink":
            length = int(rng.integers(3, 1 + max(3, width - 1)))
            left = int(rng.integers(max(1, width - length + 1)))
            row[left : left + length] = draw_colours(rng, 1)[0]
        elif kind == "alternate":
            row = speckle(rng, (1, width), swapped, 0.8)[0]
        else:
            row = speckle(rng, (1, width), draw_colours(rng, few), 0.5)[0]
        if rows_by == "colours":
            height = 1 + np.count_nonzero(row)
        if not row.any() or not 1 < height <= 30:
            return None
        rows = [row]
        for k in range(1, height):
            rows.append(following(rows[-1], k).astype(np.int8))
        answer = np.stack(rows)
        if given_only:
            return finished(row[None, :], answer)
        question = np.zeros_like(answer)
        question[0] = row
        return finished(question, answer)

    return sample


def stairs(rng: Rng) -> PairSampler:
    """A bar gets longer or shorter by a step in each row; on both sides of it; or bars of lengths in a row go on."""
    step = pick(rng, [1, 1, 2, -1, -1])
    both, fill = chance(rng, 0.4), draw_colours(rng, 2)
    other = pick(rng, [0, fill[0]])
    up = fill[1]
    shown = pick(rng, [1, 1, 2])

    def sample(rng: Rng, size: float) -> Pair | None:
        width, height = side(rng, size, 4), side(rng, size, 4)
        shade = draw_colours(rng, 1, [up, other])[0]
        start = int(rng.integers(1, width))
        at = int(rng.integers(height)) if both else 0
        lengths = start + step * (np.arange(height) - at)
        columns = np.arange(width)[None, :]
        answer = np.where(columns < lengths[:, None], shade, 0).astype(np.int8)
        if both and other:
            answer = np.where((answer != 0) & (np.arange(height) < at)[:, None], up, answer)
            answer = np.where((answer != 0) & (np.arange(height) > at)[:, None], other, answer)
        rows = np.arange(height)
        given = (rows >= at) & (rows < at + shown)
        question = np.where(given[:, None], np.where(answer != 0, shade, 0), 0)
        return finished(question, answer)

    return sample


def counted_off(rng: Rng) -> PairSampler:
    """Bars on one side, their lengths, order or ranks told by colour: longest, shortest, every second."""
    test = pick(rng, ["longest", "shortest", "rank", "alternate", "even", "over three"])
    shades = draw_colours(rng, 9)
    base = shades.pop()
    fixed_base = chance(rng, 0.6)
    gap = pick(rng, [1, 1, 0, 2])
    cleared = chance(rng, 0.25)
    padded = chance(rng, 0.2)

    def sample(rng: Rng, size: float) -> Pair | None:
        height, width = side(rng, size, 4), side(rng, size, 5)
        starts = list(range(int(rng.integers(gap + 1)), height, gap + 1))
        lengths = rng.integers(1, width + 1, len(starts))
        if test == "rank" and (len(starts) > 5 or len(set(lengths.tolist())) < len(lengths)):
            lengths = rng.permutation(width)[: len(starts)] + 1
            if len(starts) > 5 or len(lengths) < len(starts):
                return None
        ordered = np.sort(lengths)
        if len(starts) < 2 or (test == "longest" and ordered[-1] == ordered[-2]):
            return None
        if test == "shortest" and ordered[0] == ordered[1]:
            return None
        own = base if fixed_base else pick(rng, [base, *shades[4:]])
        question, answer = np.zeros((height, width), np.int8), np.zeros((height, width), np.int8)
        for k, (row, length) in enumerate(zip(starts, lengths.tolist(), strict=True)):
            question[row, :length] = own
            shade = {
                "longest": shades[0] if length == ordered[-1] else own,
                "shortest": shades[0] if length == ordered[0] else own,
                "rank": shades[int((lengths > length).sum()) % len(shades)],
                "alternate": shades[0] if k % 2 else own,
                "even": shades[0] if length % 2 == 0 else own,
                "over three": shades[0] if length > 3 else own,
            }[test]
            answer[row, :length] = 0 if cleared and shade == own else shade
            if padded:
                answer[row, length:] = shades[1]
        return finished(question, answer)

    return sample


def films(rng: Rng) -> PairSampler:
    """Frames in a row show a shape that moves, grows or turns by the same step each time; the next one is asked for."""
    step = pick(rng, [(0, 1), (1, 0), (1, 1), (-1, 1), (0, 2)])
    kind = pick(rng, ["move", "move", "turn", "add", "colour"])
    number, line = pick(rng, [2, 3, 3]), draw_colours(rng, 1)[0]
    in_place = chance(rng, 0.5)
    cycle = draw_colours(rng, 3, [line])

    def sample(rng: Rng, size: float) -> Pair | None:
        n = side(rng, size, 4, 7 if in_place else 9)
        if (n + 1) * (number + in_place) - 1 > 30:
            return None
        motif = np.zeros((n, n), np.int8)
        h, w = (int(rng.integers(1, 3)) for _ in range(2))
        top, left = (int(rng.integers(n - m + 1)) for m in (h, w))
        motif[top : top + h, left : left + w] = pick(rng, cycle if kind == "colour" else draw_colours(rng, 1, [line]))
        if kind == "turn":
            motif = speckle(rng, (n, n), draw_colours(rng, 2, [line]), 0.4)
        frames = [motif]
        for k in range(number):
            last = frames[-1]
            if kind == "turn":
                nxt = np.rot90(last)
            elif kind == "colour":
                shade = cycle[(cycle.index(int(last.max())) + 1) % 3]
                nxt = np.where(np.roll(last, step, (0, 1)) != 0, shade, 0)
            elif kind == "add":
                nxt = np.where(last != 0, last, np.roll(frames[0], (step[0] * (k + 1), step[1] * (k + 1)), (0, 1)))
            else:
                nxt = np.roll(last, step, (0, 1))
            frames.append(nxt.astype(np.int8))
        bar = np.full((n, 1), line, np.int8)

        def joined(frames: list[Grid]) -> Grid:
            parts = [part for frame in frames for part in (bar, frame)]
            return np.concatenate(parts[1:], 1)

        if in_place:
            return finished(joined([*frames[:-1], np.zeros_like(motif)]), joined(frames))
        return finished(joined(frames[:-1]), frames[-1])

    return sample


def spotted(rng: Rng) -> PairSampler:
    """Two or three colours in a row of cells stand for their order: a list is written out, read back or repeated."""
    kind = pick(rng, ["diagonal", "square", "rings", "columns", "twice", "pyramid"])
    inner_first = chance(rng, 0.5)

    def sample(rng: Rng, size: float) -> Pair | None:
        number = int(rng.integers(2 + int(chance(rng, 0.6)), 4 + round(6 * size)))
        palette = draw_colours(rng, 5)
        row = np.asarray([pick(rng, palette) for _ in range(number)], np.int8)
        if len(set(row.tolist())) < 2:
            return None
        question = row[None, :]
        order = row[::-1] if inner_first else row
        n = len(row)
        match kind:
            case "diagonal":
                answer = np.diag(order)
            case "square":
                rows, columns = np.indices((n, n))
                answer = order[np.maximum(rows, columns)]
            case "rings":
                rows, columns = np.indices((2 * n - 1, 2 * n - 1))
                rank = np.minimum(np.minimum(rows, 2 * n - 2 - rows), np.minimum(columns, 2 * n - 2 - columns))
                answer = order[rank]
            case "columns":
                answer = np.where(np.arange(n)[:, None] >= np.arange(n)[None, :], order[None, :], 0)
            case "twice":
                answer = np.concatenate([row, row[::-1]])[None, :] if inner_first else np.repeat(row, 2)[None, :]
            case _:
                answer = np.zeros((n, 2 * n - 1), np.int8)
                for k in range(n):
                    answer[k, n - 1 - k : n + k] = order[k]
        return finished(question, answer)

    return sample


def _path(kind: str, shape: tuple[int, int]) -> np.ndarray:
    """Flat places in the order in which the path visits them."""
    places = np.arange(shape[0] * shape[1]).reshape(shape)
    if kind == "snake":
        places = places.copy()
        places[1::2] = places[1::2, ::-1]
        return places.ravel()
    if kind == "diagonals":
        rows, columns = np.indices(shape)
        return np.lexsort((rows.ravel(), (rows + columns).ravel()))
    if kind == "reading":
        return places.ravel()
    turns = []
    while places.size:
        turns.append(places[0])
        places = places[1:].T[::-1]
        if kind == "border" and len(turns) == 4:
            break
    return np.concatenate(turns)


def along_path(rng: Rng) -> PairSampler:
    """Cells follow one another along a snake, a spiral, the border or diagonals: the colours go on, or thin out."""
    kind = pick(rng, ["snake", "spiral", "border", "diagonals", "reading"])
    what = pick(rng, ["continue", "continue", "count", "move"])
    shade = draw_colours(rng, 1)[0]
    step = pick(rng, [1, 1, 2])
    wraps = kind == "border"

    def sample(rng: Rng, size: float) -> Pair | None:
        shape = side(rng, size, 4), side(rng, size, 4)
        path = _path(kind, shape)
        question, answer = np.zeros(shape[0] * shape[1], np.int8), np.zeros(shape[0] * shape[1], np.int8)
        palette = draw_colours(rng, 4, [shade])
        if what == "continue":
            period = np.asarray([*palette[: int(rng.integers(1, 4))], *([0] * int(rng.integers(2)))], np.int8)
            if len(period) == 1:
                period = np.append(period, np.int8(shade))
            given = len(period) + int(rng.integers(1, len(period) + 1))
            if given >= len(path):
                return None
            answer[path] = np.resize(period, len(path))
            question[path[:given]] = answer[path[:given]]
        elif what == "count":
            # As many cells along the path as there are in the grid, which are drawn anywhere.
            number = int(rng.integers(1, len(path) // 2))
            question[rng.permutation(len(question))[:number]] = palette[0]
            answer[path[:number]] = palette[0]
        else:
            line = speckle(rng, (1, len(path)), palette[:2], 0.3)[0]
            question[path] = line
            answer[path] = np.roll(line, step) if wraps else shifted(line[None, :], 0, step)[0]
        return finished(question.reshape(shape), answer.reshape(shape))

    return sample


FAMILIES: tuple[Family, ...] = tuple(
    guised(family) for family in (unrolled, stairs, counted_off, films, spotted, along_path)
)
