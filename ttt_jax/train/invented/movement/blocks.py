"""What blocks on one line of cells do: move, fill, hollow, mirror, grow to a pointer, sort, lose specks."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from ttt_jax.train.invented.draws import pick
from ttt_jax.train.invented.rule import Rng

Block = tuple[int, int, int]
"""Start, length, colour."""

Action = Callable[[list[int], list[Block]], "list[int] | None"]
"""A line and its blocks -> the new line, or None where the line does not show the rule."""


def blocks_of(line: list[int]) -> list[Block]:
    """Runs of one colour, from left to right."""
    found, start = [], 0
    for i in range(1, len(line) + 1):
        if i == len(line) or line[i] != line[start]:
            if line[start]:
                found.append((start, i - start, line[start]))
            start = i
    return found


def _drawn(length: int, blocks: list[Block]) -> list[int] | None:
    """The line with these blocks; None where one leaves it."""
    line = [0] * length
    for start, span, colour in blocks:
        if start < 0 or start + span > length:
            return None
        line[start : start + span] = [colour] * span
    return line


def moves(rng: Rng, pointer: int) -> Action:
    step, wraps = int(rng.integers(1, 4)), rng.random() < 0.3

    def act(line: list[int], blocks: list[Block]) -> list[int] | None:
        if wraps:
            return line[-step:] + line[:-step]
        return _drawn(len(line), [(s + step, n, c) for s, n, c in blocks])

    return act


def to_pointer(rng: Rng, pointer: int) -> Action:
    """The block left of the pointer moves, grows, or sends its last cell or a copy to it."""
    how = pick(rng, ("move", "grow", "shoot", "copy", "jump", "dots", "split"))

    def act(line: list[int], blocks: list[Block]) -> list[int] | None:
        if pointer not in line:
            return None
        at = line.index(pointer)
        before = [b for b in blocks if b[0] < at and b[2] != pointer]
        if not before or before[-1][0] + before[-1][1] >= at:
            return None
        start, span, colour = before[-1]
        new = list(line)
        end = start + span
        if how in ("move", "jump"):
            new[start:end] = [0] * span
        if how in ("move", "copy"):
            if end > at - span and how == "copy":
                return None
            new[at - span : at] = [colour] * span
        elif how == "jump":
            after = line[at + 1 : at + 1 + span]
            if len(after) < span or any(after):
                return None
            new[at + 1 : at + 1 + span] = [colour] * span
        elif how == "grow":
            new[end:at] = [colour] * (at - end)
        elif how == "shoot":
            new[end - 1], new[at - 1] = 0, colour
        elif how == "dots":
            new[end:at] = [colour if i % 2 else 0 for i in range(at - end)]
        else:
            if span % 2:
                return None
            new[start:end] = [0] * span
            new[start : start + span // 2] = [colour] * (span // 2)
            new[at - span // 2 : at] = [colour] * (span // 2)
        return new

    return act


def mirror(rng: Rng, pointer: int) -> Action:
    """What lies on one side of the pointer is reflected to the other, or all of it is turned round."""
    how = pick(rng, ("copy", "move", "all"))

    def act(line: list[int], blocks: list[Block]) -> list[int] | None:
        if how == "all":
            return line[::-1]
        if pointer not in line:
            return None
        at = line.index(pointer)
        left = line[:at]
        if not any(left) or any(line[at + 1 :]):
            return None
        right = left[::-1]
        if any(right[len(line) - at - 1 :]):
            return None
        right = (right + [0] * len(line))[: len(line) - at - 1]
        return [*(left if how == "copy" else [0] * at), pointer, *right]

    return act


def between_ends(rng: Rng, pointer: int) -> Action:
    """Between blocks of one colour (or any two neighbours in pairs) the gap is filled, or only the middle marked."""
    how = pick(rng, ("fill", "own", "middle", "pairs"))
    same = rng.random() < 0.6

    def act(line: list[int], blocks: list[Block]) -> list[int] | None:
        new = list(line)
        pairs = list(itertools.pairwise(blocks))
        for (s, n, c), (t, _, d) in pairs[:: 2 if how == "pairs" else 1]:
            if same and c != d:
                continue
            gap = t - s - n
            if how == "middle":
                if gap % 2:
                    new[s + n + gap // 2] = pointer
            else:
                new[s + n : t] = [c if how == "own" else pointer] * gap
        return new

    return act


def by_length(rng: Rng, pointer: int) -> Action:
    """Blocks are recoloured, removed or kept alone by their length."""
    which = pick(rng, ("longest", "shortest", "odd", "even", "one", "two", "three"))
    how = pick(rng, ("paint", "paint", "erase", "keep"))

    def act(line: list[int], blocks: list[Block]) -> list[int] | None:
        lengths = [n for _, n, _ in blocks]
        if len(blocks) < 2:
            return None
        if which in ("longest", "shortest"):
            goal = max(lengths) if which == "longest" else min(lengths)
            if lengths.count(goal) > 1:
                return None
            chosen = [n == goal for n in lengths]
        elif which in ("odd", "even"):
            chosen = [n % 2 == (which == "odd") for n in lengths]
        else:
            goal = ("one", "two", "three").index(which) + 1
            chosen = [n == goal for n in lengths]
        if all(chosen) or not any(chosen):
            return None
        new = []
        for (s, n, c), yes in zip(blocks, chosen, strict=True):
            if how == "paint":
                new.append((s, n, pointer if yes else c))
            elif yes == (how == "keep"):
                new.append((s, n, c))
        return _drawn(len(line), new)

    return act


def reshape(rng: Rng, pointer: int) -> Action:
    """Every block is hollowed, given other ends, made larger or smaller, striped, or closed."""
    how = pick(
        rng, ("hollow", "ends", "first", "last", "grow", "right", "shrink", "stripe", "centre", "double", "single")
    )

    def act(line: list[int], blocks: list[Block]) -> list[int] | None:
        new = list(line)
        for i, (s, n, c) in enumerate(blocks):
            e = s + n
            if how in ("hollow", "shrink") and n > 2:
                if how == "hollow":
                    new[s + 1 : e - 1] = [0] * (n - 2)
                else:
                    new[s] = new[e - 1] = 0
            elif how == "ends":
                new[s] = new[e - 1] = pointer
            elif how == "first":
                new[s] = pointer
            elif how == "last":
                new[e - 1] = pointer
            elif how in ("grow", "right"):
                room = blocks[i + 1][0] if i + 1 < len(blocks) else len(line) + 1
                back = blocks[i - 1][0] + blocks[i - 1][1] if i else -1
                if room - e < 2 or (how == "grow" and s - back < 2):
                    return None
                new[e] = c
                if how == "grow":
                    new[s - 1] = c
            elif how == "stripe":
                new[s:e] = [pointer if k % 2 else c for k in range(n)]
            elif how == "centre":
                if n % 2 == 0:
                    return None
                new[s + n // 2] = pointer
            elif how == "single":
                new[s + 1 : e] = [0] * (n - 1)
            elif how == "double":
                room = blocks[i + 1][0] if i + 1 < len(blocks) else len(line)
                if e + n > room:
                    return None
                new[e : e + n] = [pointer] * n
        return new

    return act


def arrange(rng: Rng, pointer: int) -> Action:
    """Blocks are packed, ordered, turned round in order, alternately coloured, or trade colours or lengths."""
    how = pick(rng, ("pack", "touch", "sort", "reverse", "alternate", "swap", "rotate", "unify", "drop"))
    falling = rng.random() < 0.5

    def act(line: list[int], blocks: list[Block]) -> list[int] | None:
        lengths = [n for _, n, _ in blocks]
        colours = [c for *_, c in blocks]
        if len(blocks) < 2:
            return None
        if how == "alternate":
            return _drawn(len(line), [(s, n, pointer if i % 2 else c) for i, (s, n, c) in enumerate(blocks)])
        if how in ("swap", "rotate", "unify"):
            colours = {
                "swap": colours[::-1],
                "rotate": colours[-1:] + colours[:-1],
                "unify": colours[:1] * len(blocks),
            }[how]
            return _drawn(len(line), [(s, n, c) for (s, n, _), c in zip(blocks, colours, strict=True)])
        if how == "drop":
            return _drawn(len(line), blocks[1:] if falling else blocks[:-1])
        order = list(zip(lengths, colours, strict=True))
        if how == "sort":
            if len(set(lengths)) < len(lengths):
                return None
            order.sort(reverse=falling)
        elif how == "reverse":
            order = order[::-1]
        new, at = [], 0
        for n, c in order:
            new.append((at, n, c))
            at += n + (how != "touch")
        return _drawn(len(line), new)

    return act


def denoise(rng: Rng, pointer: int) -> Action:
    """Single cells of the pointer's colour are noise: removed on the ground, healed inside blocks."""
    moved = rng.random() < 0.3

    def act(line: list[int], blocks: list[Block]) -> list[int] | None:
        new = list(line)
        healed = 0
        for i, c in enumerate(line):
            if c == pointer:
                left = line[i - 1] if i else 0
                right = line[i + 1] if i + 1 < len(line) else 0
                new[i] = left if left == right and left != pointer else 0
                healed += 1
        if not healed:
            return None
        return [*new[1:], 0] if moved and new[0] == 0 else new

    return act


ACTIONS: tuple[Callable[[Rng, int], Action], ...] = (
    moves,
    to_pointer,
    to_pointer,
    mirror,
    between_ends,
    by_length,
    by_length,
    reshape,
    reshape,
    arrange,
    arrange,
    denoise,
)
"""Draw an action each; they are given the colour of the pointer."""
