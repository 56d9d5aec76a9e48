"""Rules about how things stand to each other: contact, alignment, what lies between, beside or around them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ttt_jax.train.invented.draws import chance, pick
from ttt_jax.train.invented.masks import ORTHOGONAL
from ttt_jax.train.invented.objects import shapes
from ttt_jax.train.invented.objects.looks import Palette, draw_look, empty_ground, extent, lay_out
from ttt_jax.train.invented.objects.scenes import Scene, Thing, pair_of, solid
from ttt_jax.train.invented.objects.selector import EVERYTHING
from ttt_jax.train.invented.objects.selectors import draw_selector
from ttt_jax.train.invented.placing import Space
from ttt_jax.train.invented.rule import Family, Pair, PairSampler, Rng, legal, turned

# ---------------------------------------------------------------- movement


def slide(rng: Rng) -> PairSampler:
    """Chosen things, or all, slide in one direction until they meet another thing or the border; rigidly."""
    palette = Palette(rng)
    selector = EVERYTHING if rng.random() < 0.4 else draw_selector(rng, palette)
    down, across = pick(rng, ORTHOGONAL)
    ink = palette.one() if rng.random() < 0.3 else None
    trail = palette.one() if rng.random() < 0.15 else None
    look = selector.look(rng, palette)

    def sample(rng: Rng, size: float) -> Pair | None:
        drawn = selector.draw_chosen(rng, size, look)
        if drawn is None:
            return None
        scene, chosen = drawn
        height, width = scene.ground.shape
        taken = np.zeros((height, width), bool)
        after = scene.those([not c for c in chosen])
        for thing in after:
            taken[thing.row : thing.row + thing.height, thing.column : thing.column + thing.width] |= thing.mask
        moving = scene.those(chosen)
        # The foremost first, so that each finds the ones ahead of it at rest.
        moving.sort(
            key=lambda t: (
                -(down * (t.row + (t.height if down > 0 else 0)) + across * (t.column + (t.width if across > 0 else 0)))
            )
        )
        for thing in moving:
            row, column = thing.row, thing.column
            while True:
                r, c = row + down, column + across
                if r < 0 or c < 0 or r + thing.height > height or c + thing.width > width:
                    break
                if (taken[r : r + thing.height, c : c + thing.width] & thing.mask).any():
                    break
                row, column = r, c
            taken[row : row + thing.height, column : column + thing.width] |= thing.mask
            moved = (thing if ink is None else thing.with_colour(ink)).moved(row - thing.row, column - thing.column)
            after.append(moved)
            if trail is not None and (row, column) != (thing.row, thing.column):
                after.append(replace(thing.with_colour(trail), extra=True))
        return pair_of(scene, scene.painted(after))

    return sample


def attract(rng: Rng) -> PairSampler:
    """Small things in line with a large one move to it, or away to the border, or are joined to it by a line."""
    palette = Palette(rng)
    anchor = palette.one()
    repel, line = chance(rng, 0.25), chance(rng, 0.35)
    ink = palette.one() if rng.random() < 0.5 else None
    mixed = palette.one() if rng.random() < 0.4 else None  # things of this colour stay
    look = replace(draw_look(rng, palette, plain=True), noise=None)

    def sample(rng: Rng, size: float) -> Pair | None:
        height, width = extent(rng, size, look.square, least=6)
        h, w = int(rng.integers(2, max(3, height // 3 + 1))), int(rng.integers(2, max(3, width // 3 + 1)))
        top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
        ground, ground_colour = empty_ground(rng, look, height, width)
        things = [Thing(top, left, solid(shapes.rectangle(h, w), anchor))]
        after, lines = [things[0]], []
        used_rows, used_columns = set(), set()
        for colour in look.colours(rng, int(rng.integers(1, look.most))):
            dot = shapes.rectangle(1, 1)
            in_row = chance(rng, 0.5)
            at = int(rng.integers(top, top + h)) if in_row else int(rng.integers(left, left + w))
            along = int(rng.integers(width if in_row else height))
            start, length = (left, w) if in_row else (top, h)
            if start - 2 < along < start + length + 1 or at in (used_rows if in_row else used_columns):
                continue  # touches it, or the row is taken
            (used_rows if in_row else used_columns).add(at)
            stays = mixed is not None and rng.random() < 0.4
            row, column = (at, along) if in_row else (along, at)
            thing = Thing(row, column, solid(dot, mixed if stays and mixed is not None else colour))
            things.append(thing)
            if stays:
                after.append(thing)
                continue
            before = along < start
            if line:
                begin, end = (along + 1, start) if before else (start + length, along)
                shape = shapes.rectangle(1, end - begin) if in_row else shapes.rectangle(end - begin, 1)
                spot = (at, begin) if in_row else (begin, at)
                lines.append(Thing(*spot, solid(shape, thing.colour if ink is None else ink), extra=True))
                after.append(thing)
                continue
            goal = (
                (0 if before else (width if in_row else height) - 1)
                if repel
                else start - 1
                if before
                else start + length
            )
            moved = thing.moved(*((0, goal - along) if in_row else (goal - along, 0)))
            after.append(moved if ink is None else moved.with_colour(ink))
        scene = Scene(ground, things, ground_colour)
        return pair_of(scene, scene.painted([*after, *lines])) if len(things) > 1 else None

    return sample


# ------------------------------------------------------------------ linking


def connect(rng: Rng) -> PairSampler:
    """Cells of one colour in line with each other are joined, through the ground only or over everything."""
    palette = Palette(rng)
    ink = palette.one() if rng.random() < 0.5 else None
    rows, columns = pick(rng, ((True, True), (True, False), (False, True)))
    wanted = palette.one() if rng.random() < 0.3 else None
    blocks = 1 if rng.random() < 0.7 else 2
    look = replace(draw_look(rng, palette, plain=True), noise=None)

    def sample(rng: Rng, size: float) -> Pair | None:
        height, width = extent(rng, size, look.square, least=5)
        space = Space(height, width)
        things, lines = [], []
        palette_now = [*look.palette, *([wanted] * 2 if wanted is not None else [])]
        lines_across: list[tuple[int, int, int, int]] = []
        for _ in range(int(rng.integers(1, 5))):
            colour = pick(rng, palette_now)
            first = space.place(rng, blocks, blocks)
            if first is None:
                break
            in_row = rows and (not columns or chance(rng, 0.5))
            free = space.free(blocks, blocks)
            along = np.flatnonzero(free[first[0]] if in_row else free[:, first[1]])
            things.append(Thing(*first, solid(shapes.rectangle(blocks, blocks), colour)))
            if len(along) == 0 or rng.random() < 0.15:
                # One alone: its row and column are closed to others, which it would be joined to.
                space.take(first[0], 0, blocks, width)
                space.take(0, first[1], height, blocks)
                continue
            other = int(along[int(rng.integers(len(along)))])
            spot = (first[0], other) if in_row else (other, first[1])
            things.append(Thing(*spot, solid(shapes.rectangle(blocks, blocks), colour)))
            top, left = min(first[0], spot[0]), min(first[1], spot[1])
            h, w = abs(first[0] - spot[0]) + blocks, abs(first[1] - spot[1]) + blocks
            for r, c in (first, spot):
                space.take(r, 0, blocks, width)
                space.take(0, c, height, blocks)
            if (h, w) != (blocks, blocks) and (wanted is None or colour == wanted):
                lines.append(
                    Thing(top, left, solid(shapes.rectangle(h, w), colour if ink is None else ink), extra=True)
                )
                lines_across.append((top, left, h, w))
        ground, ground_colour = empty_ground(rng, look, height, width)
        scene = Scene(ground, things, ground_colour)
        return pair_of(scene, scene.painted([*things, *lines])) if lines else None

    return sample


def box_groups(rng: Rng) -> PairSampler:
    """A box around all chosen things together: its frame, its area, or its corners; inside or around them."""
    palette = Palette(rng)
    selector = draw_selector(rng, palette, lambda s: not s.single)
    ink = palette.one()
    outside, which = int(rng.integers(2)), int(rng.integers(3))
    gone = chance(rng, 0.2)
    look = selector.look(rng, palette)

    def sample(rng: Rng, size: float) -> Pair | None:
        drawn = selector.draw_chosen(rng, size, look)
        if drawn is None:
            return None
        scene, chosen = drawn
        if sum(chosen) < 2:
            return None
        things = scene.those(chosen)
        top, left = min(t.row for t in things) - outside, min(t.column for t in things) - outside
        height = max(t.row + t.height for t in things) + outside - top
        width = max(t.column + t.width for t in things) + outside - left
        mask = shapes.frame(height, width)
        if which == 1:
            mask[:] = True
        elif which == 2:
            mask[1:-1] = mask[:, 1:-1] = False
        box = Thing(top, left, solid(mask, ink), extra=True)
        shown = scene.those([not (gone and c) for c in chosen])
        return pair_of(scene, scene.painted([*shown, box]))

    return sample


def other_side(rng: Rng) -> PairSampler:
    """A line divides the grid; the things on one side are copied, or moved, to the other: mirrored or shifted."""
    palette = Palette(rng)
    line = palette.one()
    ink = palette.one() if rng.random() < 0.3 else None
    mirrored, moves, turn = chance(rng, 0.65), chance(rng, 0.25), int(rng.integers(8))
    look = draw_look(rng, palette)
    look = replace(look, noise=None, striped=None)

    def sample(rng: Rng, size: float) -> Pair | None:
        height, half = extent(rng, size, square=False, least=3, most=14)
        height = min(30, max(height, half))
        bound = max(2, min(half - 1, 5))
        count = int(rng.integers(1, look.most))
        scene = lay_out(rng, look, look.sprites(rng, [look.mask(rng, bound) for _ in range(count)]), height, half)
        shown = scene.painted()
        if shown is None or not scene.things:
            return None
        empty = np.full_like(shown, scene.ground_colour)
        copy = shown[:, ::-1] if mirrored else shown
        if ink is not None:
            copy = np.where(copy != scene.ground_colour, np.int8(ink), copy)
        middle = np.full((height, 1), line, np.int8)
        question = np.hstack([shown, middle, empty])
        answer = np.hstack([empty if moves else shown, middle, copy])
        return turned(legal(question, answer), turn)

    return sample


def exchange(rng: Rng) -> PairSampler:
    """Two things exchange colours or places; or up to four pass theirs on, from top to bottom or left to right."""
    palette = Palette(rng)
    by_place = chance(rng, 0.35)
    cycle = chance(rng, 0.3)
    column = chance(rng, 0.5)
    look = replace(draw_look(rng, palette, plain=True), palette=palette.rest(8), same_in_pair=False)
    look = replace(look, most=4 if cycle else 2)

    def sample(rng: Rng, size: float) -> Pair | None:
        scene = EVERYTHING.draw(rng, size, look)
        if scene is None or len(scene.things) > look.most:
            return None
        things = sorted(scene.things, key=lambda t: t.column if column else t.row)
        if len({t.column if column else t.row for t in things}) < len(things):
            return None
        passed = [*things[1:], things[0]]
        if by_place:
            after = [replace(t, row=p.row, column=p.column) for t, p in zip(things, passed, strict=True)]
        else:
            after = [t.with_colour(p.colour) for t, p in zip(things, passed, strict=True)]
        return pair_of(scene, scene.painted(after))

    return sample


FAMILIES: tuple[Family, ...] = (slide, slide, attract, connect, box_groups, other_side, exchange)
