"""Rules that carry something from one thing to another that matches it: by shape, by nearness, by column."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ttt_jax.train.invented.draws import chance, pick, side
from ttt_jax.train.invented.objects import shapes
from ttt_jax.train.invented.objects.looks import Palette, draw_look, empty_ground, extent, lay_out
from ttt_jax.train.invented.objects.scenes import CLEAR, Scene, Thing, pair_of, solid
from ttt_jax.train.invented.placing import Space
from ttt_jax.train.invented.rule import Family, Pair, PairSampler, Rng, turned


def _different_masks(rng: Rng, look, bound: int, count: int) -> list[np.ndarray]:
    """Shapes of which no two are equal up to symmetry; fewer than `count` if the look has not so many."""
    masks: list[np.ndarray] = []
    for _ in range(3 * count):
        mask = look.mask(rng, bound)
        if not any(shapes.same_up_to_symmetry(mask, m) for m in masks):
            masks.append(mask)
        if len(masks) == count:
            break
    return masks


def legend(rng: Rng) -> PairSampler:
    """Coloured things show the colour that belongs to their shape; things of a neutral colour take it on.

    Or the other way about: things whose shape no coloured one shows are deleted, or those that one shows.
    """
    palette = Palette(rng)
    neutral = palette.one()
    line = palette.one() if rng.random() < 0.6 else None  # divides the legend from the rest
    upright = chance(rng, 0.5)
    what, any_way = int(rng.choice(3, p=[0.7, 0.15, 0.15])), chance(rng, 0.3)
    fixed = chance(rng, 0.25)
    look = replace(draw_look(rng, palette, plain=True), noise=None, striped=None, same_in_pair=False)
    look = replace(look, palette=palette.rest(6))
    constant = [look.mask(rng, 3) for _ in range(6)]

    def sample(rng: Rng, size: float) -> Pair | None:
        height, width = extent(rng, size, look.square, least=8)
        if not upright:
            height, width = width, height
        bound = 2 if height < 10 else 3
        masks = constant if fixed else _different_masks(rng, look, bound, 1 + height // 4)
        masks = [m for m in masks if m.sum() > 1 and max(m.shape) <= bound]
        count = int(rng.integers(2, 5))
        if len(masks) < 2 or any(shapes.same_up_to_symmetry(masks[0], m) for m in masks[1:]):
            return None
        shown = masks[: min(count, len(masks) - (what > 0), (height + 1) // (bound + 1))]
        colours = [int(c) for c in rng.permutation(look.palette)[: len(shown)]]
        if len(shown) < 1 or len(colours) < len(shown):
            return None
        ground, ground_colour = empty_ground(rng, look, height, width)
        space = Space(height, width)
        space.take(0, 0, height, bound + (line is not None))
        if line is not None:
            ground[:, bound] = line
        keys = [Thing(i * (bound + 1), 0, solid(m, c)) for i, (m, c) in enumerate(zip(shown, colours, strict=True))]
        things, after = [], []
        for _ in range(int(rng.integers(2, look.most + 1))):
            chosen = int(rng.integers(len(shown) if what == 0 else len(masks)))
            mask = np.rot90(masks[chosen], int(rng.integers(4))) if any_way else masks[chosen]
            spot = space.place(rng, *mask.shape)
            if spot is None:
                continue
            thing = Thing(*spot, solid(mask, neutral))
            things.append(thing)
            known = chosen < len(shown)
            if what == 0:
                after.append(thing.with_colour(colours[chosen]))
            elif known == (what == 1):
                after.append(thing)
        scene = Scene(ground, [*keys, *things], ground_colour)
        pair = pair_of(scene, scene.painted([*keys, *after])) if things else None
        return pair if pair is None or upright else (np.ascontiguousarray(pair[0].T), np.ascontiguousarray(pair[1].T))

    return sample


def dyed(rng: Rng) -> PairSampler:
    """A coloured cell on, or next to, each thing gives the thing its colour; the cell stays or goes."""
    palette = Palette(rng)
    neutral = palette.one()
    stays, some_without = chance(rng, 0.4), chance(rng, 0.3)
    inside = chance(rng, 0.4)
    side_of = int(rng.integers(4))
    look = replace(draw_look(rng, palette, plain=True), palette=palette.rest(6), striped=None)

    def sample(rng: Rng, size: float) -> Pair | None:
        height, width = extent(rng, size, look.square, least=7)
        bound = int(np.clip(min(height, width) // 3, 2, 5))
        ground, ground_colour = empty_ground(rng, look, height, width)
        space = Space(height, width)
        things, after = [], []
        for colour in look.colours(rng, int(rng.integers(2, look.most + 1))):
            mask = look.mask(rng, bound)
            if mask.sum() < 3:
                continue
            sprite, dyed_sprite = solid(mask, neutral), solid(mask, colour)
            if inside:
                spots = np.flatnonzero(mask)
                spot_in = spots[int(rng.integers(len(spots)))]
                sprite.flat[spot_in] = colour
                if stays:
                    dyed_sprite.flat[spot_in] = neutral
            else:
                # A column for the cell, turned to one side; a free column between would part them.
                sprite, dyed_sprite = (np.rot90(s, side_of) for s in (sprite, dyed_sprite))
                edge = np.full((sprite.shape[0], 1), CLEAR, np.int8)
                edge[int(np.flatnonzero(sprite[:, -1] != CLEAR)[0])] = colour
                sprite = np.rot90(np.hstack([sprite, edge]), -side_of)
                dyed_sprite = np.rot90(np.hstack([dyed_sprite, edge if stays else edge * 0 + CLEAR]), -side_of)
            if some_without and rng.random() < 0.3:
                sprite = dyed_sprite = solid(mask, neutral)
            place = space.place(rng, *sprite.shape)
            if place is not None:
                things.append(Thing(*place, np.asarray(sprite, np.int8)))
                after.append(Thing(*place, np.asarray(dyed_sprite, np.int8)))
        scene = Scene(ground, things, ground_colour)
        return pair_of(scene, scene.painted(after)) if len(things) > 1 else None

    return sample


def headers(rng: Rng) -> PairSampler:
    """The border shows a colour for each column; things below take the colour above them, cell by cell or whole."""
    palette = Palette(rng)
    neutral = palette.one()
    turn = int(rng.integers(8))
    by_cell = chance(rng, 0.5)
    gone = chance(rng, 0.2)
    look = replace(draw_look(rng, palette, plain=True), palette=palette.rest(5), noise=None, striped=None)

    def sample(rng: Rng, size: float) -> Pair | None:
        height, width = extent(rng, size, look.square, least=5)
        bound = 3 if width > 7 else 2
        space = Space(height, width)
        space.take(0, 0, 1, width)
        masks = [look.mask(rng, bound) for _ in range(int(rng.integers(2, look.most + 1)))]
        scene = lay_out(rng, look, [solid(m, neutral) for m in masks], height, width, space=space)
        if not scene.things:
            return None
        head = scene.ground[0]
        after = []
        if by_cell:
            head[:] = rng.choice(look.palette, size=width)
            for t in scene.things:
                above = np.broadcast_to(head[t.column : t.column + t.width], t.mask.shape)
                after.append(t.with_sprite(np.where(t.mask, above, CLEAR)))
        else:
            for t in scene.things:
                used = head[t.column : t.column + t.width]
                if (used != scene.ground_colour).any():
                    return None  # another thing in the same columns
                colour = int(rng.choice(look.palette))
                head[t.column + (t.width - 1) // 2] = colour
                after.append(t.with_colour(colour))
        pair = pair_of(scene, scene.painted(after))
        if pair is None:
            return None
        question, answer = pair
        return turned((question, answer[1:] if gone else answer), turn)

    return sample


def compare(rng: Rng) -> PairSampler:
    """Two things: the output says whether they are alike in shape, colour or size."""
    palette = Palette(rng)
    yes, no = palette.take(2)
    what = int(rng.integers(4))
    height, width = pick(rng, ((1, 1), (1, 1), (3, 3), (2, 2), (1, 3)))
    any_way = chance(rng, 0.3)
    pictures = [np.full((height, width), c, np.int8) for c in (yes, no)]
    look = replace(draw_look(rng, palette, plain=True), same_in_pair=False)
    look = replace(look, palette=palette.rest(2 if what == 1 else 4), same_in_pair=what != 1)

    def sample(rng: Rng, size: float) -> Pair | None:
        height, width = extent(rng, min(size, 0.4), look.square, least=5)
        bound = int(np.clip(min(height, width) // 2 - 1, 2, 5))
        first = look.mask(rng, bound)
        again = np.rot90(first, int(rng.integers(1, 4))) if any_way else first
        second = again if rng.random() < 0.5 else look.mask(rng, bound)
        colours = look.colours(rng, 2)
        alike = shapes.same_up_to_symmetry(first, second) if any_way else np.array_equal(first, second)
        if what == 1:
            alike = colours[0] == colours[1]
        elif what == 2:
            alike = int(first.sum()) == int(second.sum())
        elif what == 3:
            alike = first.shape == second.shape
        sprites = [solid(m, c) for m, c in zip((first, second), colours, strict=True)]
        scene = lay_out(rng, look, sprites, height, width)
        if len(scene.things) < 2:
            return None
        return pair_of(scene, pictures[0 if alike else 1])

    return sample


def nested(rng: Rng) -> PairSampler:
    """Frames within frames: their colours listed, reversed, passed inwards, or the middle one shown."""
    palette = Palette(rng)
    what, as_row = int(rng.integers(5)), chance(rng, 0.5)
    thick = chance(rng, 0.3)
    whole = chance(rng, 0.5)  # the frames fill the grid
    look = replace(draw_look(rng, palette, plain=True), palette=palette.rest(8), striped=None)

    def sample(rng: Rng, size: float) -> Pair | None:
        depth = int(rng.integers(2, 5))
        widths = rng.integers(1, 3 if thick else 2, depth).tolist()
        colours = [int(c) for c in rng.permutation(look.palette)[:depth]]
        if len(colours) < depth:
            return None
        core = rng.integers(1, 2 + round(4 * size), 2).tolist()
        height, width = (2 * sum(widths[:-1]) + n for n in core)
        if max(height, width) > 26:
            return None

        def onion(inks: list[int]) -> np.ndarray:
            out, at = np.empty((height, width), np.int8), 0
            for ink, w in zip(inks, [0, *widths[:-1]], strict=True):
                at += w
                out[at : height - at, at : width - at] = ink
            return out

        sprite = onion(colours)
        rows, columns = (height, width) if whole else (side(rng, size, height, 30), side(rng, size, width, 30))
        ground, ground_colour = empty_ground(rng, look, rows, columns)
        spot = int(rng.integers(rows - height + 1)), int(rng.integers(columns - width + 1))
        scene = Scene(ground, [Thing(*spot, sprite)], ground_colour)
        if what < 2:
            passed = colours[::-1] if what == 0 else [*colours[1:], colours[0]]
            return pair_of(scene, scene.painted([Thing(*spot, onion(passed))]))
        if what == 4:
            return pair_of(scene, np.full((1, 1), colours[-1], np.int8))
        listed = np.array([colours if what == 2 else colours[::-1]], np.int8)
        return pair_of(scene, listed if as_row else listed.T)

    return sample


FAMILIES: tuple[Family, ...] = (legend, legend, dyed, headers, compare, nested)
