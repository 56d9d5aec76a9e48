"""Rules about things that show what becomes of others: templates, marks, tables of colours, contents of frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ttt_jax.tasks.grids import COLOURS
from ttt_jax.train.invented.draws import chance, pick
from ttt_jax.train.invented.masks import components, trim
from ttt_jax.train.invented.objects import shapes
from ttt_jax.train.invented.objects.looks import Palette, draw_look, empty_ground, extent, lay_out
from ttt_jax.train.invented.objects.scenes import CLEAR, Scene, Thing, pair_of, solid
from ttt_jax.train.invented.placing import Space
from ttt_jax.train.invented.rule import Family, Pair, PairSampler, Rng


def stamp(rng: Rng) -> PairSampler:
    """A template is copied to marked cells: around each, or with its corner there; in its colours or the mark's."""
    palette = Palette(rng)
    mark = palette.one()
    centred, in_mark_colour = chance(rng, 0.6), chance(rng, 0.4)
    template_stays = chance(rng, 0.6)
    mirrored = chance(rng, 0.2)
    marks_differ = in_mark_colour and chance(rng, 0.6)
    look = draw_look(rng, palette)
    mark_colours = palette.take(3) if marks_differ else [mark]

    def sample(rng: Rng, size: float) -> Pair | None:
        height, width = extent(rng, size, look.square, least=7)
        bound = int(np.clip(min(height, width) // 3, 2, 5))
        mask = look.mask(rng, bound)
        if centred and (mask.shape[0] % 2 == 0 or mask.shape[1] % 2 == 0):
            return None
        if mask.sum() < 2:
            return None
        template = look.sprites(rng, [mask])[0]
        copied = template[:, ::-1] if mirrored else template
        space = Space(height, width)
        spot = space.place(rng, *mask.shape)
        if spot is None:
            return None
        ground, colour = empty_ground(rng, look, height, width)
        things = [Thing(*spot, template)]
        after = [things[0]] if template_stays else []
        h, w = mask.shape
        for _ in range(int(rng.integers(1, 5))):
            spot = space.place(rng, h, w)
            if spot is None:
                break
            ink = pick(rng, mark_colours)
            at = (spot[0] + h // 2, spot[1] + w // 2) if centred else spot
            things.append(Thing(*at, solid(shapes.rectangle(1, 1), ink)))
            after.append(Thing(*spot, solid(copied != CLEAR, ink) if in_mark_colour else copied))
        scene = Scene(ground, things, colour)
        return pair_of(scene, scene.painted(after)) if len(things) > 1 else None

    return sample


def table_in_grid(rng: Rng) -> PairSampler:
    """Pairs of cells along one border say which colour becomes which (or which two change places) in this grid."""
    palette = Palette(rng)
    corner, upright = int(rng.integers(4)), chance(rng, 0.5)
    both_ways, keep_table = chance(rng, 0.3), chance(rng, 0.7)
    backwards = chance(rng, 0.3)
    look = replace(draw_look(rng, palette, plain=True), noise=None, same_in_pair=False)
    look = replace(look, palette=palette.rest(9))

    def sample(rng: Rng, size: float) -> Pair | None:
        height, width = extent(rng, size, look.square, least=7)
        count = int(rng.integers(1, 4))
        inks = [c for c in rng.permutation(COLOURS).tolist() if c not in look.grounds][: 2 * count]
        table = np.array(inks[: 2 * (len(inks) // 2)], np.int8).reshape(-1, 2)
        count = len(table)
        shown = table[:, ::-1] if backwards else table
        sprite = shown if upright else shown.T
        h, w = sprite.shape
        row, column = (height - h if corner > 1 else 0), (width - w if corner % 2 else 0)
        space = Space(height, width)
        space.take(row, column, h, w)
        bound = int(np.clip(min(height, width) // 3, 2, 6))
        masks = [look.mask(rng, bound) for _ in range(int(rng.integers(count, look.most + 3)))]
        sources = (table.ravel() if both_ways else table[:, 0]).tolist()
        sprites = [solid(m, pick(rng, sources)) for m in masks]
        scene = lay_out(rng, look, sprites, height, width, space=space)
        if not scene.things:
            return None
        mapping = np.arange(-1, 10, dtype=np.int8)
        mapping[table[:, 0] + 1] = table[:, 1]
        if both_ways:
            mapping[table[:, 1] + 1] = table[:, 0]
        key = Thing(row, column, sprite)
        after = [t.with_sprite(mapping[t.sprite + 1]) for t in scene.things]
        scene = replace(scene, things=[*scene.things, key])
        return pair_of(scene, scene.painted([*after, key] if keep_table else after))

    return sample


def repair(rng: Rng) -> PairSampler:
    """All things have one shape, but some lack cells: they are completed, coloured, deleted or kept alone."""
    palette = Palette(rng)
    ink = palette.one()
    what = int(rng.integers(4))
    look = replace(draw_look(rng, palette, plain=True), same_in_pair=True)

    def sample(rng: Rng, size: float) -> Pair | None:
        height, width = extent(rng, size, look.square, least=7)
        bound = int(np.clip(min(height, width) // 3, 2, 5))
        mask = look.mask(rng, bound)
        if mask.sum() < 4:
            return None
        colour = look.colours(rng, 1)[0]
        count = int(rng.integers(3, look.most + 1)) if look.most > 3 else 3
        broken = int(rng.integers(1, count - 1))
        sprites = []
        for i in range(count):
            part = mask.copy()
            if i < broken:
                spots = np.flatnonzero(mask)
                part.flat[spots[rng.permutation(len(spots))[: int(rng.integers(1, 1 + max(1, len(spots) // 5)))]]] = (
                    False
                )
                if trim(part).shape != mask.shape or len(components(part, diagonal=True)) > 1:
                    return None
            sprites.append(solid(part, colour))
        scene = lay_out(rng, look, sprites, height, width)
        if len(scene.things) < count:
            return None
        full = [t.cells == int(mask.sum()) for t in scene.things]
        after = []
        for thing, whole in zip(scene.things, full, strict=True):
            if whole:
                if what != 3:
                    after.append(thing)
            elif what == 0:
                after.append(thing.with_sprite(np.where(mask & ~thing.mask, ink, thing.sprite)))
            elif what == 1:
                after.append(thing.with_colour(ink))
            elif what == 3:
                after.append(thing)
        return pair_of(scene, scene.painted(after))

    return sample


def containers(rng: Rng) -> PairSampler:
    """Frames with and without something inside: filled, emptied, recoloured or deleted by what they hold."""
    palette = Palette(rng)
    ink = palette.one()
    content = palette.one() if rng.random() < 0.5 else None  # a colour of its own, or any
    what = int(rng.integers(6))
    loose = chance(rng, 0.5)
    look = replace(draw_look(rng, palette, plain=True), palette=palette.rest(4))

    def sample(rng: Rng, size: float) -> Pair | None:
        height, width = extent(rng, size, look.square, least=8)
        space = Space(height, width)
        ground, ground_colour = empty_ground(rng, look, height, width)
        things: list[Thing] = []
        after: list[Thing] = []
        held = 0
        for colour in look.colours(rng, int(rng.integers(2, look.most + 1))):
            h, w = rng.integers(3, int(np.clip(min(height, width) // 2, 3, 7)) + 1, 2).tolist()
            spot = space.place(rng, h, w)
            if spot is None:
                continue
            ring = Thing(*spot, solid(shapes.frame(h, w), colour))
            holds = chance(rng, 0.6)
            inner = Thing(spot[0] + 1, spot[1] + 1, np.full((h - 2, w - 2), CLEAR, np.int8))
            seed = content if content is not None else int(rng.choice(look.palette))
            if seed == colour:
                return None
            if holds:
                held += 1
                inner.sprite.flat[int(rng.integers(inner.sprite.size))] = seed
            things += [ring, inner]
            filled = inner.with_sprite(np.full(inner.sprite.shape, seed if what == 0 else ink))
            if what <= 1:
                after += [ring, filled if holds else inner]
            elif what == 2:
                after += [ring.with_colour(seed) if holds else ring, inner]
            elif what == 3:
                after += [ring, inner] if holds else []
            elif what == 4:
                after += [ring, inner if holds else filled]
            else:
                after += [ring.with_colour(seed), inner.with_colour(colour)] if holds else [ring]
        for _ in range(int(rng.integers(1, 4)) if loose else 0):
            spot = space.place(rng, 1, 1)
            if spot is not None:
                dot = Thing(*spot, solid(shapes.rectangle(1, 1), content if content is not None else look.palette[0]))
                things.append(dot)
                after.append(dot)
        scene = Scene(ground, things, ground_colour)
        return pair_of(scene, scene.painted(after)) if held else None

    return sample


FAMILIES: tuple[Family, ...] = (stamp, stamp, table_in_grid, repair, containers)
