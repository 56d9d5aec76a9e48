"""Rules that read a direction, a length or an order off things: pointers, bars, piles, things that lie on others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ttt_jax.train.invented.draws import chance, pick, side
from ttt_jax.train.invented.masks import trim
from ttt_jax.train.invented.objects import shapes
from ttt_jax.train.invented.objects.looks import Palette, draw_look, empty_ground, extent
from ttt_jax.train.invented.objects.scenes import CLEAR, Scene, Thing, pair_of, solid
from ttt_jax.train.invented.placing import Space
from ttt_jax.train.invented.rule import Family, Pair, PairSampler, Rng, legal, turned

_DIRECTIONS = ((0, 1), (-1, 0), (0, -1), (1, 0))
"""As `np.rot90` turns a sprite that points to the right, by 0, 1, 2 and 3 quarters."""


def pointers(rng: Rng) -> PairSampler:
    """Things with a marked side: a ray leaves there or at the back, or the thing moves that way to the border."""
    palette = Palette(rng)
    mark = palette.one()
    what = int(
        rng.choice(4, p=[0.4, 0.2, 0.25, 0.15])
    )  # ray, ray from the back, move to the border, move by its length
    ink = palette.one() if rng.random() < 0.4 else mark
    body = [shapes.rectangle(1, 1), shapes.rectangle(1, 2), shapes.rectangle(3, 1), shapes.plus(1)[:, :2]]
    body += [shapes.rectangle(3, 2), np.array([[1, 0], [0, 1], [1, 0]], bool)]
    shape = pick(rng, body)
    h, w = shape.shape
    outside = chance(rng, 0.5) or w == 1  # the mark is put before its tip; else it takes the place of it
    arrow = np.full((h, w + outside), CLEAR, np.int8)
    arrow[:, :w][shape] = 0
    arrow[h // 2, -1] = 1
    look = replace(draw_look(rng, palette, plain=True), noise=None, striped=None)
    directions = [0, 1, 2, 3] if rng.random() < 0.7 else rng.permutation(4)[:2].tolist()

    def sample(rng: Rng, size: float) -> Pair | None:
        height, width = extent(rng, size, look.square, least=6)
        ground, ground_colour = empty_ground(rng, look, height, width)
        space = Space(height, width)
        things, after = [], []
        for colour in look.colours(rng, int(rng.integers(1, look.most))):
            turns = pick(rng, directions)
            sprite = np.rot90(np.where(arrow == 1, np.int8(mark), np.where(arrow == 0, np.int8(colour), arrow)), turns)
            spot = space.place(rng, *sprite.shape)
            if spot is None:
                continue
            thing = Thing(*spot, np.ascontiguousarray(sprite))
            # The lane that it uses is closed to others, so that nothing depends on who goes first.
            if turns % 2:
                space.take(0, spot[1], height, thing.width)
            else:
                space.take(spot[0], 0, thing.height, width)
            things.append(thing)
            ahead = _DIRECTIONS[turns if what != 1 else (turns + 2) % 4]
            room = (
                (height - spot[0] - thing.height if ahead[0] > 0 else spot[0])
                if ahead[0]
                else (width - spot[1] - thing.width if ahead[1] > 0 else spot[1])
            )
            if what >= 2:
                step = room if what == 2 else thing.height if ahead[0] else thing.width
                after.append(thing.moved(ahead[0] * step, ahead[1] * step))
                continue
            after.append(thing)
            if room:
                row, column = spot[0] + thing.height // 2, spot[1] + thing.width // 2
                line = shapes.rectangle(room, 1) if ahead[0] else shapes.rectangle(1, room)
                if ahead[0]:
                    row = spot[0] + thing.height if ahead[0] > 0 else 0
                else:
                    column = spot[1] + thing.width if ahead[1] > 0 else 0
                after.append(Thing(row, column, solid(line, ink), extra=True))
        scene = Scene(ground, things, ground_colour)
        return pair_of(scene, scene.painted(after)) if things else None

    return sample


def bars(rng: Rng) -> PairSampler:
    """Bars on a common line: sorted, recoloured by rank or by length, levelled, turned over, or one of them told."""
    palette = Palette(rng)
    what, quarters = int(rng.integers(7)), int(rng.integers(4))
    inks = palette.take(3)
    apart = int(rng.integers(2))
    one_colour = chance(rng, 0.5) and what not in (0, 6)
    ascending = chance(rng, 0.5)
    look = replace(draw_look(rng, palette, plain=True), same_in_pair=one_colour, noise=None, striped=None)
    look = replace(look, palette=palette.rest(1 if one_colour else 5))

    def sample(rng: Rng, size: float) -> Pair | None:
        height = side(rng, size, least=4)
        count = int(rng.integers(2, max(3, min(8, round(3 + 6 * size))) + 1))
        lengths = rng.integers(1, height + 1, count)
        colours = np.array(look.colours(rng, count), np.int8)
        ground_colour = pick(rng, look.grounds)

        def picture(lengths: np.ndarray, colours: np.ndarray) -> np.ndarray:
            filled = np.arange(height)[::-1, None] < lengths
            out = np.full((height, count * (1 + apart) - apart), ground_colour, np.int8)
            out[:, :: 1 + apart] = np.where(filled, colours, ground_colour)
            return np.rot90(out, quarters)

        question = picture(lengths, colours)
        different = len(set(lengths.tolist())) == count
        order = np.argsort(lengths if ascending else -lengths, kind="stable")
        if what == 0 and different:
            answer = picture(lengths[order], colours[order])
        elif what == 1 and different:
            ranks = np.argsort(order)
            answer = picture(lengths, np.where(ranks == 0, inks[0], np.where(ranks == count - 1, inks[1], colours)))
        elif what == 2:
            answer = picture(lengths, np.array(inks, np.int8)[np.minimum(lengths, 3) - 1])
        elif what == 3:
            answer = picture(np.full(count, lengths.max() if ascending else lengths.min()), colours)
        elif what == 4:
            answer = picture(height - lengths, colours)
        elif what == 5:
            answer = picture(lengths, np.where(lengths % 2 == 0, inks[0], inks[1]))
        elif what == 6 and different:
            answer = np.full((1, 1), colours[order[0]], np.int8)
        else:
            return None
        if np.array_equal(question, answer):
            return None
        return np.ascontiguousarray(question, np.int8), np.ascontiguousarray(answer, np.int8)

    return sample


def overlaid(rng: Rng) -> PairSampler:
    """Two rectangles, one partly on the other: which is above is told, or changed, or what they share is shown."""
    palette = Palette(rng)
    what, ink = int(rng.integers(6)), palette.one()
    hollow = chance(rng, 0.3)
    look = replace(draw_look(rng, palette, plain=True), palette=palette.rest(6), striped=None)

    def sample(rng: Rng, size: float) -> Pair | None:
        height, width = extent(rng, size, look.square, least=6)
        first, second = (int(c) for c in rng.permutation(look.palette)[:2])
        h, w = (rng.integers(3, max(4, n - 2) + 1, 2) for n in (height, width))
        top, left = int(rng.integers(0, height - h[0] + 1)), int(rng.integers(0, width - w[0] + 1))
        row, column = int(rng.integers(0, height - h[1] + 1)), int(rng.integers(0, width - w[1] + 1))
        masks = np.zeros((2, height, width), bool)
        masks[0, top : top + h[0], left : left + w[0]] = True
        masks[1, row : row + h[1], column : column + w[1]] = True
        if hollow:
            masks[0, top + 1 : top + h[0] - 1, left + 1 : left + w[0] - 1] = False
            masks[1, row + 1 : row + h[1] - 1, column + 1 : column + w[1] - 1] = False
        shared = masks[0] & masks[1]
        hidden, alone = int(shared.sum()), int((masks[0] & ~shared).sum())
        # One corner or one end of each must be seen, and enough of what is hidden to know it.
        if hidden == 0 or alone < 2 * hidden or int((masks[1] & ~shared).sum()) < 2:
            return None
        ground, ground_colour = empty_ground(rng, look, height, width)
        question = ground.copy()
        question[masks[0]] = first
        question[masks[1]] = second
        answer = question.copy()
        if what == 0:
            answer[masks[0]] = first
        elif what == 1:
            answer[shared] = ink
        elif what == 2:
            answer = ground.copy()
            answer[masks[1]] = second
        elif what == 3:
            answer = np.where(trim(shared), np.int8(ink), np.int8(ground_colour))
        elif what == 4:
            answer = np.full((1, 1), second, np.int8)
        else:
            answer[masks[0]], answer[masks[1]] = second, first
        return legal(question, answer)

    return sample


def drawn_together(rng: Rng) -> PairSampler:
    """Two things face each other: one moves until they touch, both meet, a bridge joins them, or they are parted."""
    palette = Palette(rng)
    what, ink = int(rng.integers(4)), palette.one()
    turn = int(rng.integers(8))
    mover = int(rng.integers(2))
    look = draw_look(rng, palette, plain=True)
    kinds = palette.take(2)
    look = replace(look, noise=None, striped=None, palette=kinds)

    def sample(rng: Rng, size: float) -> Pair | None:
        height, width = extent(rng, size, look.square, least=6)
        bound = int(np.clip(min(height, width) // 3, 2, 5))
        sprites = [solid(look.mask(rng, bound), c) for c in kinds]
        if rng.random() < 0.5:
            sprites = sprites[::-1]
        left, right = sprites
        room = width - left.shape[1] - right.shape[1]
        if room < 2:
            return None
        a = int(rng.integers(0, room - 1))
        b = int(rng.integers(a + left.shape[1] + 2, width - right.shape[1] + 1))
        top = int(rng.integers(0, height - left.shape[0] + 1))
        low, high = max(0, top - right.shape[0] + 1), min(height - right.shape[0], top + left.shape[0] - 1)
        row = int(rng.integers(low, high + 1))
        ground, ground_colour = empty_ground(rng, look, height, width)
        one, two = Thing(top, a, left), Thing(row, b, right)
        scene = Scene(ground, [one, two], ground_colour)
        # The gap is measured in the rows that both have.
        rows = range(max(top, row), min(top + one.height, row + two.height))
        spans = [
            (a + int(np.flatnonzero(one.mask[r - top])[-1]) + 1, b + int(np.flatnonzero(two.mask[r - row])[0]))
            for r in rows
            if one.mask[r - top].any() and two.mask[r - row].any()
        ]
        if not spans:
            return None
        gap = min(end - start for start, end in spans)
        first_moves = (one.sprite[one.mask][0] == kinds[0]) == (mover == 0)
        if what == 0:
            after = [one.moved(0, gap), two] if first_moves else [one, two.moved(0, -gap)]
        elif what == 1:
            if gap % 2:
                return None
            after = [one.moved(0, gap // 2), two.moved(0, -(gap // 2))]
        elif what == 2:
            seen = [r for r in rows if one.mask[r - top].any() and two.mask[r - row].any()]
            bridges = [
                Thing(r, s, solid(shapes.rectangle(1, e - s), ink), extra=True)
                for r, (s, e) in zip(seen, spans, strict=True)
            ]
            after = [one, two, *bridges]
        else:
            after = [one.moved(0, -a), two.moved(0, width - two.width - b)]
        return turned(pair_of(scene, scene.painted(after)), turn)

    return sample


FAMILIES: tuple[Family, ...] = (pointers, pointers, bars, bars, overlaid, drawn_together)
